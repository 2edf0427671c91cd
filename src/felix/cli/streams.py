"""``felix streams``: what there is in the log of a client."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from felix.cli.options import Reading
from felix.cli.output import print_json, print_table
from felix.cli.session import open_session

app = App(name="streams", help="List the streams of the log.")


@app.command(name="list")
def list_streams(
    prefix: str = "",
    *,
    kind: str | None = None,
    order: Literal["newest", "name"] = "newest",
    limit: int = 50,
    after: str | None = None,
    reading: Reading | None = None,
) -> None:
    """List the streams of a client with the last thing that happened in each.

    Parameters
    ----------
    prefix
        Only streams whose id begins like this, such as acct_01a2.
    kind
        Only streams of this kind, such as token_account.
    order
        The one with the newest event first, or by name.
    limit
        How many.
    after
        Go on from here: the last event of the page before, or the last stream when they are listed by name.
    """
    from felix.projections.stream_heads import streams

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        rows = session.ask(
            place, lambda tx: streams(tx, kind=kind, prefix=prefix, order=order, after=after, limit=limit)
        )
    if reading.json:
        print_json(rows)
        return
    headings = {"kind": "kind", "id": "id", "events": "events", "last_at": "last at", "last_type": "last event"}
    headings |= {"last_tenant_sequence": "event"}
    print_table(rows, headings, empty="There are no such streams.")
