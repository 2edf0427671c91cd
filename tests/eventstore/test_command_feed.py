"""The feed of commands: dense whatever the batches, in the same transaction as the events, numbered from the start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
import pytest
from lamps import ACME, GLOBEX, NOON, stream

from felix.domain.errors import VersionConflict
from felix.eventstore import migrations, partition_log
from felix.eventstore.connections import connect, role_url, writer_url
from felix.eventstore.partition_log import CommandOutcome, NewEvent, PartitionLog
from felix.eventstore.reader import GapInLog, command_heads, heads, read_commands

_keys = count(1)


@pytest.fixture
def log(database: str) -> Iterator[PartitionLog]:
    opened = PartitionLog(lambda: connect(writer_url(database)), 0)
    yield opened
    opened.close()


def accepted(position: int, tenant_id: UUID = ACME, **more: Any) -> CommandOutcome:
    return CommandOutcome(
        tenant_id, f"k{next(_keys)}", "test.dim", "founder:a", True, position, position, NOON, b"{}", b'{"level":1}',
        b'{"correlation_id":"0192f000-0000-7000-8000-00000000000c"}', last_tenant_sequence=position, **more,
    )  # fmt: skip


def refused(tenant_id: UUID = ACME, **more: Any) -> CommandOutcome:
    body = b'{"code":"lamp_is_broken","detail":"The lamp is broken.","facts":{}}'
    return CommandOutcome(
        tenant_id, f"k{next(_keys)}", "test.dim", "founder:a", False, None, None, NOON, b"{}", body, b"{}", **more
    )


def event(name: str, version: int = 1, tenant_id: UUID = ACME) -> NewEvent:
    return NewEvent(
        tenant_id, name, version, "test.dimmed", UUID(int=next(_keys)), NOON, "k", "founder:a", b"{}", b"{}"
    )


def append(log: PartitionLog, events: list[NewEvent], outcomes: list[CommandOutcome]) -> int:
    log.open_batch([])
    return log.commit(events, log.last_tenant_sequences([ACME, GLOBEX]), outcomes)


def ends(database: str) -> tuple[int, int]:
    with psycopg.connect(database) as reader:
        return heads(reader)[0], command_heads(reader)[0]


def test_batches_of_one_of_many_and_of_refusals_alone_make_one_dense_feed(database: str, log: PartitionLog) -> None:
    append(log, [event(stream())], [accepted(1, reason="a dispute")])
    append(log, [], [refused(reason="härter"), refused(GLOBEX)])
    many = partition_log.COPY_FROM_ROWS + 7
    append(log, [event(stream()) for _ in range(many)], [accepted(2 + n, reason=None) for n in range(many)])
    append(log, [], [refused(reason="why") for _ in range(many)])
    append(log, [event(stream())], [])
    assert ends(database) == (many + 2, 2 * many + 3)
    with psycopg.connect(role_url(database, "felix_projector")) as reader:
        found = read_commands(reader, 0, 0, 10_000)
        assert [command.position for command in found] == list(range(1, 2 * many + 4))
        first, second, third = found[:3]
        assert (first.accepted, first.reason, first.code, first.refusal) == (True, "a dispute", None, None)
        assert first.metadata == {"correlation_id": "0192f000-0000-7000-8000-00000000000c"}
        assert (first.result, first.first_position, first.recorded_at) == ({"level": 1}, 1, NOON)
        assert (second.accepted, second.reason, second.first_position, second.metadata) == (False, "härter", None, {})
        assert (third.code, third.refusal, third.tenant_id) == ("lamp_is_broken", "The lamp is broken.", GLOBEX)
        assert [command.first_position for command in found[3 : 3 + many]] == list(range(2, 2 + many))
        assert {command.reason for command in found[3 + many :]} == {"why"}
        assert [command.position for command in read_commands(reader, 0, 5, 3)] == [6, 7, 8]


def test_a_batch_that_is_taken_back_leaves_no_gap(database: str, log: PartitionLog) -> None:
    name = stream()
    append(log, [event(name)], [accepted(1)])
    with pytest.raises(VersionConflict):
        append(log, [event(name)], [accepted(2), refused()])
    append(log, [], [refused()])
    assert ends(database) == (1, 2)
    with psycopg.connect(database) as reader:
        assert [command.position for command in read_commands(reader, 0, 0)] == [1, 2]


def test_a_gap_stops_who_reads(database: str, log: PartitionLog) -> None:
    append(log, [], [refused() for _ in range(5)])
    with psycopg.connect(database, autocommit=True) as intruder:
        intruder.execute("alter table felix.commands disable trigger commands_append_only")
        assert len(read_commands(intruder, 0, 0)) == 5
        intruder.execute("delete from felix.commands where sequence = 3")
        with pytest.raises(GapInLog, match="no command 3"):
            read_commands(intruder, 0, 0)
        with pytest.raises(GapInLog, match="no command 3"):
            read_commands(intruder, 0, 2)


def test_a_batch_of_one_takes_two_round_trips(log: PartitionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    append(log, [event(stream())], [accepted(1)])
    trips: list[list[bytes]] = []
    pipeline = log._ready()
    run = pipeline.run
    monkeypatch.setattr(pipeline, "run", lambda steps: trips.append([step[0].name for step in steps]) or run(steps))
    log.open_batch([(ACME, "new")])
    log.commit([event(stream())], {ACME: 1}, [accepted(2)])
    assert trips == [[b"begin", b"head", b"known"], [b"insert_events", b"insert_commands", b"move", b"commit"]]


def test_what_was_recorded_before_the_feed_is_numbered_by_its_migration(postgres_url: str) -> None:
    url = psycopg.conninfo.make_conninfo(postgres_url, dbname="felix_before_the_feed")
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("create database felix_before_the_feed")
        try:
            _upgrade(url)
        finally:
            admin.execute("drop database felix_before_the_feed with (force)")


def _upgrade(url: str) -> None:
    known = migrations.read_migrations()
    with psycopg.connect(url) as owner:
        for migration in known[:4]:
            owner.execute(migration.text.encode())
            owner.execute("reset role")
        owner.execute("insert into felix.partitions (partition, position) values (0, 1), (1, 0), (2, 0)")
        owner.execute(
            "insert into felix.events (partition, position, tenant_id, tenant_sequence, version, recorded_at, event_id,"
            " stream, type, command_key, actor, metadata, state)"
            " values (0, 1, %s, 1, 1, %s, %s, 's', 't', 'b', 'a', '{\"correlation_id\":\"c\"}', '{}')",
            (ACME, NOON, ACME),
        )
        for partition, tenant, key, minutes, position in (
            (0, ACME, "b", 1, 1),
            (0, GLOBEX, "a", 1, None),
            (0, ACME, "c", 0, None),
            (1, ACME, "d", 5, None),
        ):
            owner.execute(
                "insert into felix.commands (partition, tenant_id, command_key, type, actor, accepted, first_position,"
                " last_position, recorded_at, fingerprint, outcome)"
                " values (%s, %s, %s, 't', 'a', %s, %s, %s, %s, '', '')",
                (partition, tenant, key, position is not None, position, position, NOON + timedelta(minutes=minutes)),
            )
        # As a role that is no superuser would have it: the owner of the tables is bound by their policies.
        owner.execute(known[4].text.encode())
        owner.execute("reset role")
        found = owner.execute("select partition, sequence, command_key, metadata from felix.commands order by 1, 2")
        assert found.fetchall() == [
            (0, 1, "c", {}),
            (0, 2, "a", {}),
            (0, 3, "b", {"correlation_id": "c"}),
            (1, 1, "d", {}),
        ]
        assert command_heads(owner) == {0: 3, 1: 1, 2: 0}
        owner.commit()
        for statement in ("update felix.commands set reason = 'x'", "delete from felix.commands"):
            with pytest.raises(psycopg.Error, match="what is recorded is never changed"), owner.transaction():
                owner.execute(statement.encode())
        forced = owner.execute(
            "select bool_and(relforcerowsecurity) from pg_class where oid = any(array['felix.commands'::regclass,"
            " 'felix.events'::regclass])"
        )
        assert forced.fetchone() == (True,)
