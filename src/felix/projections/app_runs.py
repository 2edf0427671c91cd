"""What apps did by themselves: one row for each run of an automation or a schedule, and each thing that went out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, LiteralString

import psycopg

from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection, change
from felix.projections.tenant_tx import Row, TenantTx

#: By event: what it is about, the member with its name, and how it went.
_TOLD: dict[str, tuple[str, str, str]] = {
    "automation.ran": ("automation", "automation", "ran"),
    "automation.failed": ("automation", "automation", "failed"),
    "automation.schedule_ran": ("schedule", "schedule", "ran"),
    "automation.schedule_failed": ("schedule", "schedule", "failed"),
    "effect.sent": ("effect", "effect_id", "ran"),
    "effect.failed": ("effect", "effect_id", "failed"),
}
_KEEP: Final[LiteralString] = """
    insert into app_runs (partition, tenant_id, tenant_sequence, app, environment, kind, name, outcome, at, release,
      record_id, record_version, deployment_id, effects, records, charged_mtok, failure, detail)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


class AppRuns(Projection):
    """One row an event of the history of an app in an environment."""

    name = "app_runs"
    reads = frozenset(_TOLD)
    ignores = frozenset({"automation.runs_begun"})
    tables = ("app_runs",)
    ddl = """
        create table app_runs (
          partition int not null,
          tenant_id uuid not null,
          tenant_sequence bigint not null,
          app text not null,
          environment text not null,
          kind text not null check (kind in ('automation', 'schedule', 'effect')),
          name text not null,
          outcome text not null check (outcome in ('ran', 'failed')),
          at timestamptz not null,
          release text not null,
          record_id text,
          record_version bigint,
          deployment_id text,
          effects text[] not null,
          records text[] not null,
          charged_mtok bigint not null,
          failure text,
          detail text,
          constraint app_runs_pkey primary key (partition, tenant_id, tenant_sequence),
          constraint app_runs_failure_check check ((outcome = 'failed') = (failure is not null))
        );
        create index app_runs_app_idx on app_runs (partition, tenant_id, app, environment, tenant_sequence);
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        for event in events:
            kind, name, outcome = _TOLD[event.type]
            told = event.payload
            row = (
                event.partition, event.tenant_id, event.tenant_sequence, told["app"], told["environment"], kind,
                told[name], outcome, event.recorded_at, told["release"], told.get("cause"), told.get("version"),
                told.get("deployment_id"), told.get("effects", []), told.get("records", []),
                told.get("charged_mtok", 0), told.get("failure"), told.get("detail"),
            )  # fmt: skip
            change(connection, _KEEP, row, 1)


PROJECTION = AppRuns()

#: Behind everything.
NEWEST = 2**63 - 1
OUTCOMES = ("ran", "failed")
KINDS = ("automation", "schedule", "effect")


async def runs(
    tx: TenantTx,
    app: str,
    environment: str,
    before: int,
    limit: int,
    kind: str | None = None,
    outcome: str | None = None,
) -> list[Row]:
    """What an app did, the newest first, before a ``tenant_sequence``."""
    return await tx.fetch(
        "select tenant_sequence, kind, name, outcome, at, release, record_id, record_version, deployment_id, effects,"
        " records, charged_mtok, failure, detail from read.app_runs"
        " where partition = %s and tenant_id = %s and app = %s and environment = %s and tenant_sequence < %s"
        " and (%s::text is null or kind = %s) and (%s::text is null or outcome = %s)"
        " order by tenant_sequence desc limit %s",
        tx.partition, tx.tenant_id, app, environment, before, kind, kind, outcome, outcome, limit,
    )  # fmt: skip


async def waiting(tx: TenantTx, app: str, environment: str) -> list[Row]:
    """How much waits in the outbox, by state and deployment."""
    return await tx.fetch(
        "select state, deployment_id, count(*) as effects, min(made_at) as since from felix.effects"
        " where partition = %s and tenant_id = %s and app = %s and environment = %s and state in ('held', 'due')"
        " group by state, deployment_id order by state, deployment_id",
        tx.partition, tx.tenant_id, app, environment,
    )  # fmt: skip
