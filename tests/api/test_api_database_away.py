"""The database is away: 503 with Retry-After, and the same key has exactly one effect afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from felix_world import Caller, World, new_key

from felix.application import performer as performer_module


@contextmanager
def database_away(world: World) -> Iterator[None]:
    """Nobody gets in, and whoever is in is thrown out."""
    parts = psycopg.conninfo.conninfo_to_dict(world.endpoints.database_url)
    admin = psycopg.conninfo.make_conninfo(world.endpoints.database_url, dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        name = psycopg.sql.Identifier(str(parts["dbname"]))
        connection.execute(psycopg.sql.SQL("alter database {} allow_connections false").format(name))
        try:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (parts["dbname"],)
            )
            yield
        finally:
            connection.execute(psycopg.sql.SQL("alter database {} allow_connections true").format(name))


@pytest.fixture
def patient(own_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A Felix of its own whose readers give up on a connection sooner than in production."""
    from felix.projections import tenant_tx

    monkeypatch.setattr(tenant_tx, "CHECKOUT_TIMEOUT_S", 0.3)
    return own_world


def until(caller: Caller, path: str, status: int = 200) -> None:
    deadline = time.monotonic() + 20
    while (answered := caller.get(path)).status_code != status:
        assert time.monotonic() < deadline, answered.text
        time.sleep(0.05)


def test_while_the_database_is_away_writes_and_reads_are_503_and_the_same_key_works_afterwards(patient: World) -> None:
    bakery, founder = patient.bakery, patient.founder
    account = f"/v1/token-accounts/{bakery.open_account(founder, 1_000)}"
    key, debit = new_key(), {"meter": "m", "amount_mtok": 10}
    bakery.done(f"{account}/debits", debit)  # so that key, tenant and connections are warm
    with database_away(patient):
        for answered in (
            bakery.post(f"{account}/debits", debit, key),
            bakery.post(f"{account}/debits", debit, key),
            bakery.get(account),
            bakery.get("/v1/events"),
            founder.post("/v1/tenants", {"slug": "not-now", "name": "Not now"}, key),
        ):
            assert (answered.status_code, answered.json()["code"]) == (503, "unavailable"), answered.text
            assert int(answered.headers["retry-after"]) >= 1
            assert "postgres" not in answered.text.lower()
        ready = patient.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
        assert patient.client.get("/healthz").status_code == 200
    until(bakery, "/v1/meters")
    done = bakery.post(f"{account}/debits", debit, key)
    assert (done.status_code, "idempotent-replayed" in done.headers) == (201, False)
    assert bakery.post(f"{account}/debits", debit, key).content == done.content
    assert bakery.seen(f"{account}?at_position={10**17}")["balance"]["available_mtok"] == 980
    assert founder.post("/v1/tenants", {"slug": "not-now", "name": "Not now"}, key).status_code == 201
    assert patient.client.get("/readyz").status_code == 200


def test_every_connection_cut_at_once_is_at_most_a_503(patient: World) -> None:
    bakery = patient.bakery
    account = f"/v1/token-accounts/{bakery.open_account(patient.founder, 1_000)}"
    for _ in range(3):
        with database_away(patient):
            pass
        key, debit = new_key(), {"meter": "m", "amount_mtok": 10}
        statuses = [bakery.post(f"{account}/debits", debit, key).status_code]
        while statuses[-1] == 503:
            time.sleep(0.05)
            statuses.append(bakery.post(f"{account}/debits", debit, key).status_code)
        assert statuses[-1] == 201, statuses
    until(bakery, "/v1/meters")
    assert bakery.seen(f"{account}?at_position={10**17}")["balance"]["available_mtok"] == 970


def test_when_it_shuts_down_it_says_so_and_keeps_the_key_usable(own_world: World) -> None:
    bakery = own_world.bakery
    account = f"/v1/token-accounts/{bakery.open_account(own_world.founder, 1_000)}"
    services = own_world.app.state.services
    performer, key, debit = services.performer, new_key(), {"meter": "m", "amount_mtok": 10}
    performer.close()
    answered = bakery.post(f"{account}/debits", debit, key)
    assert (answered.status_code, answered.json()["code"], answered.headers["retry-after"]) == (503, "unavailable", "2")
    services.performer = performer_module.Performer(performer._open_log, services.partition_of)
    assert bakery.post(f"{account}/debits", debit, key).status_code == 201
    services.performer.close()
