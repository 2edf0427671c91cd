"""Looks at a database that was just restored: are all rows there, and does everything fit together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from felix.cli.errors import NotReady
from felix.settings import Settings

if TYPE_CHECKING:
    from felix.application.verification import Report
    from felix.embedded import PostgresAddress
    from felix.eventstore.row_counts import PartitionRows

#: Read models are restored with the log and are behind it only by what they were behind then.
CATCH_UP_WITHIN_S = 3600.0
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Examination:
    """What a restored database holds, and whether it fits together."""

    rows: list[PartitionRows]
    report: Report
    erased_again: int = 0

    @property
    def consistent(self) -> bool:
        """Whether there are as many rows as the heads say, and the audit found nothing."""
        return self.report.consistent and all(each.dense for each in self.rows)

    @property
    def events(self) -> int:
        """How many events there are."""
        return sum(each.events for each in self.rows)

    @property
    def last_event_at(self) -> datetime | None:
        """When the last event was recorded."""
        return max((each.last_event_at for each in self.rows if each.last_event_at), default=None)


def examine(
    address: PostgresAddress,
    settings: Settings,
    step: Callable[[str, int, int], None],
    *,
    erasure_key: Path | None = None,
) -> Examination:
    """Count the rows, bring schema and read models up to date as `felix up` would, and audit the whole log.

    Who was erased after the moment, as the `erasure_key` knows, is erased again before anybody can ask. Raises NotReady
    when the read models do not catch up.
    """
    from felix import bootstrap
    from felix.cli.installation import DATABASE
    from felix.eventstore.connections import connect
    from felix.eventstore.erasure_key import ErasureKeyFile
    from felix.eventstore.row_counts import count_rows

    endpoints = bootstrap.Endpoints(address.url(DATABASE), None, None)
    step("counting the rows", 0, 0)
    with connect(endpoints.database_url) as connection:
        rows = count_rows(connection)
    step("bringing the read models up to date", 0, 0)
    bootstrap.bring_up_to_date(endpoints, partitions=settings.partitions)
    erased_again = 0
    if erasure_key is not None:
        step("erasing again who was erased", 0, 0)
        erased_again = bootstrap.erase_again(endpoints, ErasureKeyFile(erasure_key), partitions=settings.partitions)
    _catch_up(endpoints, [each.partition for each in rows])
    report = bootstrap.verify_ledger(
        endpoints,
        partitions=settings.partitions,
        told=lambda done, total: step("auditing the log", done, total),
    )
    return Examination(rows, report, erased_again)


def _catch_up(endpoints: Any, partitions: list[int]) -> None:
    from felix import bootstrap

    runner = bootstrap.open_runner(endpoints, partitions=max(partitions, default=-1) + 1)
    runner.start()
    deadline = time.monotonic() + CATCH_UP_WITHIN_S
    try:
        while not all(lag.owned and lag.lag_events == 0 for lag in runner.lag().values()):
            if time.monotonic() > deadline:
                raise NotReady("The read models of the restored database did not catch up: felix projections lag")
            time.sleep(LOOK_EVERY_S)
    finally:
        runner.stop()
