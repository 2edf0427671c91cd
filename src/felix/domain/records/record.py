"""One record: its values by field, whatever release gave them, and commitments to what is personal in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from eventsourcing.domain import event

from felix.domain.apps.transitions import Taken
from felix.domain.base import CommandContext, FelixAggregate, FelixEvent
from felix.domain.errors import NotFound, Refused
from felix.domain.records.messages import (
    CreateRecord,
    RecordChanged,
    RecordCommand,
    RecordCreated,
    RecordRemoved,
    RecordRestored,
    StepTaken,
)


class RecordChangedMeanwhile(Refused):
    """The record is of another version than the one that you have seen; look at it again."""


class RecordNotRemoved(Refused):
    """The record is there; there is nothing to restore."""


class Record(FelixAggregate):
    """One record of an entity.

    Values of fields that the active release does not know stay as they are: the release before or after knows them.
    """

    TOPIC = "record.record"
    kind = "record"
    Event = FelixEvent
    RecordCreated = RecordCreated
    RecordChanged = RecordChanged
    StepTaken = StepTaken
    RecordRemoved = RecordRemoved
    RecordRestored = RecordRestored

    @classmethod
    def create(
        cls,
        context: CommandContext,
        record_id: str,
        command: CreateRecord,
        values: dict[str, Any],
        personal: dict[str, str],
    ) -> Self:
        """A new record, made by whoever asks."""
        return cls.begin(
            context,
            record_id,
            app=command.app,
            environment=command.environment,
            entity=command.entity,
            release=command.release,
            maker=maker_of(context),
            values=values,
            personal=personal,
        )

    @event(RecordCreated)
    def __init__(
        self,
        app: str,
        environment: str,
        entity: str,
        maker: str,
        values: dict[str, Any],
        personal: dict[str, str],
    ) -> None:
        self.app = app
        self.environment = environment
        self.entity = entity
        self.maker = maker
        self.values = {name: value for name, value in values.items() if value is not None}
        self.personal = dict(personal)
        self.removed = False

    @property
    def told(self) -> dict[str, Any]:
        """All values, what is sealed as its commitment: that it is there can be told, and nothing else of it."""
        return self.values | {name: {"commitment": commitment} for name, commitment in self.personal.items()}

    def is_of(self, app: str, environment: str, entity: str) -> bool:
        """Whether this is where the record belongs."""
        return (self.app, self.environment, self.entity) == (app, environment, entity)

    def refuse_elsewhere(self, command: RecordCommand, record_id: str) -> None:
        """Raises ``NotFound``, as if it did not exist, where the command names another place."""
        if not self.is_of(command.app, command.environment, command.entity):
            raise not_there(record_id)

    def refuse_stale(self, expected_version: int | None) -> None:
        """Raises :class:`RecordChangedMeanwhile` where the caller has seen another version."""
        if expected_version is not None and expected_version != self.version:
            raise RecordChangedMeanwhile(expected_version=expected_version, version=self.version)

    def differing(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the values that are not so already."""
        return {
            name: value for name, value in values.items() if name in self.personal or self.values.get(name) != value
        }

    def change(self, release: str, values: Mapping[str, Any], personal: Mapping[str, str | None]) -> bool:
        """Take on the values that are not so already; whether there were any. What is personal always is."""
        different = self.differing(values)
        sealed = {name: value for name, value in personal.items() if value is not None or name in self.told}
        if not different and not sealed:
            return False
        self.trigger_event(self.RecordChanged, **self._place(release), values=different, personal=sealed)
        return True

    def step(self, release: str, action: str, taken: Taken) -> None:
        """Go a step further."""
        self.trigger_event(
            self.StepTaken,
            **self._place(release),
            workflow=taken.workflow,
            action=action,
            was=taken.was,
            values={taken.field: taken.becomes},
        )

    def remove(self, release: str) -> None:
        """Be gone."""
        self.trigger_event(self.RecordRemoved, **self._place(release))

    def bring_back(self, release: str) -> None:
        """Be back. Raises :class:`RecordNotRemoved`."""
        if not self.removed:
            raise RecordNotRemoved()
        self.trigger_event(self.RecordRestored, **self._place(release))

    def _place(self, release: str) -> dict[str, str]:
        return {"app": self.app, "environment": self.environment, "entity": self.entity, "release": release}

    @event(RecordChanged)
    def _changed(self, values: dict[str, Any], personal: dict[str, str | None]) -> None:
        # A field that became personal, or is no longer so, has its value in one place only.
        kept, sealed = self.values | dict.fromkeys(personal) | values, self.personal | dict.fromkeys(values) | personal
        self.values = {name: value for name, value in kept.items() if value is not None}
        self.personal = {name: commitment for name, commitment in sealed.items() if commitment is not None}

    @event(StepTaken)
    def _stepped(self, values: dict[str, Any]) -> None:
        self.values = self.values | values

    @event(RecordRemoved)
    def _removed(self) -> None:
        self.removed = True

    @event(RecordRestored)
    def _restored(self) -> None:
        self.removed = False


def maker_of(context: CommandContext) -> str:
    """Whoever does this, as records remember their makers: ``usr_…``, ``key_…``, or what else the log names."""
    return context.actor.partition(":")[2] or context.actor


def not_there(record_id: str) -> NotFound:
    """The same answer whether it never existed, was removed, or is elsewhere."""
    return NotFound(f"There is no record {record_id}.", id=record_id)
