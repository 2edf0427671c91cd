"""Whatever happens to a change, its next step is taken."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from felix.application.jobs.changes import plan_anew, take_steps
from felix.application.policies.base import Policy, Terms
from felix.domain.changes import messages as m
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent

#: What people do is answered at once.
_AT_ONCE = frozenset(
    event.TOPIC
    for event in (
        m.ChangeRequested, m.TokensQuoted, m.CeilingRaised, m.ClarificationAnswered, m.PlanRevised, m.PolicyOverridden,
        m.ApprovalGranted, m.ApprovalWithdrawn, m.ChangeApproved, m.DeployQueued, m.CanaryPaused, m.CanaryResumed,
        m.RollbackStarted, m.EffectsDropped,
        # What came to nothing may have a pull request that has to be closed.
        m.ChangeRejected, m.ChangeExpired, m.ChangeCancelled, m.ChangeSuperseded, m.ChangeFailed,
    )
)  # fmt: skip
#: What a step wrote is followed by whoever took it; this is for when that worker died.
_IN_CASE = frozenset(
    event.TOPIC
    for event in (
        m.FundsInsufficient, m.FundsReturned, m.ContextIngestionStarted, m.ContextIngested, m.ClarificationAsked,
        m.PlanProposed, m.DiffComputed, m.ChecksStarted, m.ChecksPassed, m.ChecksFailed, m.PolicyViolated,
        m.ApprovalRequested, m.ApprovalCarried, m.LossesExported, m.DeployStarted, m.CanaryStarted,
        m.GuardrailsMeasured, m.DeployPromoted, m.EffectsReleased, m.DeploySucceeded, m.DeployRolledBack, m.StepFailed,
        m.ChangeRebased, m.ConflictFound, m.PullRequestRecorded,
    )
)  # fmt: skip
IN_CASE_AFTER = timedelta(seconds=5)
#: While somebody plans nobody else does: a model would be asked twice.
_WHILE_PLANNING = frozenset(
    event.TOPIC
    for event in (m.PlanStarted, m.TokensReserved, m.TokensSettled, m.ProviderUsageUnmeasured, m.CancellationAsked)
)
PLANNED_BY_THEN = timedelta(seconds=180)


class ChangesTakeTheirNextStep(Policy):
    """One job for each version of a change, due when its next step is: it also waits there for what has a time."""

    name = "changes_take_their_next_step"
    reads = _AT_ONCE | _IN_CASE | _WHILE_PLANNING
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Set the timer."""
        kind, due_at = take_steps, event.recorded_at
        if event.type in _IN_CASE:
            due_at += IN_CASE_AFTER
        elif event.type in _WHILE_PLANNING:
            kind, due_at = plan_anew, due_at + PLANNED_BY_THEN
        payload = {"change_id": event.local_id, "version": event.version}
        yield self.plan(kind, event, f"{event.local_id}@{event.version}", due_at, payload)


POLICY = ChangesTakeTheirNextStep()
