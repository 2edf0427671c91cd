"""A change: one prompt from the request to its end, whatever becomes of it.

Reads top to bottom: what a change is, what can have happened to it, how it begins. What is decided about it is in
``planning_decisions``, ``approval_decisions``, ``deploy_decisions`` and ``ending_decisions``, each with how it adds up,
on the common ground of ``change_rules`` (which command is accepted in which state) and ``token_flow`` (how it is paid).
"""

from __future__ import annotations

from typing import Any, Self

from eventsourcing.domain import event

from felix.domain.base import CommandContext, FelixEvent
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.approvals import DECIDERS, person_of, role_of
from felix.domain.changes.deploy_decisions import DeployDecisions
from felix.domain.changes.environment import AppEnvironment


class Change(DeployDecisions):
    """One change of one app in one environment of it.

    It is in one state at a time, and never leaves a terminal one. What it may cost is known before it begins, who
    decides about it never wrote it, and what goes live is what they saw.
    """

    TOPIC = "changes.change"
    kind = "change"
    class_version = 2
    Event = FelixEvent

    ChangeRequested = m.ChangeRequested
    RepositoryChosen = m.RepositoryChosen

    @classmethod
    def request(cls, context: CommandContext, command: m.RequestChange, environment: AppEnvironment) -> Self:
        """Begin a change under an id of this command."""
        change_id = context.mint("chg")
        begun = cls.begin(
            context,
            change_id,
            account_id=command.account_id,
            app=command.app,
            base_release=environment.stable,
            base_tree=environment.tree,
            channel=command.channel,
            environment=command.environment,
            kind=command.kind,
            model=command.model,
            operations=command.operations,
            planner=command.planner,
            prompt_chars=command.prompt_chars,
            prompt_commitment=command.prompt_commitment,
            reason=None,
            release=None,
            requester=context.actor,
            retry_of=command.retry_of,
            rollback_of=None,
            subject_id=change_id,
        )
        if environment.repository is not None:
            begun._happens(m.RepositoryChosen, repository=environment.repository)
        return begun

    @classmethod
    def request_rollback(
        cls,
        context: CommandContext,
        environment: AppEnvironment,
        account_id: str,
        of: str | None,
        release: str,
        reason: str,
    ) -> Self:
        """Begin a change that goes back to a release. Raises ``MayNotDecide`` and ``ReleaseNotKept``."""
        if role_of(context.actor) not in DECIDERS:
            raise errors.MayNotDecide()
        environment.entry(release)
        change_id = context.mint("chg")
        begun = cls.begin(
            context,
            change_id,
            account_id=account_id,
            app=environment.app,
            base_release=environment.stable,
            base_tree=environment.tree,
            channel="api",
            environment=environment.environment,
            kind="rollback",
            model=None,
            operations=None,
            planner=None,
            prompt_chars=0,
            prompt_commitment=None,
            reason=reason,
            release=release,
            requester=context.actor,
            retry_of=None,
            rollback_of=of,
            subject_id=change_id,
        )
        if environment.repository is not None:
            begun._happens(m.RepositoryChosen, repository=environment.repository)
        return begun

    @event(m.RepositoryChosen)
    def _repository_chosen(self, repository: str) -> None:
        self.repository = repository

    @event(m.ChangeRequested)
    def __init__(
        self,
        account_id: str,
        app: str,
        base_release: str,
        base_tree: str,
        channel: str,
        environment: m.Environment,
        kind: m.Kind,
        model: str | None,
        operations: str | None,
        planner: str | None,
        prompt_chars: int,
        release: str | None,
        requester: str,
        retry_of: str | None,
        rollback_of: str | None,
    ) -> None:
        self.state = "requested"
        self.app, self.environment, self.kind_of_change = app, environment, kind
        self.account_id, self.channel, self.requester = account_id, channel, requester
        self.authors = [person_of(requester)]
        self.planner, self.model, self.prompt_chars = planner, model, prompt_chars
        self.model_key = None
        self.retry_of, self.rollback_of = retry_of, rollback_of
        self.answers = 0
        self.attempts = {}
        self.cancel_asked = self.expires_at = self.resumes_at = None
        self.context_digest, self.operations = None, operations
        self.base_release, self.base_tree, self.base_commit = base_release, base_tree, None
        self.result_tree = self.result_commit = self.diff = self.effects_digest = None
        self.release = release
        self.places = []
        self.risk = "low"
        self.conflicting = False
        self.checks = self.checks_expire_at = self.policy = self.binding_parts = None
        self.self_allowed = False
        self.approvals = []
        self.carryable = self.approval_ends_at = self.starts_until = None
        self.ceiling_mtok = self.quoted_high_mtok = self.deploy_mtok = 0
        self.holds = {}
        self.spent_mtok = self.absorbed_mtok = 0
        self.strategy, self.priority = None, "normal"
        self.export = None
        self.deployment_id = self.rollback_to = self.weight = self.bakes_until = None
        self.step = 0
        self.paused = self.asked = self.accept_inconclusive = False
        self.failures = {}
        self.unmeasurable = {}
        self.critical_failure = None
        self.repository = self.pull = self.reverting = None

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Snapshots from before models had keys of several owners do not say whose it is."""
        return {"model_key": None} | state

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values; what is added to later is copied."""
        return {
            name: value.copy() if isinstance(value, list | dict) else value
            for name, value in super().snapshot().items()
        }
