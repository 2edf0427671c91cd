"""Runs an app's own examples in memory: no clock, no database, and an end to everything.

What is interpreted here is what runs: records are checked by their shapes, steps by their workflows, automations fire
as they would, their mails are rendered, and what modules decide is decided. So an example fails for the reason that a
client would meet. It says only what it is about: a required value that it leaves out is filled in, one that it sets to
null is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any

from felix.domain.apps.behaviour import Change, Create, Example, Expectation, GivenRecord, Take
from felix.domain.apps.entities import Entity, Field
from felix.domain.apps.firing import (
    MAX_DEPTH,
    FieldsSet,
    Happening,
    MailAsked,
    RecordMade,
    TooManyRuns,
    fire,
)
from felix.domain.apps.shapes import CompiledApp
from felix.domain.apps.transitions import decide, refuse_leaps, started
from felix.domain.errors import FelixError
from felix.domain.records.hooks import Writing

#: Work that all examples of an app may be, in steps, runs of automations and mails; a mail is as much as 20 of these.
MAX_WORK, WORK_OF_A_MAIL = 20_000, 20
#: Whoever takes the steps of an example; which roles may is said by the workflow and is no example's matter.
ANYBODY = "service"
#: What a failure quotes of a value.
MAX_QUOTED = 200

#: Renders a template about a record of an entity. Raises a ``FelixError`` where it can't be rendered.
Render = Callable[[CompiledApp, str, str, Mapping[str, Any]], object]


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """What became of one example. A failure names its step (``when/0``), what was expected, and what was found."""

    name: str
    title: str
    passed: bool
    step: str = ""
    expected: str = ""
    found: str = ""


def run_examples(app: CompiledApp, render: Render | None = None) -> list[ExampleResult]:
    """Run every example of an app, by name. Without ``render`` mails are sent unread: whether their templates can be
    rendered is then not known."""
    work = _Work()
    results = []
    for name, example in sorted(app.app.tests.items()):
        try:
            _Run(app, render, work).play(example)
            results.append(ExampleResult(name, example.title, True))
        except _Failed as failed:
            results.append(ExampleResult(name, example.title, False, failed.step, failed.expected, failed.found))
    return results


class _Failed(Exception):
    """An example fails at a step."""

    def __init__(self, step: str, expected: str, found: str) -> None:
        self.step, self.expected, self.found = step, expected, found


class _Work:
    """What is left of the work that all examples together may be."""

    def __init__(self) -> None:
        self.left = MAX_WORK

    def spend(self, step: str, much: int) -> None:
        self.left -= much
        if self.left < 0:
            raise _Failed(step, "examples that end soon", "the app's examples are more work than may be")


class _Run:
    """One example being played: its records, the mails that were sent, and what was refused and is still to be said."""

    def __init__(self, app: CompiledApp, render: Render | None, work: _Work) -> None:
        self._app, self._render, self._work = app, render, work
        self._records: dict[str, tuple[str, dict[str, Any]]] = {}
        self._ids: dict[str, str] = {}
        self._sent: Counter[str] = Counter()
        self._numbers = count()

    def play(self, example: Example) -> None:
        """Raises :class:`_Failed` at the first step that is not as the example says."""
        refusals = Counter(expected.refused for expected in example.then if expected.refused is not None)
        for number, given in enumerate(example.given):
            self._begin_with(f"given/{number}", given)
        for number, step in enumerate(example.when):
            at = f"when/{number}"
            self._work.spend(at, 1)
            try:
                happenings = self._do(step)
            except FelixError as error:
                if not refusals[error.code]:
                    raise _Failed(at, "the step is taken", _told(error)) from None
                refusals[error.code] -= 1
                continue
            for happening in happenings:
                self._fire(at, happening)
        for number, expected in enumerate(example.then):
            self._expect(f"then/{number}", expected, refusals)

    def _begin_with(self, at: str, given: GivenRecord) -> None:
        try:
            values = self._app.shapes[given.entity].whole(self._said(given.entity, given.values))
        except FelixError as error:
            raise _Failed(at, f"a record of {given.entity}", _told(error)) from None
        for workflow in self._app.app.workflows.values():
            if workflow.entity == given.entity and values.get(workflow.field) is None:
                values[workflow.field] = workflow.initial
        self._keep(given.record, given.entity, values)

    def _do(self, step: Create | Change | Take) -> list[Happening]:
        """Take one step. Raises the ``FelixError`` that a client would get."""
        match step:
            case Create():
                checked = self._app.shapes[step.entity].whole(self._said(step.entity, step.values))
                values = started(self._app, step.entity, checked)
                record_id = self._mint()
                happenings = self._write(step.entity, record_id, None, values)
                self._ids[step.create] = record_id
                return happenings
            case Change():
                entity, before = self._records[self._ids[step.change]]
                changed = self._app.shapes[entity].part(self._by_id(entity, step.values))
                refuse_leaps(self._app, entity, changed)
                return self._write(entity, self._ids[step.change], before, before | changed)
            case Take():
                entity, before = self._records[self._ids[step.record]]
                taken = decide(self._app, entity, step.take, before, role=ANYBODY, is_maker=False)
                return self._write(entity, self._ids[step.record], before, before | {taken.field: taken.becomes})

    def _write(
        self, entity: str, record_id: str, before: dict[str, Any] | None, after: dict[str, Any]
    ) -> list[Happening]:
        """Write a record, and along with it what the app's modules decide. Raises their ``Refused``."""
        written = {(entity, record_id): after}
        for each in self._app.consequences(Writing(entity, record_id, before, after), self):
            place = (each.entity, each.record_id)
            written[place] = {**(written.get(place) or self.find(*place) or {}), **each.values}
        return [self._became(place, values) for place, values in written.items()]

    def _became(self, place: tuple[str, str], values: Mapping[str, Any]) -> Happening:
        entity, record_id = place
        before = self.find(entity, record_id)
        self._records[record_id] = (entity, dict(values))
        fields = frozenset(name for name, value in values.items() if before is None or before.get(name) != value)
        return Happening("created" if before is None else "changed", entity, record_id, dict(values), fields)

    def find(self, entity: str, record_id: str) -> Mapping[str, Any] | None:
        """What modules see of a record."""
        kind, values = self._records.get(record_id, ("", {}))
        return values if kind == entity else None

    def _fire(self, at: str, happening: Happening, depth: int = 0) -> None:
        if happening.event == "changed" and not happening.changed:
            return
        more: list[Happening] = []
        for run in fire(self._app, happening, self._mint):
            self._work.spend(at, 1)
            failure = run.failure or (TooManyRuns() if depth == MAX_DEPTH else None)
            try:
                if failure is not None:
                    raise failure
                for effect in run.effects:
                    match effect:
                        case MailAsked():
                            self._send(at, run.automation, effect)
                        case FieldsSet():
                            _, before = self._records[effect.record]
                            more += self._write(effect.entity, effect.record, before, before | dict(effect.values))[1:]
                        case RecordMade():
                            more += self._write(effect.entity, effect.record, None, dict(effect.values))[1:]
            except FelixError as error:
                raise _Failed(at, f"the automation {run.automation} runs", _told(error)) from None
        # What modules wrote along with all that sets off automations too.
        for each in more:
            self._fire(at, each, depth + 1)

    def _send(self, at: str, automation: str, mail: MailAsked) -> None:
        self._work.spend(at, WORK_OF_A_MAIL)
        if self._render is not None:
            try:
                self._render(self._app, mail.template, mail.entity, mail.values)
            except FelixError as error:
                raise _Failed(at, f"the automation {automation} sends {mail.template}", _told(error)) from None
        self._sent[mail.template] += 1

    def _expect(self, at: str, expected: Expectation, unmet: Counter[str]) -> None:
        if expected.refused is not None:
            if unmet[expected.refused]:
                raise _Failed(at, f"a step is refused: {expected.refused}", "no step was refused with this code")
        elif expected.sent is not None:
            if not self._sent[expected.sent]:
                sent = ", ".join(sorted(self._sent)) or "no mail was sent"
                raise _Failed(at, f"the mail {expected.sent} is sent", sent)
        elif expected.record is not None:
            self._expect_record(at, expected.record, expected.has)

    def _expect_record(self, at: str, name: str, has: Mapping[str, Any]) -> None:
        if name not in self._ids:
            raise _Failed(at, f"there is a record {name}", "its creation was refused")
        entity, values = self._records[self._ids[name]]
        for field, wanted in self._by_id(entity, has).items():
            found = values.get(field)
            if type(found) is not type(wanted) or found != wanted:
                raise _Failed(at, f"{name}.{field} is {_quoted(wanted)}", _quoted(found))

    def _said(self, entity: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a new record, with something in every field that has to have a value."""
        left_out = {
            name: _SOMETHING[field.type](field)
            for name, field in self._app.shapes[entity].shown.items()
            if field.required and field.default is None and name not in values
        }
        return left_out | self._by_id(entity, values)

    def _by_id(self, entity: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values with ids where references call other records by the example's names."""
        fields = self._app.shapes[entity].entity.fields
        return {
            name: self._ids.get(value, value) if isinstance(value, str) and fields[name].type == "reference" else value
            for name, value in values.items()
        }

    def _keep(self, name: str, entity: str, values: dict[str, Any]) -> None:
        self._ids[name] = self._mint()
        self._records[self._ids[name]] = (entity, values)

    def _mint(self) -> str:
        return f"rec_{sha256(str(next(self._numbers)).encode()).hexdigest()[:32]}"


def _number(field: Field) -> int:
    least = 1 if field.minimum is None else max(1, field.minimum)
    return least if field.maximum is None else min(least, field.maximum)


#: A value that a field takes, by its type.
_SOMETHING: dict[str, Callable[[Field], Any]] = {
    "text": lambda field: "something"[: field.max_length],
    "long_text": lambda field: "something"[: field.max_length],
    "integer": _number,
    "decimal": _number,
    "money": _number,
    "boolean": lambda _: False,
    "date": lambda _: "2026-01-31",
    "moment": lambda _: "2026-01-31T09:00:00Z",
    "choice": lambda field: next(option.value for option in field.options or ()),
    "choices": lambda field: [option.value for option in field.options or ()][:1],
    "email": lambda _: "somebody@example.com",
    "phone": lambda _: "+49 30 1234567",
    "url": lambda _: "https://example.com/",
    "reference": lambda _: f"rec_{'0' * 32}",
}


def something(entity: Entity) -> dict[str, Any]:
    """A record with a value in every field."""
    return {name: _SOMETHING[field.type](field) for name, field in entity.fields.items()}


def _told(error: FelixError) -> str:
    """What was found, with the fields that are wrong where there are any."""
    wrong = error.facts.get("errors")
    where = ", ".join(f"{each['pointer']} {each['detail']}" for each in wrong[:3]) if isinstance(wrong, list) else ""
    return f"{error.code}: {where or error}"[:MAX_QUOTED]


def _quoted(value: Any) -> str:
    return repr(value)[:MAX_QUOTED] if value is not None else "nothing"
