"""What the files of an app say about each other: every name that is used must be there, and be of the right kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from felix.domain.apps.base import Condition, parts_of
from felix.domain.apps.behaviour import (
    CallWebhook,
    Change,
    Create,
    CreateRecord,
    RunModule,
    RunReport,
    SendEmail,
    SetField,
    Take,
)
from felix.domain.apps.entities import Entity
from felix.domain.apps.surfaces import BoardView, ChartView, FormView, Grouping, ListView, Measure
from felix.domain.apps.tree import MAX_PROBLEMS, AppTree, InvalidApp, ParsedApp, Problem

_NUMBERS = ("integer", "decimal", "money")
_TIMES = ("date", "moment")


def check(tree: AppTree) -> ParsedApp:
    """The app, if every file is of its kind and every reference leads somewhere. Raises :class:`InvalidApp`."""
    app = tree.parsed()
    found = list(_problems(app))
    if found:
        raise InvalidApp(errors=[problem.shown() for problem in found[:MAX_PROBLEMS]])
    return app


def _problems(app: ParsedApp) -> Iterator[Problem]:
    yield from _entities(app)
    yield from _views(app)
    yield from _reports(app)
    yield from _workflows(app)
    yield from _automations(app)
    yield from _schedules(app)
    yield from _tests(app)
    yield from _modules(app)


class _Place:
    """Where something is said, and the entity that it is said of."""

    def __init__(self, app: ParsedApp, path: str, pointer: str, entity: str) -> None:
        self.app, self.path, self.pointer, self.entity = app, path, pointer, entity

    @property
    def of(self) -> Entity | None:
        return self.app.entities.get(self.entity)

    def wrong(self, pointer: str, detail: str, rule: str = "reference") -> Problem:
        return Problem(self.path, self.pointer + pointer, rule, detail)

    def exists(self) -> Iterator[Problem]:
        if self.of is None:
            yield self.wrong("/entity", f"there is no entity {self.entity}")

    def field(self, pointer: str, name: str, *types: str) -> Iterator[Problem]:
        """The field must be there, and of one of the types where any are named."""
        if self.of is None:
            return
        field = self.of.fields.get(name)
        if field is None:
            yield self.wrong(pointer, f"{self.entity} has no field {name}")
        elif types and field.type not in types:
            yield self.wrong(pointer, f"{name} is of type {field.type}; needed is {' or '.join(types)}", "type")

    def fields(self, pointer: str, names: Iterable[str]) -> Iterator[Problem]:
        for name in names:
            yield from self.field(pointer, name)

    def condition(self, pointer: str, condition: Condition | None) -> Iterator[Problem]:
        if condition is None:
            return
        try:
            yield from self.fields(pointer, (part.field for part in parts_of(condition)))
        except ValueError as error:
            yield self.wrong(pointer, str(error), "condition")

    def measure(self, pointer: str, measure: Measure) -> Iterator[Problem]:
        if measure.field is not None:
            yield from self.field(f"{pointer}/field", measure.field, *_NUMBERS)

    def grouping(self, pointer: str, grouping: Grouping) -> Iterator[Problem]:
        if grouping.by is not None:
            yield from self.field(f"{pointer}/field", grouping.field, *_TIMES)
        else:
            yield from self.field(f"{pointer}/field", grouping.field)


def _entities(app: ParsedApp) -> Iterator[Problem]:
    for name, entity in app.entities.items():
        for field_name, field in entity.fields.items():
            if field.to is not None and field.to not in app.entities:
                detail = f"there is no entity {field.to}"
                yield Problem(f"entities/{name}.json", f"/fields/{field_name}/to", "reference", detail)


def _views(app: ParsedApp) -> Iterator[Problem]:
    for name, view in app.views.items():
        place = _Place(app, f"views/{name}.json", "", view.entity)
        yield from place.exists()
        yield from place.condition("/where", view.where)
        match view:
            case ListView():
                yield from place.fields("/columns", (column.field for column in view.columns))
                yield from place.fields("/order", (order.field for order in view.order))
            case BoardView():
                yield from place.field("/group_by", view.group_by, "choice")
                yield from place.fields("/card", view.card)
            case FormView():
                yield from place.fields("/sections", (name for section in view.sections for name in section.fields))
            case ChartView():
                yield from place.grouping("/group_by", view.group_by)
                yield from place.measure("/measure", view.measure)


def _reports(app: ParsedApp) -> Iterator[Problem]:
    for name, report in app.reports.items():
        place = _Place(app, f"reports/{name}.json", "", report.entity)
        yield from place.exists()
        yield from place.condition("/where", report.where)
        for number, grouping in enumerate(report.group_by):
            yield from place.grouping(f"/group_by/{number}", grouping)
        for number, measure in enumerate(report.measures):
            yield from place.measure(f"/measures/{number}", measure)


def _workflows(app: ParsedApp) -> Iterator[Problem]:
    governed: dict[tuple[str, str], str] = {}
    for name, workflow in app.workflows.items():
        place = _Place(app, f"workflows/{name}.json", "", workflow.entity)
        yield from place.exists()
        yield from place.field("/field", workflow.field, "choice")
        key = (workflow.entity, workflow.field)
        if key in governed:
            yield place.wrong("/field", f"{workflow.field} is governed by {governed[key]} already", "twice")
        governed[key] = name
        field = place.of.fields.get(workflow.field) if place.of else None
        if field is not None and field.personal:
            yield place.wrong("/field", f"{workflow.field} is sealed, and a state is for everybody to see", "personal")
        states = {option.value for option in field.options or ()} if field else set()
        if not states:
            continue
        if workflow.initial not in states:
            yield place.wrong("/initial", f"{workflow.initial} is no option of {workflow.field}")
        for number, transition in enumerate(workflow.transitions):
            for state in (*transition.from_, transition.to):
                if state not in states:
                    yield place.wrong(f"/transitions/{number}", f"{state} is no option of {workflow.field}")
            yield from place.condition(f"/transitions/{number}/when", transition.when)


def _automations(app: ParsedApp) -> Iterator[Problem]:
    for name, automation in app.automations.items():
        place = _Place(app, f"automations/{name}.json", "/on", automation.on.entity)
        yield from place.exists()
        if automation.on.field is not None:
            yield from place.field("/field", automation.on.field)
        place.pointer = ""
        yield from place.condition("/when", automation.when)
        for number, action in enumerate(automation.actions):
            at = f"/actions/{number}"
            match action:
                case SendEmail():
                    if action.template not in app.templates:
                        yield place.wrong(f"{at}/template", f"there is no template {action.template}")
                    if action.to_field is not None:
                        yield from place.field(f"{at}/to_field", action.to_field, "email")
                case CallWebhook():
                    yield from _webhook(place, f"{at}/integration", action.integration)
                case SetField():
                    yield from place.field(f"{at}/field", action.field)
                case CreateRecord():
                    other = _Place(app, place.path, at, action.entity)
                    yield from other.exists()
                    yield from other.fields("/values", action.values)
                    yield from other.fields("/from_fields", action.from_fields)
                    yield from place.fields(f"{at}/from_fields", action.from_fields.values())


def _webhook(place: _Place, pointer: str, name: str) -> Iterator[Problem]:
    """The integration is there, and says where to go."""
    integration = place.app.integrations.get(name)
    if integration is None:
        yield place.wrong(pointer, f"there is no integration {name}")
    elif integration.connector != "webhook" or not str(integration.config.get("url", "")).startswith("https://"):
        yield place.wrong(pointer, f"{name} is no webhook with a url that begins with https://", "type")


def _schedules(app: ParsedApp) -> Iterator[Problem]:
    for name, schedule in app.schedules.items():
        path = f"schedules/{name}.json"
        match schedule.job:
            case RunReport(report=report):
                if report not in app.reports:
                    yield Problem(path, "/job/report", "reference", f"there is no report {report}")
            case RunModule(module=module):
                if module not in app.app.modules:
                    yield Problem(path, "/job/module", "reference", f"the module {module} is not installed")
    for name, template in app.templates.items():
        if template.entity is not None and template.entity not in app.entities:
            detail = f"there is no entity {template.entity}"
            yield Problem(f"templates/{name}.json", "/entity", "reference", detail)


def _tests(app: ParsedApp) -> Iterator[Problem]:
    for name, example in app.tests.items():
        path = f"tests/{name}.json"
        known: dict[str, str] = {}
        for number, given in enumerate(example.given):
            place = _Place(app, path, f"/given/{number}", given.entity)
            yield from place.exists()
            yield from place.fields("/values", given.values)
            known[given.record] = given.entity
        for number, step in enumerate(example.when):
            at = f"/when/{number}"
            match step:
                case Create():
                    place = _Place(app, path, at, step.entity)
                    yield from place.exists()
                    yield from place.fields("/values", step.values)
                    known[step.create] = step.entity
                case Change():
                    yield from _known(app, path, f"{at}/change", known, step.change, step.values)
                case Take():
                    yield from _known(app, path, f"{at}/record", known, step.record, ())
                    actions = {t.action for w in app.workflows.values() for t in w.transitions}
                    if step.take not in actions:
                        yield Problem(path, f"{at}/take", "reference", f"no workflow has the action {step.take}")
        for number, expected in enumerate(example.then):
            at = f"/then/{number}"
            if expected.record is not None:
                yield from _known(app, path, f"{at}/record", known, expected.record, expected.has)
            if expected.sent is not None and expected.sent not in app.templates:
                yield Problem(path, f"{at}/sent", "reference", f"there is no template {expected.sent}")


def _modules(app: ParsedApp) -> Iterator[Problem]:
    for name in app.modules:
        if name not in app.app.modules:
            yield Problem(f"modules/{name}.json", "", "reference", f"the module {name} is not installed")


def _known(
    app: ParsedApp, path: str, pointer: str, known: dict[str, str], record: str, fields: Iterable[str]
) -> Iterator[Problem]:
    if record not in known:
        yield Problem(path, pointer, "reference", f"the example has no record {record}")
    else:
        yield from _Place(app, path, pointer, known[record]).fields("", fields)
