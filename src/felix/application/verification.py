"""Proves that a partition of the log is consistent, and that what was derived from it says the same.

Everything is computed again from the events, one after the other; what is kept in memory grows with the number of
streams, not of events. Where the facts come from is the caller's business: the command line and the nightly job feed
this from the database, tests from a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

from felix.domain.base import FelixAggregate
from felix.domain.errors import FelixError
from felix.domain.ledger.postings import EVENTS_WITHOUT_POSTINGS, TOKEN_EVENTS, postings_of
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore.audit import CommandSpan, SnapshotDigest
from felix.eventstore.mapper import RecordedEvent, canonical_json, event_class_of
from felix.eventstore.snapshots import fold, snapshot_type

#: What is looked at, in the order of the report.
CHECKS: Mapping[str, str] = {
    "positions": "positions are dense from 1 to the head",
    "tenant sequences": "the sequence of every tenant is dense from 1",
    "stream versions": "the versions of every stream are dense from its first",
    "event types": "every event is of a known type and can be read",
    "actors": "every event says who did it, and under which command",
    "commands": "every command had its effect once, and every event belongs to one command",
    "command feed": "the feed of commands, accepted and refused, is dense from 1 to its head",
    "postings": "the postings of every event sum to zero in every asset",
    "accounts": "lots, holds and debt of every token account fit together after every command",
    "adjustments": "every adjustment has a reason, and one that needs it an approver who did not propose it",
    "snapshots": "every snapshot is what its events add up to",
    "read model": "the balances that people see are what the events add up to",
    "trial balance": "the trial balance is zero in every asset",
}
#: Violations that are kept with their place; all are counted.
MAX_KEPT = 100
#: What a fold can raise on an event that should not exist.
UNREADABLE = (FelixError, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be. ``position`` is missing where it is about no single event."""

    check: str
    partition: int
    position: int | None
    detail: str

    @property
    def place(self) -> str:
        """``<partition>:<position>``."""
        return f"{self.partition}:{'–' if self.position is None else self.position}"


@dataclass(frozen=True, slots=True)
class RetoldBalance:
    """What the read model says of an account after the event with that version of its stream."""

    version: int
    balance: Mapping[str, int]


@dataclass(slots=True)
class Report:
    """How often each check was made, and what it found."""

    looked_at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    violations: list[Violation] = field(default_factory=list)
    events: int = 0

    @property
    def consistent(self) -> bool:
        """Whether nothing was found."""
        return not any(self.found.values())

    def must(self, so: bool, check: str, partition: int, position: int | None, detail: str) -> None:
        """Count one look at something, and keep it if it is not so."""
        self.looked_at[check] += 1
        if not so:
            self.found[check] += 1
            if len(self.violations) < MAX_KEPT:
                self.violations.append(Violation(check, partition, position, detail))

    def check_command_feed(self, partition: int, sequences: Iterable[int], head: int) -> None:
        """Check the feed of commands of a partition; ``sequences`` come in order, up to the head."""
        last = 0
        for sequence in sequences:
            self.must(sequence == last + 1, "command feed", partition, None, f"command {last + 1} is missing")
            last = sequence
        self.must(last == head, "command feed", partition, None, f"commands end at {last}, their head is {head}")

    def check_trial_balance(self, sums: Mapping[str, Mapping[str, int]]) -> None:
        """Check the trial balance of the read model: ledger accounts by asset."""
        for asset, amounts in sums.items():
            total = sum(amounts.values())
            self.must(total == 0, "trial balance", -1, None, f"{asset} sums to {total}")


class PartitionAudit:
    """Goes through one partition from its first event; :meth:`finish` looks at what only the end can tell."""

    def __init__(
        self,
        report: Report,
        partition: int,
        *,
        commands: Iterable[CommandSpan],
        snapshots: Iterable[SnapshotDigest] = (),
        balances: Mapping[tuple[UUID, str], RetoldBalance] | None = None,
        retold_until: int = 0,
    ) -> None:
        """``commands`` come in the order of the log. ``balances`` were read when the read model had passed
        ``retold_until``; without them it is not compared.
        """
        self.report = report
        self.partition = partition
        self._position = 0
        self._sequences: dict[UUID, int] = {}
        self._versions: dict[str, int] = {}
        self._aggregates: dict[str, FelixAggregate] = {}
        self._unreadable: set[str] = set()
        self._last_command: dict[str, tuple[str, int]] = {}
        self._commands: Iterator[CommandSpan] = iter(commands)
        self._span: CommandSpan | None = next(self._commands, None)
        self._snapshots = {(each.stream, each.version): each for each in snapshots}
        self._balances = balances
        self._compared: set[tuple[UUID, str]] = set()
        self._retold_until = retold_until
        self._needs_approval: set[tuple[str, str]] = set()
        self._sums: dict[str, int] = {}

    def add(self, event: RecordedEvent) -> None:
        """Look at the next event."""
        self.report.events += 1
        self._check_order(event)
        self._check_actor(event)
        self._check_command(event)
        if not self._check_type(event):
            return
        self._check_postings(event)
        if event.type.startswith("ledger.adjustment_"):
            self._check_adjustment(event)
        self._replay(event)

    def finish(self, head: int) -> None:
        """Look at what is left once every event up to the head has been seen."""
        self._must(self._position == head, "positions", head, f"the log ends at {self._position}, its head is {head}")
        for stream in list(self._last_command):
            self._check_account(stream)
        for digest in self._snapshots.values():
            self._must(
                digest.version <= self._versions.get(digest.stream, 0),
                "snapshots",
                None,
                f"{digest.stream} has a snapshot at version {digest.version}, beyond its last event",
            )
        for account in (self._balances or {}).keys() - self._compared:
            self._must(False, "read model", None, f"account {account[1]} of {account[0]} is not in the log like this")
        while self._span is not None:
            if self._span.last_position > self._position:
                told = f"command {self._span.command_key} should have left events that are not there"
                self._must(False, "commands", self._span.first_position, told)
            self._span = next(self._commands, None)
        for asset, total in self._sums.items():
            self.report.must(
                total == 0, "trial balance", self.partition, None, f"all postings in {asset} sum to {total}"
            )

    def _must(self, so: bool, check: str, position: int | None, detail: str) -> None:
        self.report.must(so, check, self.partition, position, detail)

    def _check_order(self, event: RecordedEvent) -> None:
        at = event.position
        expected = self._position + 1
        self._must(at == expected, "positions", at, f"position {expected} is missing")
        self._position = at
        sequence = self._sequences.get(event.tenant_id, 0) + 1
        self._must(
            event.tenant_sequence == sequence,
            "tenant sequences",
            at,
            f"tenant {event.tenant_id} has sequence {event.tenant_sequence} where {sequence} is next",
        )
        self._sequences[event.tenant_id] = event.tenant_sequence
        known = self._versions.get(event.stream)
        version = 1 if known is None else known + 1
        self._must(
            event.version == version,
            "stream versions",
            at,
            f"{event.stream} has version {event.version} where {version} is next",
        )
        self._versions[event.stream] = event.version

    def _check_actor(self, event: RecordedEvent) -> None:
        named = bool(event.actor.strip()) and bool(event.command_key)
        of_tenant = event.stream.startswith(str(event.tenant_id) + ":")
        self._must(named, "actors", event.position, f"{event.type} has no actor or command")
        if not of_tenant:
            self._must(False, "actors", event.position, f"{event.stream} does not belong to tenant {event.tenant_id}")

    def _check_command(self, event: RecordedEvent) -> None:
        at = event.position
        span = self._span
        while span is not None and span.last_position < at:
            following = next(self._commands, None)
            if following is not None and following.first_position <= span.last_position:
                self._must(
                    False,
                    "commands",
                    following.first_position,
                    f"commands {span.command_key} and {following.command_key} claim the same events",
                )
            span = self._span = following
        mine = (
            span is not None
            and span.accepted
            and span.first_position <= at
            and (span.tenant_id, span.command_key) == (event.tenant_id, event.command_key)
        )
        self._must(mine, "commands", at, f"no accepted command {event.command_key} of this tenant left this event")

    def _check_type(self, event: RecordedEvent) -> bool:
        problem = ""
        try:
            event_class_of(event.type)
            _ = event.payload
        except UNREADABLE as error:
            problem = f"{event.type} can't be read: {error}"
        self._must(not problem, "event types", event.position, problem)
        return not problem

    def _check_postings(self, event: RecordedEvent) -> None:
        if event.type not in TOKEN_EVENTS:
            return
        totals: dict[str, int] = {}
        try:
            for _, asset, amount in postings_of(event.type, event.payload):
                totals[asset] = totals.get(asset, 0) + amount
        except UNREADABLE as error:
            self._must(False, "postings", event.position, f"{event.type} has no postings: {error}")
            return
        off = {asset: total for asset, total in totals.items() if total}
        self._must(not off, "postings", event.position, f"{event.type} is off balance by {off}")
        for asset, total in totals.items():
            self._sums[asset] = self._sums.get(asset, 0) + total

    def _check_adjustment(self, event: RecordedEvent) -> None:
        told: dict[str, Any] = event.payload
        adjustment = (event.stream, str(told.get("adjustment_id")))
        if event.type == "ledger.adjustment_proposed" and told.get("needs_approval"):
            self._needs_approval.add(adjustment)
        wrong = "" if str(told.get("reason") or "").strip() else "has no reason"
        if event.type == "ledger.adjustment_applied":
            approver, proposer = told.get("approver"), told.get("proposer")
            if not proposer:
                wrong = "has no proposer"
            elif approver == proposer:
                wrong = f"was approved by {approver}, who proposed it"
            elif approver is None and adjustment in self._needs_approval:
                wrong = "needed an approval and has none"
        self._must(not wrong, "adjustments", event.position, f"adjustment {adjustment[1]} {wrong}")

    def _replay(self, event: RecordedEvent) -> None:
        stream = event.stream
        if stream in self._unreadable:
            return
        previous = self._last_command.get(stream)
        if previous is not None and previous[0] != event.command_key:
            self._check_account(stream)
        try:
            aggregate = fold(
                self._aggregates.get(stream),
                event.type,
                event.state,
                stream,
                event.version,
                event.recorded_at,
                event.event_id,
            )
        except UNREADABLE as error:
            self._unreadable.add(stream)
            self._last_command.pop(stream, None)
            self._must(False, "event types", event.position, f"{event.type} can't be added up: {error}")
            return
        self._aggregates[stream] = aggregate
        if (digest := self._snapshots.get((stream, event.version))) is not None:
            self._check_snapshot(event, aggregate, digest)
        if isinstance(aggregate, TokenAccount):
            self._last_command[stream] = (event.command_key, event.position)
            if self._balances is not None:
                self._check_read_model(event, aggregate, self._balances)

    def _check_account(self, stream: str) -> None:
        """Look at an account after the last event of a command; between its events more may be open."""
        _, position = self._last_command.pop(stream)
        account = self._aggregates[stream]
        assert isinstance(account, TokenAccount)
        problem = ""
        try:
            account.assert_invariants()
        except UNREADABLE as error:
            problem = str(error)
        self._must(not problem, "accounts", position, f"account {account.local_id}: {problem}")

    def _check_snapshot(self, event: RecordedEvent, aggregate: FelixAggregate, digest: SnapshotDigest) -> None:
        if digest.type != snapshot_type(type(aggregate)):
            return  # of an older state version: nothing reads it any more
        same = sha256(canonical_json(aggregate.snapshot())).digest() == digest.sha256
        self._must(same, "snapshots", event.position, f"the snapshot of {event.stream} at {event.version} differs")

    def _check_read_model(
        self, event: RecordedEvent, account: TokenAccount, balances: Mapping[tuple[UUID, str], RetoldBalance]
    ) -> None:
        key = (event.tenant_id, account.local_id)
        retold = balances.get(key)
        if event.position <= self._retold_until and event.type not in EVENTS_WITHOUT_POSTINGS:
            current = retold is not None and retold.version >= event.version
            if not current:
                self._must(False, "read model", event.position, f"account {account.local_id} was not retold up to here")
        if retold is not None and retold.version == event.version:
            self._compared.add(key)
            self._must(
                dict(retold.balance) == account.balance,
                "read model",
                event.position,
                f"account {account.local_id}: people see {dict(retold.balance)}, the log says {account.balance}",
            )
