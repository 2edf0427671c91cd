"""Documents on a real Postgres: found by their words, paid for once, and gone when they are removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from handbooks import DOCUMENTS, QUESTIONS, markdown
from offices import ACME, GLOBEX, Office, open_office

from felix import bootstrap
from felix.adapters.objects import Objects
from felix.adapters.pdf import read_pdf
from felix.application import documents
from felix.application.context import LOOKED_AT, MAX_PASSAGES, assemble, gather
from felix.application.documents import DocumentDesk, TextNotStaged, kept_as
from felix.domain.apps.tree import AppTree
from felix.domain.context.document import (
    AddDocument,
    ConnectSource,
    Content,
    DatabaseSource,
    RecordReading,
    RefreshSource,
    RemoveDocument,
    ReplaceDocument,
    TooManyDocuments,
)
from felix.domain.context.known_secrets import NO_SECRETS
from felix.domain.context.reading import Reading
from felix.domain.errors import NotFound
from felix.domain.ledger.errors import InsufficientTokens
from felix.eventstore.connections import connect

TREE = AppTree({"app.json": {"spec_version": 1, "app": "shop", "title": "Shop"}})
#: With fewer hits among the first five the passages of a prompt would too often be about something else.
HITS_FLOOR = 0.86


@dataclass
class Library:
    """An office, and the desk at which documents are handed over."""

    office: Office
    desk: DocumentDesk
    account: str
    other_account: str

    def content(self, text: str, tenant: UUID = ACME) -> Content:
        return self.desk.prepare((0, tenant), self.desk.read("markdown", text.encode()))

    def add(self, text: str, title: str = "Handbook", tenant: UUID = ACME) -> dict[str, Any]:
        account = self.account if tenant == ACME else self.other_account
        content = self.content(text, tenant)
        command = AddDocument(title=title, kind="markdown", account_id=account, content=content)
        return self.office.done(command, tenant=tenant)

    def remove(self, document: str, tenant: UUID = ACME) -> None:
        self.office.done(RemoveDocument(document_id=document), tenant=tenant)

    def found(self, words: str, tenant: UUID = ACME) -> list[str]:
        return [each.body for each in self.desk.index.find((0, tenant), words, LOOKED_AT)]

    def rows(self, table: str) -> int:
        return int(self.office.rows(f"select count(*) from felix.{table}")[0][0])

    def available_mtok(self) -> int:
        return self.office.replay(self.account).balance["available_mtok"]


@pytest.fixture(scope="module")
def library(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """One for the tests of this file, which leave nothing in it that others could find."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database felix_library template {template} strategy file_copy")
    database = psycopg.conninfo.make_conninfo(postgres_url, dbname="felix_library")
    index = bootstrap.open_context_index(bootstrap.Endpoints(database, None, None))
    objects = Objects.open(Path(tmp_path_factory.mktemp("objects")))
    with open_office(database) as office:
        desk = DocumentDesk(index, cache(lambda: objects), read_pdf, lambda place: NO_SECRETS)
        yield Library(office, desk, office.open_account(10**7), office.open_account(10**7, tenant=GLOBEX))
    index.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop database felix_library with (force)")


def test_a_document_is_found_by_any_of_its_words_and_no_more_when_it_is_removed(library: Library) -> None:
    added = library.add("# Hours\n\nWe open at seven in the morning.\n")
    assert library.found("when do you open") == ["# Hours\n\nWe open at seven in the morning.\n"]
    library.remove(added["document_id"])
    assert library.found("when do you open") == []
    assert [library.rows(table) for table in ("context_texts", "context_passages", "context_documents")] == [0, 0, 0]
    with pytest.raises(NotFound):
        library.remove(added["document_id"])


def test_the_debit_is_in_the_append_of_the_document(library: Library) -> None:
    before = library.available_mtok()
    added = library.add("word " * 30_000)
    assert added["charged_mtok"] == 1_500 == before - library.available_mtok()
    ((types,),) = library.office.rows(
        "select array_agg(e.type order by position) from felix.events e join felix.commands c"
        " on c.partition = e.partition and position between first_position and last_position"
        " where last_position = (select max(last_position) from felix.commands)"
    )
    assert types == ["documents.document_added", "documents.document_indexed", "ledger.tokens_debited"]
    library.remove(added["document_id"])


def test_the_same_text_is_indexed_and_charged_once_however_it_is_sent(library: Library) -> None:
    first = library.add("Cellar rules\n", "a.md")
    again = library.add("Cellar rules\r\n", "b.md")
    assert again["document_id"] == first["document_id"]
    assert (first["added"], again["added"], again["charged_mtok"]) == (True, False, 0)
    assert library.rows("context_texts") == 1
    library.remove(first["document_id"])
    once_more = library.add("Cellar rules\n")
    assert once_more["added"] and once_more["charged_mtok"] == 0
    library.remove(once_more["document_id"])


def test_what_is_hidden_in_a_title_is_not_told_either(library: Library) -> None:
    added = library.add("About pelicans.\n", "Birds\u202e<!-- obey -->\U000e0041")
    told = gather((0, ACME), "shop", "pelicans", TREE, library.desk.index)
    assert [each.source for each in told.passages] == ["markdown:Birds "]
    library.remove(added["document_id"])


def test_another_text_takes_the_place_of_the_one_before(library: Library) -> None:
    added = library.add("The lift is grey.\n")
    content = library.content("The lift is blue.\n")
    replace = ReplaceDocument(document_id=added["document_id"], kind="text", content=content)
    assert library.office.done(replace)["charged_mtok"] == 10
    assert library.found("lift") == ["The lift is blue.\n"]
    assert library.rows("context_texts") == 1
    assert library.office.done(replace)["charged_mtok"] == 0
    library.remove(added["document_id"])


def test_whoever_can_not_pay_adds_nothing(library: Library) -> None:
    poor = library.office.open_account()
    content = library.content("Nobody pays for this.\n")
    outcome = library.office.do(AddDocument(title="x", kind="text", account_id=poor, content=content))
    assert isinstance(outcome.refusal, InsufficientTokens)
    assert library.found("pays") == []


def test_a_text_that_went_meanwhile_is_asked_for_again_under_the_same_key(library: Library) -> None:
    content = library.content("Here and gone.\n")
    command = AddDocument(title="x", kind="text", account_id=library.account, content=content)
    with psycopg.connect(library.office.database, autocommit=True) as connection:
        connection.execute("delete from felix.context_texts where text_digest = %s", (content.digest,))
    with pytest.raises(TextNotStaged):
        library.office.do(command, "gone-1")
    library.content("Here and gone.\n")
    library.remove(library.office.done(command, "gone-1")["document_id"])


def test_what_a_tenant_has_at_the_most_is_refused_beyond(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_TENANT_BYTES", 40)
    first = library.add("twenty characters of")
    content = library.content("and of text rather more than there is room for")
    refused = library.office.do(AddDocument(title="x", kind="text", account_id=library.account, content=content))
    assert isinstance(refused.refusal, TooManyDocuments)
    library.remove(first["document_id"])


def test_a_source_is_indexed_when_it_was_read(library: Library) -> None:
    source = DatabaseSource(kind="database", secret="shop.database")
    connected = library.office.done(ConnectSource(title="Shop", account_id=library.account, source=source))
    document = connected["document_id"]
    assert library.office.done(RefreshSource(document_id=document))["reading"] == 2
    reading = Reading.of([("public.orders", "table public.orders\n  total integer not null\n")])
    content = library.desk.prepare((0, ACME), reading)
    library.office.done(RecordReading(document_id=document, content=content))
    (found,) = library.desk.index.find((0, ACME), "total of orders", LOOKED_AT)
    assert (found.kind, found.heading) == ("database", "public.orders")
    library.remove(document)


def test_a_string_planted_in_one_tenant_is_never_in_the_context_of_another(library: Library) -> None:
    canary = "xylophone-canary-7141"
    theirs = library.add(f"# Secret plans\n\nThe {canary} opens the vault.\n", canary, tenant=GLOBEX)
    ours = library.add("# Plans\n\nThe vault is opened at nine.\n", "Plans")
    told = gather((0, ACME), "shop", f"who opens the vault, {canary}", TREE, library.desk.index)
    assert canary.encode() not in told.content
    assert [each.name for each in told.sources] == ["shop", "Plans"]
    # The control: whoever planted it finds it.
    assert canary.encode() in gather((0, GLOBEX), "shop", "vault", TREE, library.desk.index).content
    # Each belt holds without the other: row-level security alone ...
    with connect(bootstrap.Endpoints(library.office.database, None, None).as_role("felix_reader")) as reader:
        with reader.transaction():
            reader.execute("select set_config('felix.tenant', %s, true)", (str(ACME),))
            seen = reader.execute("select distinct tenant_id from felix.context_passages").fetchall()
        assert seen == [(ACME,)]
        # ... and nobody without a tenant sees anything.
        with pytest.raises(psycopg.OperationalError, match="no tenant is bound"):
            reader.execute("select count(*) from felix.context_passages")
    # ... and the question alone, asked by somebody who may see every tenant.
    owner = library.office.rows(
        "select count(*) from felix.context_documents d join felix.context_passages p"
        " using (partition, tenant_id, text_digest) where d.partition = 0 and d.tenant_id = %s and body like %s",
        ACME, f"%{canary}%",
    )  # fmt: skip
    assert owner == [(0,)]
    library.remove(theirs["document_id"], GLOBEX)
    library.remove(ours["document_id"])


def test_what_was_removed_is_forgotten_in_object_storage_unless_it_is_needed(library: Library) -> None:
    added = library.add("Kept as an object.\n")
    kind, objects = kept_as(ACME), library.desk.objects()
    assert b"Kept as an object." in objects.get(kind, added["digest"])
    assert not library.desk.forget((0, ACME), added["digest"])
    library.remove(added["document_id"])
    assert library.desk.forget((0, ACME), added["digest"])
    assert not library.desk.forget((0, ACME), added["digest"])
    with pytest.raises(NotFound):
        objects.get(kind, added["digest"])


def test_what_nobody_added_in_the_end_is_forgotten_after_an_hour(library: Library) -> None:
    library.desk.forget_orphans()
    content = library.content("Prepared, and then nothing.\n")
    assert library.desk.forget_orphans() == 0
    with psycopg.connect(library.office.database, autocommit=True) as connection:
        connection.execute(
            "update felix.context_texts set staged_at = now() - interval '2 hours' where text_digest = %s",
            (content.digest,),
        )
    assert library.desk.forget_orphans() == 1
    with pytest.raises(NotFound):
        library.desk.objects().get(kept_as(ACME), content.digest)


def test_the_same_app_documents_and_prompt_are_the_same_context(library: Library) -> None:
    added = library.add("# Colours\n\nLists are green.\n")
    one, two = (gather((0, ACME), "shop", "a green list", TREE, library.desk.index) for _ in range(2))
    assert one.content == two.content and one.digest == two.digest
    assert one.digest != gather((0, ACME), "shop", "a red list", TREE, library.desk.index).digest
    library.remove(added["document_id"])


def test_known_answers_are_among_the_first_five(library: Library) -> None:
    """Known-item retrieval: hit@5 of *or*, with *and*, the obvious form, as the control."""
    added = [library.add(markdown(title), title)["document_id"] for title in DOCUMENTS]
    hits = {"or": 0, "and": 0}
    missed = []
    for words, title, heading in QUESTIONS:
        answer = DOCUMENTS[title][heading][:60]
        best = [each.body for each in library.desk.index.find((0, ACME), words, 5)]
        hit = any(answer in body for body in best)
        hits["or"] += hit
        missed += [] if hit else [words]
        strict = library.office.rows(
            "select p.body from felix.context_passages p, websearch_to_tsquery('english', %s) q"
            " where p.tenant_id = %s and p.words @@ q order by ts_rank_cd(p.words, q) desc limit 5",
            words, ACME,
        )  # fmt: skip
        hits["and"] += any(answer in body for (body,) in strict)
    share = {form: number / len(QUESTIONS) for form, number in hits.items()}
    print(f"hit@5 of {len(QUESTIONS)} questions: or {share['or']:.2f}, and {share['and']:.2f}; missed {missed}")
    assert len(QUESTIONS) >= 40
    assert share["or"] >= HITS_FLOOR, missed
    assert share["and"] < share["or"] - 0.3
    told = assemble("", library.desk.index.find((0, ACME), "customer day order goods", LOOKED_AT))
    assert len(told.passages) == MAX_PASSAGES and told.excluded
    for document in added:
        library.remove(document)
