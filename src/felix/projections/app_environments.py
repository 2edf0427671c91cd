"""App environments: what of every app runs where, what ran there before, and what founders did there by override."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, LiteralString

import psycopg

from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection, change
from felix.projections.tenant_tx import Row, TenantTx

#: What an environment keeps of its past, and so what can be gone back to.
KEPT_RELEASES = 10

_WHERE: Final[LiteralString] = " where partition = %s and tenant_id = %s and app = %s and environment = %s"
_CREATE: Final[LiteralString] = """
    insert into app_environments (partition, tenant_id, app, environment, title, stable, tree, created_at, changed_at)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_SEEN: Final[LiteralString] = (
    "update app_environments set version = %s, tenant_sequence = %s, changed_at = %s" + _WHERE  # noqa: S608 constants
)
_RELEASE: Final[LiteralString] = """
    insert into app_releases (partition, tenant_id, app, environment, tenant_sequence, release, tree, how, change_id,
      deployment_id, live_at, actor)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_PROPOSE: Final[LiteralString] = """
    insert into app_overrides (partition, tenant_id, app, environment, override_id, what, change_id, release, reason,
      proposer, status, proposed_at, expires_at)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'proposed', %s, %s)
"""
_EXERCISE: Final[LiteralString] = """
    insert into app_overrides (partition, tenant_id, app, environment, override_id, what, change_id, release, reason,
      proposer, approver, break_glass, status, proposed_at, exercised_at)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    on conflict on constraint app_overrides_pkey do update set approver = excluded.approver,
      break_glass = excluded.break_glass, status = excluded.status, exercised_at = excluded.exercised_at,
      expires_at = null
"""
_REVIEW: Final[LiteralString] = """
    update app_overrides set status = 'reviewed', reviewer = %s, finding = %s, reviewed_at = %s
    where partition = %s and tenant_id = %s and app = %s and environment = %s and override_id = %s
"""
#: By event: what becomes of the row, and the members of the event that it is made from.
_SET: dict[str, tuple[LiteralString, tuple[str, ...]]] = {
    "queue_joined": (
        "queue = (select jsonb_agg(q order by"
        " array_position(array['rollback', 'founder', 'normal'], q ->> 'priority'), n) from jsonb_array_elements("
        "queue || jsonb_build_object('change_id', %s::text, 'priority', %s::text)) with ordinality as w (q, n))",
        ("change_id", "priority"),
    ),
    "queue_left": (
        "queue = (select coalesce(jsonb_agg(q order by n), '[]')"
        " from jsonb_array_elements(queue) with ordinality as w (q, n) where q ->> 'change_id' <> %s)",
        ("change_id",),
    ),
    "environment_locked": (
        "candidate = %s, deploying = %s, deployment_id = %s, fence = %s, rollback_to = %s",
        ("candidate", "change_id", "deployment_id", "fence", "rollback_to"),
    ),
    "traffic_shifted": ("weight = %s", ("weight",)),
    "release_promoted": ("stable = %s, tree = %s, weight = 0", ("release", "tree")),
    # Of a repository a release is a tree, and its name the title.
    "repository_connected": ("title = %s", ("repository",)),
    "repository_moved": ("stable = %s, tree = %s", ("tree", "tree")),
    "release_restored": (
        "stable = %s, tree = %s, weight = 0, quarantined = case when %s::text is null"
        " then quarantined else array_append(array_remove(quarantined, %s::text), %s::text) end",
        ("release", "tree", "quarantined", "quarantined", "quarantined"),
    ),
    "environment_unlocked": (
        "candidate = null, weight = 0, deploying = null, deployment_id = null, rollback_to = null",
        (),
    ),
    "deploy_taken_over": ("fence = %s", ("fence",)),
    "environment_closed": ("closed_because = %s", ("reason",)),
    "environment_reopened": ("closed_because = null", ()),
    "quarantine_lifted": ("quarantined = array_remove(quarantined, %s::text)", ("release",)),
}
#: How a release came to run.
_LIVE = {"environment_created": "created", "release_promoted": "promoted", "release_restored": "restored"}


class AppEnvironments(Projection):
    """One row an environment, one for every time that a release went live there, and one an override."""

    name = "app_environments"
    reads = frozenset(
        f"apps.{name}"
        for name in ("environment_created", "override_proposed", "override_exercised", "review_closed", *_SET)
    )
    tables = ("app_environments", "app_releases", "app_overrides")
    ddl = """
        create table app_environments (
          partition int not null,
          tenant_id uuid not null,
          app text collate "C" not null,
          environment text collate "C" not null,
          title text not null,
          stable text not null,
          tree text not null,
          candidate text,
          weight int not null default 0 check (weight between 0 and 99),
          rollback_to text,
          deploying text,
          deployment_id text,
          fence bigint not null default 0,
          queue jsonb not null default '[]',
          quarantined text[] not null default '{}',
          closed_because text,
          version bigint not null default 1,
          tenant_sequence bigint not null default 0,
          created_at timestamptz not null,
          changed_at timestamptz not null,
          constraint app_environments_pkey primary key (partition, tenant_id, app, environment)
        ) with (fillfactor = 70);
        create table app_releases (
          partition int not null,
          tenant_id uuid not null,
          app text not null,
          environment text not null,
          tenant_sequence bigint not null,
          release text not null,
          tree text not null,
          how text not null check (how in ('created', 'promoted', 'restored')),
          change_id text,
          deployment_id text,
          live_at timestamptz not null,
          actor text not null,
          constraint app_releases_pkey primary key (partition, tenant_id, app, environment, tenant_sequence)
        );
        create table app_overrides (
          partition int not null,
          tenant_id uuid not null,
          app text not null,
          environment text not null,
          override_id text collate "C" not null,
          what text not null,
          change_id text,
          release text,
          reason text not null,
          proposer text not null,
          approver text,
          break_glass boolean not null default false,
          status text not null check (status in ('proposed', 'exercised', 'to_review', 'reviewed')),
          proposed_at timestamptz not null,
          expires_at timestamptz,
          exercised_at timestamptz,
          reviewer text,
          finding text,
          reviewed_at timestamptz,
          constraint app_overrides_pkey primary key (partition, tenant_id, app, environment, override_id)
        ) with (fillfactor = 70);
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        for event in events:
            told, at, name = event.payload, event.recorded_at, event.type.partition(".")[2]
            of = (event.partition, event.tenant_id, *event.local_id.rsplit(".", 1))
            if name == "environment_created":
                change(connection, _CREATE, (*of, told["title"], told["release"], told["tree"], at, at), 1)
            elif name in _SET:
                setting, members = _SET[name]
                query = f"update app_environments set {setting}{_WHERE}"  # noqa: S608 constants
                change(connection, query, (*(told[member] for member in members), *of), 1)
            else:
                _fold_override(event, of, connection)
            if name in _LIVE:
                how = (_LIVE[name], told.get("change_id"), told.get("deployment_id"), at, event.actor)
                row = (*of, event.tenant_sequence, told["release"], told["tree"], *how)
                change(connection, _RELEASE, row, 1)
            change(connection, _SEEN, (event.version, event.tenant_sequence, at, *of), 1)


def _fold_override(event: RecordedEvent, of: tuple[Any, ...], connection: psycopg.Connection[Any]) -> None:
    told, at = event.payload, event.recorded_at
    if event.type == "apps.review_closed":
        change(connection, _REVIEW, (told["reviewer"], told["finding"], at, *of, told["override_id"]), 1)
        return
    what = (*of, *(told[name] for name in ("override_id", "what", "change_id", "release", "reason", "proposer")))
    if event.type == "apps.override_proposed":
        change(connection, _PROPOSE, (*what, at, told["expires_at"]), 1)
        return
    status = "to_review" if told["break_glass"] else "exercised"
    change(connection, _EXERCISE, (*what, told["approver"], told["break_glass"], status, at, at), 1)


PROJECTION = AppEnvironments()

_ENVIRONMENT: Final[LiteralString] = (
    "select app, environment, title, stable, tree, candidate, weight, rollback_to, deploying, deployment_id, fence,"
    " queue, quarantined, closed_because, version, created_at, changed_at from read.app_environments"
    " where partition = %s and tenant_id = %s"
)


async def environments(tx: TenantTx, after: tuple[str, str] = ("", ""), limit: int = 100) -> list[Row]:
    """What runs where, by app and environment, beginning behind ``after``."""
    return await tx.fetch(
        _ENVIRONMENT + " and (app, environment) > (%s, %s) order by app, environment limit %s",
        tx.partition, tx.tenant_id, *after, limit,
    )  # fmt: skip


async def environment(tx: TenantTx, app: str, environment: str) -> Row | None:
    """One environment."""
    return await tx.fetch_one(
        _ENVIRONMENT + " and app = %s and environment = %s", tx.partition, tx.tenant_id, app, environment
    )


async def releases(tx: TenantTx, app: str, environment: str, limit: int = KEPT_RELEASES) -> list[Row]:
    """What went live in an environment, the newest first."""
    return await tx.fetch(
        "select release, tree, how, change_id, deployment_id, live_at, actor from read.app_releases"
        " where partition = %s and tenant_id = %s and app = %s and environment = %s"
        " order by tenant_sequence desc limit %s",
        tx.partition, tx.tenant_id, app, environment, limit,
    )  # fmt: skip


async def overrides(tx: TenantTx, app: str, environment: str, limit: int = 100) -> list[Row]:
    """What founders did in an environment that the rules do not allow, or want to, the newest first."""
    return await tx.fetch(
        "select override_id, what, change_id, release, reason, proposer, approver, break_glass, status, proposed_at,"
        " expires_at, exercised_at, reviewer, finding, reviewed_at from read.app_overrides"
        " where partition = %s and tenant_id = %s and app = %s and environment = %s"
        " order by override_id desc limit %s",
        tx.partition, tx.tenant_id, app, environment, limit,
    )  # fmt: skip
