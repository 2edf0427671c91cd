"""API keys over HTTP: shown once, limited by scopes, rotated without a gap, and dead everywhere within a second."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from felix_world import Caller, World, new_key, open_world

from felix import bootstrap
from felix.api.auth import BELIEVED_FOR_S
from felix.api.key_uses import LastUses
from felix.domain.errors import Unavailable
from felix.eventstore.api_keys import hash_key, well_formed

KEYS = "/v1/api-keys"


@pytest.fixture
def owner(world: World) -> Caller:
    """Somebody who owns the bakery and has just proved it."""
    return world.person("client_owner", stepped_up=True)


def holder(world: World, made: dict[str, Any]) -> Caller:
    """Whoever has a key that was just made."""
    return Caller(world.client, {"Authorization": f"Bearer {made['key']}"}, world.bakery.tenant_id, made["key_id"])


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def listed(caller: Caller, key_id: str) -> dict[str, Any]:
    (found,) = (row for row in caller.seen(KEYS)["data"] if row["key_id"] == key_id)
    return dict(found)


# --- making -------------------------------------------------------------------------------------------------


def test_an_owner_makes_a_key_that_works_and_is_shown_once(world: World, owner: Caller) -> None:
    sent = new_key()
    answered = owner.post(KEYS, {"label": "shop", "expires_at": in_an_hour()}, sent)
    made = answered.json()
    assert answered.status_code == 201 and well_formed(made["key"])
    assert holder(world, made).get("/v1/meters").status_code == 200
    again = owner.post(KEYS, {"label": "shop", "expires_at": made["expires_at"]}, sent)
    assert again.status_code == 201 and again.headers["idempotent-replayed"] == "true"
    assert again.json() == {name: value for name, value in made.items() if name != "key"}
    shown = listed(owner, made["key_id"])
    assert shown["status"] == "active" and made["key"] not in owner.get(KEYS).text


def test_no_table_holds_a_key_and_only_one_its_hash(world: World, owner: Caller) -> None:
    made = owner.done(KEYS, {"label": "secret"})
    held = hash_key(made["key"])
    with bootstrap.connect_owner(world.endpoints) as connection:
        tables = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('felix', 'read')"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f"select to_jsonb(t)::text from {table} t").fetchall()
            text = "\n".join(row for (row,) in rows)
            assert made["key"] not in text and made["key"].encode().hex() not in text, table
            assert (held.hex() in text) == (table == "felix.api_keys"), table


def test_who_is_not_an_owner_or_has_not_stepped_up_makes_none(world: World) -> None:
    for role in ("client_member", "client_approver", "auditor", "founder_readonly"):
        assert world.person(role, stepped_up=True).post(KEYS, {"label": "x"}).status_code == 403, role
    refused = world.person("client_owner").post(KEYS, {"label": "x"})
    assert (refused.status_code, refused.json()["code"]) == (403, "step_up_needed")
    assert world.bakery.post(KEYS, {"label": "x"}).status_code == 403


def test_a_key_does_what_its_scopes_leave(world: World, owner: Caller) -> None:
    made = owner.done(KEYS, {"label": "meter", "scopes": ["*.read", "ledger.debit_tokens"]})
    limited, account = holder(world, made), world.bakery.open_account(world.founder, 10)
    assert limited.get("/v1/token-accounts").status_code == 200
    limited.done(f"/v1/token-accounts/{account}/debits", {"meter": "m", "amount_mtok": 1})
    refused = limited.post("/v1/token-accounts", {"name": "another"})
    assert (refused.status_code, refused.json()["code"]) == (403, "out_of_scope")
    # Its role may not grant, whatever the scopes say.
    granting = owner.done(KEYS, {"label": "ledger", "scopes": ["ledger.*"]})
    refused = holder(world, granting).post(f"/v1/token-accounts/{account}/grants", {"amount_mtok": 1})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"label": "x", "scopes": ["ledger.reed"]},
        {"label": "x", "scopes": "*.read"},
        {"label": "x", "role": "client_owner"},
        {"label": "x", "expires_at": "soon"},
        {"label": "x", "key": "fx_live_" + "0" * 36},
    ],
)
def test_what_is_no_key_is_not_made(body: Any, owner: Caller) -> None:
    assert owner.post(KEYS, body).status_code == 422


def test_a_key_makes_none_that_can_do_more_than_itself(world: World, founder: Caller) -> None:
    of_platform = replace(founder, headers=founder.headers | {"Felix-Tenant": "felix-platform"})
    made = of_platform.done(
        KEYS, {"label": "deployer", "role": "founder", "scopes": ["identity.*", "*.read"], "expires_at": in_an_hour()}
    )
    deployer = replace(founder, headers=founder.headers | {"Authorization": f"Bearer {made['key']}"})
    for wider in ({}, {"scopes": ["ledger.*"]}, {"scopes": ["*.read"]}):
        refused = deployer.post(KEYS, {"label": "x"} | wider)
        assert (refused.status_code, refused.json()["code"]) == (403, "more_than_its_maker"), wider
    deployer.done(KEYS, {"label": "x", "scopes": ["ledger.read"], "expires_at": made["expires_at"]})
    wide = founder.done(KEYS, {"label": "wide"})
    assert deployer.post(f"{KEYS}/{wide['key_id']}/rotate").json()["code"] == "more_than_its_maker"


# --- the platform -------------------------------------------------------------------------------------------


def test_founders_make_keys_of_the_platform(world: World, founder: Caller) -> None:
    of_platform = replace(founder, headers=founder.headers | {"Felix-Tenant": "felix-platform"})
    made = of_platform.done(KEYS, {"label": "monitoring", "role": "founder_readonly"})
    watcher = replace(founder, headers=founder.headers | {"Authorization": f"Bearer {made['key']}"})
    assert watcher.get("/v1/tenants").status_code == watcher.get("/v1/token-accounts").status_code == 200
    assert watcher.post("/v1/token-accounts", {"name": "x"}).status_code == 403
    assert of_platform.post(KEYS, {"label": "x"}).json()["code"] == "role_out_of_place"
    assert founder.post(KEYS, {"label": "x", "role": "founder"}).json()["code"] == "role_out_of_place"
    assert {row["role"] for row in of_platform.seen(KEYS)["data"]} == {"founder", "founder_readonly"}
    of_all = replace(founder, headers={"Authorization": founder.headers["Authorization"]})
    assert {"tenant_id" in row for row in of_all.seen(KEYS)["data"]} == {True, False}


def test_no_client_names_the_platform_or_another_client(world: World, owner: Caller, garage: Caller) -> None:
    unknown = owner.get(KEYS, Felix_Tenant="nobody")
    assert unknown.status_code == 404
    for name in ("felix-platform", garage.tenant_id):
        for caller in (owner, world.bakery):
            answered = caller.get("/v1/meters", Felix_Tenant=name)
            assert (answered.status_code, answered.content.replace(name.encode(), b"nobody")) == (404, unknown.content)
    assert world.bakery.get("/v1/meters", Felix_Tenant=world.bakery.tenant_id).status_code == 200


@pytest.mark.parametrize("what", ["rotate", "revoke"])
def test_a_key_of_another_client_looks_like_one_that_never_was(what: str, world: World, owner: Caller) -> None:
    theirs = world.person("client_owner", world.garage, stepped_up=True).done(KEYS, {"label": "theirs"})
    nobodys = "key_" + "0" * 32
    foreign, unknown = (owner.post(f"{KEYS}/{key_id}/{what}") for key_id in (theirs["key_id"], nobodys))
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content.replace(theirs["key_id"].encode(), nobodys.encode()) == unknown.content
    malformed = owner.post(f"{KEYS}/key_x/{what}")
    assert malformed.content.replace(b"key_x", nobodys.encode()) == unknown.content
    assert theirs["key_id"] not in owner.get(KEYS).text
    assert holder(world, theirs).get("/v1/meters").status_code == 200


def test_keys_are_listed_page_by_page(owner: Caller) -> None:
    made = [owner.done(KEYS, {"label": f"number {number}"})["key_id"] for number in range(3)]
    first = owner.seen(f"{KEYS}?limit=2")
    second = owner.seen(f"{KEYS}?limit=2&cursor={first['next']}")
    assert [row["key_id"] for row in first["data"] + second["data"]][:3] == made[::-1]


# --- rotating and revoking ----------------------------------------------------------------------------------


def test_a_rotated_key_and_its_successor_work_side_by_side(world: World, owner: Caller) -> None:
    old = owner.done(KEYS, {"label": "shop", "scopes": ["metering.*"]})
    answered = owner.post(f"{KEYS}/{old['key_id']}/rotate", {"overlap_s": 3600})
    new = answered.json()
    assert answered.status_code == 201 and new["rotated_from"] == old["key_id"] and new["scopes"] == old["scopes"]
    time.sleep(BELIEVED_FOR_S)
    for made in (old, new):
        assert holder(world, made).get("/v1/meters").status_code == 200
    assert listed(owner, old["key_id"])["expires_at"] is not None and listed(owner, new["key_id"])["expires_at"] is None
    assert owner.post(f"{KEYS}/{old['key_id']}/rotate").json()["code"] == "api_key_has_a_successor"
    owner.done(f"{KEYS}/{new['key_id']}/revoke", {"reason": "it was in a log"})
    assert listed(owner, new["key_id"])["status"] == "revoked"
    assert owner.post(f"{KEYS}/{new['key_id']}/rotate").json()["code"] == "api_key_has_ended"


def test_a_key_that_is_older_than_its_events_is_rotated_and_revoked_like_others(world: World, owner: Caller) -> None:
    for what in ("rotate", "revoke"):
        key_id = f"key_{os.urandom(8).hex()}"
        with bootstrap.connect_owner(world.endpoints) as connection:
            connection.execute(
                "insert into felix.api_keys (key_hash, key_id, role, tenant_id, label) values (%s, %s, %s, %s, %s)",
                (os.urandom(32), key_id, "service", world.bakery.tenant_id, "of old"),
            )
        owner.done(f"{KEYS}/{key_id}/{what}")
        events = owner.seen(f"/v1/streams/{world.bakery.tenant_id}:api_key:{key_id}/events")["data"]
        assert [event["type"] for event in events] == ["identity.api_key_created", f"identity.api_key_{what}d"]


@contextmanager
def process(world: World, directory: Path) -> Iterator[httpx.Client]:
    """One more process that serves the world's database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FELIX_")}
    settings = {"FELIX_DATABASE_URL": world.endpoints.database_url, "FELIX_DATA_DIR": str(directory)}
    with socket.create_server(("127.0.0.1", 0)) as listening, (directory / "output").open("wb") as output:
        serving = subprocess.Popen(
            [sys.executable, "-m", "felix.cli.serve", "--fd", str(listening.fileno())],
            env=kept | settings, pass_fds=[listening.fileno()], cwd=directory, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
                yield client
        finally:
            serving.kill()
            serving.wait()


def test_expired_and_revoked_keys_are_dead_within_a_second_in_every_process(world: World, tmp_path: Path) -> None:
    owner = world.person("client_owner", stepped_up=True)
    with ExitStack() as stack:
        clients = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            clients.append(stack.enter_context(process(world, tmp_path / name)))

        def statuses(key: str) -> list[int]:
            headers = {"Authorization": f"Bearer {key}"}
            return [client.get("/v1/meters", headers=headers).status_code for client in clients]

        keys = {how: owner.done(KEYS, {"label": how}) for how in ("kept", "revoked", "rotated")}
        assert all(statuses(made["key"]) == [200, 200] for made in keys.values())
        expires_at = datetime.now(UTC) + timedelta(seconds=1)
        keys["expired"] = owner.done(KEYS, {"label": "expired", "expires_at": expires_at.isoformat()})
        assert statuses(keys["expired"]["key"]) == [200, 200]
        owner.done(f"{KEYS}/{keys['revoked']['key_id']}/revoke")
        owner.done(f"{KEYS}/{keys['rotated']['key_id']}/rotate", {"overlap_s": 0})
        time.sleep(max(BELIEVED_FOR_S, (expires_at - datetime.now(UTC)).total_seconds()))
        told = {how: statuses(made["key"]) for how, made in keys.items()}
    assert told == {"kept": [200, 200], "revoked": [401, 401], "rotated": [401, 401], "expired": [401, 401]}


# --- when it was last used ----------------------------------------------------------------------------------


def test_a_process_that_stops_has_written_down_when_keys_were_used(database: str) -> None:
    with open_world(database) as world:
        began_at = datetime.now(UTC)
        made = world.founder.done(KEYS, {"label": "used"})
        unused = world.founder.done(KEYS, {"label": "unused"})
        assert holder(world, made).get("/v1/meters").status_code == 200
        assert listed(world.founder, made["key_id"])["last_used_at"] is None
    with bootstrap.connect_owner(world.endpoints) as connection:
        used = dict(connection.execute("select key_id, last_used_at from felix.api_keys").fetchall())
    assert used[made["key_id"]] >= began_at and used[unused["key_id"]] is None  # type: ignore[operator]


def test_uses_are_written_now_and_then_and_kept_while_they_can_not_be() -> None:
    moments = [datetime(2026, 1, 1, 12, number, tzinfo=UTC) for number in range(3)]
    collected, written, away = {"key_a": moments[0]}, [], True

    def take() -> dict[str, datetime]:
        taken = dict(collected)
        collected.clear()
        return taken

    def write(uses: Any) -> None:
        if away:
            raise Unavailable()
        written.append(uses)

    async def live() -> None:
        nonlocal away
        uses = LastUses(take, write, every_s=0.001)
        await uses.write_down()
        collected.update({"key_a": moments[1], "key_b": moments[2]})
        away = False
        uses.start()
        async with asyncio.timeout(10):
            while not written:
                await asyncio.sleep(0.001)
        collected["key_c"] = moments[0]
        await uses.close()

    asyncio.run(live())
    told = {key_id: at for uses in written for key_id, at in uses.items()}
    assert told == {"key_a": moments[1], "key_b": moments[2], "key_c": moments[0]}


def test_an_earlier_use_does_not_hide_a_later_one(world: World, owner: Caller) -> None:
    key_id = owner.done(KEYS, {"label": "busy"})["key_id"]
    late, early = (datetime(2026, 1, day, tzinfo=UTC) for day in (2, 1))
    book = bootstrap.open_key_uses(world.endpoints)
    for at in (late, early):
        book.write({key_id: at, "key_unknown": at})
    book.close()
    assert datetime.fromisoformat(listed(owner, key_id)["last_used_at"]) == late


# --- keys in the wrong place --------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]


def test_scanners_find_every_planted_key_and_no_lookalike(world: World) -> None:
    """The pattern is the one that ``docs/access.md`` gives to scanners."""
    (published,) = re.findall(r"^    (fx_live_\S+)$", (ROOT / "docs" / "access.md").read_text(), re.M)
    planted = planted_keys(100)
    files = [PLACES[number % len(PLACES)].format(key) for number, key in enumerate(planted)]
    lookalikes = [PLACES[number % len(PLACES)].format(key[:-1] + other(key[-1])) for number, key in enumerate(planted)]
    found = [key for text in files for key in re.findall(published, text) if well_formed(key)]
    assert found == planted
    assert [key for text in lookalikes for key in re.findall(published, text) if well_formed(key)] == []
    assert all(re.search(published, text) for text in lookalikes)


def planted_keys(number: int) -> list[str]:
    from felix.eventstore.api_keys import new_key

    return [new_key() for _ in range(number)]


def other(character: str) -> str:
    return "1" if character != "1" else "2"


PLACES = [
    "FELIX_KEY={}\n",
    'headers = {{"Authorization": "Bearer {}"}}\n',
    "  api_key: {}  # shop\n",
    "https://felix.example/v1/live?key={}&topics=balances",
    '{{"key":"{}","label":"shop"}}',
    "-----\nMY_{}_BACKUP\n",
    "2026-01-31T12:00:00Z ERROR request failed token={};retrying",
    "<add key='felix' value='{}'/>",
    "curl -H 'Authorization: Bearer {}' -d @body.json",
    "x{}",
]
