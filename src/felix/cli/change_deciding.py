"""What somebody who answers for an app says to a change: yes or no, when and to whom it goes, and back."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from felix.cli.change_diff import confirm, difference
from felix.cli.change_following import watch
from felix.cli.errors import UsageError
from felix.cli.one_change import LAST, Environment, Named, Why, decide, find
from felix.cli.options import Reading, Writing
from felix.cli.session import open_session

StrategyKind = Literal["instant", "canary", "preview"]
#: What a canary is shown to, in hundredths, unless somebody says otherwise.
CANARY_STEPS = [5, 25, 50]


def approve(
    change: Named = LAST,
    *,
    yes: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    binding: str | None = None,
    comment: str | None = None,
    writing: Writing | None = None,
) -> None:
    """Agree to a change: to exactly the diff, checks and price that are shown, and to nothing that comes after.

    Parameters
    ----------
    yes
        Ask nothing; needs --binding.
    binding
        The digest that felix changes diff showed; anything else is refused.
    comment
        What you want to be remembered with it.
    """
    from felix.domain.changes.messages import ApproveChange

    writing = writing or Writing()
    if yes and binding is None:
        raise UsageError("With --yes, say what you agree to: --binding DIGEST, as felix changes diff shows it.")
    with open_session() as session:
        place = session.tenant(writing.tenant)
        row = find(session, place, change)
        if not yes:
            confirm(difference(session, row), writing)
        command = ApproveChange(
            change_id=row["change_id"],
            expected_version=row["version"],
            binding=binding or row["binding"] or "0" * 64,
            comment=comment,
        )
        session.perform(place, command, writing)


def reject(change: Named, *, reason: str, writing: Writing | None = None) -> None:
    """Turn a change down, for good.

    Parameters
    ----------
    reason
        Why; whoever asked reads it.
    """
    from felix.domain.changes.messages import RejectChange

    decide(change, RejectChange, writing, seen=True, reason=reason)


def withdraw(change: Named = LAST, *, reason: Why | None = None, writing: Writing | None = None) -> None:
    """Take your agreement back, as long as nothing is live."""
    from felix.domain.changes.messages import WithdrawApproval

    decide(change, WithdrawApproval, writing, reason=reason)


def override(
    change: Named,
    *,
    reason: str,
    break_glass: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    writing: Writing | None = None,
) -> None:
    """Let a change pass whose findings a founder may override; it is approved and deployed like any other.

    Parameters
    ----------
    reason
        Why; the client reads it.
    break_glass
        Do not wait for another founder, who then has to close a review of it.
    """
    from felix.domain.changes.messages import OverridePolicy

    decide(change, OverridePolicy, writing, seen=True, reason=reason, break_glass=break_glass)


def confirm_override(
    override: str,
    *,
    app: str,
    environment: Environment = "production",
    reason: Why | None = None,
    writing: Writing | None = None,
) -> None:
    """Let happen what another founder wants to override.

    Parameters
    ----------
    override
        Its id, as felix apps show lists it.
    app
        Which app.
    environment
        Where the app runs.
    """
    from felix.domain.changes.messages import ConfirmOverride

    writing = writing or Writing()
    with open_session() as session:
        command = ConfirmOverride(app=app, environment=environment, override_id=override, reason=reason)
        session.perform(session.tenant(writing.tenant), command, writing)


def close_review(
    override: str,
    *,
    app: str,
    finding: str,
    environment: Environment = "production",
    writing: Writing | None = None,
) -> None:
    """Write down what came of looking at an override that nobody had confirmed; never one's own.

    Parameters
    ----------
    override
        Its id, as felix apps show lists it.
    app
        Which app.
    finding
        What came of it; the client reads it.
    environment
        Where the app runs.
    """
    from felix.domain.changes.messages import CloseReview

    writing = writing or Writing()
    with open_session() as session:
        command = CloseReview(app=app, environment=environment, override_id=override, finding=finding)
        session.perform(session.tenant(writing.tenant), command, writing)


def deploy(
    change: Named = LAST,
    *,
    strategy: StrategyKind = "instant",
    step: Annotated[list[int] | None, Parameter(negative="")] = None,
    hold_s: int = 300,
    bake_s: int = 0,
    wait: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    writing: Writing | None = None,
) -> int:
    """Let an approved change go live, in its turn.

    Parameters
    ----------
    strategy
        Everybody at once, a few people first, or nobody but who asks for the release by its name.
    step
        Of a canary: to so many in a hundred; may be given several times. Default: 5, 25 and 50.
    hold_s
        Of a canary: for how long each step stays.
    bake_s
        For how long it is watched once everybody has it.
    wait
        Show how it goes on until it is over.
    """
    from felix.domain.changes.messages import DeployChange, Strategy

    writing = writing or Writing()
    steps = (step or CANARY_STEPS) if strategy == "canary" else []
    chosen = Strategy(kind=strategy, steps=steps, hold_s=hold_s, bake_s=bake_s)
    with open_session() as session:
        place = session.tenant(writing.tenant)
        row = find(session, place, change)
        command = DeployChange(change_id=row["change_id"], expected_version=row["version"], strategy=chosen)
        deployed = session.perform(place, command, writing)
    if deployed is None or not wait:
        return 0
    return watch(row["change_id"], reading=Reading(tenant=place.slug, json=writing.json))


def abort(change: Named = LAST, *, reason: Why, writing: Writing | None = None) -> None:
    """Stop a deployment and go back to what ran before."""
    from felix.domain.changes.messages import AbortDeploy

    decide(change, AbortDeploy, writing, reason=reason)


def pause(change: Named = LAST, *, reason: Why | None = None, writing: Writing | None = None) -> None:
    """Let a canary stay as it is until somebody resumes it."""
    from felix.domain.changes.messages import PauseDeploy

    decide(change, PauseDeploy, writing, reason=reason)


def resume(
    change: Named = LAST,
    *,
    accept_inconclusive: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    writing: Writing | None = None,
) -> None:
    """Let a canary go on that was paused, or waits for somebody.

    Parameters
    ----------
    accept_inconclusive
        Take too few samples for enough. Nothing makes a failure pass.
    """
    from felix.domain.changes.messages import ResumeDeploy

    decide(change, ResumeDeploy, writing, accept_inconclusive=accept_inconclusive)


def rollback(change: Named = LAST, *, reason: Why, writing: Writing | None = None) -> None:
    """Go back to what ran before a change that is live: at once, without approval or price."""
    from felix.domain.changes.messages import RequestRollback

    decide(change, RequestRollback, writing, reason=reason)
