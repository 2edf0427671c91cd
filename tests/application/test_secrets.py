"""Secrets are sealed where they are given, recorded before they are used, and open whatever was rotated or killed."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from offices import ACME, GLOBEX, PARTITIONS, Office, new_key, until

from felix import bootstrap
from felix.application.outcome import Outcome
from felix.application.performer import new_context
from felix.application.secrets import NotASecret, TenantSecretStore, User, setting, with_root_keys
from felix.domain.base import Command
from felix.domain.context.known_secrets import marks_of
from felix.domain.errors import Corrupt, NotFound, Unavailable
from felix.domain.secrets.tenant_secrets import EndSecretVersion, RemoveSecret, RotateTenantKey, SealSecretsAnew
from felix.eventstore import root_rotation
from felix.eventstore.connections import connect
from felix.eventstore.sealing import RootKeys, SealBroken, new_root_key
from felix.eventstore.tenant_secrets import MarkShelf, SecretShelf
from felix.settings import Settings

#: Nothing else looks like this, so it is found wherever it has got to.
CANARY = "ghp_CanaryInTheCoalMine0123456789abcdef"
DEPLOYER = User("policy:of_the_test", "job:81")


@dataclass
class Safe:
    """An office, and the secrets that its clients entrust to it."""

    office: Office
    keys: list[str]
    store: TenantSecretStore

    @property
    def root_keys(self) -> RootKeys:
        return RootKeys(self.keys)

    def perform(self, command: Command, tenant: UUID = ACME, enclosed: Any = None, key: str | None = None) -> Outcome:
        context = new_context(tenant, key or new_key(), "founder:a", enclosed=enclosed)
        return self.office.performer.perform_blocking(command, context, timeout_s=30)

    def put(
        self, value: str, name: str = "github", tenant: UUID = ACME, key: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        command, enclosed = setting(self.root_keys, tenant, {"name": name, **fields}, value)
        result: dict[str, Any] = self.perform(command, tenant, enclosed, key).result
        return result

    def get(self, name: str = "github", tenant: UUID = ACME) -> str:
        with self.store.use(tenant, name, purpose="test", user=DEPLOYER) as value:
            return value

    def rotate_key(self, tenant: UUID = ACME) -> int:
        version: int = self.perform(RotateTenantKey(), tenant, with_root_keys(self.root_keys)).result["key_version"]
        return version

    def seal_anew(self, key_version: int, tenant: UUID = ACME) -> Outcome:
        enclosed = self.store.under_old_keys(tenant, key_version)
        return self.perform(SealSecretsAnew(key_version=key_version), tenant, enclosed)

    def told(self, type_: str) -> list[tuple[Any, ...]]:
        return self.office.rows(
            "select actor, convert_from(state, 'UTF8')::json from felix.events where type = %s order by position", type_
        )

    def rotate_root(self) -> int:
        self.keys.insert(0, new_root_key())
        with self.owner() as owner:
            return root_rotation.seal_anew(owner, self.root_keys, lambda done, total: None)

    def owner(self) -> psycopg.Connection[Any]:
        return connect(self.office.database)


@pytest.fixture
def safe(office: Office, database: str) -> Iterator[Safe]:
    """A place for secrets, empty."""
    endpoints = bootstrap.Endpoints(database, None, None)
    directory = bootstrap.open_directory(endpoints, partitions=PARTITIONS)
    shelf = SecretShelf(lambda: connect(endpoints.as_role("felix_projector")))
    keys = [new_root_key()]
    yield Safe(office, keys, TenantSecretStore(office.performer, shelf, directory.partition_of, lambda: RootKeys(keys)))
    directory.close()


def test_what_was_set_is_handed_out_after_its_use_is_recorded(safe: Safe) -> None:
    assert safe.put(CANARY) == {"name": "github", "version": 1, "kind": "token"}
    with safe.store.use(ACME, "github", purpose="deploy", user=DEPLOYER) as value:
        ((actor, told),) = safe.told("secrets.secret_used")
        assert value == CANARY
    assert actor == "policy:of_the_test"
    assert told == {"name": "github", "versions": [1], "purpose": "deploy", "reference": "job:81"}


def test_without_a_record_nobody_gets_a_value(safe: Safe, database: str) -> None:
    safe.put(CANARY)
    with connect(database) as owner:
        owner.execute("revoke insert on felix.events from felix_writer")
        with pytest.raises(Unavailable):
            safe.get()
        owner.execute("grant insert on felix.events to felix_writer")
    assert safe.get() == CANARY, "with the record there is one"
    assert len(safe.told("secrets.secret_used")) == 1


def test_a_secret_is_found_in_texts_of_its_client_for_as_long_as_it_is_kept(safe: Safe, database: str) -> None:
    reader = bootstrap.Endpoints(database, None, None).as_role("felix_reader")
    shelf = MarkShelf(lambda: connect(reader), lambda: safe.root_keys)
    place = {tenant: (safe.store.partition_of(tenant), tenant) for tenant in (ACME, GLOBEX)}

    def names(value: str, tenant: UUID = ACME) -> str | None:
        return shelf.of(place[tenant]).named_in(f"token: {value}")

    first, second = CANARY, CANARY.replace("Canary", "Second")
    safe.put(first)
    safe.put("1234567", name="pin")
    assert names(first) == "github" and names(base64.b64encode(first.encode()).decode()) == "github"
    assert names(first, GLOBEX) is None and names("1234567") is None
    safe.put(second, overlap_s=3_600)
    assert names(first) == names(second) == "github"
    # Set before anything was marked: it is marked when the tenant's key is replaced.
    with safe.owner() as owner:
        owner.execute("delete from felix.secret_marks")
    assert names(second) is None
    assert safe.seal_anew(safe.rotate_key()).accepted
    assert names(first) == names(second) == "github"
    safe.rotate_root()
    assert names(second) == "github"
    third = CANARY.replace("Canary", "Others")
    safe.put(third)
    assert (names(first), names(second), names(third)) == (None, None, "github")
    assert safe.perform(RemoveSecret(name="github")).accepted
    assert names(third) is None


def test_marks_tell_nobody_a_value_and_each_reader_only_those_of_the_client_that_is_bound(
    safe: Safe, database: str
) -> None:
    for tenant in (ACME, GLOBEX):
        safe.put(CANARY, tenant=tenant)
    with safe.owner() as owner:
        rows = owner.execute("select tenant_id, head, size_chars, mark, m::text from felix.secret_marks m").fetchall()
    assert len({row[1] for row in rows}) == len({row[3] for row in rows}) == len(rows), "equal values have other marks"
    spelled = {CANARY, CANARY[:8], base64.b64encode(CANARY.encode()).decode()[:8]}
    assert not any(each in row[4] or each.encode() in row[1] + row[3] for row in rows for each in spelled)
    guessed = {mark.mark for mark in marks_of(b"\0" * 32, "github", CANARY)}
    assert guessed and not guessed & {row[3] for row in rows}
    endpoints = bootstrap.Endpoints(database, None, None)
    with connect(endpoints.as_role("felix_reader")) as reader, reader.transaction():
        reader.execute("select set_config('felix.tenant', %s, true)", (str(ACME),))
        assert set(reader.execute("select distinct tenant_id from felix.secret_marks")) == {(ACME,)}
    for role in ("felix_founder", "felix_projector"):
        with connect(endpoints.as_role(role)) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("select 1 from felix.secret_marks")


def test_each_client_gets_its_own_and_nobody_elses(safe: Safe) -> None:
    safe.put("acmes-token")
    safe.put("globexs-token", tenant=GLOBEX)
    assert (safe.get(), safe.get(tenant=GLOBEX)) == ("acmes-token", "globexs-token")
    safe.perform(RemoveSecret(name="github"))
    with pytest.raises(NotFound):
        safe.get()
    assert safe.get(tenant=GLOBEX) == "globexs-token"


@pytest.mark.parametrize(
    "move",
    [
        "update felix.tenant_secrets set tenant_id = %(globex)s where tenant_id = %(acme)s",
        "update felix.tenant_secrets set name = 'stripe'",
        "update felix.tenant_secrets set version = 2",
        "update felix.tenant_secrets set sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)",
        "update felix.tenant_keys set wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)",
    ],
)
def test_a_sealed_value_opens_nowhere_but_in_its_place(safe: Safe, move: str) -> None:
    safe.put(CANARY)
    safe.put(CANARY, "other", tenant=GLOBEX)
    shelf, places = safe.store.shelf, [(0, ACME), (0, GLOBEX)]
    (kept,) = shelf.versions(places[0], "github", [1])
    assert kept.open(safe.root_keys, ACME) == CANARY, "in its place it opens"
    with safe.owner() as owner:
        owner.execute("set role felix_owner")
        owner.execute(move.encode(), {"acme": ACME, "globex": GLOBEX})
    moved = [
        (each, tenant)
        for place in places
        for name in ("github", "stripe")
        for each in shelf.versions(place, name, [1, 2])
        for tenant in [place[1]]
    ]
    assert moved
    for each, tenant in moved:
        with pytest.raises(SealBroken):
            each.open(safe.root_keys, tenant)


def test_another_root_key_opens_nothing_and_stops_nobody_else(safe: Safe) -> None:
    safe.put(CANARY)
    stranger = TenantSecretStore(
        safe.store.performer, safe.store.shelf, safe.store.partition_of, lambda: RootKeys([new_root_key()])
    )
    with pytest.raises(SealBroken), stranger.use(ACME, "github", purpose="test", user=DEPLOYER):
        pass
    wrong = setting(RootKeys([new_root_key()]), ACME, {"name": "github"}, "x")
    with pytest.raises(Corrupt):
        safe.perform(wrong[0], enclosed=wrong[1])
    assert safe.get() == CANARY


def test_the_value_is_in_no_table_no_text_and_no_traceback(safe: Safe) -> None:
    command, enclosed = setting(safe.root_keys, ACME, {"name": "github"}, CANARY)
    context = new_context(ACME, new_key(), "founder:a", enclosed=enclosed)
    assert CANARY not in f"{command!r} {context!r} {command.model_dump_json()}"
    safe.office.performer.perform_blocking(command, context)
    safe.rotate_key()
    with safe.store.use(ACME, "github", purpose="test", user=DEPLOYER) as value:
        assert value == CANARY
    (kept,) = safe.store.shelf.versions((0, ACME), "github", [1])
    assert CANARY not in repr(kept) + repr(safe.store)
    try:
        setting(safe.root_keys, ACME, {"name": "github", "overlap_s": -1}, CANARY)
    except ValueError as error:
        assert CANARY not in "".join(traceback.format_exception(error))
    assert tables_with(safe, CANARY) == []
    safe.office.done(RemoveSecret(name="github", reason=CANARY))
    assert tables_with(safe, CANARY), "what is there is found"


def tables_with(safe: Safe, text: str) -> list[str]:
    """The tables that hold a text in clear, whatever its coat."""
    coats = [text.encode().hex(), base64.b64encode(text.encode()).decode()[:-4], text]
    found = []
    with safe.owner() as owner:
        owner.execute("set role felix_owner")
        tables = owner.execute(
            "select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables"
            " where schemaname in ('felix', 'read')"
        ).fetchall()
        owner.execute("reset role")
        for (table,) in tables:
            for row in owner.execute(f"select t::text from {table} t".encode()):
                if any(coat in row[0] for coat in coats):
                    found.append(table)
    return found


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", "token"),
        ("a" * (16 * 1024 + 1), "token"),
        ("ä" * (8 * 1024 + 1), "other"),
        ("a\0b", "other"),
        ("\ud800", "other"),
        (" padded", "token"),
        ("two\nlines", "password"),
        ("not a key", "private_key"),
        (None, "token"),
        (17, "token"),
        (["x"], "token"),
        (b"bytes", "token"),
    ],
)
def test_what_can_not_be_a_secret_is_refused_without_being_repeated(safe: Safe, value: object, kind: str) -> None:
    with pytest.raises(NotASecret) as refused:
        setting(safe.root_keys, ACME, {"name": "github", "kind": kind}, value)
    (error,) = refused.value.facts["errors"]
    assert error["pointer"] == "/value"
    if isinstance(value, str) and len(value) > 5:
        assert value not in str(refused.value) + str(refused.value.facts)


def test_the_same_key_with_another_value_is_another_request(safe: Safe) -> None:
    safe.put("one", key="again")
    assert safe.put("one", key="again")["version"] == 1
    with pytest.raises(Exception, match="value_digest differs"):
        safe.put("two", key="again")
    assert safe.get() == "one"


def test_an_overlap_hands_both_out_to_whoever_checks_and_one_to_whoever_signs(safe: Safe) -> None:
    safe.put("first", kind="signing_secret")
    safe.put("second", kind="signing_secret", overlap_s=3600)
    with safe.store.use_with_earlier(ACME, "github", purpose="webhook", user=DEPLOYER) as values:
        assert values == ("second", "first")
    assert safe.get() == "second"
    assert not safe.perform(EndSecretVersion(name="github", version=1)).accepted, "the overlap has not ended"
    safe.put("third")
    assert safe.office.rows("select version from felix.tenant_secrets") == [(3,)], "what is over is gone"


def test_a_new_key_of_a_tenant_seals_everything_and_the_old_one_is_gone(safe: Safe) -> None:
    values = {f"s{number}": f"value-{number}" for number in range(20)}
    for name, value in values.items():
        safe.put(value, name)
    version = safe.rotate_key()
    safe.put("set-meanwhile", "s3")
    assert {name: safe.get(name) for name in values} == values | {"s3": "set-meanwhile"}, "both keys open"
    assert safe.seal_anew(version).result == {"key_version": 2, "secrets": 19}
    assert safe.office.rows("select distinct key_version from felix.tenant_secrets") == [(2,)]
    assert safe.office.rows("select version from felix.tenant_keys") == [(2,)]
    assert {name: safe.get(name) for name in values} == values | {"s3": "set-meanwhile"}


def test_what_is_removed_while_it_is_sealed_anew_stays_removed(safe: Safe) -> None:
    safe.put("a", "a")
    safe.put("b", "b")
    version = safe.rotate_key()
    enclosed = safe.store.under_old_keys(ACME, version)
    safe.perform(RemoveSecret(name="a"))
    assert safe.perform(SealSecretsAnew(key_version=version), enclosed=enclosed).accepted
    assert safe.office.rows("select name from felix.tenant_secrets") == [("b",)]
    assert safe.get("b") == "b"


def test_a_key_that_something_is_still_sealed_with_is_not_deleted(safe: Safe) -> None:
    safe.put("a", "a")
    version = safe.rotate_key()
    enclosed = safe.store.under_old_keys(ACME, version) | {"secret.kept": []}
    assert safe.perform(SealSecretsAnew(key_version=version), enclosed=enclosed).accepted
    assert safe.office.rows("select version from felix.tenant_keys order by 1") == [(1,), (2,)]
    assert safe.get("a") == "a"


def test_many_at_once_make_one_key_and_lose_nothing(safe: Safe) -> None:
    names = [f"s{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: safe.put(f"value of {name}", name, kind="other"), names))
    assert safe.office.rows("select count(*) from felix.tenant_keys") == [(1,)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(safe.get, names)) == [f"value of {name}" for name in names]
    assert len(safe.told("secrets.secret_used")) == len(names)


def test_a_use_that_meets_a_rotation_gives_what_is_recorded_or_nothing(safe: Safe) -> None:
    safe.put("v1")
    stop = threading.Event()
    seen: list[str] = []

    def use() -> None:
        while not stop.is_set():
            try:
                seen.append(safe.get())
            except Unavailable as error:
                assert error.code == "secret_changed"

    thread = threading.Thread(target=use)
    thread.start()
    try:
        for number in range(2, 12):
            safe.put(f"v{number}")
        until(lambda: "v11" in seen, "the newest is used")
    finally:
        stop.set()
        thread.join()
    order = [int(value[1:]) for value in seen]
    assert order == sorted(order), "nobody gets an older one after a newer one"


# --- the root key -------------------------------------------------------------------------------------------


def test_a_new_root_key_wraps_every_key_and_finds_whom_the_old_one_indexed(safe: Safe) -> None:
    for tenant in (ACME, GLOBEX):
        safe.put(CANARY, tenant=tenant)
    index = safe.root_keys.index("email", "ada@example.com")
    assert safe.rotate_root() == 2
    assert safe.rotate_root() == 2
    assert safe.root_keys.index("email", "ada@example.com") == index
    newest = RootKeys(safe.keys[:1])
    for (wrapped,) in safe.office.rows("select wrapped from felix.tenant_keys"):
        assert newest.is_current(wrapped)
    assert safe.get() == CANARY
    with safe.owner() as owner:
        assert root_rotation.outdated(owner, safe.root_keys) == 0
        assert root_rotation.seal_anew(owner, safe.root_keys, lambda *_: None) == 0, "once is enough"


_ROTATE = """
import sys
from felix.eventstore import root_rotation
from felix.eventstore.connections import connect
from felix.eventstore.sealing import RootKeys
root_rotation.PAGE = 2
def told(done, total):
    print(done, flush=True)
    sys.stdin.readline()
root_rotation.seal_anew(connect(sys.argv[1]), RootKeys(sys.argv[2].split(",")), told)
"""


def test_a_rotation_that_is_killed_anywhere_loses_nothing_and_is_taken_up(safe: Safe, database: str) -> None:
    safe.put(CANARY)
    for _ in range(6):
        safe.rotate_key()
    safe.keys.insert(0, new_root_key())
    for pages in (0, 1, 2):
        process = subprocess.Popen(
            [sys.executable, "-c", _ROTATE, database, ",".join(safe.keys)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": ""},
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        for _ in range(pages):
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert safe.get() == CANARY
    with safe.owner() as owner:
        left = root_rotation.outdated(owner, safe.root_keys)
        assert 0 < left < 7, "some were done, and some were not"
        assert root_rotation.seal_anew(owner, safe.root_keys, lambda *_: None) == left
    safe.keys[1:] = []
    assert safe.get() == CANARY, "the new root key alone opens everything"


def test_a_process_that_runs_on_hears_of_a_new_root_key(tmp_path: Path) -> None:
    first, second = new_root_key(), new_root_key()
    path = tmp_path / bootstrap.ROOT_KEY_FILE
    path.write_text(first)
    follow = bootstrap.following_root_keys(Settings(_env_file=None, data_dir=tmp_path))
    sealed = follow().seal(b"x", "here")
    assert follow() is follow()
    renewed = tmp_path / "new"
    renewed.write_text(f"{second},{first}")
    renewed.rename(path)
    assert follow().unseal(sealed, "here") == b"x"
    assert not follow().is_current(sealed)
