"""A running Felix to knock at: who calls, what they hold, and how a test waits for its own writes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from starlette.testclient import TestClient

from felix import bootstrap
from felix.api.app import create_app
from felix.eventstore.api_keys import create_key
from felix.eventstore.sealing import new_root_key
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
    """Somebody with a key. ``post`` makes up an idempotency key unless it is given one; None sends none."""

    client: TestClient
    headers: dict[str, str]
    tenant_id: str = ""

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

    def new_tenant(self) -> Caller:
        """Another client without accounts or rate card."""
        return _onboard(self.client, self.founder, self.endpoints)

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

    def second_founder(self) -> Caller:
        """Another person with the founder's rights."""
        with bootstrap.connect_owner(self.endpoints) as owner:
            key, _ = create_key(owner, "founder", None, "second")
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
    )
    endpoints = bootstrap.Endpoints.locate(settings)
    app = make_app(settings)
    runner = bootstrap.open_runner(endpoints, partitions=PARTITIONS)
    runner.start()
    try:
        with TestClient(app, raise_server_exceptions=False) as client:
            with bootstrap.connect_owner(endpoints) as owner:
                key, _ = create_key(owner, "founder", None, "founder")
            anybody = Caller(client, {"Authorization": f"Bearer {key}"})
            bakery, garage = (_onboard(client, anybody, endpoints) for _ in range(2))
            founder = anybody.about(bakery)
            for tenant in (bakery, garage):
                founder.about(tenant).done("/v1/rate-cards/default/versions", {"prices": PRICES})
            yield World(client, endpoints, app, founder, bakery, garage)
    finally:
        with suppress(Exception):
            runner.stop()


def _onboard(client: TestClient, founder: Caller, endpoints: bootstrap.Endpoints) -> Caller:
    made = founder.done("/v1/tenants", {"slug": f"client-{next(_slugs)}", "name": "A client"})
    with bootstrap.connect_owner(endpoints) as owner:
        key, _ = create_key(owner, "service", made["tenant_id"], "test")
    return Caller(client, {"Authorization": f"Bearer {key}"}, made["tenant_id"])
