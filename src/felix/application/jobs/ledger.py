"""Jobs that let the books say what time has done to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from felix.application.jobs.kinds import JobContext, job
from felix.application.outcome import Outcome
from felix.domain.errors import Corrupt
from felix.domain.ledger.messages import AnnounceLotExpiry, BookExpiries


@job("ledger.book_expiries")
def book_expiries(context: JobContext) -> Mapping[str, Any]:
    """Book the holds and lots of an account that have run out, unless somebody who spent has booked them before."""
    return _told(context.perform(BookExpiries(account_id=context.job.payload["account_id"])), "holds", "lots")


@job("ledger.announce_lot_expiry")
def announce_lot_expiry(context: JobContext) -> Mapping[str, Any]:
    """Tell the client that a lot runs out soon, if anything is left of it and it still runs out then."""
    told = context.job.payload
    command = AnnounceLotExpiry(
        account_id=told["account_id"],
        lot_id=told["lot_id"],
        expires_at=datetime.fromisoformat(told["expires_at"]),
    )
    return _told(context.perform(command), "announced_mtok")


def _told(outcome: Outcome, *facts: str) -> Mapping[str, Any]:
    """What the command did. A refusal, such as of a closed account, is an end like any other: time goes on there too.

    :raises Corrupt: when the books contradict each other.
    """
    if outcome.accepted:
        return {"position": outcome.position, **{fact: outcome.result[fact] for fact in facts}}
    if isinstance(outcome.refusal, Corrupt):
        raise outcome.refusal
    return {"refused": outcome.refusal.code}
