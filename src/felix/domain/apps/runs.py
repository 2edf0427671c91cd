"""What an app did by itself in one environment, for the client to look back on."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from eventsourcing.domain import event

from felix.domain.apps.messages import (
    MAX_DETAIL,
    AutomationFailed,
    AutomationRan,
    EffectFailed,
    EffectSent,
    RunsBegun,
    ScheduleFailed,
    ScheduleRan,
)
from felix.domain.base import CommandContext, FelixAggregate, FelixEvent
from felix.domain.errors import FelixError


class AppRuns(FelixAggregate):
    """The history of one app in one environment; what is asked of it is only that it grows.

    Its local id is ``<app>.<environment>``.
    """

    TOPIC = "automation.app_runs"
    kind = "app_runs"
    Event = FelixEvent
    RunsBegun = RunsBegun
    AutomationRan = AutomationRan
    AutomationFailed = AutomationFailed
    ScheduleRan = ScheduleRan
    ScheduleFailed = ScheduleFailed
    EffectSent = EffectSent
    EffectFailed = EffectFailed

    @classmethod
    def of(cls, context: CommandContext, app: str, environment: str) -> Self:
        """A history that begins."""
        return cls.begin(context, f"{app}.{environment}", app=app, environment=environment)

    @event(RunsBegun)
    def __init__(self, app: str, environment: str) -> None:
        self.app = app
        self.environment = environment

    def ran(
        self,
        automation: str,
        cause: tuple[str, int],
        release: str,
        *,
        effects: list[str],
        records: list[str],
        deployment_id: str | None,
        charged_mtok: int,
    ) -> None:
        """An automation ran; ``cause`` is a record and the version that set it off."""
        self.trigger_event(
            self.AutomationRan, app=self.app, environment=self.environment, automation=automation, cause=cause[0],
            version=cause[1], release=release, effects=effects, records=records, deployment_id=deployment_id,
            charged_mtok=charged_mtok,
        )  # fmt: skip

    def failed(self, automation: str, cause: tuple[str, int], release: str, failure: FelixError) -> None:
        """An automation was set off and did nothing."""
        self.trigger_event(
            self.AutomationFailed, app=self.app, environment=self.environment, automation=automation, cause=cause[0],
            version=cause[1], release=release, failure=failure.code, detail=str(failure)[:MAX_DETAIL],
        )  # fmt: skip

    def schedule_ran(
        self, schedule: str, due_at: datetime, release: str, *, effects: list[str], charged_mtok: int
    ) -> None:
        """A schedule did what it says."""
        self.trigger_event(
            self.ScheduleRan, app=self.app, environment=self.environment, schedule=schedule, due_at=due_at,
            release=release, effects=effects, charged_mtok=charged_mtok,
        )  # fmt: skip

    def schedule_failed(self, schedule: str, due_at: datetime, release: str, failure: FelixError) -> None:
        """A schedule did nothing."""
        self.trigger_event(
            self.ScheduleFailed, app=self.app, environment=self.environment, schedule=schedule, due_at=due_at,
            release=release, failure=failure.code, detail=str(failure)[:MAX_DETAIL],
        )  # fmt: skip

    def sent(self, effect_id: str, kind: str, release: str) -> None:
        """An effect went out."""
        self.trigger_event(
            self.EffectSent, app=self.app, environment=self.environment, effect_id=effect_id, kind=kind, release=release
        )

    def not_sent(self, effect_id: str, kind: str, release: str, failure: str, detail: str) -> None:
        """An effect could not go out."""
        self.trigger_event(
            self.EffectFailed, app=self.app, environment=self.environment, effect_id=effect_id, kind=kind,
            release=release, failure=failure, detail=detail,
        )  # fmt: skip

    @event(AutomationRan)
    def _ran(self) -> None: ...

    @event(AutomationFailed)
    def _failed(self) -> None: ...

    @event(ScheduleRan)
    def _schedule_ran(self) -> None: ...

    @event(ScheduleFailed)
    def _schedule_failed(self) -> None: ...

    @event(EffectSent)
    def _sent(self) -> None: ...

    @event(EffectFailed)
    def _not_sent(self) -> None: ...
