"""A running Felix to knock at: who calls, what they hold, and how a test waits for its own writes."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from uuid import UUID, uuid4

from fastapi import FastAPI
from starlette.testclient import TestClient

from felix import bootstrap
from felix.api.app import create_app
from felix.api.auth import SESSION_COOKIE
from felix.application.api_keys import make_key
from felix.application.performer import Performer
from felix.domain.identity.roles import PLATFORM, PLATFORM_ROLES, Role
from felix.eventstore.sealing import new_root_key
from felix.eventstore.sign_in import hash_token
from felix.settings import Settings

PARTITIONS = 4
#: An id that nobody has.
NOBODY = "acct_" + "0" * 32
PRICES = [
    {"kind": "per_unit", "meter": "llm.input_tokens", "price_mtok": 1500, "per": 1000},
    {"kind": "per_unit", "meter": "llm.output_tokens", "price_mtok": 6000, "per": 1000},
    {"kind": "flat", "meter": "change.plan", "price_mtok": 50},
    {"kind": "per_unit", "meter": "free", "price_mtok": 0},
    {"kind": "per_unit", "meter": "ruinous", "price_mtok": 2**53 - 1},
]
_WAITING = (
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    " and application_name = 'felix_writer'"
)
_keys = count(1)
_slugs = count(1)


def new_key() -> str:
    """An idempotency key that nobody has used."""
    return f"key-{next(_keys)}-{uuid4().hex[:8]}"


@dataclass(frozen=True)
class Caller:
    """Somebody with a key or a session. ``post`` makes up an idempotency key unless it is given one; None sends none.

    ``id`` is how the log names the person or the key, ``session_id`` what is revoked of a person.
    """

    client: TestClient
    headers: dict[str, str]
    tenant_id: str = ""
    id: str = ""
    session_id: str = ""

    def post(self, path: str, body: Any = None, key: str | None = "", **headers: str) -> Any:
        """Send a write."""
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Idempotency-Key"] = key or new_key()
        if isinstance(body, bytes):
            return self.client.post(path, content=body, headers=sent)
        return self.client.post(path, json={} if body is None else body, headers=sent)

    def done(self, path: str, body: Any = None, key: str | None = "", **headers: str) -> Any:
        """Send a write that has to be accepted, and give its body."""
        answered = self.post(path, body, key, **headers)
        assert answered.status_code in (200, 201), (path, answered.status_code, answered.text)
        return answered.json()

    def get(self, path: str, after: Any = None, **headers: str) -> Any:
        """Read; ``after`` is the response of a write that has to be seen."""
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        if after is not None:
            sent["Felix-Min-Position"] = after.headers["felix-position"]
        return self.client.get(path, headers=sent)

    def seen(self, path: str, after: Any = None) -> Any:
        """Read what has to be there, and give its body."""
        answered = self.get(path, after)
        assert answered.status_code == 200, (path, answered.status_code, answered.text)
        return answered.json()

    def without_key(self) -> Caller:
        """The same without an API key."""
        return replace(self, headers={})

    def send(self, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> Any:
        """Send a write by another method than POST."""
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Idempotency-Key"] = key or new_key()
        return self.client.request(method, path, headers=sent, **({} if body is None else {"json": body}))

    def about(self, tenant: Caller) -> Caller:
        """The founder, speaking for another tenant."""
        return replace(self, headers=self.headers | {"Felix-Tenant": tenant.tenant_id}, tenant_id=tenant.tenant_id)

    def open_account(self, founder: Caller | None = None, tokens_mtok: int = 0, name: str = "Main account") -> str:
        """A new account, with tokens that the founder grants."""
        account_id: str = self.done("/v1/token-accounts", {"name": name})["account_id"]
        if tokens_mtok:
            assert founder is not None
            founder.about(self).done(f"/v1/token-accounts/{account_id}/grants", {"amount_mtok": tokens_mtok})
        return account_id


@dataclass
class World:
    """A running Felix and everybody in it."""

    client: TestClient
    endpoints: bootstrap.Endpoints
    app: FastAPI
    founder: Caller
    bakery: Caller
    garage: Caller
    settings: Settings

    @property
    def performer(self) -> Performer:
        """The write side, for what a test does without a door."""
        performer: Performer = self.app.state.services.performer
        return performer

    def new_tenant(self) -> Caller:
        """Another client without accounts or rate card."""
        return _onboard(self.app, self.client, self.founder)

    def onboard(self, slug: str) -> str:
        """Take a client on board under a short name, once."""
        self.founder.done("/v1/tenants", {"slug": slug, "name": "A client"}, key=f"onboard-{slug}")
        return slug

    def wait_for_a_waiting_lane(self, lanes: int = 1) -> None:
        """Until so many lanes wait for a lock that the test holds."""
        with bootstrap.connect_owner(self.endpoints) as watcher:
            deadline = time.monotonic() + 10
            while watcher.execute(_WAITING).fetchone() != (lanes,):
                assert time.monotonic() < deadline, "no lane waits"
                time.sleep(0.01)

    def person(self, role: Role, tenant: Caller | None = None, **how: Any) -> Caller:
        """Somebody in a browser; what can be said of them is in :meth:`people`."""
        return self.people(1, role, tenant, **how)[0]

    def people(
        self,
        number: int,
        role: Role,
        tenant: Caller | None = None,
        *,
        stepped_up: bool = False,
        second_factor: bool = True,
        member_until: datetime | None = None,
        session_until: datetime | None = None,
        session_ended: bool = False,
        status: str = "active",
    ) -> list[Caller]:
        """Users with one membership and a session that has just begun.

        People of the platform speak for ``tenant``; all others are members of it (the bakery, where none is given).
        """
        tenant = tenant or self.bakery
        now, of_platform = datetime.now(UTC), role in PLATFORM_ROLES
        if role == "auditor":
            member_until = member_until or now + timedelta(days=30)
        headers = {"Sec-Fetch-Site": "same-origin"} | ({"Felix-Tenant": tenant.tenant_id} if of_platform else {})
        tokens = [secrets.token_urlsafe(32) for _ in range(number)]
        made = [
            Caller(
                self.client,
                headers | {"Cookie": f"{SESSION_COOKIE}={token}"},
                tenant.tenant_id,
                f"usr_{uuid4().hex}",
                f"sess_{uuid4().hex}",
            )
            for token in tokens
        ]
        with bootstrap.connect_owner(self.endpoints) as owner, owner.transaction(), owner.cursor() as cursor:
            cursor.executemany(
                "insert into felix.users (user_id, email_index, status, registered_at) values (%s, %s, %s, %s)",
                [(each.id, secrets.token_bytes(32), status, now) for each in made],
            )
            cursor.executemany(
                "insert into felix.memberships (tenant_id, user_id, role, expires_at, granted_at)"
                " values (%s, %s, %s, %s, %s)",
                [(PLATFORM if of_platform else tenant.tenant_id, each.id, role, member_until, now) for each in made],
            )
            cursor.executemany(
                "insert into felix.sessions (session_id, token_hash, user_id, method, second_factor, began_at,"
                " last_seen_at, expires_at, stepped_up_at, ended_at)"
                " values (%s, %s, %s, 'password', %s, %s, %s, %s, %s, %s)",
                [
                    (
                        each.session_id, hash_token(token), each.id, second_factor, now, now,
                        session_until or now + timedelta(hours=12), now if stepped_up else None,
                        now if session_ended else None,
                    )
                    for each, token in zip(made, tokens, strict=True)
                ],
            )  # fmt: skip
        return made

    def second_founder(self) -> Caller:
        """Another person with the founder's rights."""
        key, _ = make_key(self.performer, PLATFORM, "second", role="founder")
        return replace(self.founder, headers=self.founder.headers | {"Authorization": f"Bearer {key}"})


def make_app(settings: Settings) -> FastAPI:
    """The application as ``felix.asgi`` makes it, on given settings."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with bootstrap.open_services(settings) as services:
            app.state.services = services
            yield

    return create_app(lifespan)


@contextmanager
def open_world(database: str, *, read_timeout_s: float = 5.0) -> Iterator[World]:
    """Run Felix on a migrated database, and its projections beside it."""
    settings = Settings(
        _env_file=None,
        database_url=database,
        partitions=PARTITIONS,
        read_timeout_s=read_timeout_s,
        root_key=new_root_key(),
        limit_strangers_per_minute=1_000_000,
        data_dir=Path(mkdtemp(prefix="felix-world-")),
    )
    endpoints = bootstrap.Endpoints.locate(settings)
    app = make_app(settings)
    runner = bootstrap.open_runner(endpoints, partitions=PARTITIONS)
    runner.start()
    try:
        with TestClient(app, raise_server_exceptions=False) as client:
            key, _ = make_key(app.state.services.performer, PLATFORM, "founder", role="founder")
            anybody = Caller(client, {"Authorization": f"Bearer {key}"})
            bakery, garage = (_onboard(app, client, anybody) for _ in range(2))
            founder = anybody.about(bakery)
            for tenant in (bakery, garage):
                founder.about(tenant).done("/v1/rate-cards/default/versions", {"prices": PRICES})
            yield World(client, endpoints, app, founder, bakery, garage, settings)
    finally:
        with suppress(Exception):
            runner.stop()
        rmtree(settings.data_dir)


def _onboard(app: FastAPI, client: TestClient, founder: Caller) -> Caller:
    made = founder.done("/v1/tenants", {"slug": f"client-{next(_slugs)}", "name": "A client"})
    key, _ = make_key(app.state.services.performer, UUID(made["tenant_id"]), "test")
    return Caller(client, {"Authorization": f"Bearer {key}"}, made["tenant_id"])
