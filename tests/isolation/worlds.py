"""Worlds that differ in nothing but what tenant B holds, and tenant A, who lives in the same partition of each.

Every world is the real application on a database of its own, asked in process. Read models are retold by hand, between
requests, so that what a request sees does not depend on how busy this machine is.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from uuid import UUID

import psycopg
from domain.apps.sample_app import TREE
from fastapi import FastAPI
from isolation.frozen import Chance, Clock

from felix import bootstrap
from felix.api import app as api_app
from felix.api.auth import SESSION_COOKIE
from felix.api.rate_limits import Policy, RateLimits
from felix.application.api_keys import make_key
from felix.application.performer import new_context
from felix.application.policies.base import Terms
from felix.domain.changes.messages import CreateApp
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.sign_in import hash_token
from felix.projections import registry
from felix.projections.base import connect_projector
from felix.projections.feeds import FEEDS
from felix.projections.partition_runner import PartitionRunner
from felix.projections.reactions import reaction
from felix.settings import Settings

#: The platform, A and B share it: the hard case.
PARTITION = 0
#: The same in every world: what is sealed or indexed with it is the same too.
ROOT_KEY = base64.b64encode(bytes(32)).decode()
PRICES = [
    {"kind": "per_unit", "meter": "llm.input_tokens", "price_mtok": 1500, "per": 1000},
    {"kind": "flat", "meter": "change.plan", "price_mtok": 50},
]
#: Headers that may differ: the date, which the server adds, and what a request is called.
UNCOMPARED = frozenset({b"date", b"felix-request-id"})


@dataclass(frozen=True)
class Neighbour:
    """What B is like in a world, and how much it does there."""

    accounts: int
    debits: int
    amount_mtok: int
    people: tuple[str, ...]
    #: Writes of B between two stretches of A's requests.
    busy: int


WORLDS: Mapping[str, Neighbour | None] = {
    "B has its data": Neighbour(4, 6, 1_000, ("bea@b.example", "bob@b.example"), 3),
    "B has other data": Neighbour(9, 25, 777_000, ("zoe@b.example",), 11),
    "there is no B": None,
}


@dataclass(frozen=True)
class Asked:
    """A request, byte for byte."""

    operation: str
    role: str
    method: str
    path: str
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    def __str__(self) -> str:
        sent = " ".join(f"{name.decode()}={value.decode('latin-1')}" for name, value in self.headers)
        return f"{self.role}: {self.method} {self.path}?{self.query.decode()} {sent} {self.body[:400]!r}"


@dataclass(frozen=True)
class Answer:
    """What came back, but for what may differ."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def json(self) -> Any:
        """The body, where it is JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


async def ask(app: FastAPI, asked: Asked) -> Answer:
    """Send a request to an application in this process."""
    status, headers, body = 0, [], bytearray()
    coming = [{"type": "http.request", "body": asked.body, "more_body": False}]

    async def receive() -> Any:
        if coming:
            return coming.pop()
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.extend(message["headers"])
        else:
            body.extend(message.get("body", b""))

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": asked.method, "scheme": "https",
        "path": asked.path, "raw_path": asked.path.encode(), "query_string": asked.query, "root_path": "",
        "headers": [(b"host", b"felix.example"), *asked.headers], "client": ("203.0.113.7", 4711),
        "server": ("felix.example", 443), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    compared = tuple((name.lower(), value) for name, value in headers if name.lower() not in UNCOMPARED)
    return Answer(status, compared, bytes(body))


@dataclass
class World:
    """A running Felix with A in it, and perhaps B."""

    name: str
    neighbour: Neighbour | None
    app: FastAPI
    owner: psycopg.Connection[Any]
    retell: Callable[[], None]
    chance: Chance
    pass_time: Callable[[timedelta], None]
    founder: str = ""
    #: Credentials of A's people and machines, as headers, by role.
    cast: dict[str, tuple[tuple[bytes, bytes], ...]] = field(default_factory=dict)
    a: str = ""
    b: str = ""
    b_people: list[str] = field(default_factory=list)
    b_accounts: list[str] = field(default_factory=list)
    #: All that was ever answered to B.
    told_b: list[Any] = field(default_factory=list)
    _b_key: str = ""
    _b_writes: int = 0

    async def ask(self, asked: Asked, seed: str) -> Answer:
        """Ask, with chance and what is believed of credentials as at the first request."""
        self.chance.seed(seed)
        self.app.state.services.authenticator.forget()
        return await ask(self.app, asked)

    async def do(self, key: str, method: str, path: str, body: Any = None, tenant: str = "", name: str = "") -> Any:
        """A request that has to be accepted."""
        headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
        if name:
            headers.append((b"idempotency-key", name.encode()))
        if tenant:
            headers.append((b"felix-tenant", tenant.encode()))
        sent = b"" if body is None else json.dumps(body).encode()
        answered = await self.ask(Asked("", "", method, path, b"", tuple(headers), sent), name or path)
        assert answered.status in (200, 201), (self.name, path, answered)
        return answered.json()

    async def onboard(self, slug: str) -> tuple[str, str]:
        """A tenant with prices, and its key."""
        made = await self.do(self.founder, "POST", "/v1/tenants", {"slug": slug, "name": slug.title()}, name=slug)
        tenant_id = made["tenant_id"]
        self.chance.seed(f"key of {slug}")
        key, _ = make_key(self.app.state.services.performer, UUID(tenant_id), slug)
        card = "/v1/rate-cards/default/versions"
        await self.do(self.founder, "POST", card, {"prices": PRICES}, tenant_id, f"prices of {slug}")
        return tenant_id, key

    def enter(self, tenant_id: str, name: str, role: str, email: str, *, until: timedelta) -> tuple[str, str, str]:
        """A member with a session: the ids of both, and the session's token."""
        self.chance.seed(f"{name} of {tenant_id}")
        user_id, session_id = (f"{kind}_{self.chance.draw(16).hex()}" for kind in ("usr", "sess"))
        token = self.chance.draw(32).hex()[:43]
        index = self.app.state.services.root_keys().index("email", email)
        with self.owner.transaction():
            self.owner.execute(
                "insert into felix.users (user_id, email_index, status, registered_at)"
                " values (%s, %s, 'active', frozen.now())",
                (user_id, index),
            )
            self.owner.execute(
                "insert into felix.memberships (tenant_id, user_id, role, expires_at, granted_at)"
                " values (%s, %s, %s, frozen.now() + interval '90 days', frozen.now())",
                (tenant_id, user_id, role),
            )
            self.owner.execute(
                "insert into felix.sessions (session_id, token_hash, user_id, method, second_factor, began_at,"
                " last_seen_at, expires_at, stepped_up_at)"
                " values (%s, %s, %s, 'password', true, frozen.now(), frozen.now(), frozen.now() + %s, frozen.now())",
                (session_id, hash_token(token), user_id, until),
            )
        return user_id, session_id, token

    async def settle_a(self) -> list[Any]:
        """A's data and people, the same in every world; all that A was answered."""
        self.a, key = await self.onboard("tenant-a")
        self.cast = {"nobody": (), "service": (_bearer(key),)}
        self.chance.seed("revoked")
        dead, shown = make_key(self.app.state.services.performer, UUID(self.a), "revoked")
        self.owner.execute("update felix.api_keys set revoked_at = frozen.now() where key_id = %s", (shown["key_id"],))
        self.cast["revoked key"] = (_bearer(dead),)
        told: list[Any] = [shown, self.a]
        for role, until in (
            ("client_owner", timedelta(days=1)),
            ("client_member", timedelta(days=1)),
            ("auditor", timedelta(days=1)),
            ("expired", timedelta(days=-1)),
        ):
            member = "client_owner" if role == "expired" else role
            *ids, token = self.enter(self.a, role, member, f"{role}@a.example", until=until)
            self.cast[role] = ((b"cookie", f"{SESSION_COOKIE}={token}".encode()), (b"sec-fetch-site", b"same-origin"))
            told += [*ids, f"{role}@a.example"]
        for number in range(3):
            made = await self.do(key, "POST", "/v1/token-accounts", {"name": f"Account {number}"}, name=f"a-{number}")
            at = f"/v1/token-accounts/{made['account_id']}"
            for what, body in (
                ("grants", {"amount_mtok": 5_000_000, "expires_at": "2031-06-01T00:00:00Z"}),
                ("grants", {"amount_mtok": 3_000_000}),
                ("holds", {"amount_mtok": 500, "meter": "change.plan"}),
                ("debits", {"amount_mtok": 70, "meter": "llm.input_tokens"}),
                ("spend-caps", {"limit_mtok": 10**9, "window": "day"}),
                ("adjustments", {"amount_mtok": 10**9, "reason": "An example."}),
            ):
                name = f"a-{number}-{what}-{len(told)}"
                told.append(await self.do(self.founder, "POST", f"{at}/{what}", body, self.a, name))
            told += [made, at]
        told += await self.keep_records(self.a, key, made["account_id"], 3)
        told += await self.keep_documents(self.a, key, made["account_id"], 3)
        self.retell()
        for path in ("/v1/events?limit=1000", "/v1/streams", "/v1/audit", "/v1/jobs"):
            told.append(await self.see(key, path))
        return told

    async def keep_records(self, tenant_id: str, key: str, account_id: str, number: int) -> list[Any]:
        """An app of a tenant, records in it, and a change that was asked for."""
        services = self.app.state.services
        self.chance.seed(f"{tenant_id} app")
        command = CreateApp(app="bakery", title="Bakery", release=services.releases.put(TREE), tree=TREE.digest)
        context = new_context(UUID(tenant_id), f"{tenant_id} app", "founder:test")
        assert (await services.performer.perform(command, context)).accepted
        told = []
        for entity, named_by in (("contact", "name"), ("deal", "title")):
            for nth in range(number):
                body = {"values": {named_by: f"{entity} {nth} of {tenant_id}"}, "account_id": account_id}
                name = f"{tenant_id} {entity} {nth}"
                told.append(await self.do(key, "POST", f"/v1/apps/bakery/entities/{entity}/records", body, name=name))
        asked = {"app": "bakery", "account_id": account_id, "prompt": f"Add a due date to deals of {tenant_id}"}
        told.append(await self.do(self.founder, "POST", "/v1/changes", asked, tenant_id, f"{tenant_id} change"))
        return told

    async def keep_documents(self, tenant_id: str, key: str, account_id: str, number: int) -> list[Any]:
        """Documents that planners may read, all of the same few words and some of the tenant's own."""
        told = []
        for nth in range(number):
            text = f"# Opening hours {nth}\n\nThe vault of {tenant_id} is open in the morning.\n"
            body = {"title": f"Hours {nth} of {tenant_id}", "text": text, "account_id": account_id}
            told.append(await self.do(key, "POST", "/v1/documents", body, name=f"{tenant_id} document {nth}"))
        return told

    async def settle_b(self) -> None:
        """B's data and people, as they are in this world."""
        if (b := self.neighbour) is None:
            return
        self.b, self._b_key = await self.onboard("tenant-b")
        self.told_b += [self.b, "tenant-b", *b.people]
        for email in b.people:
            *ids, _ = self.enter(self.b, f"{self.name} {email}", "client_owner", email, until=timedelta(days=1))
            self.b_people.append(ids[0])
            self.told_b += ids
        for number in range(b.accounts):
            name = f"b {self.name} {number}"
            made = await self.do(self._b_key, "POST", "/v1/token-accounts", {"name": f"Bs {number}"}, name=name)
            self.b_accounts.append(made["account_id"])
            at = f"/v1/token-accounts/{made['account_id']}"
            grant = {"amount_mtok": b.amount_mtok * 1_000_000, "expires_at": "2031-06-01T00:00:00Z"}
            self.told_b.append(await self.do(self.founder, "POST", f"{at}/grants", grant, self.b, f"{name} grant"))
            self.told_b.append(made)
        self.told_b += await self.keep_records(self.b, self._b_key, made["account_id"], b.accounts)
        self.told_b += await self.keep_documents(self.b, self._b_key, made["account_id"], b.accounts)
        await self.let_b_live(b.debits)
        self.retell()
        for path in ("/v1/events?limit=1000", "/v1/streams", "/v1/audit", "/v1/jobs"):
            self.told_b.append(await self.see(self._b_key, path))

    async def see(self, key: str, path: str) -> Any:
        """What is read there."""
        path, _, query = path.partition("?")
        headers = (_bearer(key),)
        return (await self.ask(Asked("", "", "GET", path, query.encode(), headers), path)).json()

    async def let_b_live(self, writes: int | None = None) -> None:
        """B spends, and holds, and is refused."""
        b = self.neighbour
        for _ in range(0 if b is None else b.busy if writes is None else writes):
            assert b is not None
            self._b_writes += 1
            account = self.b_accounts[self._b_writes % len(self.b_accounts)]
            what = "holds" if self._b_writes % 3 == 0 else "debits"
            body = {"amount_mtok": b.amount_mtok + self._b_writes, "meter": "change.plan"}
            name = f"b {self.name} live {self._b_writes}"
            at = f"/v1/token-accounts/{account}/{what}"
            self.told_b.append(await self.do(self._b_key, "POST", at, body, name=name))

    def rows_of_b(self) -> dict[str, str]:
        """A digest of B's rows, table by table; what is counted of B is written first."""
        if not self.b:
            return {}
        self.app.state.services.measurements.write()
        found = self.owner.execute(
            "select format('%I.%I', n.nspname, c.relname), bool_or(a.attname = 'tenant_id') from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attnum > 0"
            " where n.nspname in ('felix', 'read') and c.relkind = 'r' and a.attname in ('tenant_id', 'user_id')"
            " group by 1 order by 1"
        ).fetchall()
        rows = {}
        for table, of_tenant in found:
            which, whose = ("tenant_id", [self.b]) if of_tenant else ("user_id", self.b_people)
            query = (
                f"select md5(coalesce(string_agg(t::text, ';' order by t::text), '')) from {table} t"
                f" where {which}::text = any(%s)"
            )
            row = self.owner.execute(query.encode(), (whose,)).fetchone()
            rows[table] = row[0] if row is not None else ""
        return rows

    def revive(self) -> None:
        """Let A's people and machines in again, whatever they have done to themselves."""
        with self.owner.transaction():
            ours = "(select user_id from felix.memberships where tenant_id = %s)"
            self.owner.execute(f"update felix.sessions set ended_at = null where user_id in {ours}".encode(), (self.a,))
            self.owner.execute(
                f"update felix.sessions set expires_at = frozen.now() + interval '1 day', last_seen_at = frozen.now()"
                f" where expires_at > began_at and user_id in {ours}".encode(),
                (self.a,),
            )
            self.owner.execute(
                "update felix.api_keys set revoked_at = null, expires_at = null"
                " where tenant_id = %s and label = 'tenant-a'",
                (self.a,),
            )


def _bearer(key: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {key}".encode()


@asynccontextmanager
async def opened(
    name: str, neighbour: Neighbour | None, database: str, clock: Clock, chance: Chance, *, prepare: Sequence[str] = ()
) -> AsyncIterator[World]:
    """Run Felix on a migrated database. ``prepare`` are statements that are executed there before anybody connects."""
    settings = Settings(
        _env_file=None,
        database_url=database,
        partitions=1,
        read_timeout_s=0.02,
        root_key=ROOT_KEY,
        limit_strangers_per_minute=1_000_000,
        data_dir=Path(mkdtemp(prefix="felix-world-")),
    )
    endpoints = bootstrap.Endpoints.locate(settings)
    async with AsyncExitStack() as stack:
        stack.callback(rmtree, settings.data_dir)
        owner = stack.enter_context(psycopg.connect(database, autocommit=True))
        clock.stop_in(owner)
        for statement in prepare:
            owner.execute(statement.encode())
        projector = stack.enter_context(connect_projector(endpoints.as_role("felix_projector")))
        app = api_app.create_app(lambda app: None)  # type: ignore[arg-type,return-value]
        app.state.services = await stack.enter_async_context(bootstrap.open_services(settings))
        for policy in _policies(app.state.services.rate_limits):
            policy.clock = clock.now_s
        world = World(
            name, neighbour, app, owner, partial(_retell, _runners(endpoints), projector), chance, clock.advance
        )
        chance.seed("founder")
        world.founder, _ = make_key(app.state.services.performer, PLATFORM, "founder", role="founder")
        yield world


def _policies(limits: RateLimits) -> Iterator[Policy]:
    for kept in vars(limits).values():
        for each in kept.values() if isinstance(kept, dict) else [kept]:
            if isinstance(each, Policy):
                yield each


def _runners(endpoints: bootstrap.Endpoints) -> dict[str, PartitionRunner]:
    reacting = [reaction(each.name, each.reads, partial(each.react, terms=Terms())) for each in bootstrap.POLICIES]
    everything = (*registry.PROJECTIONS, *reacting)
    return {
        feed: PartitionRunner(
            lambda: connect_projector(endpoints.as_role("felix_projector")),
            [each for each in everything if each.feed == feed],
            PARTITION,
        )
        for feed in FEEDS
    }


def _retell(runners: Mapping[str, PartitionRunner], connection: Any) -> None:
    for feed, runner in runners.items():
        runner.fold_until(connection, FEEDS[feed].heads(connection)[PARTITION])  # type: ignore[index]
