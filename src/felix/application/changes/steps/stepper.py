"""One step of a change: look at the log, decide the one next thing, do its outside work, and write it down.

Any worker may take any step at any time. What a step does outside can be done again; what it does to the books is one
command that names the version it has seen, so of two workers one is too late, and is told so. A worker that dies leaves
a log that says how far it came, and nothing else that counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from felix.application.apps.releases import NoSuchRelease
from felix.application.changes.steps import code, deploying, planning, proving
from felix.application.changes.steps.budget import PlanningOver, RequestNotPaid
from felix.application.changes.steps.repositories import follow
from felix.application.changes.steps.workbench import Look, Next, Perform, Place, Rest, Workbench
from felix.application.outcome import Outcome
from felix.domain.base import Command
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.messages import LIVE, State
from felix.domain.errors import Conflict, Corrupt, FelixError, NotFound, ObjectDamaged, Unavailable
from felix.domain.ledger.errors import InsufficientTokens
from felix.domain.ledger.token_account import TokenAccount

log = logging.getLogger("felix.changes")

#: Somebody else was faster, or has ended it: there is nothing left to do for this worker.
FENCED = (errors.ChangeMovedOn, errors.ChangeIsOver, errors.NotInThisState, errors.Fenced, Conflict)
#: It is not this change's turn.
WAITS = (errors.EnvironmentIsLocked, errors.NotYourTurn)
#: What is different since the look makes another step the next one.
LOOK_AGAIN = (
    errors.BaseMoved, errors.ChecksTooOld, errors.GuardrailFails, errors.DeployPaused, errors.NotExported
)  # fmt: skip

_STEPS: dict[State, Callable[[Look], Next]] = {
    "requested": planning.begin_reading,
    "ingesting": planning.read_context,
    "ingested": planning.begin_planning,
    "planned": proving.compute_diff,
    "diffed": proving.begin_checks,
    "checking": proving.check_result,
    "checked": proving.request_approval,
    "queued": deploying.go_live,
    "deploying": deploying.show,
    "canary": deploying.watch_canary,
    "baking": deploying.bake,
    "rolling_back": deploying.come_back,
}
#: Where a change has to stand on what runs, or is rebased.
_STANDING: frozenset[State] = frozenset({"diffed", "checked", "awaiting_approval", "approved", "queued"})
#: Where a newer change that was approved takes its place.
_REPLACEABLE: frozenset[State] = _STANDING - {"queued"}


#: Why a step is not paid for, where more tokens or a higher ceiling are all that it takes.
_HELPED_BY_TOKENS = (InsufficientTokens.code, errors.PriceCeilingReached.code)
TRY_TO_PAY_EVERY = timedelta(hours=1)
#: When a repository is looked for again that could not be reached.
AWAY_S = 60


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step was. ``state`` and ``version`` are those that it found; ``goes_on``: another one follows at once."""

    state: State
    version: int
    did: str | None = None
    until: datetime | None = None
    goes_on: bool = False


class _Taking:
    """Performs, and knows which version of the change its own commands led to: a planner holds and pays on its way.

    What fails after that fails with this version; whoever was too late by then stays so.
    """

    def __init__(self, perform: Perform, version: int) -> None:
        self._perform = perform
        self._version = version

    def __call__(self, command: Command) -> Outcome:
        outcome = self._perform(command)
        if outcome.accepted:
            self._version = outcome.result.get("version", self._version)
        return outcome

    def failed(self, step: m.FailStep) -> m.FailStep:
        """The same, as of what this step has done so far."""
        return step.model_copy(update={"expected_version": self._version})


class Stepper:
    """Takes steps. Safe from any thread and in any number of processes."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def version(self, place: Place, change_id: str) -> int:
        """How far a change has come. Raises ``NotFound``."""
        return self._find(place, change_id).version

    def step(self, place: Place, change_id: str, perform: Perform, at: datetime) -> Stepped:
        """Take the next step of a change, if there is one now. Raises ``NotFound``, ``Unavailable``, ``Corrupt``."""
        change = self._find(place, change_id)
        environment = self._bench.aggregates.find(place, AppEnvironment, change.where)
        if environment is None:
            raise NotFound(f"There is no environment {change.where}.", id=change.where)
        look = Look(self._bench, place, change, environment, at)
        found, taking = Stepped(change.state, change.version), _Taking(perform, change.version)
        try:
            if environment.source is None:
                follow(self._bench, place, change.where)
            chosen = self._next(look, taking)
        except Unavailable as away:
            if change.state != "planning":
                if environment.source is None:
                    raise
                # Somebody else's system is away for as long as it likes, and says at times for how long.
                log.warning("a change waits: %s", away, extra={"change_id": change_id})
                away_s = away.facts.get("retry_after_s", AWAY_S)
                return Stepped(change.state, change.version, until=at + timedelta(seconds=away_s))
            chosen = _failed(look, "infra", _reason(away))
        except (ObjectDamaged, NoSuchRelease) as damaged:
            log.critical("a change can't go on: %s", damaged, extra={"change_id": change_id, **damaged.facts})
            chosen = _without(look, damaged)
        except Corrupt:
            raise
        except (PlanningOver, RequestNotPaid, *FENCED) as over:
            log.info("a step is not needed any more: %s", over, extra={"change_id": change_id})
            return found
        except FelixError as refused:
            if change.state in LIVE or change.state == "rolling_back":
                raise
            chosen = _failed(look, "planner" if change.state == "planning" else "input", _reason(refused))
        if isinstance(chosen, Rest):
            return Stepped(change.state, change.version, until=chosen.until)
        return self._perform(look, taking.failed(chosen) if isinstance(chosen, m.FailStep) else chosen, taking)

    def _next(self, look: Look, perform: Perform) -> Next:
        change, of_code = look.change, look.environment.source is not None
        if change.is_over:
            return code.end(look) if of_code else Rest()
        if change.expires_at is not None and look.at >= datetime.fromisoformat(change.expires_at):
            return m.ExpireChange(**look.step)
        if of_code and (moved := code.moved(look)) is not None:
            return moved
        if change.state in _REPLACEABLE and (newer := proving.superseded_by(look)) is not None:
            return m.SupersedeChange(**look.step, by=newer, reason="newer_change")
        if change.state in _STANDING and change.kind_of_change != "rollback":
            if of_code and change.base_commit != look.environment.commit:
                return code.rebase_change(look)
            if change.base_tree != look.environment.tree:
                return proving.rebase_change(look)
            if change.state == "checked" and _is_over(change.checks_expire_at, look.at):
                return proving.begin_checks(look)
        if change.state == "planning":
            return code.plan(look, perform) if of_code else planning.plan(look, perform)
        if change.state == "blocked_funds":
            return _when_paid(look)
        steps = code.STEPS if of_code else _STEPS
        chosen = steps[change.state](look) if change.state in steps else Rest()
        if isinstance(chosen, Rest) and chosen.until is None:
            return Rest(_expiry(change))
        return chosen

    def _perform(self, look: Look, command: Command, perform: _Taking) -> Stepped:
        found = (look.change.state, look.change.version)
        outcome = perform(command)
        if outcome.accepted:
            return Stepped(*found, command.command_name, goes_on=not isinstance(command, m.FailStep))
        refusal = outcome.refusal
        if isinstance(refusal, FENCED):
            log.info("a worker was too late: %s", refusal, extra={"change_id": look.change.local_id})
            return Stepped(*found)
        if isinstance(refusal, WAITS):
            return Stepped(*found, until=_expiry(look.change))
        if isinstance(refusal, LOOK_AGAIN):
            return Stepped(*found, goes_on=True)
        if look.change.state in LIVE or look.change.state == "rolling_back" or isinstance(command, m.FailStep):
            raise refusal
        failed = perform(perform.failed(_failed(look, "input", _reason(refusal))))
        return Stepped(*found, m.FailStep.command_name if failed.accepted else None)

    def _find(self, place: Place, change_id: str) -> Change:
        change = self._bench.aggregates.find(place, Change, change_id)
        if change is None:
            raise NotFound(f"There is no change {change_id}.", id=change_id)
        return change


def _when_paid(look: Look) -> Next:
    """Go on with a change that waits for tokens once it can be paid.

    What no grant of tokens helps is tried again when its limit has room again, or else now and then.
    """
    change = look.change
    events = look.bench.aggregates.events(look.place, Change, change.local_id)
    lacked = next(event for event in reversed(events) if event.type == m.FundsInsufficient.TOPIC)
    needed_mtok, why = lacked.payload["needed_mtok"], lacked.payload["why"]
    expires_at, opens_at = _expiry(change), lacked.payload["opens_at"]
    if opens_at is not None and look.at < (opens := datetime.fromisoformat(opens_at)):
        return Rest(opens if expires_at is None else min(opens, expires_at))
    if opens_at is None and why not in _HELPED_BY_TOKENS and look.at < lacked.recorded_at + TRY_TO_PAY_EVERY:
        return Rest(expires_at)
    account = look.bench.aggregates.find(look.place, TokenAccount, change.account_id)
    if account is None or not change.fits_ceiling(needed_mtok) or account.available_mtok < needed_mtok:
        return Rest(expires_at)
    return m.UnblockChange(**look.step)


def _failed(look: Look, failure: str, reason: str) -> m.FailStep:
    return m.FailStep.model_validate(
        {**look.step, "step": look.change.state, "failure": failure, "reason": reason}, strict=False
    )


def _without(look: Look, damaged: FelixError) -> Command:
    """What becomes of a change when something that it needs is damaged or gone: no later step would find it either."""
    state, reason = look.change.state, _reason(damaged)
    if look.change.is_over:
        raise damaged
    if state in LIVE:
        return m.StartRollback(**look.deploy_step, reason=reason)
    if state == "rolling_back":
        return m.BlockRollback(**look.deploy_step, reason=reason)
    return _failed(look, "storage", reason)


def _reason(error: FelixError) -> str:
    """Why, with the first thing that is wrong where there is a list of them."""
    wrong = error.facts.get("errors") or ()
    first = f" {wrong[0]['pointer']}: {wrong[0]['detail']}" if wrong else ""
    return f"{error}{first}"[:1_000]


def _expiry(change: Change) -> datetime | None:
    return None if change.expires_at is None else datetime.fromisoformat(change.expires_at)


def _is_over(moment: str | None, at: datetime) -> bool:
    return moment is None or at >= datetime.fromisoformat(moment)
