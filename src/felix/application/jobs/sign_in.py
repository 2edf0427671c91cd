"""Jobs that write to people, and that tidy up after sign-in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from felix.application.jobs.kinds import JobContext, job
from felix.application.post import Letter, seal_for_job
from felix.domain.identity.session import BookEndOfSessions
from felix.eventstore.jobs import NewJob
from felix.eventstore.sealing import RootKeys
from felix.eventstore.sign_in import Purpose


@job("mail.send")
def send_mail(context: JobContext) -> Mapping[str, Any]:
    """Send a mail."""
    context.upkeep.post.send(context.job.payload["sealed"])
    return {}


@job("sign_in.mail_link")
def mail_link(context: JobContext) -> Mapping[str, Any]:
    """Send a link to whoever has an address. What is told of it is the same when nobody has."""
    context.upkeep.post.send_link(context.job.payload["sealed"], context.job.payload["purpose"])
    return {}


@job("sign_in.book_end_of_sessions")
def book_end_of_sessions(context: JobContext) -> Mapping[str, Any]:
    """Write the events of sessions that ended with a change in a client's log."""
    told = context.job.payload
    before = datetime.fromisoformat(told["began_before"])
    outcome = context.perform(BookEndOfSessions(user_id=told["user_id"], ending=told["ending"], began_before=before))
    return {"ended": len(outcome.result["ended"])}


@job("sign_in.purge", max_attempts=3)
def purge_sign_in(context: JobContext) -> Mapping[str, Any]:
    """Forget attempts, links and sessions that are long over."""
    return {"purged": context.upkeep.purge_sign_in()}


def link_mail(root_keys: RootKeys, purpose: Purpose, email: str, at: datetime) -> NewJob:
    """The job that sends a link; the same whether anybody has the address."""
    payload = {"purpose": purpose, "sealed": seal_for_job(root_keys, email=email)}
    return mail_link.of_platform(uuid4().hex, "door", at, payload)


def mail(root_keys: RootKeys, letter: Letter, about: str, origin: str, at: datetime) -> NewJob:
    """The job that sends a mail. ``about`` names the occasion: the same is sent once."""
    return send_mail.of_platform(about, origin, at, {"sealed": letter.seal(root_keys)})
