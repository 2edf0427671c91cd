"""``felix events``: the log, as it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from felix.cli.options import Reading, Showing, read_position
from felix.cli.output import cell, print_facts, print_json
from felix.cli.session import open_session
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.cli.session import Session
    from felix.eventstore.mapper import RecordedEvent

app = App(name="events", help="Show events and follow them.")

LOOK_EVERY_S = 0.2
#: How long a database that is away is left alone.
AWAY_S = 1.0
PAGE = 500


@dataclass(frozen=True)
class _Filter:
    tenant_id: UUID | None
    type: str | None
    stream: str | None
    actor: str | None

    def passes(self, event: RecordedEvent) -> bool:
        return (
            (self.tenant_id is None or event.tenant_id == self.tenant_id)
            and (self.type is None or event.type.startswith(self.type))
            and (self.stream is None or self.stream in event.stream)
            and (self.actor is None or event.actor.startswith(self.actor))
        )


@app.command
def tail(
    *,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 20,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="", show_default=False)] = False,
    type: str | None = None,
    stream: str | None = None,
    actor: str | None = None,
    reading: Reading | None = None,
) -> None:
    """Show the newest events, of all clients or one, and go on with --follow.

    With --json every event is one JSON document on a line of its own.

    Parameters
    ----------
    limit
        How many to begin with.
    follow
        Go on with what is committed, until Ctrl-C; a restart of the database is waited for.
    type
        Only events whose type begins like this, such as ledger. or ledger.tokens_debited.
    stream
        Only events whose stream's name has this in it, such as an account id.
    actor
        Only events whose actor begins like this, such as client:.
    """
    from felix.eventstore.reader import heads

    reading = reading or Reading()
    with open_session() as session:
        tenant_id = session.tenant(reading.tenant).tenant_id if reading.tenant else None
        slugs = {place.tenant_id: place.slug for place in session.directory.all()}
        chosen = _Filter(tenant_id, type, stream, actor)
        with session.log() as connection:
            seen = heads(connection)
            for event in _newest(connection, seen, chosen, limit):
                _print_line(event, slugs, reading.json)
        for event in _following(session, seen, chosen) if follow else ():
            if event.tenant_id not in slugs:
                slugs = {place.tenant_id: place.slug for place in session.directory.all()}
            _print_line(event, slugs, reading.json)


@app.command
def show(position: str, *, showing: Showing | None = None) -> None:
    """Show one event whole: who, when, why, what it says, and its postings in double entry.

    Parameters
    ----------
    position
        Its partition and position, such as 2:1234.
    """
    from felix.domain.ledger.postings import TOKEN_EVENTS, postings_of
    from felix.eventstore.reader import read_partition

    showing = showing or Showing()
    partition, at = read_position(position)
    with open_session() as session, session.log() as connection:
        found = read_partition(connection, partition, at - 1, 1) if at > 0 else []
    if not found:
        raise NotFound(f"There is no event at {position}.")
    event = found[0]
    document = event.as_dict()
    if event.type in TOKEN_EVENTS:
        document["postings"] = [
            {"account": account, "asset": asset, "amount": amount}
            for account, asset, amount in postings_of(event.type, event.payload)
        ]
    if showing.json:
        print_json(document)
        return
    state, postings = document.pop("state"), document.pop("postings", [])
    print_facts(document)
    print("\nstate")
    print_facts({f"  {name}": value for name, value in state.items()})
    if postings:
        print("\npostings")
        for each in postings:
            print(f"  {each['amount']:>20,} {each['asset']}  {each['account']}")


def _newest(connection: Any, heads: dict[int, int], chosen: _Filter, limit: int) -> list[RecordedEvent]:
    """The newest events that pass, oldest first: looks back page by page until there are enough."""
    from felix.eventstore.reader import read_partition

    found: list[RecordedEvent] = []
    for partition, head in heads.items():
        mine: list[RecordedEvent] = []
        until = head
        while until > 0 and len(mine) < limit:
            first = max(0, until - PAGE)
            page = read_partition(connection, partition, first, until - first)
            mine = [event for event in page if chosen.passes(event)] + mine
            until = first
        found += mine[-limit:] if limit else []
    found.sort(key=lambda event: (event.recorded_at, event.partition, event.position))
    return found[-limit:] if limit else []


def _following(session: Session, seen: dict[int, int], chosen: _Filter) -> Iterator[RecordedEvent]:
    """Every event from now on; a database that is away is waited for, and nothing is missed meanwhile."""
    from felix.bootstrap import DATABASE_ERRORS

    while True:
        try:
            with session.log() as connection:
                while True:
                    time.sleep(LOOK_EVERY_S)
                    yield from _since(connection, seen, chosen)
        except DATABASE_ERRORS as error:
            print(f"waiting for the database: {str(error).strip()}", file=sys.stderr)
            time.sleep(AWAY_S)


def _since(connection: Any, seen: dict[int, int], chosen: _Filter) -> Iterator[RecordedEvent]:
    """What was committed since the last look; moves ``seen`` on."""
    from felix.eventstore.reader import heads, read_partition

    for partition, head in heads(connection).items():
        while (after := seen.get(partition, 0)) < head:
            page = read_partition(connection, partition, after, PAGE)
            yield from (event for event in page if chosen.passes(event))
            seen[partition] = page[-1].position if page else head


def _print_line(event: RecordedEvent, slugs: dict[UUID, str], as_json: bool) -> None:
    import orjson

    if as_json:
        print(orjson.dumps(event.as_dict()).decode(), flush=True)
        return
    amount = event.payload.get("amount_mtok")
    print(
        f"{event.recorded_at:%H:%M:%S}  {f'{event.partition}:{event.position}':<10} "
        f"{slugs.get(event.tenant_id, '?'):<20} {event.type:<30} "
        f"{cell('amount_mtok', amount) if amount is not None else '':>14}  {event.actor:<24} "
        f"{event.kind}:{event.local_id}",
        flush=True,
    )
