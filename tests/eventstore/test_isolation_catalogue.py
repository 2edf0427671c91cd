"""What the catalogue says of isolation: every table, key, view and function, and a seeded fault of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from felix.eventstore.grants import (
    read_functions,
    read_grants,
    read_isolation,
    read_roles,
    views_with_their_owners_rights,
)

#: Tables without a tenant, and why they have none.
BELONG_TO_NOBODY = {
    "felix.partitions": "the heads of the log: one row a partition",
    "felix.cursors": "how far each projection is in each partition",
    "felix.access_generation": "one number",
    "felix.tracking": "how far followers outside of Felix are",
    "felix.rebuilds": "rebuilds concern a projection, for all tenants",
    "felix.table_sets": "the tables of each projection",
    "felix.rebuild_cursors": "how far each rebuild is in each partition",
}
#: What is a person's, who may be a member of several clients: row-level security is forced here as well, and the reader
#: asks definer functions.
BELONG_TO_PEOPLE = {
    f"felix.{name}"
    for name in (
        "users", "sessions", "passwords", "second_factors", "recovery_codes", "links", "sign_in_attempts",
        "bound_identities",
    )
}  # fmt: skip
#: Keys that do not begin with partition or tenant, and why that tells nobody anything.
OTHER_KEYS = {
    "felix.tenants_slug_key": "short names are unique over all clients, and only the founder onboards",
    "felix.api_keys_pkey": "a hash of 178 random bits",
    "felix.api_keys_key_id_key": "a random id",
}
#: Views that may read with their owner's rights.
OWNERS_VIEWS = {"felix.applied_migrations": "shows the list of migrations, which no tenant owns"}


def faults(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[str]:
    """What is wrong with isolation in a database."""
    for table in read_isolation(connection):
        if table.owner not in ("felix_owner", "felix_projector") or (
            table.owner == "felix_projector" and not table.name.startswith(("read.", "rebuild."))
        ):
            yield f"{table.name} is owned by {table.owner}"
        if "tenant_id" not in table.columns:
            if table.name in BELONG_TO_PEOPLE:
                if not (table.enabled and table.forced):
                    yield f"{table.name} does not force row-level security"
                if any(policy.startswith(("bound_tenant", "reader")) for policy in table.policies):
                    yield f"{table.name} has a policy for readers"
            elif table.name not in BELONG_TO_NOBODY:
                yield f"{table.name} has no tenant_id"
            continue
        if not (table.enabled and table.forced):
            yield f"{table.name} does not force row-level security"
        if not table.policies:
            yield f"{table.name} has no policy"
        for name, columns in table.keys:
            if columns[0] not in ("partition", "tenant_id") and name not in OTHER_KEYS:
                yield f"{name} begins with {columns[0]}"
    for function in read_functions(connection):
        if not function.search_path:
            yield f"{function.name} has no search_path"
        if function.definer and function.owner != "felix_owner":
            yield f"{function.name} runs with the rights of {function.owner}"
    for view in views_with_their_owners_rights(connection):
        if view not in OWNERS_VIEWS:
            yield f"{view} reads with its owner's rights"
    definers = {function.name for function in read_functions(connection) if function.definer}
    for grant in read_grants(connection):
        if grant.role == "public" and f"{grant.schema}.{grant.target}" in definers:
            yield f"everybody may execute {grant.schema}.{grant.target}"
        if grant.role == "public" and "execute" not in grant.privileges:
            yield f"everybody may {grant.privileges} {grant.target}"
    for role in read_roles(connection):
        forbidden = {"superuser", "createrole", "createdb"} & set(role.powers)
        if forbidden:
            yield f"{role.name} has {', '.join(sorted(forbidden))}"
        if role.member_of:
            yield f"{role.name} may take on {', '.join(role.member_of)}"


def test_every_table_key_view_and_function_keeps_tenants_apart(database: str) -> None:
    with psycopg.connect(database) as connection:
        assert list(faults(connection)) == []


@pytest.mark.parametrize(
    ("seeded", "found"),
    [
        ("create table felix.loose (tenant_id uuid primary key)", "felix.loose does not force row-level security"),
        ("create table felix.nobodys (id int primary key)", "felix.nobodys has no tenant_id"),
        ("alter table felix.events no force row level security", "felix.events does not force row-level security"),
        ("alter table felix.passwords no force row level security", "felix.passwords does not force"),
        ("drop policy bound_tenant on felix.commands; drop policy founder on felix.commands", "felix.commands has no"),
        ("create unique index events_command_key on felix.events (command_key)", "felix.events_command_key begins"),
        ("create view felix.all_events as select * from felix.events", "felix.all_events reads with"),
        (
            "create function felix.hole() returns bigint language sql security definer as"
            " 'select count(*) from felix.events'",
            "felix.hole() has no search_path",
        ),
        (
            "create function felix.open_hole() returns bigint language sql security definer"
            " set search_path = pg_catalog as 'select 1'",
            "everybody may execute felix.open_hole()",
        ),
        ("grant select on felix.events to public", "everybody may select events"),
        ("grant felix_owner to felix_reader", "felix_reader may take on felix_owner"),
    ],
)  # fmt: skip
def test_a_seeded_fault_is_found(database: str, seeded: str, found: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("set local role felix_owner" if "grant felix_owner" not in seeded else "select 1")
        connection.execute(seeded.encode())
        connection.execute("reset role")
        assert any(fault.startswith(found) for fault in faults(connection)), list(faults(connection))
        connection.rollback()


def test_no_role_that_serves_may_change_what_is_recorded(database: str) -> None:
    with psycopg.connect(database) as connection:
        for grant in read_grants(connection):
            if grant.target in ("events", "commands"):
                words = {word.split(" ")[0] for word in grant.privileges.split(", ")}
                assert not words & {"update", "delete", "truncate", "trigger", "references"}, grant
