"""From what was asked to operations: what a planner is told, the planner, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from felix.application.changes.planners import Answered, PlanRequest
from felix.application.changes.steps.budget import ChangeBudget
from felix.application.changes.steps.workbench import Look, Next, Perform
from felix.application.context import ContextPassage, gather
from felix.domain.apps.tree import AppTree, canonical
from felix.domain.changes import messages as m
from felix.domain.changes.bills import PLAN
from felix.domain.changes.change import Change
from felix.domain.changes.operations.union import read_recorded, written
from felix.domain.changes.planning.base import Asked, Planned
from felix.domain.errors import Refused

#: Who planned what a client gave as operations, by a form.
FORM = "form"
PLAN_TIMEOUT_S = 120
#: What an event has of where a context came from; the object has all of it.
_NAMED = 300


class WordsForgotten(Refused):
    """What was asked is not kept any more."""


def begin_reading(look: Look) -> Next:
    """Reading costs nothing here: what documents cost was paid when they were handed over."""
    return m.StartIngestion(**look.step)


def read_context(look: Look) -> Next:
    """Gather what a planner is told: the app as it runs now, and what of the documents the words are about."""
    words = "" if _given(look.change) else " ".join(_words(look).values())
    found = gather(look.place, look.change.app, words, look.head(), look.bench.passages)
    return m.RecordIngested(
        **look.step,
        context=look.bench.objects.put(m.OBJECTS["context"], found.content),
        sources=[f"{each.kind}:{each.name}@{each.digest}"[-_NAMED:] for each in found.sources][: m.MAX_LISTED],
        excluded=[f"{each.name}: {each.why}"[:_NAMED] for each in found.excluded][: m.MAX_LISTED],
        redactions=sum(found.redactions.values()),
        size_bytes=found.size_bytes,
    )


def begin_planning(look: Look) -> Next:
    """Say who plans. A flat price is held for it, and what a model uses request by request."""
    if _given(look.change):
        return m.StartPlanning(**look.step, planner=FORM, timeout_s=PLAN_TIMEOUT_S)
    chain = look.bench.planners(look.place[1], look.change.planner, look.change.model)
    identities = [planner.identity for planner in chain.planners]
    return m.StartPlanning(
        **look.step,
        planner=", ".join(by.planner for by in identities) or "none",
        model=next((by.model for by in identities if by.model), None),
        template=next((by.template_digest for by in identities if by.template_digest), None),
        timeout_s=PLAN_TIMEOUT_S,
        lines=[m.Line(meter=PLAN, quantity=1)],
    )


def plan(look: Look, perform: Perform) -> Next:
    """Ask the planners; operations that were given are their own plan."""
    if (given := _given(look.change)) is not None:
        operations = read_recorded(look.bench.objects.get(m.OBJECTS["operations"], given))
        return m.RecordPlan(**look.step, operations=given, count=len(operations), planner=FORM)
    bench, words = look.bench, _words(look)
    tree, passages = planned_for(look)
    asked = PlanRequest(
        prompt=words["prompt"],
        tree=tree,
        catalogue=bench.catalogue,
        library=bench.library,
        context=passages,
        answers=_answers(look, words),
    )
    budget = ChangeBudget(look.change, perform)
    answered = bench.planners(look.place[1], look.change.planner, look.change.model).plan(asked, budget)
    return _told(look, answered, budget.version)


def planned_for(look: Look) -> tuple[AppTree, Sequence[ContextPassage]]:
    """The app that the planner is told of, and the passages beside it."""
    if look.change.context_digest is None:
        return look.tree(look.change.base_tree), ()
    told = json.loads(look.bench.objects.get(m.OBJECTS["context"], look.change.context_digest))
    (tree,) = (source["digest"] for source in told["sources"] if source["kind"] == "app")
    return look.tree(tree), [ContextPassage(*passage) for passage in told["passages"]]


def _given(change: Change) -> str | None:
    """The operations that somebody gave who needs no planner; after a question they do."""
    return change.operations if change.kind_of_change == "operations" and not change.answers else None


def _told(look: Look, answered: Answered, version: int) -> Next:
    step = {**look.step, "expected_version": version}
    by, answer = answered.by, answered.answer
    lines = [m.Line(meter=PLAN, quantity=1)]
    if isinstance(answer, Planned):
        content = canonical(written(answer.operations))
        return m.RecordPlan(
            **step,
            operations=look.bench.objects.put(m.OBJECTS["operations"], content),
            count=len(answer.operations),
            rationale=answer.rationale[:4_000],
            planner=by.planner,
            model=by.model,
            cached=by.cached,
            transcript=answered.transcript,
            lines=lines,
        )
    asked = answer if isinstance(answer, Asked) else Asked(answer.why)
    question = m.Question(question=asked.question[:2_000], candidates=[each[:500] for each in asked.candidates][:50])
    return m.AskClarification(
        **step, questions=[question], planner=by.planner, transcript=answered.transcript, lines=lines
    )


def said_in(look: Look) -> str:
    """Everything that people wrote about this change themselves, as far as it is kept."""
    words = list(look.bench.kept(look.place, look.change.local_id).values())
    if (given := _given(look.change)) is not None:
        words.append(look.bench.objects.get(m.OBJECTS["operations"], given).decode())
    return "\n".join(words)


def _words(look: Look) -> Mapping[str, str]:
    """What people wrote about this change. Raises :class:`WordsForgotten`."""
    words = look.bench.kept(look.place, look.change.local_id)
    if "prompt" not in words:
        raise WordsForgotten(change_id=look.change.local_id)
    return words


def _answers(look: Look, words: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each answer with what had been asked."""
    if not look.change.answers:
        return []
    asked, found = "", []
    for event in look.bench.aggregates.events(look.place, Change, look.change.local_id):
        if event.type == m.ClarificationAsked.TOPIC:
            asked = "\n".join(each["question"] for each in event.payload["questions"])
        if event.type == m.ClarificationAnswered.TOPIC and event.payload["field"] in words:
            found.append((asked, words[event.payload["field"]]))
    return found
