"""What a tenant's requests to language models have set aside in a day, and what they cost once they are over.

One row a request, written in the transaction of its hold and of its end, so that many changes at once count together.
"""

from __future__ import annotations

from datetime import date
from typing import Final, LiteralString
from uuid import UUID

from felix.eventstore.side_statements import SideStatement

Place = tuple[int, UUID]

_SPENT: Final[LiteralString] = (
    "select coalesce(sum(amount_mtok), 0)::bigint from felix.model_spending"
    " where partition = %s and tenant_id = %s and day = %s"
)
_FORGET: Final[LiteralString] = "delete from felix.model_spending where partition = %s and tenant_id = %s and day < %s"
_HOLD: Final[LiteralString] = (
    "insert into felix.model_spending (partition, tenant_id, hold_id, day, amount_mtok) values (%s, %s, %s, %s, %s)"
)
_SETTLE: Final[LiteralString] = (
    "update felix.model_spending set amount_mtok = %s where partition = %s and tenant_id = %s and hold_id = %s"
)


def spent_on(place: Place, day: date) -> SideStatement:
    """Ask what a day's requests have cost or hold."""
    return SideStatement(_SPENT, (*place, day))


def held(place: Place, hold_id: str, day: date, amount_mtok: int) -> tuple[SideStatement, SideStatement]:
    """Count what is held for a request. What days before have cost nobody asks any more."""
    return SideStatement(_FORGET, (*place, day)), SideStatement(_HOLD, (*place, hold_id, day, amount_mtok))


def settled(place: Place, hold_id: str, amount_mtok: int) -> SideStatement:
    """Count what a request has cost, on the day on which it was held."""
    return SideStatement(_SETTLE, (amount_mtok, *place, hold_id))
