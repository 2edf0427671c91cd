"""What can be asked of a record, and what can have happened to it.

The door has checked values against the release that is active for the caller, and has put what is personal apart: a
command and an event hold what can be kept for ever, the vault holds the rest.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, StringConstraints

from felix.domain.apps.base import SpecName
from felix.domain.base import Command, FelixCreated, FelixEvent
from felix.domain.values import AccountId, Slug

RecordId = Annotated[str, StringConstraints(pattern=r"^rec_[0-9a-f]{32}$")]
ReleaseDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AppEnvironment = Literal["production", "sandbox"]
#: Values by field; null takes one away.
Values = dict[SpecName, JsonValue]
#: Of each personal value a keyed hash (in a command) or its commitment (in an event); null takes one away.
Digests = dict[SpecName, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None]
#: The version of the record that the caller has seen.
Version = Annotated[int, Field(gt=0)]


# --- commands -----------------------------------------------------------------------------------------------


class RecordCommand(Command):
    """Something asked of an app's records. ``release`` is what the caller's values were checked against."""

    app: Slug
    environment: AppEnvironment = "production"
    entity: SpecName
    release: ReleaseDigest
    #: Who pays; None where the client has no token account.
    account_id: AccountId | None = None

    def fingerprint_fields(self) -> dict[str, Any]:
        """What was asked: release and account are the door's answer, and another one after a deploy."""
        asked = super().fingerprint_fields()
        return {name: value for name, value in asked.items() if name not in ("release", "account_id")}


class CreateRecord(RecordCommand):
    """Make a record."""

    command_name: ClassVar[str] = "records.create_record"
    values: Values = {}
    personal: Digests = {}


class ChangeRecord(RecordCommand):
    """Change some values of a record, and leave the others as they are; null takes a value away."""

    command_name: ClassVar[str] = "records.change_record"
    record_id: RecordId
    values: Values = {}
    personal: Digests = {}
    expected_version: Version | None = None


class TakeStep(RecordCommand):
    """Take a record a step further in its workflow."""

    command_name: ClassVar[str] = "records.take_step"
    record_id: RecordId
    action: SpecName
    expected_version: Version | None = None


class RemoveRecord(RecordCommand):
    """Remove a record. It can be restored until what is personal in it is erased."""

    command_name: ClassVar[str] = "records.remove_record"
    record_id: RecordId
    expected_version: Version | None = None


class RestoreRecord(RecordCommand):
    """Bring a removed record back as it was."""

    command_name: ClassVar[str] = "records.restore_record"
    record_id: RecordId
    expected_version: Version | None = None


# --- events -------------------------------------------------------------------------------------------------


_App = Annotated[str, Field(description="the app that keeps it")]
_Place = Annotated[str, Field(description="where the app runs: production or sandbox")]
_Entity = Annotated[str, Field(description="what the app calls it")]
_Release = Annotated[str, Field(description="the release that it was checked against")]
_Commitments = Annotated[dict[str, str], Field(description="commitments to what is personal, by field")]
_ChangedCommitments = Annotated[
    dict[str, str | None], Field(description="commitments by field; null is a value that was taken away")
]
_Values = Annotated[dict[str, Any], Field(description="values by field; null is one that was taken away")]


class RecordCreated(FelixCreated):
    """A record was made. ``personal`` holds commitments; the values are in the vault under the record's id."""

    TOPIC: ClassVar[str] = "record.created"
    app: _App
    environment: _Place
    entity: _Entity
    release: _Release
    maker: Annotated[str, Field(description="who made it, as the log names them")]
    values: _Values
    personal: _Commitments


class RecordChanged(FelixEvent):
    """Some values of a record changed; null is a value that was taken away."""

    TOPIC: ClassVar[str] = "record.changed"
    app: _App
    environment: _Place
    entity: _Entity
    release: _Release
    values: _Values
    personal: _ChangedCommitments


class StepTaken(FelixEvent):
    """A record went a step further in its workflow."""

    TOPIC: ClassVar[str] = "record.step_taken"
    app: _App
    environment: _Place
    entity: _Entity
    release: _Release
    workflow: Annotated[str, Field(description="the workflow")]
    action: Annotated[str, Field(description="the step")]
    was: Annotated[str, Field(description="the state before")]
    values: _Values


class RecordRemoved(FelixEvent):
    """A record was removed."""

    TOPIC: ClassVar[str] = "record.removed"
    app: _App
    environment: _Place
    entity: _Entity
    release: _Release


class RecordRestored(FelixEvent):
    """A removed record was brought back."""

    TOPIC: ClassVar[str] = "record.restored"
    app: _App
    environment: _Place
    entity: _Entity
    release: _Release
