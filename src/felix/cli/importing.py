"""Imports a file of usage: batches on their way to several lanes at once, each under a key of its own.

What makes it safe to repeat are the dedupe keys in the log. The state file only saves the reading and sending of rows
that are known to be there, and it is believed only where the log knows the batches it names.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import orjson

from felix.cli.errors import UsageError
from felix.cli.output import console, print_table, tokens
from felix.domain.errors import CommandInProgress, TooMuch, Unavailable

if TYPE_CHECKING:
    from felix.application.outcome import Outcome
    from felix.cli.session import Session
    from felix.cli.usage_file import ReadRow, UsageFile, UsageMapping
    from felix.eventstore.tenants import TenantPlace

BATCH_ROWS = 1_000
#: Refused rows that are shown; all are counted, and written where --errors says.
SHOWN = 20
#: How long a database that is away is waited for before the import gives up; it can go on later.
PATIENCE_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 3.0


class ImportInterrupted(Unavailable):
    """The import stopped. What was sent is safe; the same command goes on from there."""


@dataclass
class Summary:
    """What became of the rows: of this run and, where it goes on, of the ones before."""

    file: str
    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    charged_mtok: int = 0
    complete: bool = False
    went_on_after_row: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    tenants: dict[str, dict[str, int]] = field(default_factory=dict)
    shown: list[dict[str, Any]] = field(default_factory=list)

    @property
    def without_usage(self) -> int:
        """Rows in which nothing was used: those that are left."""
        return 0 if self.dry_run else self.rows - self.accepted - self.duplicates - self.refused

    @property
    def rows_per_s(self) -> int:
        """Rows of this run a second."""
        return int((self.rows - self.went_on_after_row) / self.seconds) if self.seconds else 0

    def count(self, slug: str, **numbers: int) -> None:
        """Add to the sums, in all and of a client."""
        mine = self.tenants.setdefault(slug, {"accepted": 0, "duplicates": 0, "refused": 0, "charged_mtok": 0})
        for name, number in numbers.items():
            setattr(self, name, getattr(self, name) + number)
            mine[name] += number

    def document(self) -> dict[str, Any]:
        """The summary as JSON."""
        return asdict(self) | {"without_usage": self.without_usage, "rows_per_s": self.rows_per_s}


@dataclass(frozen=True)
class _Batch:
    place: TenantPlace
    key: str
    rows: list[ReadRow]


class Import:
    """One file on its way into the log."""

    def __init__(
        self,
        session: Session,
        mapping: UsageMapping,
        *,
        tenants: Sequence[str],
        accounts: Sequence[str],
        rate_card: str,
        actor: str,
    ) -> None:
        self._session = session
        self._mapping = mapping
        self._rate_card = rate_card
        self._actor = actor
        self._salt = ""
        self._last_keys: list[tuple[str, str]] = []
        self._places: dict[str, TenantPlace] = {}
        places = [session.tenant(named) for named in tenants] or [session.tenant(None)]
        if "account" in mapping.columns or "account" in mapping.constants:
            if accounts or len(places) > 1:
                raise UsageError("The rows name their accounts: give one --tenant, and no --account.")
            self._only_place: TenantPlace | None = places[0]
        else:
            self._only_place = None
            for place in places:
                for account_id in self._accounts_of(place, accounts):
                    self._places[account_id] = place

    def open_file(self, opener: Callable[[list[str], int], UsageFile], *, again: bool) -> None:
        """Open the file where the last import of it stopped, or at its beginning."""
        accounts = list(self._places)
        file = opener(accounts, 0)
        said = (file.content_id, file.source, repr(self._mapping), accounts, self._rate_card, BATCH_ROWS)
        self._digest = blake2b(repr(said).encode(), digest_size=12).hexdigest()
        self._state_file = self._session.settings.data_dir / "imports" / f"{self._digest}.json"
        self.summary = Summary(str(file.path))
        self.file = file
        if again:
            self._salt = uuid4().hex[:12]
        elif (known := self._known_state()) is not None:
            self.summary = known
            self.file = opener(accounts, known.rows)

    def look_through(self) -> Summary:
        """Read the file and send nothing."""
        for _ in self.file:
            pass
        self.summary.dry_run = True
        self.summary.rows = self.file.row
        self._take_bad_rows(None)
        return self.summary

    def run(self, *, errors_to: Path | None, quiet: bool) -> Summary:
        """Send everything. Raises :class:`ImportInterrupted`."""
        if self.summary.complete:
            return self.summary
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            BarColumn(bar_width=30),
            DownloadColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
        )
        began_at = time.monotonic()
        with Progress(*columns, console=console(stderr=True), disable=quiet) as progress:
            task = progress.add_task("reading", total=self.file.size_bytes)

            def advance() -> None:
                s = self.summary
                s.seconds = time.monotonic() - began_at
                progress.update(
                    task,
                    completed=self.file.bytes_read,
                    description=f"{s.rows:,} rows: {s.accepted:,} accepted, {s.duplicates:,} duplicates,"
                    f" {s.refused:,} refused, {s.rows_per_s:,}/s",
                )

            if errors_to is not None:
                with errors_to.open("a" if self.summary.went_on_after_row else "w") as errors:
                    asyncio.run(self._send_all(errors.write, advance))
            else:
                asyncio.run(self._send_all(None, advance))
            advance()
        return self.summary

    async def _send_all(self, write: Callable[[str], object] | None, advance: Callable[[], None]) -> None:
        rows = iter(self.file)
        sending: asyncio.Task[list[tuple[_Batch, Outcome]]] | None = None
        sent_until = self.file.start_after
        while True:
            # The next batches are read while the ones before are being performed.
            batches = self._next_batches(rows)
            read_until = self.file.row
            if sending is not None:
                self._book(await sending, sent_until, write)
                advance()
            if not batches:
                break
            sending = asyncio.create_task(self._send(batches))
            await asyncio.sleep(0)
            sent_until = read_until
        self.summary.rows = self.file.row
        self._take_bad_rows(write)
        self.summary.complete = True
        self._save([])

    def _next_batches(self, rows: Iterator[ReadRow]) -> list[_Batch]:
        """Up to one full batch of every account's client: rows of one account follow each other in one batch."""
        by_place: dict[UUID, tuple[TenantPlace, list[ReadRow]]] = {}
        count = len({place.tenant_id for place in self._places.values()}) or 1
        for row in islice(rows, BATCH_ROWS * count):
            place = self._only_place or self._places[row.event["subject"]]
            by_place.setdefault(place.tenant_id, (place, []))[1].append(row)
        batches = []
        for place, mine in by_place.values():
            # Clients with more accounts than others have more rows.
            for start in range(0, len(mine), BATCH_ROWS):
                part = mine[start : start + BATCH_ROWS]
                said = f"{self._digest}:{self._salt}:{place.tenant_id}:{part[0].row}:{part[-1].row}:{len(part)}"
                key = "import-" + blake2b(said.encode(), digest_size=16).hexdigest()
                batches.append(_Batch(place, key, part))
        return batches

    async def _send(self, batches: list[_Batch]) -> list[tuple[_Batch, Outcome]]:
        return list(zip(batches, await asyncio.gather(*map(self._perform, batches)), strict=True))

    async def _perform(self, batch: _Batch) -> Outcome:
        from felix.application.performer import new_context
        from felix.domain.metering.messages import DebitUsageBatch
        from felix.domain.metering.usage import read_usage
        from felix.eventstore.mapper import canonical_json

        events = [row.event for row in batch.rows]
        good, bad = read_usage(events, batch.place.tenant_id)
        digest = blake2b(canonical_json(events), digest_size=16, key=batch.place.tenant_id.bytes).hexdigest()
        command = DebitUsageBatch.of(good, bad, digest, self._rate_card)
        deadline, pause_s = time.monotonic() + PATIENCE_S, FIRST_PAUSE_S
        while True:
            context = new_context(batch.place.tenant_id, batch.key, self._actor)
            try:
                return await self._session.performer.perform(command, context)
            except (Unavailable, TooMuch, CommandInProgress) as error:
                if time.monotonic() > deadline:
                    raise ImportInterrupted(
                        f"The import stopped after row {self.summary.rows}: {error.detail} What was sent is safe;"
                        " the same command goes on from there."
                    ) from error
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _book(self, done: list[tuple[_Batch, Outcome]], until: int, write: Callable[[str], object] | None) -> None:
        for batch, outcome in done:
            result = outcome.result
            accepted, duplicates = result["accepted"], len(result["duplicates"])
            self.summary.count(
                batch.place.slug,
                accepted=0 if outcome.replayed else accepted,
                duplicates=duplicates + (accepted if outcome.replayed else 0),
                refused=len(result["refused"]),
                charged_mtok=0 if outcome.replayed else result["charged_mtok"],
            )
            for refusal in result["refused"]:
                row = batch.rows[refusal["index"]]
                told = {name: value for name, value in refusal.items() if name not in ("index", "pointer")}
                self._refuse({"row": row.row, "tenant": batch.place.slug, **told, "event": row.event}, write)
        self.summary.rows = until
        self._take_bad_rows(write)
        self._save([(str(batch.place.tenant_id), batch.key) for batch, _ in done])

    def _take_bad_rows(self, write: Callable[[str], object] | None) -> None:
        """Rows that could not even be read; the file keeps only so many at a time."""
        later = [bad for bad in self.file.bad_rows if bad.row > self.summary.rows]
        for bad in self.file.bad_rows:
            if bad.row <= self.summary.rows:
                self.summary.refused += 1
                self._refuse(bad._asdict(), write)
        self.file.bad_rows[:] = later

    def _refuse(self, told: dict[str, Any], write: Callable[[str], object] | None) -> None:
        if len(self.summary.shown) < SHOWN:
            self.summary.shown.append({name: value for name, value in told.items() if name != "event"})
        if write is not None:
            write(orjson.dumps(told, default=str).decode() + "\n")

    def _save(self, keys: list[tuple[str, str]]) -> None:
        if self._salt:
            return
        if not keys:
            keys = self._last_keys
        self._last_keys = keys
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._state_file.with_suffix(".new")
        partial.write_text(json.dumps({"summary": asdict(self.summary), "batches": keys}))
        partial.rename(self._state_file)

    def _known_state(self) -> Summary | None:
        """What an earlier import left behind, if the log knows its last batches."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(self._state_file.read_text())
            summary = Summary(**state["summary"])
            keys = [(str(tenant_id), str(key)) for tenant_id, key in state["batches"]]
            if not all(self._is_known(tenant_id, key) for tenant_id, key in keys):
                return None
            self._last_keys = keys
            summary.went_on_after_row = summary.rows
            summary.seconds = 0.0
            return summary
        return None

    def _is_known(self, tenant_id: str, key: str) -> bool:
        from felix.projections import event_log

        place = self._session.tenant(tenant_id)
        return self._session.ask(place, lambda tx: event_log.command(tx, key)) is not None

    def _accounts_of(self, place: TenantPlace, named: Sequence[str]) -> list[str]:
        from felix.projections import balances

        if named:
            return [self._session.account_id(place, name) for name in named]
        rows = self._session.ask(place, lambda tx: balances.accounts(tx, "", 2))
        if len(rows) != 1:
            told = "has no token account" if not rows else "has several token accounts"
            raise UsageError(f"{place.slug} {told}; name one with --account.")
        return [str(rows[0]["account_id"])]


def print_summary(summary: Summary) -> None:
    """What became of the rows, for people."""
    if summary.dry_run:
        print(f"{summary.file}: {summary.rows:,} rows, of which {summary.refused:,} can't be read. Nothing was sent.")
    elif summary.complete and summary.seconds == 0.0:
        print(f"{summary.file} was imported before; nothing was sent. --again gives refused rows another chance.")
    else:
        print(f"{summary.file}: {summary.rows:,} rows in {summary.seconds:.1f} s, {summary.rows_per_s:,} a second")
        if summary.went_on_after_row:
            print(f"went on after row {summary.went_on_after_row:,}")
    rows = [{"tenant": slug, **numbers} for slug, numbers in sorted(summary.tenants.items())]
    headings = {"tenant": "tenant", "accepted": "accepted", "duplicates": "duplicates", "refused": "refused"}
    print_table(rows, headings | {"charged_mtok": "tokens charged"}, empty="")
    print(
        f"in all: {summary.accepted:,} accepted, {summary.duplicates:,} duplicates, {summary.refused:,} refused,"
        f" {summary.without_usage:,} without usage, {tokens(summary.charged_mtok)} tokens charged"
    )
    for each in summary.shown:
        print(f"  row {each['row']}: {each.get('detail')} ({each.get('code') or each.get('rule')})")
    if summary.refused > len(summary.shown):
        print(f"  … and {summary.refused - len(summary.shown):,} more; --errors FILE has all of them")
