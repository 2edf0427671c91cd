"""What the read models should be: a rebuild from position 0 by a runner that nobody disturbs."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from processes import seconds_until
from projections.conftest import House, contents

from felix.projections.base import Projection
from felix.projections.runner import ProjectionRunner

CATCH_UP_TIMEOUT_S = 60.0


def behind(url: str, projections: Sequence[Projection], heads: dict[str, dict[int, int]]) -> list[str]:
    """The projections that have not come to these heads yet, and where they are."""
    with psycopg.connect(url) as connection:
        cursors = {
            (name, partition): position
            for name, partition, position in connection.execute(
                "select projection, partition, position from felix.cursors"
            )
        }
    return [
        f"{projection.name}/{partition} at {cursors.get((projection.name, partition), 0)} of {head}"
        for projection in projections
        for partition, head in heads[projection.feed].items()
        if cursors.get((projection.name, partition), 0) < head
    ]


def heads_of(url: str, projections: Sequence[Projection]) -> dict[str, dict[int, int]]:
    """How far each feed is now."""
    with psycopg.connect(url) as connection:
        return {projection.feed: projection.source.heads(connection) for projection in projections}


def wait_until_retold(url: str, projections: Sequence[Projection]) -> float:
    """Until everything that is committed now has been retold; the seconds that took."""
    heads = heads_of(url, projections)
    return seconds_until(
        lambda: not behind(url, projections, heads), CATCH_UP_TIMEOUT_S, lambda: str(behind(url, projections, heads))
    )


def rebuilt(house: House, projections: Sequence[Projection]) -> dict[str, list[str]]:
    """What the tables hold after a rebuild that nobody disturbed."""
    with psycopg.connect(house.url) as connection:
        for table in (table for projection in projections for table in projection.tables):
            connection.execute(f"truncate read.{table}".encode())
        for kept in ("cursors", "poisoned"):
            connection.execute(
                f"delete from felix.{kept} where projection = any(%s)".encode(),
                ([projection.name for projection in projections],),
            )
    runner = ProjectionRunner(house.projector_url, projections, range(4))
    runner.start()
    try:
        wait_until_retold(house.url, projections)
    finally:
        assert runner.stop()
    return contents(house.url, projections)


def wrong_rows(found: dict[str, list[str]], right: dict[str, list[str]]) -> int:
    """Rows that should not be there, and rows that are missing."""
    return sum(len(set(found[table]) ^ set(right[table])) for table in right)
