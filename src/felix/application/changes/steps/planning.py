"""From what was asked to operations: what a planner is told, the planner, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from felix.application.changes.planners import Answered, PlannerChain, PlanRequest
from felix.application.changes.steps.budget import ChangeBudget
from felix.application.changes.steps.workbench import Look, Next, Perform
from felix.application.context import Context, ContextPassage, gather
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
#: What of a plan is the same when it is given again.
_OF_A_PLAN = ("operations", "count", "rationale", "planner", "model", "transcript")


class WordsForgotten(Refused):
    """What was asked is not kept any more."""


def begin_reading(look: Look) -> Next:
    """Reading costs nothing here: what documents cost was paid when they were handed over."""
    return m.StartIngestion(**look.step)


def read_context(look: Look) -> Next:
    """Gather what a planner is told: the app as it runs now, and what of the documents the words are about."""
    words = "" if given_plan(look.change) else " ".join(words_of(look).values())
    return ingested(look, gather(look.place, look.change.app, words, look.head(), look.bench.passages))


def ingested(look: Look, found: Context) -> Next:
    """Keep what a planner is told, without the client's own secrets, and say where it is from."""
    found = found.without(look.known)
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
    if given_plan(look.change):
        return m.StartPlanning(**look.step, planner=FORM, timeout_s=PLAN_TIMEOUT_S)
    chain = look.bench.planners(look.place, look.change)
    identities = [planner.identity for planner in chain.planners]
    return m.StartPlanning(
        **look.step,
        planner=", ".join(by.planner for by in identities) or "none",
        model=next((by.model for by in identities if by.model), None),
        key=next((by.key for by in identities if by.key), None),
        template=next((by.template_digest for by in identities if by.template_digest), None),
        timeout_s=PLAN_TIMEOUT_S,
        lines=[m.Line(meter=PLAN, quantity=1)],
    )


def plan(look: Look, perform: Perform) -> Next:
    """Ask the planners; operations that were given are their own plan."""
    if (given := given_plan(look.change)) is not None:
        operations = read_recorded(look.bench.objects.get(m.OBJECTS["operations"], given))
        return m.RecordPlan(**look.step, operations=given, count=len(operations), planner=FORM)
    bench, words = look.bench, words_of(look)
    tree, passages = planned_for(look)
    asked = PlanRequest(
        prompt=words["prompt"],
        tree=tree,
        catalogue=bench.catalogue,
        library=bench.library,
        context=passages,
        answers=answers_of(look, words),
        known=look.known,
    )
    chain = bench.planners(look.place, look.change)
    question = question_of(look, chain, asked)
    if question is not None and (found := _planned_before(look, question)) is not None:
        return found
    budget = ChangeBudget(look.change, perform, bench.model_day_mtok)
    return told(look, chain.plan(asked, budget), budget.version, question)


def question_of(look: Look, chain: PlannerChain, asked: PlanRequest) -> bytes | None:
    """What a plan of a language model is found by: all that it depends on. None where no model is asked.

    A change that is a retry of another wants to hear something else, so it is not given what that one was.
    """
    identities = [planner.identity for planner in chain.planners]
    if look.change.retry_of is not None or not any(by.model for by in identities):
        return None
    depends_on = {
        "tenant": str(look.place[1]),
        "app": look.change.app,
        "release": look.change.base_release,
        "context": look.change.context_digest,
        "catalogue": dict(asked.catalogue),
        "planners": [[by.planner, by.model, by.template_digest] for by in identities],
        "prompt": asked.prompt,
        "answers": [list(each) for each in asked.answers],
    }
    return look.bench.index(json.dumps(depends_on, sort_keys=True))


def _planned_before(look: Look, question: bytes) -> Next | None:
    """The plan that a model has made of the same: it costs what planning costs, and nothing for the model."""
    found = look.bench.plans.find(look.place, question, look.at)
    if found is None:
        return None
    change_id, version = found
    events = look.bench.aggregates.events(look.place, Change, change_id)
    proposed = next(event.payload for event in events if event.version == version)
    plan = {name: proposed[name] for name in _OF_A_PLAN}
    return m.RecordPlan(**look.step, **plan, cached=True, lines=[m.Line(meter=PLAN, quantity=1)])


def planned_for(look: Look) -> tuple[AppTree, Sequence[ContextPassage]]:
    """The app that the planner is told of, and the passages beside it."""
    if look.change.context_digest is None:
        return look.tree(look.change.base_tree), ()
    told = json.loads(look.bench.objects.get(m.OBJECTS["context"], look.change.context_digest))
    (tree,) = (source["digest"] for source in told["sources"] if source["kind"] == "app")
    return look.tree(tree), [ContextPassage(*passage) for passage in told["passages"]]


def given_plan(change: Change) -> str | None:
    """The operations that somebody gave who needs no planner; after a question they do."""
    return change.operations if change.kind_of_change == "operations" and not change.answers else None


def told(
    look: Look,
    answered: Answered,
    version: int,
    question: bytes | None = None,
    kept: Callable[[Any], list[Any]] = written,
) -> Next:
    """What a planner answered, as a step. ``kept`` makes of a plan what is stored."""
    step = {**look.step, "expected_version": version}
    by, answer = answered.by, answered.answer
    lines = [m.Line(meter=PLAN, quantity=1)]
    if isinstance(answer, Planned):
        content = canonical(kept(answer.operations))
        return m.RecordPlan(
            **step,
            operations=look.bench.objects.put(m.OBJECTS["operations"], content),
            count=len(answer.operations),
            rationale=answer.rationale[:4_000],
            planner=by.planner,
            model=by.model,
            question=question.hex() if question is not None and by.model is not None else None,
            transcript=answered.transcript,
            lines=lines,
        )
    asked = answer if isinstance(answer, Asked) else Asked(answer.why)
    back = m.Question(question=asked.question[:2_000], candidates=[each[:500] for each in asked.candidates][:50])
    return m.AskClarification(**step, questions=[back], planner=by.planner, transcript=answered.transcript, lines=lines)


def said_in(look: Look) -> str:
    """Everything that people wrote about this change themselves, as far as it is kept."""
    words = list(look.bench.kept(look.place, look.change.local_id).values())
    if (given := given_plan(look.change)) is not None:
        words.append(look.bench.objects.get(m.OBJECTS["operations"], given).decode())
    return "\n".join(words)


def words_of(look: Look) -> Mapping[str, str]:
    """What people wrote about this change, without the client's own secrets. Raises :class:`WordsForgotten`."""
    words = look.bench.kept(look.place, look.change.local_id)
    if "prompt" not in words:
        raise WordsForgotten(change_id=look.change.local_id)
    return {name: look.known.redact(text)[0] for name, text in words.items()}


def answers_of(look: Look, words: Mapping[str, str]) -> list[tuple[str, str]]:
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
