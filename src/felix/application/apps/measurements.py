"""Where the runtime counts what releases do, and where the guardrails of a deploy ask."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from felix.domain.apps.measured import Measure, Running


class Measurements(Protocol):
    """Counts up, and answers what was counted. Safe from any thread."""

    def count(self, running: Running, measure: Measure, number: int = 1) -> None:
        """Count something now. Never waits and never fails; others see it a second later."""

    def counted(self, running: Running, since: datetime, until: datetime) -> Mapping[Measure, int]:
        """What was counted of a release in the minutes that began at ``since`` or later, and before ``until``.

        Raises ``Unavailable``.
        """

    def counted_of_others(self, running: Running, since: datetime, until: datetime) -> Mapping[Measure, int]:
        """The same of all other releases of the app in the environment: what is usual."""
