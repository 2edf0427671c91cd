"""`felix secrets`: values come from standard input and go nowhere, keys are rotated without anybody noticing."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from uuid import UUID

import pytest
from command_line import CommandLine

from felix import bootstrap
from felix.application.secrets import User
from felix.eventstore.sealing import RootKeys, new_root_key
from felix.settings import Settings

CANARY = "whsec_CanaryInTheCoalMine0123456789"


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> object:
    """What is said on standard input."""

    def saying(value: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(value)))

    return saying


@pytest.fixture
def root_key(felix: CommandLine) -> Path:
    """The file of the root key, as `felix up` makes it."""
    path = felix.home / "data" / bootstrap.ROOT_KEY_FILE
    path.parent.mkdir()
    path.write_text(new_root_key() + "\n")
    felix.done("tenants", "add", "Acme Ltd")
    return path


def value_of(felix: CommandLine, name: str) -> str:
    """What an adapter gets."""
    directory = bootstrap.open_directory(felix.endpoints, partitions=4)
    performer = bootstrap.open_performer(felix.endpoints, directory.partition_of)
    try:
        (tenant,) = directory.all()
        store = bootstrap.open_secrets(felix.endpoints, performer, directory.partition_of, Settings())
        with store.use(UUID(str(tenant.tenant_id)), name, purpose="test", user=User("policy:test")) as value:
            return value
    finally:
        performer.close()
        directory.close()


def test_a_value_comes_from_standard_input_and_is_printed_nowhere(
    felix: CommandLine, root_key: Path, say: object
) -> None:
    say(f"{CANARY}\n".encode())  # type: ignore[operator]
    said = felix("secrets", "set", "stripe.webhook", "--kind", "signing_secret")
    assert said.code == 0 and CANARY not in said.out + said.err
    assert value_of(felix, "stripe.webhook") == CANARY, "without the line's end"
    felix.retell()
    listed = felix("secrets", "list")
    assert "stripe.webhook" in listed.out and CANARY not in listed.out
    (row,) = felix.done("secrets", "list")
    assert (row["version"], row["uses"], row["last_used_for"]) == (1, 1, "test")
    assert felix.done("secrets", "remove", "stripe.webhook")["result"]["removed"] is True
    felix.retell()
    assert felix.done("secrets", "list") == []


def test_a_plan_of_it_does_not_show_it(felix: CommandLine, root_key: Path, say: object) -> None:
    say(CANARY.encode())  # type: ignore[operator]
    said = felix("secrets", "set", "github", "--dry-run")
    assert said.code == 0 and CANARY not in said.out + said.err and "secrets.set_secret" in said.out


@pytest.mark.parametrize(
    ("value", "options", "says"),
    [
        (b"", [], "not_a_secret"),
        (b"a\0b", ["--kind", "other"], "not_a_secret"),
        (b"\xff\xfe", [], "UTF-8"),
        (b"x" * 20_000, [], "not_a_secret"),
        (CANARY.encode(), ["--kind", "private_key"], "not_a_secret"),
        (CANARY.encode(), ["--overlap-hours", "-1"], "overlap_s"),
        (CANARY.encode(), ["--kind", "nonsense"], "nonsense"),
    ],
)
def test_bad_values_end_in_a_sentence(
    felix: CommandLine, root_key: Path, say: object, value: bytes, options: list[str], says: str
) -> None:
    say(value)  # type: ignore[operator]
    said = felix("secrets", "set", "github", *options)
    assert said.code != 0 and says in said.err + said.out
    assert "Traceback" not in said.err and CANARY not in said.err + said.out


def test_a_value_is_no_argument(felix: CommandLine, root_key: Path, say: object) -> None:
    say(b"x")  # type: ignore[operator]
    assert felix("secrets", "set", "github", CANARY).code == 2


def test_without_a_root_key_nothing_is_set(felix: CommandLine, say: object) -> None:
    felix.done("tenants", "add", "Acme Ltd")
    say(b"x")  # type: ignore[operator]
    said = felix("secrets", "set", "github")
    assert said.code == 1 and "no_root_key" in said.err


def test_the_root_key_is_rotated_and_a_stopped_rotation_is_taken_up(
    felix: CommandLine, root_key: Path, say: object
) -> None:
    say(CANARY.encode())  # type: ignore[operator]
    felix.done("secrets", "set", "github")
    first = root_key.read_text().strip()
    assert felix.done("secrets", "rotate-root") == {"root_keys": 2, "sealed_anew": 1}
    second, kept = root_key.read_text().strip().split(",")
    assert kept == first and second != first
    assert root_key.stat().st_mode & 0o777 == 0o600
    assert value_of(felix, "github") == CANARY
    # One that was stopped after it had made its key, and before it had sealed anything with it.
    root_key.write_text(f"{new_root_key()},{second},{first}")
    assert felix.done("secrets", "rotate-root") == {"root_keys": 3, "sealed_anew": 1}
    assert felix.done("secrets", "rotate-root", "--resume") == {"root_keys": 3, "sealed_anew": 0}
    said = felix("secrets", "rotate-root")
    assert said.code == 0 and "Back up the root key" in said.out
    keys = root_key.read_text().strip().split(",")
    assert len(keys) == 4 and RootKeys(keys).index("email", "a") == RootKeys([first]).index("email", "a")
    assert all(key not in said.out + said.err for key in keys)
    assert value_of(felix, "github") == CANARY


def test_a_root_key_of_the_environment_is_changed_there(
    felix: CommandLine, root_key: Path, say: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = root_key.read_text().strip(), new_root_key()
    monkeypatch.setenv("FELIX_ROOT_KEY", first)
    say(CANARY.encode())  # type: ignore[operator]
    felix.done("secrets", "set", "github")
    said = felix("secrets", "rotate-root")
    assert said.code == 2 and "FELIX_ROOT_KEY" in said.err and first not in said.err
    monkeypatch.setenv("FELIX_ROOT_KEY", f"{second},{first}")
    assert felix.done("secrets", "rotate-root")["sealed_anew"] == 1
    monkeypatch.setenv("FELIX_ROOT_KEY", second)
    assert value_of(felix, "github") == CANARY


def test_a_tenants_key_is_rotated(felix: CommandLine, root_key: Path, say: object) -> None:
    assert felix("secrets", "rotate-tenant-key").code == 1, "there is none yet"
    say(CANARY.encode())  # type: ignore[operator]
    felix.done("secrets", "set", "github")
    assert felix.done("secrets", "rotate-tenant-key", "--reason", "yearly")["result"] == {"key_version": 2}
    assert value_of(felix, "github") == CANARY
