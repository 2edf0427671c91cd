"""Jobs that bring invitations to their end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felix.application.jobs.kinds import JobContext, job
from felix.domain.base import Command
from felix.domain.identity.invitation import AcceptInvitation, ExpireInvitation


@job("members.accept_invitation")
def accept_invitation(context: JobContext) -> Mapping[str, Any]:
    """Make whoever registered by an invitation a member, unless the door has done so at once, as it does."""
    told = context.job.payload
    return _done(context, AcceptInvitation(invitation_id=told["invitation_id"], user_id=told["user_id"]))


@job("members.expire_invitation")
def expire_invitation(context: JobContext) -> Mapping[str, Any]:
    """Book that nobody has accepted in time."""
    return _done(context, ExpireInvitation(invitation_id=context.job.payload["invitation_id"]))


def _done(context: JobContext, command: Command) -> Mapping[str, Any]:
    """What the command did. A refusal is an end like any other: the invitation was withdrawn meanwhile."""
    outcome = context.perform(command)
    return {"position": outcome.position} if outcome.accepted else {"refused": outcome.refusal.code}
