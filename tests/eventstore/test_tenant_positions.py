"""Commands that were recorded before they knew the place of their last event in their tenant's log."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from felix.eventstore.migrations import read_migrations

ACME, GLOBEX = UUID(int=0xA), UUID(int=0xB)
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


def test_commands_of_before_get_the_numbers_of_their_events(database: str) -> None:
    (this,) = (migration for migration in read_migrations() if migration.version == 15)
    with psycopg.connect(database) as owner:
        owner.execute("alter table felix.commands drop column last_tenant_sequence")
        for position, tenant, own in ((1, ACME, 1), (2, GLOBEX, 1), (3, ACME, 2), (4, ACME, 3)):
            owner.execute(
                "insert into felix.events (partition, position, tenant_id, tenant_sequence, version, recorded_at,"
                " event_id, stream, type, command_key, actor, metadata, state)"
                " values (1, %s, %s, %s, %s, %s, gen_random_uuid(), %s, 't', 'k', 'a', '{}', '{}')",
                (position, tenant, own, own, NOON, str(tenant)),
            )
        for sequence, tenant, first, last in (
            (1, ACME, 1, 1),
            (2, GLOBEX, 2, 2),
            (3, ACME, 3, 4),
            (4, ACME, None, None),
        ):
            owner.execute(
                "insert into felix.commands (partition, sequence, tenant_id, command_key, type, actor, accepted,"
                " first_position, last_position, recorded_at, fingerprint, outcome, metadata)"
                " values (1, %s, %s, %s, 't', 'a', %s, %s, %s, %s, '', '', '{}')",
                (sequence, tenant, f"k{sequence}", first is not None, first, last, NOON),
            )
        # As a role that is no superuser would have it: the owner of the tables is bound by their policies.
        owner.execute(this.text.encode())
        owner.execute("reset role")
        found = owner.execute("select last_tenant_sequence from felix.commands order by sequence").fetchall()
        assert found == [(1,), (1,), (3,), (None,)]
        owner.commit()
        with pytest.raises(psycopg.Error, match="what is recorded is never changed"), owner.transaction():
            owner.execute("update felix.commands set last_tenant_sequence = 7")
        forced = owner.execute(
            "select bool_and(relforcerowsecurity) from pg_class where oid = any(array['felix.commands'::regclass,"
            " 'felix.events'::regclass])"
        )
        assert forced.fetchone() == (True,)
