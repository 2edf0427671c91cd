"""Sources are read by a worker, and what is no longer needed is forgotten in object storage too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from offices import ACME, new_key
from workshop import ROOT_KEY, Workshop, open_workshop

# The proxy that listens where the throwaway Postgres does not belongs to the event store's tests.
sys.path.append(str(Path(__file__).parents[1] / "eventstore"))

from severing_proxy import severing_proxy

from felix.application.performer import new_context
from felix.application.secrets import setting
from felix.domain.context.document import ConnectSource, DatabaseSource, RefreshSource, RemoveDocument
from felix.eventstore.sealing import RootKeys


@contextmanager
def address_over_tcp(database: str) -> Iterator[str]:
    """The throwaway Postgres as a client would name it, who has no socket to it."""
    with severing_proxy(database) as proxy:
        said = psycopg.conninfo.conninfo_to_dict(proxy.url)
        yield f"postgresql://{said['user']}:{said['password']}@127.0.0.1:{said['port']}/{said['dbname']}"


def connect(workshop: Workshop, account: str) -> str:
    source = DatabaseSource(kind="database", secret="shop.database")
    done = workshop.office.done(ConnectSource(title="Shop", account_id=account, source=source))
    return str(done["document_id"])


def put_secret(workshop: Workshop, url: str) -> None:
    command, enclosed = setting(RootKeys([ROOT_KEY]), ACME, {"name": "shop.database"}, url)
    context = new_context(ACME, new_key(), "founder:a", enclosed=enclosed)
    assert workshop.office.performer.perform_blocking(command, context).accepted


def told(workshop: Workshop, type_: str) -> list[dict[str, Any]]:
    query = "select convert_from(state, 'UTF8')::json from felix.events where type = %s order by position"
    return [state for (state,) in workshop.rows(query, f"documents.{type_}")]


def work(workshop: Workshop) -> None:
    """Let a worker do what follows from what has happened."""
    workshop.retell()
    workshop.do_all()
    states = {state for (state,) in workshop.rows("select state from felix.jobs where starts_with(kind, 'documents.')")}
    assert states == {"done"}


def objects_in(directory: Path) -> int:
    return sum(path.is_file() for path in directory.rglob("*"))


@pytest.mark.parametrize("allowed", [False, True], ids=["private addresses refused", "allowed"])
def test_a_database_is_read_when_it_is_connected_and_again_when_asked(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setenv("FELIX_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FELIX_PRIVATE_SOURCES", str(allowed))
    monkeypatch.setenv("FELIX_ROOT_KEY", ROOT_KEY)
    with open_workshop(database) as workshop, address_over_tcp(database) as url:
        workshop.change("create table public.orders (id int primary key, total int not null)")
        account = workshop.office.open_account(10**6)
        document = connect(workshop, account)
        work(workshop)
        assert told(workshop, "reading_failed")[0]["code"] == "not_found", "there is no such secret yet"
        put_secret(workshop, url)
        workshop.office.done(RefreshSource(document_id=document))
        work(workshop)
        if not allowed:
            assert told(workshop, "reading_failed")[1]["code"] == "address_not_safe"
            return
        (indexed,) = told(workshop, "document_indexed")
        assert indexed["kind"] == "database" and indexed["charged_mtok"] > 0
        (used,) = workshop.rows(
            "select convert_from(state, 'UTF8') from felix.events where type = 'secrets.secret_used'"
        )
        assert "documents.read-schema" in used[0]
        workshop.change("alter table public.orders add column note text")
        workshop.office.done(RefreshSource(document_id=document))
        work(workshop)
        assert objects_in(tmp_path / "objects") == 2
        assert told(workshop, "document_indexed")[1]["replaces"] == indexed["digest"]
        work(workshop)
        assert objects_in(tmp_path / "objects") == 1
        workshop.office.done(RemoveDocument(document_id=document))
        work(workshop)
        assert objects_in(tmp_path / "objects") == 0
        assert workshop.rows("select count(*) from felix.context_texts") == [(0,)]
        stored = workshop.rows("select convert_from(string_agg(state, '\n'), 'UTF8') from felix.events")
        assert url not in stored[0][0]
