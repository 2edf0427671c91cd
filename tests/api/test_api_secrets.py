"""Secrets over HTTP go in and never come out."""

from __future__ import annotations

import base64
import logging
from typing import Any

import psycopg
import pytest
from felix_world import Caller, World
from people_signing_in import Person, somebody

from felix.eventstore import root_rotation
from felix.eventstore.connections import connect
from felix.eventstore.sealing import RootKeys, new_root_key

CANARY = "sk_test_CanaryInTheCoalMine0123456789"


def test_a_secret_is_set_listed_and_removed(founder: Caller) -> None:
    made = founder.post("/v1/secrets/github", {"value": CANARY})
    assert (made.status_code, made.json()) == (200, {"name": "github", "version": 1, "kind": "token"})
    assert founder.done("/v1/secrets/github", {"value": CANARY, "overlap_s": 60})["version"] == 2
    last = founder.post("/v1/secrets/stripe.webhook", {"value": "whsec", "kind": "signing_secret"})
    found = founder.seen("/v1/secrets", last)
    assert [(row["name"], row["version"], row["kind"]) for row in found["data"]] == [
        ("github", 2, "token"),
        ("stripe.webhook", 1, "signing_secret"),
    ]
    github = found["data"][0]
    assert github["set_by"].startswith("founder:") and github["earlier_until"] and github["last_used_at"] is None
    assert CANARY not in str(found)
    removed = founder.post("/v1/secrets/github/remove", {"reason": "gone"})
    assert removed.json() == {"name": "github", "version": 2, "removed": True}
    assert [row["name"] for row in founder.seen("/v1/secrets", removed)["data"]] == ["stripe.webhook"]
    again = founder.post("/v1/secrets/github/remove")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


def test_a_list_comes_in_pages(founder: Caller, world: World) -> None:
    tenant = founder.about(world.new_tenant())
    for number in range(3):
        last = tenant.post(f"/v1/secrets/s{number}", {"value": "x"})
    page = tenant.seen("/v1/secrets?limit=2", last)
    assert ([row["name"] for row in page["data"]], page["next"]) == (["s0", "s1"], "s1")
    assert [row["name"] for row in tenant.seen("/v1/secrets?limit=2&cursor=s1")["data"]] == ["s2"]


def test_a_retry_gives_the_same_answer_and_another_value_is_another_request(founder: Caller) -> None:
    first = founder.post("/v1/secrets/retried", {"value": "one"}, key="retried")
    second = founder.post("/v1/secrets/retried", {"value": "one"}, key="retried")
    assert first.content == second.content and second.headers["idempotent-replayed"] == "true"
    other = founder.post("/v1/secrets/retried", {"value": "two"}, key="retried")
    assert (other.status_code, other.json()["code"]) == (422, "command_key_reused")
    assert "two" not in other.text


@pytest.mark.parametrize(
    ("path", "body", "status", "pointer"),
    [
        ("github", {}, 422, "/value"),
        ("github", {"value": ""}, 422, "/value"),
        ("github", {"value": None}, 422, "/value"),
        ("github", {"value": 17}, 422, "/value"),
        ("github", {"value": {"a": CANARY}}, 422, "/value"),
        ("github", {"value": f"{CANARY}\n"}, 422, "/value"),
        ("github", {"value": f"{CANARY}\x00"}, 422, "/value"),
        ("github", {"value": CANARY * 600}, 422, "/value"),
        ("github", {"value": CANARY, "kind": "private_key"}, 422, "/value"),
        ("github", {"value": CANARY, "kind": CANARY}, 422, "/kind"),
        ("github", {"value": CANARY, "overlap_s": 10**12}, 422, "/overlap_s"),
        ("github", {"value": CANARY, "value_digest": "0" * 64}, 422, "/value_digest"),
        ("github", {"value": CANARY, "name": "stripe"}, 422, "/name"),
        ("github", {"value": CANARY, "unknown": CANARY}, 422, "/unknown"),
        ("GitHub", {"value": CANARY}, 422, "/name"),
        ("a" * 65, {"value": CANARY}, 422, "/name"),
        ("github", [CANARY], 422, ""),
        ("github", f'{{"value": "{CANARY}", "value": "x"}}'.encode(), 422, ""),
        ("github", f'{{"value": "{CANARY}'.encode(), 422, ""),
        ("github", b'{"value": "' + b"x" * 70_000 + b'"}', 413, None),
    ],
)
def test_bad_input_is_named_and_never_repeated(
    founder: Caller, path: str, body: Any, status: int, pointer: str | None
) -> None:
    answered = founder.post(f"/v1/secrets/{path}", body)
    assert answered.status_code == status, answered.text
    assert CANARY not in answered.text
    if pointer is not None:
        assert [error["pointer"] for error in answered.json()["errors"]] == [pointer]


def test_only_who_decides_for_a_client_may_set_its_secrets(bakery: Caller) -> None:
    for answered in (
        bakery.post("/v1/secrets/github", {"value": "x"}),
        bakery.post("/v1/secrets/github/remove"),
        bakery.post("/v1/secret-key/rotate"),
        bakery.get("/v1/secrets"),
    ):
        assert answered.status_code == 403
    assert bakery.without_key().post("/v1/secrets/github", {"value": "x"}).status_code == 401


def test_the_platforms_own_secrets_are_in_its_tenant(founder: Caller) -> None:
    platform = {"Felix_Tenant": "felix-platform"}
    assert founder.done("/v1/secrets/github.app", {"value": "x"}, **platform)["version"] == 1
    assert "github.app" not in str(founder.seen("/v1/secrets"))


def test_the_value_is_nowhere(founder: Caller, world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        founder.post("/v1/secrets/canary", {"value": CANARY, "kind": "other"}),
        founder.post("/v1/secrets/canary", {"value": f"{CANARY}2", "kind": "other", "overlap_s": 3600}),
        founder.post("/v1/secrets/canary", {"value": CANARY, "kind": "nonsense"}),
        founder.post("/v1/secret-key/rotate"),
        founder.get("/v1/secrets", founder.post("/v1/secrets/other", {"value": "x"})),
        founder.get("/v1/events?limit=1000"),
        founder.get("/v1/audit"),
    ]
    assert answers[0].status_code == answers[1].status_code == answers[3].status_code == 200
    assert [answer.status_code for answer in answers if CANARY in answer.text] == []
    assert CANARY not in caplog.text
    with psycopg.connect(world.endpoints.database_url) as owner:
        for (table,) in owner.execute(
            "select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables"
            " where schemaname in ('felix', 'read')"
        ).fetchall():
            for coat in (CANARY, CANARY.encode().hex()):
                hits = owner.execute(
                    f"select count(*) from {table} t where t::text like %s".encode(), (f"%{coat}%",)
                ).fetchone()
                assert hits == (0,), table


def test_whatever_the_root_key_has_sealed_is_sealed_anew_with_the_next(own_world: World) -> None:
    own_world.founder.done("/v1/secrets/github", {"value": CANARY})
    person = somebody(own_world)
    browser = person.browser()
    browser.done("/v1/step-up", {"password": person.password})
    person.enrol(browser)
    old = own_world.app.state.services.root_keys()
    newest, oldest = new_root_key(), base64.b64encode(old._keys[old.current]).decode()
    both = RootKeys([newest, oldest])
    with connect(own_world.endpoints.database_url) as owner:
        before = columns_sealed_with(owner, old)
        assert before == {f"felix.{each.table}.{each.column}" for each in root_rotation.SEALED_COLUMNS}
        assert root_rotation.seal_anew(owner, both, lambda done, total: None) >= len(before)
        assert columns_sealed_with(owner, old) == set()
        assert columns_sealed_with(owner, RootKeys([newest])) == before
    own_world.app.state.services.root_keys = lambda: both
    assert Person(own_world, person.user_id, person.email, totp_secret=person.totp_secret).browser(totp=person.code())


def columns_sealed_with(owner: psycopg.Connection[Any], keys: RootKeys) -> set[str]:
    """Columns of tables beside the log in which something is sealed with a root key, told by what it begins with."""
    found = set()
    columns = owner.execute(
        "select table_name, column_name from information_schema.columns where table_schema = 'felix'"
        " and data_type = 'bytea' and table_name not in ('events', 'commands', 'snapshots')"
    ).fetchall()
    for table, column in columns:
        query = f"select count(*) from felix.{table} where substring({column} for 5) = %s"
        if owner.execute(query.encode(), (b"\x01" + keys.current,)).fetchone() != (0,):
            found.add(f"felix.{table}.{column}")
    return found
