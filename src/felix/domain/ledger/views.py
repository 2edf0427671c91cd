"""What an account shows: its balance and its whole state, now or at another moment.

A moment later than the last event is a forecast: lots have expired and holds have run out, and nothing else has
happened since. So ``balance(as_of=T)`` needs no job that books expiries in time.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from felix.domain.ledger.token_account import TokenAccount


def lots_at(account: TokenAccount, at: datetime) -> list[dict[str, Any]]:
    """The lots with something left at a moment, in burn order without regard to meters."""
    returned: dict[str, int] = {}
    for hold in account.holds.values():
        if hold.expires_at <= at:
            for lot_id, amount_mtok in hold.slices:
                returned[lot_id] = returned.get(lot_id, 0) + amount_mtok
    shown = []
    for lot in sorted(account.book.lots.values(), key=lambda lot: lot.burn_key()):
        back = returned.get(lot.lot_id, 0)
        free, frozen = lot.free_mtok + back, lot.frozen_mtok
        if lot.frozen_reason is not None:
            free, frozen = 0, frozen + back
        if lot.void_reason is not None or lot.expired(at):
            free = 0
        held = lot.held_mtok - back
        if free or held or frozen:
            shown.append(lot.describe() | {"available_mtok": free, "held_mtok": held, "frozen_mtok": frozen})
    return shown


def balance_at(account: TokenAccount, at: datetime) -> dict[str, int]:
    """Available, held, frozen and owed at a moment."""
    lots = lots_at(account, at)
    available = sum(lot["available_mtok"] for lot in lots)
    unrestricted = sum(lot["available_mtok"] for lot in lots if not lot["meters"])
    repaid = min(account.debt_mtok, unrestricted)
    return {
        "available_mtok": available - repaid,
        "held_mtok": sum(lot["held_mtok"] for lot in lots),
        "frozen_mtok": sum(lot["frozen_mtok"] for lot in lots),
        "debt_mtok": account.debt_mtok - repaid,
    }


def describe(account: TokenAccount, at: datetime) -> dict[str, Any]:
    """The entire account as the API shows it at a moment."""
    return {
        "account_id": account.local_id,
        "name": account.name,
        "status": account.status,
        "version": account.version,
        "opened_at": account.created_on.isoformat(),
        "modified_at": account.modified_on.isoformat(),
        "credit_limit_mtok": account.credit_limit_mtok,
        "balance": balance_at(account, at),
        "lots": lots_at(account, at),
        "holds": [hold.describe() for hold in account.holds.values() if hold.expires_at > at],
        "caps": [cap.describe(at) for cap in account.caps.values()],
        "adjustments": [
            {"adjustment_id": adjustment_id} | adjustment for adjustment_id, adjustment in account.adjustments.items()
        ],
    }
