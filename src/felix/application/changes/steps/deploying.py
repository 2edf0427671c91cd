"""Going live step by step: what was approved is worked out again, shown to some, watched, and kept or taken back.

Aborting goes before promoting, always: nothing goes on past a guardrail that fails, and who aborts while a promotion is
decided on wins, because the promotion has seen an older version.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from felix.application.changes.steps.exporting import export
from felix.application.changes.steps.proving import policy_digest, policy_of
from felix.application.changes.steps.watching import Watched, count_looks, every, look_at, watched
from felix.application.changes.steps.workbench import Look, Next, Rest
from felix.domain.apps.tree import AppTree
from felix.domain.changes import messages as m
from felix.domain.changes.bills import DEPLOY, SAMPLE
from felix.domain.changes.diff import diff
from felix.domain.changes.losses import losses
from felix.domain.errors import FelixError, Unavailable

#: How long after its time a window is open, for those who had to wait for their turn.
WINDOW_LASTS = timedelta(hours=1)
#: A canary that a person has paused is still looked at, now and then.
LOOK_AT_PAUSED = timedelta(minutes=5)


def go_live(look: Look) -> Next:
    """Begin, when it is this change's turn and its time. Every part of what was approved is worked out anew."""
    change, environment = look.change, look.environment
    if (other := not_its_turn(look) or _window(look)) is not None:
        return other
    assert change.release is not None and change.checks is not None
    base, result = _runnable(look), look.bench.releases.tree(change.release)
    look.bench.objects.get(m.OBJECTS["checks"], change.checks)
    strategy, compared = _strategy(look), diff(base, result)
    if change.destroys(environment):
        if change.export is None:
            return export(look, losses(compared.effects))
        look.bench.objects.get(m.OBJECTS["export"], change.export)
    return m.StartDeploy(
        **look.step,
        base_tree=base.digest,
        result_tree=result.digest,
        diff=compared.digest,
        release=look.bench.releases.put(result),
        checks=change.checks,
        policy=policy_digest(policy_of(base)),
        rollback_to=environment.stable,
        lines=[m.Line(meter=DEPLOY, quantity=1), m.Line(meter=SAMPLE, quantity=count_looks(strategy))],
    )


def not_its_turn(look: Look) -> Next | None:
    """Wait while another deploys or is before it; a rollback has no more to wait for. None: look at its window."""
    change, environment = look.change, look.environment
    if environment.lock is not None or environment.place(change.local_id) != 1:
        return Rest()
    if change.kind_of_change == "rollback":
        return m.StartRollback(**look.deploy_step, reason="It was asked for.")
    return None


def show(look: Look) -> Next:
    """After the lock: everybody at once, or some first. What can't be opened any more is shown to nobody."""
    strategy = _strategy(look)
    look.bench.releases.tree(str(look.change.release))
    if strategy.kind == "instant":
        return m.Promote(**look.deploy_step)
    return m.StartCanary(**look.deploy_step, percent=strategy.steps[0] if strategy.steps else 0)


def watch_canary(look: Look) -> Next:
    """Look, and decide: back, on, or wait."""
    if (failing := look.change.failing_guardrail) is not None:
        return _back(look, failing)
    strategy, seen = _strategy(look), watched(look)
    if look.change.paused:
        if not look.change.weight:
            return Rest()
        return _look_if_due(look, seen, LOOK_AT_PAUSED)
    held_until = seen.since + timedelta(seconds=strategy.hold_s)
    if seen.last_at is None or seen.last_at < held_until:
        return _look_if_due(look, seen, every(look, strategy.hold_s), held_until)
    if seen.verdict == "pass" or look.change.accept_inconclusive:
        return _on(look, strategy)
    waits_until = held_until + timedelta(seconds=strategy.max_wait_s)
    if seen.last_at < waits_until:
        return _look_if_due(look, seen, every(look, strategy.max_wait_s), waits_until)
    reason = "The guardrails could not tell in time."
    if strategy.on_inconclusive == "promote":
        return _on(look, strategy)
    if strategy.on_inconclusive == "ask":
        return m.HoldCanary(**look.deploy_step, reason=reason)
    return m.StartRollback(**look.deploy_step, reason=reason)


def bake(look: Look) -> Next:
    """Watch what everybody has, and be done. Where nothing bad was seen, too little to say is enough here."""
    change = look.change
    if (failing := change.failing_guardrail) is not None:
        return _back(look, failing)
    assert change.bakes_until is not None
    strategy, seen, ends_at = _strategy(look), watched(look), datetime.fromisoformat(change.bakes_until)
    if seen.last_at is None or seen.last_at < ends_at:
        return _look_if_due(look, seen, every(look, strategy.bake_s), ends_at)
    waits_until = ends_at + timedelta(seconds=strategy.max_wait_s)
    if _doubtful(seen) and seen.last_at < waits_until:
        return _look_if_due(look, seen, every(look, strategy.max_wait_s), waits_until)
    if _doubtful(seen) and strategy.on_inconclusive != "promote":
        return m.StartRollback(**look.deploy_step, reason="The guardrails could not tell in time.")
    return m.Succeed(**look.deploy_step, lines=_used(look))


def come_back(look: Look) -> Next:
    """The pointer is back already; see that what it points to can be run, and end."""
    try:
        _runnable(look)
    except Unavailable:
        raise
    except FelixError as broken:
        return m.BlockRollback(**look.deploy_step, reason=str(broken)[:1_000])
    return m.FinishRollback(**look.deploy_step, lines=[] if look.change.kind_of_change == "rollback" else _used(look))


def _runnable(look: Look) -> AppTree:
    """What is gone back to, if anything goes wrong: it has to be there, and this Felix has to understand it."""
    look.bench.releases.app(look.environment.stable)
    return look.head()


def _on(look: Look, strategy: m.Strategy) -> Next:
    left = [step for step in strategy.steps if step > (look.change.weight or 0)]
    return m.StartCanary(**look.deploy_step, percent=left[0]) if left else m.Promote(**look.deploy_step)


def _back(look: Look, guardrail: str) -> Next:
    return m.StartRollback(**look.deploy_step, reason=f"The guardrail {guardrail} fails.", guardrail=guardrail)


def _look_if_due(look: Look, seen: Watched, apart: timedelta, last_due: datetime | None = None) -> Next:
    """Look at once when nobody has, then every so often, and once more when the watch ends."""
    if seen.last_at is None:
        return look_at(look, seen.since)
    due_at = seen.last_at + apart
    if last_due is not None:
        due_at = min(due_at, max(last_due, seen.last_at))
    return look_at(look, seen.since) if look.at >= due_at else Rest(due_at)


def _doubtful(seen: Watched) -> bool:
    """Whether something bad was seen that is not bad enough to go back at once."""
    return any(
        each["verdict"] in ("fail", "error") or (each["verdict"] == "inconclusive" and each["value_micro"])
        for each in (seen.looks[-1][1] if seen.looks else ())
    )


def _used(look: Look) -> list[m.Line]:
    looks = sum(
        event.type == m.GuardrailsMeasured.TOPIC
        for event in look.bench.aggregates.events(look.place, type(look.change), look.change.local_id)
    )
    return [m.Line(meter=DEPLOY, quantity=1), m.Line(meter=SAMPLE, quantity=looks)]


def _strategy(look: Look) -> m.Strategy:
    return m.Strategy.model_validate(look.change.strategy or {})


def _window(look: Look) -> Rest | None:
    """Wait for the change's own window, or else that of the app's rules. None: it is open."""
    strategy = _strategy(look)
    return closed(strategy, strategy.window or policy_of(look.head()).get("deploy_window"), look.at)


def closed(strategy: m.Strategy, cron: str | None, at: datetime) -> Rest | None:
    """Wait until a window opens; None where it is open, and where there is none."""
    if cron is None:
        return None
    here = at.astimezone(ZoneInfo(strategy.tz))
    begins: datetime = next(CronSim(cron, here - WINDOW_LASTS))
    return Rest(begins) if begins > here else None
