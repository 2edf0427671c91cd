"""What Felix does for an app by itself, and what became of it. Nobody asks for any of this at a door."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from felix.domain.apps.base import SpecName
from felix.domain.base import Command, FelixCreated, FelixEvent
from felix.domain.values import AccountId, Moment

RecordId = Annotated[str, StringConstraints(pattern=r"^rec_[0-9a-f]{32}$")]
Environment = Literal["production", "sandbox"]
ReleaseDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AppName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
EffectId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
#: The meter of what an app does by itself.
RUNS_METER = "apps.automation_runs"
#: What is kept of a failure.
MAX_DETAIL = 500


# --- commands -----------------------------------------------------------------------------------------------


class RunAutomations(Command):
    """Run the automations that an event of a record sets off. The app travels enclosed.

    With ``refused``, the code of what the books said to that, only write down that they failed.
    """

    command_name: ClassVar[str] = "automation.run_automations"
    app: AppName
    environment: Environment
    record_id: RecordId
    #: Which of the record's events.
    version: Annotated[int, Field(ge=1)]
    #: How many runs, one after the other, led to that event.
    depth: Annotated[int, Field(ge=0)] = 0
    refused: Annotated[str, Field(max_length=64)] | None = None
    detail: Annotated[str, Field(max_length=500)] = ""
    #: Who pays; None where the client has no token account.
    account_id: AccountId | None = None

    def fingerprint_fields(self) -> dict[str, Any]:
        """Who pays, and what was refused, is found out anew by every attempt."""
        asked = super().fingerprint_fields()
        return {name: value for name, value in asked.items() if name not in ("account_id", "refused", "detail")}


class PlanSchedules(Command):
    """Set the timers of an app's schedules, by the release that is active. The app travels enclosed."""

    command_name: ClassVar[str] = "automation.plan_schedules"
    app: AppName
    environment: Environment


class RunSchedule(Command):
    """Do what a schedule says at one of its times, if it still says so. The app travels enclosed."""

    command_name: ClassVar[str] = "automation.run_schedule"
    app: AppName
    environment: Environment
    schedule: SpecName
    #: The time that its timer was set for.
    due_at: Moment
    account_id: AccountId | None = None

    def fingerprint_fields(self) -> dict[str, Any]:
        """Who pays is found out anew by every attempt."""
        asked = super().fingerprint_fields()
        asked.pop("account_id", None)
        return asked


class SettleEffect(Command):
    """Say what became of an effect that was to go out; ``failure`` is the code of what went wrong."""

    command_name: ClassVar[str] = "automation.settle_effect"
    app: AppName
    environment: Environment
    effect_id: EffectId
    failure: Annotated[str, Field(max_length=64)] | None = None
    detail: Annotated[str, Field(max_length=MAX_DETAIL)] = ""

    def fingerprint_fields(self) -> dict[str, Any]:
        """An effect is settled once, however it went."""
        return {"effect_id": self.effect_id}


# --- events -------------------------------------------------------------------------------------------------


class RunsBegun(FelixCreated):
    """From here on it is written down what the app does by itself in this environment."""

    TOPIC: ClassVar[str] = "automation.runs_begun"
    app: str
    environment: str


class AutomationRan(FelixEvent):
    """An automation ran, set off by version ``version`` of the record ``cause``.

    ``records`` are those that it changed or made; ``effects`` go out by themselves, or wait for ``deployment_id``.
    """

    TOPIC: ClassVar[str] = "automation.ran"
    app: str
    automation: str
    cause: str
    charged_mtok: int
    deployment_id: str | None
    effects: list[str]
    environment: str
    records: list[str]
    release: str
    version: int


class AutomationFailed(FelixEvent):
    """An automation was set off and did nothing; ``failure`` is the code of why."""

    TOPIC: ClassVar[str] = "automation.failed"
    app: str
    automation: str
    cause: str
    detail: str
    environment: str
    failure: str
    release: str
    version: int


class ScheduleRan(FelixEvent):
    """A schedule did what it says at one of its times."""

    TOPIC: ClassVar[str] = "automation.schedule_ran"
    app: str
    charged_mtok: int
    due_at: Moment
    effects: list[str]
    environment: str
    release: str
    schedule: str


class ScheduleFailed(FelixEvent):
    """A schedule did nothing at one of its times; ``failure`` is the code of why."""

    TOPIC: ClassVar[str] = "automation.schedule_failed"
    app: str
    detail: str
    due_at: Moment
    environment: str
    failure: str
    release: str
    schedule: str


class EffectSent(FelixEvent):
    """An effect went out."""

    TOPIC: ClassVar[str] = "effect.sent"
    app: str
    effect_id: str
    environment: str
    kind: str
    release: str


class EffectFailed(FelixEvent):
    """An effect could not go out, and is not tried again; ``failure`` is the code of why."""

    TOPIC: ClassVar[str] = "effect.failed"
    app: str
    detail: str
    effect_id: str
    environment: str
    failure: str
    kind: str
    release: str
