"""Where commands are performed, and what a test asks about them afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import psycopg

from felix import bootstrap
from felix.application.outcome import Outcome
from felix.application.performer import Performer, new_context
from felix.domain.base import Command, FelixAggregate, stream_name
from felix.domain.ledger import messages as m
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore.connections import connect
from felix.eventstore.partition_log import PartitionLog
from felix.eventstore.snapshots import fold

PARTITIONS = 4
#: Both clients live in partition 0, so that their commands share batches.
ACME = UUID("0192f000-0000-7000-8000-000000000000")
GLOBEX = UUID("0192f000-0000-7000-8000-000000000004")
_WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
_keys = count(1)


def new_key() -> str:
    """A command key that nobody has used."""
    return f"key-{next(_keys)}"


@dataclass
class Office:
    """A performer with its database."""

    database: str
    performer: Performer
    commits: list[tuple[int, int]] = field(default_factory=list)

    def do(self, command: Command, key: str | None = None, *, tenant: UUID = ACME, actor: str = "founder:a") -> Outcome:
        """Perform a command and give its outcome, accepted or refused."""
        return self.performer.perform_blocking(command, new_context(tenant, key or new_key(), actor), timeout_s=30)

    def done(self, command: Command, key: str | None = None, *, tenant: UUID = ACME) -> dict[str, Any]:
        """Perform a command that has to be accepted."""
        return self.do(command, key, tenant=tenant).result

    def open_account(self, tokens_mtok: int = 0, *, tenant: UUID = ACME) -> str:
        """A new account with tokens."""
        account_id: str = self.done(m.OpenTokenAccount(name="Main"), tenant=tenant)["account_id"]
        if tokens_mtok:
            self.done(m.GrantTokens(account_id=account_id, amount_mtok=tokens_mtok), tenant=tenant)
        return account_id

    def at_once(self, commands: Sequence[Command], keys: Sequence[str] | None = None) -> list[Any]:
        """Perform commands that arrive while the lane is busy with another one, and so share a batch.

        Gives outcomes, and errors where there is no outcome, in the order of the commands.
        """
        named = keys or [new_key() for _ in commands]

        async def all_of_them() -> list[Any]:
            with holding_the_head(self.database) as holder:
                opening = new_context(ACME, new_key(), "founder:a")
                first = asyncio.ensure_future(self.performer.perform(m.OpenTokenAccount(name="First"), opening))
                await asyncio.sleep(0)
                until(lambda: self.rows(_WAITING) == [(1,)], "the lane waits")
                waiting = [
                    asyncio.ensure_future(self.performer.perform(command, new_context(ACME, key, "founder:a")))
                    for command, key in zip(commands, named, strict=True)
                ]
                await asyncio.sleep(0)
                holder.rollback()
                await first
                return await asyncio.gather(*waiting, return_exceptions=True)

        return asyncio.run(all_of_them())

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def replay(self, account_id: str, tenant: UUID = ACME) -> TokenAccount:
        """An account from all of its events, whatever anybody remembers."""
        stream = stream_name(tenant, "token_account", account_id)
        account: Any = None
        for version, type_, event_id, recorded_at, state in self.rows(
            "select version, type, event_id, recorded_at, state from felix.events where stream = %s order by version",
            stream,
        ):
            account = fold(account, type_, state, stream, version, recorded_at, event_id)
        assert isinstance(account, TokenAccount)
        return account

    def remembered(self, account_id: str, tenant: UUID = ACME) -> FelixAggregate | None:
        """What the lane has in memory of an account."""
        return self.performer._lanes[0]._remembered.get(stream_name(tenant, "token_account", account_id))

    def loaded(self, account_id: str, tenant: UUID = ACME) -> tuple[FelixAggregate, int]:
        """An account as a lane that starts now would load it, and the version of its snapshot."""
        log = PartitionLog(lambda: connect(bootstrap.Endpoints(self.database, None, None).writer_url), 0)
        try:
            log.open_batch([])
            found = log.load(TokenAccount, stream_name(tenant, "token_account", account_id))
            assert found is not None
            return found
        finally:
            log.close()

    def assert_log_is_whole(self) -> None:
        """Positions, versions and tenant sequences are dense, and the head is where the last event is."""
        dense = "select count(*), min({0}), max({0}) from felix.events where partition = 0 {1}"
        for column, group in (
            ("position", ""),
            ("version", "group by stream"),
            ("tenant_sequence", "group by tenant_id"),
        ):
            for number, least, most in self.rows(dense.format(column, group)):
                assert (least, most) == (1, number), column
        (last,) = self.rows("select coalesce(max(position), 0) from felix.events where partition = 0")
        assert self.rows("select position from felix.partitions where partition = 0") == [last]


@contextmanager
def open_office(database: str, through: str | None = None) -> Iterator[Office]:
    """Perform commands on a database, if asked ``through`` the URL of a proxy before it."""
    endpoints = bootstrap.Endpoints(through or database, None, None)
    directory = bootstrap.open_directory(bootstrap.Endpoints(database, None, None), partitions=PARTITIONS)
    directory.pin(ACME, "acme", "Acme", partition=0)
    directory.pin(GLOBEX, "globex", "Globex", partition=0)
    commits: list[tuple[int, int]] = []
    performer = bootstrap.open_performer(
        endpoints, directory.partition_of, committed=lambda partition, position: commits.append((partition, position))
    )
    try:
        yield Office(database, performer, commits)
    finally:
        performer.close()
        directory.close()


@contextmanager
def holding_the_head(database: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody who may hold the partition's head for as long as they like."""
    with psycopg.connect(database) as holder:
        holder.execute("select from felix.partitions where partition = 0 for update")
        yield holder
        holder.rollback()


def until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Wait for something that has to become so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
