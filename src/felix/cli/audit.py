"""``felix audit``: every command, accepted or refused: who, why, and what became of it; and what staff read."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO
from uuid import UUID

from cyclopts import App, Group, Parameter

from felix.cli.options import Moment, Reading
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.session import open_session

if TYPE_CHECKING:
    from felix.projections.tenant_tx import TenantTx

app = App(name="audit", help="Show who asked for what, why, and what became of it; and what staff read.")

COLUMNS = (
    "partition", "sequence", "recorded_at", "actor", "on_behalf_of", "type", "command_key", "accepted", "code",
    "detail", "reason", "correlation_id", "causation_id", "first_tenant_sequence", "last_tenant_sequence",
)  # fmt: skip
#: A cell that begins with one of these is a formula to a spreadsheet, and callers choose their own words.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@Parameter(name="*", group=Group("Which commands", sort_key=2))
@dataclass(frozen=True, kw_only=True)
class Choosing:
    """Which commands are wanted."""

    actor: str | None = None
    "Only commands of this actor, such as founder:cli."
    type: str | None = None
    "Only commands of this type, such as ledger.grant_tokens."
    outcome: Literal["accepted", "refused"] | None = None
    "Only accepted or only refused ones."
    code: str | None = None
    "Only those refused with this code, such as insufficient_tokens."
    since: Moment | None = None
    "From this moment on, such as 2026-01-31 or 2026-01-31T12:00+01:00."
    until: Moment | None = None
    "Before this moment."
    correlation_id: UUID | None = None
    "Only those with this correlation id."

    def filters(self) -> dict[str, Any]:
        """The filters of the question."""
        wanted = asdict(self)
        outcome = wanted.pop("outcome")
        return wanted | {"accepted": None if outcome is None else outcome == "accepted"}


@app.command(name="list")
def list_commands(
    *, limit: int = 20, before: int | None = None, choosing: Choosing | None = None, reading: Reading | None = None
) -> None:
    """List the commands of a client, newest first. The trail follows what happens within moments.

    Parameters
    ----------
    limit
        How many.
    before
        Go on from this sequence: the last one of the page before.
    """
    from felix.projections import audit_trail

    reading, filters = reading or Reading(), (choosing or Choosing()).filters()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        rows = session.ask(place, lambda tx: audit_trail.commands(tx, before, limit, **filters))
    if reading.json:
        print_json(rows)
        return
    for row in rows:
        row["outcome"] = "accepted" if row["accepted"] else row["code"]
    headings = {"recorded_at": "at", "actor": "actor", "type": "command", "outcome": "outcome", "reason": "reason"}
    headings |= {"command_key": "key", "sequence": "sequence"}
    print_table(rows, headings, empty="There are no such commands.")


@app.command
def export(
    file: Path | None = None,
    *,
    format: Literal["csv", "jsonl"] = "csv",
    choosing: Choosing | None = None,
    reading: Reading | None = None,
) -> None:
    """Write all commands of a client, newest first, to a file or to standard output.

    All of it is as of one moment, and memory does not grow with it. JSON Lines are exact; in CSV, a text that a
    spreadsheet would take for a formula gets an apostrophe in front.

    Parameters
    ----------
    file
        Where to write. Default: standard output.
    format
        CSV with a header, or JSON Lines.
    """
    from felix.projections import audit_trail

    reading, filters = reading or Reading(), (choosing or Choosing()).filters()

    async def write_all(tx: TenantTx) -> int:
        with _target(file) as target:
            write, count = _writer(target, format), 0
            async for row in audit_trail.every_command(tx, **filters):
                write(row)
                count += 1
        return count

    with open_session() as session:
        written = session.ask(session.tenant(reading.tenant), write_all)
    if file is not None:
        document = {"file": str(file), "commands": written}
        print_json(document) if reading.json else print_facts(document)


@app.command
def reads(
    *,
    actor: str | None = None,
    kind: Literal["read", "impersonation_began", "impersonation_ended"] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int = 20,
    before: int | None = None,
    reading: Reading | None = None,
) -> None:
    """List what staff read of a client over HTTP, newest first: auditors, founders, and who looked with whose eyes.

    Parameters
    ----------
    actor
        Only what this one read, such as auditor:usr_0192…
    kind
        Only reads, or only where an impersonation began or ended.
    since
        From this moment on, such as 2026-01-31 or 2026-01-31T12:00+01:00.
    until
        Before this moment.
    limit
        How many.
    before
        Go on from this sequence: the last one of the page before.
    """
    from felix.projections import access_log

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        rows = session.ask(
            place,
            lambda tx: access_log.reads(tx, before, limit, actor=actor, kind=kind, since=since, until=until),
        )
    if reading.json:
        print_json(rows)
        return
    headings = {"recorded_at": "at", "actor": "actor", "on_behalf_of": "as", "action": "action", "what": "what"}
    headings |= {"rows": "rows", "tenant_sequence": "sequence"}
    print_table(rows, headings, empty="Nobody of the staff has read anything of this client.")


@contextmanager
def _target(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    with file.open("w", encoding="utf-8", newline="") as opened:
        yield opened


def _writer(target: TextIO, format: Literal["csv", "jsonl"]) -> Callable[[Mapping[str, Any]], None]:
    if format == "jsonl":
        import orjson

        return lambda row: print(orjson.dumps(row, default=str).decode(), file=target) and None
    table = csv.writer(target)
    table.writerow(COLUMNS)

    def write(row: Mapping[str, Any]) -> None:
        table.writerow([_cell(row[name]) for name in COLUMNS])

    return write


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
