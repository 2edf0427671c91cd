"""The figures of a report: records in groups, and what is worked out of each group. Questions to :mod:`.records`."""

from __future__ import annotations

from functools import cache
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from felix.domain.apps.surfaces import Report
from felix.projections.record_filters import Filter
from felix.projections.tenant_tx import Row, TenantTx

#: Groups of a report; one more says that there are more.
MAX_ROWS = 10_000
_HERE: LiteralString = (
    "r.partition = %s and r.tenant_id = %s and r.app = %s and r.environment = %s and r.entity = %s"
    " and r.removed_at is null and jsonb_path_match(r.document, %s::jsonpath, %s::jsonb, true)"
)
_MEASURED: dict[str, LiteralString] = {
    "count": "count(*)",
    "sum": "sum({n})",
    "average": "round(avg({n}))",
    "minimum": "min({n})",
    "maximum": "max({n})",
}


def figures_question(
    place: tuple[int, UUID], app: str, environment: str, report: Report
) -> tuple[LiteralString, tuple[Any, ...]]:
    """The query and its parameters, for whoever has the tenant bound. Its rows have ``g0`` … and ``m0`` …: of a period
    the first day, and of every measure a whole number, or null where no record of the group has one."""
    fitting = Filter(report.where)
    groups = tuple(grouping.by is not None for grouping in report.group_by)
    measures = tuple(measure.function for measure in report.measures)
    asked: list[Any] = []
    for grouping in report.group_by:
        field, by = grouping.field, grouping.by
        asked += [field, by, field] if by is not None else [field]
    for measure in report.measures:
        if measure.field is not None:
            asked += [measure.field, measure.field]
    where = (*place, app, environment, report.entity, fitting.path, Jsonb(fitting.variables))
    return _question(groups, measures), (*asked, *where, MAX_ROWS + 1)


async def figures(tx: TenantTx, app: str, environment: str, report: Report) -> list[Row]:
    """The rows of a report. What is personal is no group and no figure: it is not in the table."""
    query, asked = figures_question((tx.partition, tx.tenant_id), app, environment, report)
    return await tx.fetch(query, *asked)


@cache
def _question(periods: tuple[bool, ...], measures: tuple[str, ...]) -> LiteralString:
    """One text for each number of groups and measures, of which there are few; every name is a parameter."""
    groups = [
        (
            "case when pg_input_is_valid(left(r.document -> 'v' ->> %s, 10), 'date')"
            f" then date_trunc(%s, left(r.document -> 'v' ->> %s, 10)::timestamp)::date::text end as g{number}"
            if period
            else f"r.document -> 'v' ->> %s as g{number}"
        )
        for number, period in enumerate(periods)
    ]
    numbers = [
        "case when jsonb_typeof(r.document -> 'v' -> %s) = 'number' then (r.document -> 'v' ->> %s)::numeric end"
        f" as n{n}"
        for n, function in enumerate(measures)
        if function != "count"
    ]
    figures = [f"{_MEASURED[function].format(n=f'n{n}')} as m{n}" for n, function in enumerate(measures)]
    names = ", ".join(f"g{number}" for number in range(len(periods)))
    return (
        f"select {names}, {', '.join(figures)} from (select {', '.join([*groups, *numbers])}"  # noqa: S608 constants
        f" from read.records r where {_HERE}) f group by {names} order by {names} limit %s"
    )
