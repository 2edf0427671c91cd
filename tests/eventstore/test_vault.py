"""The vault gives back what was put in, to whoever has the keys, until the subject is erased; and then to nobody."""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from felix.domain.identity.roles import PLATFORM
from felix.eventstore.erasure_key import DEPTH_BITS, ErasureKey, ErasureKeyBroken, ErasureKeyFile, NoErasureKey
from felix.eventstore.sealing import RootKeys, SealBroken, new_root_key
from felix.eventstore.side_statements import SideStatement
from felix.eventstore.vault import SEALED, CommitmentBroken, SubjectIsErased, Vault, forget, sealed_key_of

ADA, GRACE = f"usr_{uuid4().hex}", f"usr_{uuid4().hex}"
EMAIL, NAME = "ada@example.com", "Ada Lovelace"
ROOT = new_root_key()


@pytest.fixture
def keys(tmp_path: Path) -> ErasureKeyFile:
    file = ErasureKeyFile(tmp_path / "erasure-key")
    file.make()
    return file


@pytest.fixture
def vault(keys: ErasureKeyFile) -> Vault:
    return Vault(RootKeys([ROOT]), keys)


@pytest.fixture
def writer(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection with the writer's rights."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("set role felix_writer")
        yield connection


def run(writer: psycopg.Connection[dict[str, Any]], writes: list[SideStatement]) -> None:
    for write in writes:
        writer.execute(write.text, write.parameters)


def sealed(writer: psycopg.Connection[dict[str, Any]], *subjects: str, tenant: UUID = PLATFORM) -> list[dict[str, Any]]:
    """The rows as whoever is bound to the tenant reads them."""
    with writer.transaction():
        writer.execute("set local role felix_reader")
        writer.execute("select set_config('felix.tenant', %s, true)", (str(tenant),))
        return writer.execute(SEALED, (0, tenant, list(subjects))).fetchall()


def test_what_was_enclosed_opens_and_fits_what_the_log_says(writer: Any, vault: Vault) -> None:
    enclosed = vault.enclose(email=EMAIL, name=NAME)
    run(writer, enclosed.writes(PLATFORM, 0, ADA))
    rows = sealed(writer, ADA)
    assert vault.open(rows) == {ADA: {"email": EMAIL, "name": NAME}}
    assert not any(EMAIL.encode() in bytes(row[name]) for row in rows for name in ("sealed", "sealed_key"))
    for name, opening in vault.openings(rows)[ADA].items():
        expected = hmac.new(opening.salt, opening.value.encode(), sha256).hexdigest()
        assert enclosed.commitments[name] == expected and len(opening.salt) == 32
    assert EMAIL not in repr(enclosed) + repr(vault.openings(rows)) + repr(enclosed.writes(PLATFORM, 0, GRACE))


def test_the_same_value_is_committed_to_differently_each_time(vault: Vault) -> None:
    first, second = (vault.enclose(email=EMAIL).commitments["email"] for _ in range(2))
    assert first != second


def test_a_value_is_added_and_replaced_under_the_key_of_the_subject(writer: Any, vault: Vault) -> None:
    run(writer, vault.enclose(email=EMAIL).writes(PLATFORM, 0, ADA))
    question = sealed_key_of(0, PLATFORM, ADA)
    (kept,) = writer.execute(question.text, question.parameters).fetchall()
    run(
        writer,
        vault.enclose(email="new@example.com", name=NAME).writes(PLATFORM, 0, ADA, sealed_key=kept["sealed_key"]),
    )
    assert vault.open(sealed(writer, ADA)) == {ADA: {"email": "new@example.com", "name": NAME}}


def test_a_page_of_a_hundred_people_is_one_query(writer: Any, vault: Vault) -> None:
    people = {f"usr_{number:032x}": f"person-{number}@example.com" for number in range(100)}
    with writer.transaction():
        for user_id, email in people.items():
            run(writer, vault.enclose(email=email, name=NAME).writes(PLATFORM, 0, user_id))
    assert vault.open(sealed(writer, *people)) == {
        user_id: {"email": email, "name": NAME} for user_id, email in people.items()
    }


@pytest.mark.parametrize("column", ["sealed", "sealed_key"])
def test_what_is_put_in_the_place_of_another_does_not_open(writer: Any, vault: Vault, column: str) -> None:
    for subject in (ADA, GRACE):
        run(writer, vault.enclose(email=EMAIL).writes(PLATFORM, 0, subject))
    ada, grace = sorted(sealed(writer, ADA, GRACE), key=lambda row: row["subject_id"] == GRACE)
    with pytest.raises(SealBroken):
        vault.open([ada | {column: grace[column]}])
    with pytest.raises(CommitmentBroken):
        vault.open([ada | {"commitment": grace["commitment"]}])
    with pytest.raises(SealBroken):
        Vault(RootKeys([new_root_key()]), None).open([ada])


def test_only_who_is_bound_to_the_tenant_reads_its_rows(writer: Any, vault: Vault) -> None:
    client = uuid4()
    run(writer, vault.enclose(email=EMAIL).writes(client, 0, "cust_1"))
    assert len(sealed(writer, "cust_1", tenant=client)) == 1
    with writer.transaction():
        writer.execute("set local role felix_reader")
        writer.execute("select set_config('felix.tenant', %s, true)", (str(uuid4()),))
        assert writer.execute(SEALED, (0, client, ["cust_1"])).fetchall() == []
    for role in ("felix_projector", "felix_founder"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), writer.transaction():
            writer.execute("reset role")
            writer.execute(f"set local role {role}")
            writer.execute("select * from felix.vault")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        writer.execute("select sealed from felix.vault")


def test_of_who_was_erased_nothing_is_left_and_a_copy_of_the_rows_opens_no_more(
    writer: Any, vault: Vault, keys: ErasureKeyFile
) -> None:
    for subject in (ADA, GRACE):
        run(writer, vault.enclose(email=EMAIL).writes(PLATFORM, 0, subject))
    copied = sealed(writer, ADA, GRACE)
    assert vault.open(copied).keys() == {ADA, GRACE}, "the control: a backup of these rows can be read"
    run(writer, forget(0, PLATFORM, ADA))
    assert vault.open(sealed(writer, ADA, GRACE)) == {GRACE: {"email": EMAIL}}
    assert vault.open(copied).keys() == {ADA, GRACE}, "the database alone does not protect a backup"
    assert keys.forget([(str(PLATFORM), ADA)]) == 1
    for reader in (vault, Vault(RootKeys([ROOT]), ErasureKeyFile(keys.path))):
        assert reader.open(copied) == {GRACE: {"email": EMAIL}}
    assert keys.forget([(str(PLATFORM), ADA)]) == 0
    with pytest.raises(SubjectIsErased):
        vault.enclose(email=EMAIL).writes(PLATFORM, 0, ADA)


def test_without_its_erasure_key_personal_data_stays_sealed(writer: Any, vault: Vault, keys: ErasureKeyFile) -> None:
    run(writer, vault.enclose(email=EMAIL).writes(PLATFORM, 0, ADA))
    rows, copy = sealed(writer, ADA), keys.path.read_bytes()
    for broken in (b"", copy[:-1], b"another file"):
        keys.path.write_bytes(broken)
        with pytest.raises(ErasureKeyBroken):
            vault.open(rows)
    keys.path.unlink()
    with pytest.raises(NoErasureKey):
        vault.open(rows)
    with pytest.raises(NoErasureKey):
        Vault(RootKeys([ROOT])).open(rows)
    keys.make()
    with pytest.raises(SealBroken):
        vault.open(rows)
    keys.path.write_bytes(copy)
    os.utime(keys.path, (1, 1))
    assert vault.open(rows) == {ADA: {"email": EMAIL}}


def test_the_erasure_key_forgets_precisely_who_is_to_be_forgotten() -> None:
    subjects = [(str(PLATFORM), f"usr_{number:032x}") for number in range(200)]
    key = ErasureKey.new()
    before = {subject: key.wrapping_key(*subject) for subject in subjects}
    assert len(set(before.values())) == len(subjects) and all(before.values())
    for subject in subjects[::2]:
        assert key.knows(*subject) and key.forget(*subject) and not key.forget(*subject)
    kept = key.to_bytes()
    again = ErasureKey.from_bytes(kept)
    for number, subject in enumerate(subjects):
        expected = before[subject] if number % 2 else None
        assert key.wrapping_key(*subject) == again.wrapping_key(*subject) == expected
        assert again.knows(*subject) == bool(number % 2)
    for subject in subjects[::2]:
        found = before[subject]
        assert found is not None and found not in kept and base64.b64encode(found) not in kept
    assert len(kept) < len(subjects) / 2 * DEPTH_BITS * 41


def test_a_subject_is_named_without_doubt() -> None:
    key = ErasureKey.new()
    assert key.wrapping_key("a", "bc") != key.wrapping_key("ab", "c")
