"""How the read models are, for the founder: how far each has come, whom it stopped for, and its last rebuild."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felix.projections.tenant_tx import FounderTx, Row

#: Stopped tenants that are told; the number counts all of them.
MAX_STOPPED = 100

_CURSORS = (
    "select c.projection, c.partition, c.version, c.position, c.updated_at, p.position as events, p.commands"
    " from felix.cursors c join felix.partitions p using (partition) order by c.projection, c.partition"
)
_REBUILD_CURSORS = "select projection, sum(position)::bigint as position from felix.rebuild_cursors group by projection"
_REBUILDS = (
    "select projection, version, state, requested_by, requested_at, started_at, finished_at, detail, differences,"
    " extract(epoch from clock_timestamp() - started_at)::float8 as running_s from felix.rebuilds"
)
_STOPPED = (
    "select projection, partition, tenant_id, position, event_id, type, error, message, failures, first_at, last_at,"
    " retry_at from felix.poisoned"
    " order by projection, first_at, tenant_id"
)
UNDER_WAY = ("requested", "folding", "comparing", "switching")


async def projections(tx: FounderTx, feeds: Mapping[str, str]) -> list[Row]:
    """Every projection that follows a feed, by name. ``feeds`` says which; a name without one follows the events.

    ``lag_events`` is that of the partition that is furthest behind; ``stopped`` counts tenants; ``rebuild`` is the
    last one, or the one under way.
    """
    cursors = await tx.fetch(_CURSORS)
    rebuilding = {row["projection"]: row["position"] for row in await tx.fetch(_REBUILD_CURSORS)}
    rebuilds = {row["projection"]: row for row in await tx.fetch(_REBUILDS)}
    stopped: dict[str, list[Row]] = {}
    for row in await tx.fetch(_STOPPED):
        stopped.setdefault(row["projection"], []).append(row)
    found: dict[str, Row] = {}
    for row in cursors:
        name = row["projection"]
        head = row["commands"] if feeds.get(name) == "commands" else row["events"]
        one = found.setdefault(
            name,
            {
                "projection": name,
                "feed": feeds.get(name, "events"),
                "version": row["version"],
                "retold": 0,
                "total": 0,
                "lag_events": 0,
                "stopped": len(stopped.get(name, ())),
                "partitions": [],
                "stopped_tenants": [_without(each, "projection") for each in stopped.get(name, [])[:MAX_STOPPED]],
                "rebuild": None,
            },
        )
        lag = max(0, head - row["position"])
        one["retold"] += row["position"]
        one["total"] += head
        one["lag_events"] = max(one["lag_events"], lag)
        one["partitions"].append(
            {"partition": row["partition"], "position": row["position"], "head": head, "lag_events": lag}
        )
    for name, rebuild in rebuilds.items():
        if name in found:
            found[name]["rebuild"] = _rebuild(rebuild, rebuilding.get(name), found[name]["total"])
    return list(found.values())


def alarms(rows: list[Row]) -> list[str]:
    """What somebody should look at, in sentences."""
    said = []
    for row in rows:
        for each in row["stopped_tenants"]:
            said.append(
                f"{row['projection']} stops for tenant {each['tenant_id']} at {each['partition']}:{each['position']}"
                f" ({each['type']}): {each['error']}: {each['message']}"
            )
        rebuild = row["rebuild"] or {}
        if rebuild.get("state") in ("refused", "failed"):
            said.append(f"the rebuild of {row['projection']} {rebuild['state']}: {rebuild['detail']}")
    return said


def _rebuild(row: Row, folded: int | None, total: int) -> Row:
    shown = _without(row, "projection", "running_s")
    under_way = row["state"] in UNDER_WAY
    shown["retold"] = folded if under_way else None
    shown["total"] = total if under_way else None
    shown["eta_s"] = None
    if under_way and folded and row["running_s"]:
        shown["eta_s"] = round((total - folded) * row["running_s"] / folded, 1)
    return shown


def _without(row: Row, *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
