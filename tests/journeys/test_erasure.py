"""Somebody comes, is erased, and nobody finds them any more: not in tables, Valkey and files, nor in a backup."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from canary import Canary, everywhere
from psycopg.rows import dict_row
from running_felix import RunningFelix, eventually, post

from felix.cli.restore import make_plan
from felix.domain.identity.roles import PLATFORM
from felix.embedded.backup_store import BackupStore
from felix.embedded.placement import cleared
from felix.embedded.restore import restore
from felix.eventstore.erasure_key import ErasureKeyFile
from felix.eventstore.sealing import RootKeys
from felix.eventstore.vault import Vault
from felix.settings import Settings

TENANT = "bakery"
NAME, EMAIL = "Wilhelmina Zwetschgenknoedel", "wilhelmina.zwetschgenknoedel@canary-mail.example"
OTHER_NAME, OTHER_EMAIL = "Ottilie Quarkstrudel", "ottilie.quarkstrudel@canary-mail.example"
PASSWORD = "a long horse, a battery and 7 staples"
#: Hexadecimal and base64 tell upper from lower case.
CANARY = Canary("Zwetschgenknoedel", "zwetschgenknoedel", "ZWETSCHGENKNOEDEL")
SEALED_ROWS = (
    "select v.*, k.sealed_key from felix.vault v join felix.subject_keys k using (partition, tenant_id, subject_id)"
)


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in."""

    user_id: str
    headers: dict[str, str]


def join(felix: RunningFelix, name: str, email: str) -> Person:
    """Be invited, follow the link of the mail, and be a member who is signed in."""
    with felix.founder() as founder:
        invited = post(founder, "/v1/invitations", {"email": email, "role": "client_owner"}, TENANT)
        assert invited.status_code == 201, invited.text
        token = token_of(felix, invited.json()["invitation_id"])
    with httpx.Client(base_url=felix.url, timeout=20, trust_env=False) as browser:
        accepted = browser.post(
            "/v1/invitations/accept",
            json={"token": token, "name": name, "password": PASSWORD},
            headers={"Sec-Fetch-Site": "same-origin", "Idempotency-Key": uuid4().hex},
        )
        assert accepted.status_code == 201, accepted.text
        cookie = next(cookie for cookie in accepted.headers.get_list("set-cookie") if "session=" in cookie)
    headers = {"Cookie": cookie.partition(";")[0], "Sec-Fetch-Site": "same-origin"}
    return Person(accepted.json()["user_id"], headers)


def token_of(felix: RunningFelix, about: str) -> str:
    """The token of the link in the newest mail about somebody."""
    folder = felix.data_dir / "mail" / about
    eventually(lambda: any(folder.glob("*.eml")), told=lambda: f"no mail in {folder}")
    mail = message_from_bytes(max(folder.glob("*.eml")).read_bytes(), policy=policy.default)
    found = re.search(r"#([A-Za-z0-9_-]{43})", mail.get_body().get_content())  # type: ignore[union-attr]
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def person(running: RunningFelix) -> Person:
    """Somebody with everything that can be kept of a person."""
    with running.founder() as founder:
        assert post(founder, "/v1/tenants", {"slug": TENANT, "name": "The Bakery"}).status_code == 201
    joined = join(running, NAME, EMAIL)
    with httpx.Client(base_url=running.url, timeout=20, trust_env=False) as browser:
        same = {"Sec-Fetch-Site": "same-origin"}
        wrong = browser.post("/v1/sign-in", json={"email": EMAIL, "password": "wrong horse, wrong"}, headers=same)
        assert wrong.status_code == 401
        assert browser.post("/v1/magic-links", json={"email": EMAIL}, headers=same).status_code in (200, 202)
        known = browser.get("/v1/me/data", headers=joined.headers)
        assert known.status_code == 200 and known.json()["personal"]["name"]["value"] == NAME
    token_of(running, joined.user_id)
    return joined


@pytest.fixture
def planted(running: RunningFelix) -> Iterator[list[str]]:
    """Plain copies where something could forget to go, and how the search must name them."""
    run = json.loads((running.data_dir / "run.json").read_text())
    job, key, log = uuid4(), "a-forgotten-cache", running.data_dir / "logs" / "forgotten.log"
    with (
        psycopg.connect(run["database_url"], autocommit=True) as connection,
        redis.Redis.from_url(run["redis_url"]) as valkey,
    ):
        connection.execute(
            "insert into felix.jobs (partition, job_id, kind, payload, due_at, max_attempts, origin)"
            " values (0, %s, 'test', %s, 'infinity', 1, 'test')",
            (job, json.dumps({"to": EMAIL})),
        )
        connection.execute("create table public.forgotten as select convert_to(%s, 'UTF8') as name", (NAME,))
        valkey.hset(key, "who", NAME)
        log.write_text(f'{{"to": "{EMAIL.upper()}"}}\n')
        yield ["table felix.jobs", "table public.forgotten", f"valkey {key}", "file logs/forgotten.log"]
        connection.execute("delete from felix.jobs where job_id = %s", (job,))
        connection.execute("drop table public.forgotten")
        valkey.delete(key)
        log.unlink()


def restored_rows(felix: RunningFelix, at: datetime) -> list[dict[str, Any]]:
    """The vault's rows of a moment that has passed, by the tools of Postgres alone."""
    store = BackupStore(felix.data_dir / "backups")
    with cleared(felix.data_dir / "looking") as scratch:
        plan, programs = make_plan(Settings(_env_file=None, data_dir=felix.data_dir), store, at)
        restored = restore(
            plan, programs, scratch, keys=store.keys_of(plan.backup), progress=lambda *said: None, durable=False
        )
        try:
            with psycopg.connect(restored.address.url("felix"), row_factory=dict_row) as connection:
                return connection.execute(SEALED_ROWS).fetchall()
        finally:
            restored.postgres.stop()


def in_clear(felix: RunningFelix) -> list[str]:
    """Where the canary is, without the mails that were left for whoever operates Felix."""
    return [place for place in everywhere(felix.data_dir, CANARY) if not place.startswith("file mail/")]


def test_nobody_but_the_vault_knows_a_person_while_they_are_here(running: RunningFelix, person: Person) -> None:
    assert in_clear(running) == []


def test_an_erased_person_is_found_nowhere_and_in_no_backup(running: RunningFelix, person: Person, home: Path) -> None:
    other = join(running, OTHER_NAME, OTHER_EMAIL)
    running.told("backup")
    key, stolen = running.data_dir / "erasure-key", home / "stolen-key"
    shutil.copy(key, stolen)
    before = datetime.now(UTC)
    dry = running.told("privacy", "erase", person.user_id, "--reason", "They asked.", "--dry-run")
    assert dry["would_go"]["felix.vault"] == 2 and dry["would_go"]["felix.sessions"] == 1 and dry["would_go"]["mails"]
    told = running.told("privacy", "erase", person.user_id, "--reason", "They asked.")
    assert told["result"]["status"] == "erased"
    file, root = ErasureKeyFile(key), RootKeys([(running.data_dir / "root-key").read_text()])
    eventually(lambda: not file.knows(str(PLATFORM), person.user_id))
    eventually(lambda: not list((running.data_dir / "mail").glob(f"{person.user_id}/*")))
    assert everywhere(running.data_dir, CANARY) == []
    with httpx.Client(base_url=running.url, timeout=20, trust_env=False) as browser:
        eventually(lambda: browser.get("/v1/me/data", headers=person.headers).status_code == 401)
        seen = browser.get("/v1/members", headers=other.headers).json()["data"]
    assert {row["user_id"]: row.get("name") for row in seen} == {person.user_id: None, other.user_id: OTHER_NAME}
    assert running.told("verify", "ledger")["consistent"]

    # Whoever has the backup and the root key reads everybody but her; with the erasure key of that time her as well.
    rows = restored_rows(running, before)
    assert Vault(root, ErasureKeyFile(stolen)).open(rows)[person.user_id]["email"] == EMAIL
    now = Vault(root, file).open(rows)
    assert now[other.user_id]["email"] == OTHER_EMAIL and person.user_id not in now

    copy = home / "copy"
    restored = running.told("restore", "--to", before.isoformat(), "--into", str(copy))
    assert restored["consistent"] and restored["erased_again"] == 1, "before anybody could ask"
    again = RunningFelix(home / "again", FELIX_DATA_DIR=str(copy), FELIX_BACKUP_DIR=str(home / "no-backups"))
    again.home.mkdir()
    again.data_dir = copy
    try:
        again.start()
        assert everywhere(copy, CANARY) == []
        exported = json.loads(again.felix("privacy", "export", other.user_id).stdout)
        assert exported["personal"]["email"]["value"] == OTHER_EMAIL, "of everybody else nothing is lost"
        erased = json.loads(again.felix("privacy", "export", person.user_id).stdout)
        assert erased["status"] == "erased" and erased["personal"] == {}
    finally:
        again.remember()
        again.clean_up()


def test_the_search_finds_what_was_forgotten_somewhere(
    running: RunningFelix, person: Person, planted: list[str]
) -> None:
    assert set(planted) <= set(in_clear(running))
