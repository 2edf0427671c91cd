"""One command at work on an installation: it opens what the command uses, and closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from felix.cli.errors import UsageError
from felix.cli.options import Acting
from felix.cli.output import print_facts, print_json
from felix.domain.errors import NotFound
from felix.settings import Settings

if TYPE_CHECKING:
    from felix.application.identity import Addressed
    from felix.application.outcome import Outcome
    from felix.application.performer import Performer
    from felix.bootstrap import Endpoints
    from felix.domain.base import Command
    from felix.eventstore.tenants import TenantDirectory, TenantPlace
    from felix.projections.tenant_tx import FounderTx, TenantTx

T = TypeVar("T")


class Session:
    """The services of one command. Nothing is connected before it is used."""

    def __init__(self, endpoints: Endpoints, settings: Settings) -> None:
        from felix import bootstrap

        self.endpoints = endpoints
        self.settings = settings
        self.directory: TenantDirectory = bootstrap.open_directory(endpoints, partitions=settings.partitions)
        self._closing: list[Callable[[], object]] = [self.directory.close]
        self._performer: Performer | None = None

    @property
    def performer(self) -> Performer:
        """The write side; other processes hear of what it commits."""
        from felix import bootstrap

        if self._performer is None:
            doorbell = bootstrap.open_doorbell(self.endpoints)
            self._performer = bootstrap.open_performer(
                self.endpoints, self.directory.partition_of, committed=doorbell.ring
            )
            self._closing += [doorbell.close, self._performer.close]
        return self._performer

    def tenant(self, named: str | None) -> TenantPlace:
        """A client by short name or id, or the only one there is. Raises NotFound and UsageError."""
        if named is None:
            known = self.directory.all()
            if len(known) == 1:
                return known[0]
            raise UsageError(
                "Say which client: --tenant " + ("|".join(place.slug for place in known[:8]) or "SLUG"),
                **({} if known else {"hint": "There is none yet: felix tenants add NAME"}),
            )
        place = self.directory.find(named)
        if place is None:
            raise NotFound(f"There is no tenant {named}.")
        return place

    def ask(self, place: TenantPlace, question: Callable[[TenantTx], Awaitable[T]]) -> T:
        """Ask the read models about one client, in one transaction."""

        async def asking() -> T:
            pool = self._read_pool()
            await pool.open()
            try:
                async with pool.tenant(place.tenant_id, place.partition) as tx:
                    return await question(tx)
            finally:
                await pool.close()

        return asyncio.run(asking())

    def ask_as_founder(self, question: Callable[[FounderTx], Awaitable[T]]) -> T:
        """Ask the read models about all clients, in one transaction."""

        async def asking() -> T:
            pool = self._read_pool()
            await pool.open()
            try:
                async with pool.founder() as tx:
                    return await question(tx)
            finally:
                await pool.close()

        return asyncio.run(asking())

    @contextmanager
    def log(self) -> Iterator[Any]:
        """A connection that reads the log of every client, and nothing else."""
        from felix.eventstore.connections import connect

        with connect(self.endpoints.as_role("felix_founder")) as connection:
            yield connection

    def perform(
        self,
        place: TenantPlace,
        command: Command,
        acting: Acting,
        *,
        enclosed: Mapping[str, Any] | None = None,
        shown_once: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """Perform a command, print what became of it, and answer its result; None for a dry run.

        ``shown_once`` is printed with it if it happens now, and remembered nowhere. Raises the refusal of a refused
        command.
        """
        if acting.dry_run:
            self._show_plan(place, command, acting)
            return None
        outcome = self.send(place, command, acting, enclosed)
        result = outcome.result | ({} if outcome.replayed else dict(shown_once or {}))
        if acting.json:
            print_json(
                {
                    "command": command.command_name,
                    "command_key": acting.key,
                    "position": outcome.log_position,
                    "replayed": outcome.replayed,
                    "result": result,
                }
            )
        else:
            flat = {name: value for name, value in result.items() if not isinstance(value, dict)}
            for value in result.values():
                if isinstance(value, dict):
                    flat |= {inner: number for inner, number in value.items() if not isinstance(number, dict)}
            print_facts(flat | {"position": outcome.log_position or "nothing changed"})
            if outcome.replayed:
                print("This key was used before: nothing happened again.")
        return result

    def send(
        self, place: TenantPlace, command: Command, acting: Acting, enclosed: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Perform a command and answer its outcome."""
        from felix.application.performer import new_context

        context = new_context(place.tenant_id, acting.key, acting.actor, enclosed=enclosed)
        return self.performer.perform_blocking(command, context)

    def account_id(self, place: TenantPlace, named: str) -> str:
        """An account by its id, or by a name that only one has. Raises NotFound and UsageError."""
        if named.startswith("acct_"):
            return named
        from felix.projections import balances

        async def all_named(tx: TenantTx) -> list[str]:
            found, after = [], ""
            while page := await balances.accounts(tx, after, 1000):
                found += [row["account_id"] for row in page if row["name"] == named]
                after = page[-1]["account_id"]
            return found

        found = self.ask(place, all_named)
        if not found:
            raise NotFound(f"{place.slug} has no token account called {named}.")
        if len(found) > 1:
            raise UsageError(f"{len(found)} accounts of {place.slug} are called {named}: {', '.join(found[:5])}")
        return found[0]

    def invitation(
        self, tenant_id: UUID, called: str, email: str, acting: Acting, *, by_mail: bool = True
    ) -> Addressed:
        """An invitation to a tenant, ``called`` so in the mail, under the key of the command."""
        from pydantic import TypeAdapter

        from felix import bootstrap
        from felix.domain.identity.email import Email

        address: str = TypeAdapter(Email).validate_python(email)
        inviter = bootstrap.open_inviter(self.settings)()
        return inviter.address(tenant_id, called, acting.key, address, by_mail=by_mail)

    def close(self) -> None:
        """Give everything back; commands that wait are finished first."""
        for close in reversed(self._closing):
            close()

    def _read_pool(self) -> Any:
        from felix import bootstrap

        return bootstrap.open_read_pool(self.endpoints, max_size=2)

    def _show_plan(self, place: TenantPlace, command: Command, acting: Acting) -> None:
        print_json(
            {
                "dry_run": True,
                "tenant": place.slug,
                "command": command.command_name,
                "fields": command.model_dump(mode="json", exclude_defaults=True),
                "command_key": acting.key,
                "actor": acting.actor,
            }
        )


@contextmanager
def open_session() -> Iterator[Session]:
    """A session on the installation that the settings name. Raises ``NotRunning``."""
    from felix import bootstrap

    settings = Settings()
    session = Session(bootstrap.Endpoints.locate(settings), settings)
    try:
        yield session
    finally:
        session.close()
