"""The topic ``changes``: where a change is, how far, whom it waits for and what it has cost, whenever it goes on."""

from __future__ import annotations

from collections.abc import Sequence

from felix.api.change_views import progress
from felix.api.live.topics import States, StateTopic
from felix.domain.changes.change import Change
from felix.projections import changes
from felix.projections.changes import PROJECTION
from felix.projections.tenant_tx import Row, TenantTx


def _touches(type_: str, stream: str) -> str | None:
    _, kind, change_id = stream.split(":", 2)
    return change_id if kind == Change.kind and type_ in PROJECTION.reads else None


async def _states(tx: TenantTx, ids: Sequence[str]) -> States:
    return _by_id(await changes.changes_named(tx, ids))


async def _changed(tx: TenantTx, since: int, after: str, limit: int) -> States:
    return _by_id(await changes.changes_since(tx, since, after, limit))


def _by_id(rows: list[Row]) -> States:
    return [(row["change_id"], progress(row)) for row in rows]


TOPIC = StateTopic("changes", PROJECTION.name, _touches, _states, _changed)
