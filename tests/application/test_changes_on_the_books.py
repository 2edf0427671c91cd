"""Changes on a real Postgres: the pointer moves with its events, words are kept apart from the log, windows race."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from offices import ACME, GLOBEX, Office, new_key, open_office

sys.path.append(str(Path(__file__).parents[1] / "domain" / "changes"))

from change_book import ADA, APPROVER, MEMBER, OTHER, OWNER, WORKER, Book, Shop, Walk, digest, thawed

from felix import bootstrap
from felix.application.changes.asking import MAX_PROMPT_CHARS, answering, asking, check_words
from felix.application.performer import new_context
from felix.domain.base import Command, FelixAggregate, stream_name
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.errors import CommandKeyReused, FelixError
from felix.eventstore.app_pointers import POINTER, AppPointer, moved
from felix.eventstore.connections import connect
from felix.eventstore.sealing import RootKeys, new_root_key
from felix.eventstore.snapshots import fold
from felix.eventstore.vault import SEALED, Vault

A = TypeVar("A", bound=FelixAggregate)
KEYS = RootKeys([new_root_key()])
_EVENTS = "select version, type, event_id, recorded_at, state from felix.events where stream = %s order by version"


class OfficeBook(Book):
    """The same shorthands on a database: aggregates are what their events say."""

    def __init__(self, office: Office) -> None:
        super().__init__()
        self.office = office

    def do(self, command: Command, actor: str = WORKER) -> dict[str, Any]:
        told: dict[str, Any] = self.office.do(command, actor=actor).result
        return told

    def one(self, cls: type[A], local_id: str) -> A:
        stream = stream_name(ACME, cls.kind, local_id)
        found: Any = None
        for version, type_, event_id, recorded_at, state in self.office.rows(_EVENTS, stream):
            found = fold(found, type_, state, stream, version, recorded_at, event_id)
        assert isinstance(found, cls)
        return found


class OfficeShop(Shop):
    """A client with an app, on a database."""

    def __init__(self, office: Office) -> None:
        self.book = OfficeBook(office)
        self.account_id = office.open_account(10_000_000)
        self.book.do(m.CreateApp(app="shop", title="Shop", release=digest("r0"), tree=digest("t0")), ADA)

    def pointer(self) -> AppPointer:
        rows = self.book.office.rows(POINTER, 0, ACME, "shop", "production")  # type: ignore[attr-defined]
        return AppPointer.of(rows[0])


@pytest.fixture(scope="module")
def shop(postgres_url: str, template: str) -> Iterator[OfficeShop]:
    """One shop for all tests of this file."""
    name = "felix_changes"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template} strategy file_copy")
    with open_office(psycopg.conninfo.make_conninfo(postgres_url, dbname=name)) as office:
        yield OfficeShop(office)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


def test_the_pointer_moves_with_its_events_and_comes_back_with_them(shop: OfficeShop) -> None:
    r0 = shop.pointer().stable
    walk = shop.request().to_queue("low", kind="canary", steps=[5]).start()
    pointer = shop.pointer()
    assert (pointer.stable, pointer.candidate) == (r0, None)
    assert pointer.deployment_id == walk.change.deployment_id and pointer.version == walk.environment.version
    walk.canary(5)
    pointer = shop.pointer()
    assert (pointer.stable, pointer.candidate, pointer.weight) == (r0, walk.d("release"), 5)
    walk.promote()
    assert shop.pointer().stable == walk.d("release") and shop.pointer().candidate is None
    walk.roll_back().finish_rollback()
    pointer = shop.pointer()
    assert (pointer.stable, pointer.deployment_id, pointer.version) == (r0, None, walk.environment.version)
    assert shop.account.held_mtok == 0


def test_one_step_of_a_deployment_is_one_append_over_three_streams(shop: OfficeShop) -> None:
    walk = shop.request().to_queue()
    before = shop.book.office.rows("select max(position) from felix.events")[0][0]  # type: ignore[attr-defined]
    walk.start()
    query = "select split_part(stream, ':', 2), command_key from felix.events where position > %s"
    rows = shop.book.office.rows(query, before)  # type: ignore[attr-defined]
    assert {kind for kind, _ in rows} == {"change", "app_environment", "token_account"}
    assert len({key for _, key in rows}) == 1
    walk.roll_back().finish_rollback()


def test_two_windows_of_one_person_and_two_people_at_once_approve_once(shop: OfficeShop) -> None:
    walk = shop.request().to_approval("high")
    binding = walk.change.binding
    assert binding is not None
    command = m.ApproveChange(**walk.step, binding=binding.digest)
    office: Office = shop.book.office  # type: ignore[attr-defined]
    outcomes = [office.do(command, actor=by) for by in (APPROVER, APPROVER, OTHER)]
    assert [outcome.accepted for outcome in outcomes] == [True, False, False]
    for refused in outcomes[1:]:
        with pytest.raises(errors.ChangeMovedOn):
            _ = refused.result
    assert shop.change(walk.id).approvals == [APPROVER]
    walk.do(m.CancelChange(change_id=walk.id), OWNER)


def test_a_step_that_is_sent_again_has_its_effect_once(shop: OfficeShop) -> None:
    walk = shop.request()
    office: Office = shop.book.office  # type: ignore[attr-defined]
    command, key = m.StartIngestion(**walk.step), new_key()
    first, again = office.do(command, key, actor=WORKER), office.do(command, key, actor=WORKER)
    assert first.result == again.result and again.replayed
    with pytest.raises(errors.ChangeMovedOn):
        _ = office.do(command, actor=WORKER).result
    walk.do(m.CancelChange(change_id=walk.id), OWNER)


def test_a_snapshot_of_a_change_and_its_environment_is_the_whole_state(shop: OfficeShop) -> None:
    walk = shop.request().to_queue("low", kind="canary", steps=[5]).start().canary(5).measure("fail")
    for one in (walk.change, walk.environment):
        assert thawed(one).snapshot() == one.snapshot()
    walk.roll_back().finish_rollback()


# --- words --------------------------------------------------------------------------------------------------

WORDS = "Add a required due date to deals for Erika Mustermann"


def ask(shop: OfficeShop, prompt: str, key: str | None = None) -> dict[str, Any]:
    """Ask as a door does."""
    fields = {"app": "shop", "account_id": shop.account_id}
    command, enclosed = asking(KEYS, Vault(KEYS), ACME, fields, prompt)
    context = new_context(ACME, key or new_key(), MEMBER, enclosed=enclosed)
    office: Office = shop.book.office  # type: ignore[attr-defined]
    told: dict[str, Any] = office.performer.perform_blocking(command, context, timeout_s=30).result
    return told


def test_what_somebody_wrote_is_in_the_vault_and_not_in_the_log(shop: OfficeShop) -> None:
    change_id = ask(shop, WORDS)["change_id"]
    office: Office = shop.book.office  # type: ignore[attr-defined]
    log = office.rows("select string_agg(convert_from(state, 'UTF8'), '') from felix.events")[0][0]
    commands = office.rows("select string_agg(convert_from(outcome, 'UTF8'), '') from felix.commands")[0][0]
    assert "Mustermann" not in log + commands and change_id in log
    walk = Walk(shop, change_id, digest("words")).ingest().start_planning()
    walk.do(m.AskClarification(**walk.step, planner="grammar", questions=[m.Question(question="Which deals?")]))
    command, enclosed = answering(KEYS, Vault(KEYS), ACME, walk.step, "Those of Erika", number=1)
    office.performer.perform_blocking(command, new_context(ACME, new_key(), OWNER, enclosed=enclosed)).result  # noqa: B018
    with psycopg.connect(office.database, row_factory=psycopg.rows.dict_row) as connection:
        rows = connection.execute(SEALED, (0, ACME, [change_id])).fetchall()
    assert Vault(KEYS).open(rows) == {change_id: {"prompt": WORDS, "answer_1": "Those of Erika"}}
    walk.do(m.CancelChange(change_id=walk.id), OWNER)


def test_an_answer_under_another_number_is_not_kept(shop: OfficeShop) -> None:
    walk = Walk(shop, ask(shop, WORDS)["change_id"], digest("number")).ingest().start_planning()
    walk.do(m.AskClarification(**walk.step, planner="grammar", questions=[m.Question(question="Which deals?")]))
    command, enclosed = answering(KEYS, Vault(KEYS), ACME, walk.step, "Those", number=2)
    office: Office = shop.book.office  # type: ignore[attr-defined]
    with pytest.raises(errors.ChangeMovedOn):
        office.performer.perform_blocking(command, new_context(ACME, new_key(), OWNER, enclosed=enclosed)).result  # noqa: B018
    assert shop.change(walk.id).state == "needs_input"


def test_the_same_key_with_other_words_is_another_request(shop: OfficeShop) -> None:
    key = new_key()
    first = ask(shop, WORDS, key)
    assert ask(shop, WORDS, key) == first
    with pytest.raises(CommandKeyReused):
        ask(shop, WORDS + "!", key)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("", errors.PromptEmpty),
        (" \n\t ", errors.PromptEmpty),
        ("x" * (MAX_PROMPT_CHARS + 1), errors.PromptTooLong),
        (b"bytes", errors.PromptNotText),
        ("a\x00b", errors.PromptNotText),
        ("a\x1b[31mb", errors.PromptNotText),
        ("a\ud800b", errors.PromptNotText),
        ("use sk-ant-abcdefghijk for it", errors.SecretInPrompt),
    ],
)
def test_words_that_nobody_can_read_are_refused_without_being_repeated(words: object, error: type[FelixError]) -> None:
    with pytest.raises(error) as refused:
        check_words(words)
    if isinstance(words, str) and len(words) > 3:
        assert words not in str(refused.value.facts) + refused.value.detail
    assert check_words("Zeilen\nund\tTabs ✓") == "Zeilen\nund\tTabs ✓"


# --- the table ----------------------------------------------------------------------------------------------


def _row(**parts: Any) -> AppPointer:
    whole = {
        "app": "other", "environment": "production", "stable": digest("a"), "candidate": digest("b"), "weight": 5,
        "salt": "0" * 32, "deployment_id": "dep_" + "1" * 32,
    }  # fmt: skip
    return AppPointer(**{**whole, **parts})


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 101},
        {"weight": -1},
        {"weight": None},
        {"candidate": None},
        {"salt": None},
        {"deployment_id": None},
        {"candidate": digest("a")},
        {"environment": "staging"},
        {"app": "Not A Slug"},
        {"version": 0},
    ],
    ids=str,
)
def test_the_table_refuses_a_pointer_that_can_not_be(shop: OfficeShop, wrong: dict[str, Any]) -> None:
    office: Office = shop.book.office  # type: ignore[attr-defined]
    with connect(bootstrap.Endpoints(office.database, None, None).writer_url) as writer:
        for row, refused in ((_row(), False), (_row(**wrong), True)):
            statement = moved((0, GLOBEX), row)
            with writer.transaction(force_rollback=True):
                if refused:
                    with pytest.raises(psycopg.errors.CheckViolation):
                        writer.execute(statement.text, statement.parameters)
                    raise psycopg.Rollback
                writer.execute(statement.text, statement.parameters)


def test_a_pointer_never_goes_back_to_an_older_version(shop: OfficeShop) -> None:
    office: Office = shop.book.office  # type: ignore[attr-defined]
    writer_url = bootstrap.Endpoints(office.database, None, None).writer_url
    with connect(writer_url) as writer, writer.transaction(force_rollback=True):
        for version in (2, 3):
            statement = moved((0, GLOBEX), _row(version=version))
            writer.execute(statement.text, statement.parameters)
        with pytest.raises(psycopg.Error, match="is at version 3 already"):
            writer.execute(statement.text, statement.parameters)
        raise psycopg.Rollback


def test_a_client_sees_its_own_pointers_and_nobody_writes_them_but_the_writer(shop: OfficeShop) -> None:
    office: Office = shop.book.office  # type: ignore[attr-defined]
    endpoints = bootstrap.Endpoints(office.database, None, None)
    with connect(endpoints.as_role("felix_reader")) as reader:
        for tenant, found in ((ACME, 2), (GLOBEX, 0)):
            with reader.transaction():
                reader.execute("select set_config('felix.tenant', %s, true)", (str(tenant),))
                assert reader.execute("select count(*) from felix.app_pointers").fetchone() == (found,)
                for write in ("delete from felix.app_pointers", "update felix.app_pointers set weight = 1"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege), reader.transaction():
                        reader.execute(write.encode())
    assert isinstance(shop.change(ask(shop, WORDS)["change_id"]), Change)
