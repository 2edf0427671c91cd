"""``felix replay``: why an account has the balance it has, or had."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from felix.cli.errors import UsageError
from felix.cli.options import Moment, Reading, read_position
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.session import Session, open_session
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.domain.ledger.token_account import TokenAccount
    from felix.eventstore.tenants import TenantPlace

PAGE = 1_000


def replay(
    account: str,
    *,
    at_position: str | None = None,
    at: Moment | None = None,
    last: int | None = None,
    reading: Reading | None = None,
) -> None:
    """Show a token account as it was, and every cause of its balance.

    Everything is computed from the events of the account, one after the other; no read model is asked.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    at_position
        As it was at a position of the log, such as 2:1234.
    at
        As it was at a moment, such as 2026-01-31T12:00:00Z.
    last
        Print only the last so many causes.
    """
    reading = reading or Reading()
    if at_position is not None and at is not None:
        raise UsageError("Give --at-position or --at, not both.")
    with open_session() as session:
        place = session.tenant(reading.tenant)
        position = None
        if at_position is not None:
            partition, position = read_position(at_position)
            if partition != place.partition:
                raise UsageError(f"{place.slug} lives in partition {place.partition}, not {partition}.")
        found, causes = _replay(session, place, session.account_id(place, account), position, at)
    state = found.describe(at or found.modified_on)
    if last is not None:
        causes = causes[-last:] if last > 0 else []
    if reading.json:
        print_json({"account": state, "causes": causes})
        return
    headings = {"recorded_at": "at", "position": "position", "type": "what", "amount_mtok": "amount"}
    headings |= {"available_mtok": "available", "held_mtok": "held", "debt_mtok": "debt", "actor": "actor"}
    headings |= {"reason": "reason", "command_key": "command"}
    print_table(causes, headings, empty="Nothing happened on this account.")
    print()
    print_facts({name: state[name] for name in ("account_id", "name", "status", "version")} | state["balance"])


def _replay(
    session: Session, place: TenantPlace, account_id: str, position: int | None, at: datetime | None
) -> tuple[TokenAccount, list[dict[str, Any]]]:
    """The account after its last event at or before a position or moment, and what each of its events did."""
    from felix.domain.base import stream_name
    from felix.domain.ledger.token_account import TokenAccount
    from felix.eventstore.reader import read_stream
    from felix.eventstore.snapshots import fold

    stream = stream_name(place.tenant_id, TokenAccount.kind, account_id)
    account: Any = None
    causes: list[dict[str, Any]] = []
    before = 0
    with session.log() as connection:
        version = 0
        while page := read_stream(connection, place.partition, stream, version, PAGE):
            for event in page:
                if (position is not None and event.position > position) or (at is not None and event.recorded_at > at):
                    break
                account = fold(
                    account, event.type, event.state, stream, event.version, event.recorded_at, event.event_id
                )
                balance = account.balance
                own = balance["available_mtok"] + balance["held_mtok"] + balance["frozen_mtok"] - balance["debt_mtok"]
                causes.append(
                    {
                        "recorded_at": event.recorded_at,
                        "position": f"{event.partition}:{event.position}",
                        "version": event.version,
                        "type": event.type,
                        "amount_mtok": own - before,
                        **balance,
                        "actor": event.actor,
                        "on_behalf_of": event.metadata.get("on_behalf_of"),
                        "reason": event.payload.get("reason"),
                        "reference": event.payload.get("reference"),
                        "command_key": event.command_key,
                        "event_id": str(event.event_id),
                    }
                )
                before = own
            else:
                version = page[-1].version
                continue
            break
    if account is None:
        raise NotFound(f"{place.slug} had no token account {account_id} then.")
    return account, causes
