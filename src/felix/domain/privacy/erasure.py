"""The erasure of what is personal about somebody who is no user: a client's customer, a person who was invited.

The log knows such a subject by an id that tells nothing. Its erasure is the first event of a stream of its own, in the
log of the tenant that kept the data; the commitments in earlier events stay and say nothing any more.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from eventsourcing.domain import event
from pydantic import StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.values import Reason

#: Made by whoever keeps the data, in the first place by an app of the client: never a name, an address or a number
#: that people know.
SubjectId = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,12}_[0-9A-Za-z-]{1,100}$")]


class ErasePersonalData(Command):
    """Erase what is personal about a subject: the vault's rows and the key they were encrypted with."""

    command_name: ClassVar[str] = "privacy.erase_personal_data"
    subject_id: SubjectId
    reason: Reason


class PersonalDataErased(FelixCreated):
    """What was personal about a subject is gone; ``fields`` names what it was."""

    TOPIC: ClassVar[str] = "privacy.personal_data_erased"
    fields: tuple[str, ...]
    reason: str


class Erasure(FelixAggregate):
    """One subject of which nothing is known any more. There is no way back."""

    TOPIC = "privacy.erasure"
    kind = "erasure"
    Event = FelixEvent
    PersonalDataErased = PersonalDataErased

    @classmethod
    def of(cls, context: CommandContext, command: ErasePersonalData, fields: tuple[str, ...]) -> Erasure:
        """Begin the stream that says that a subject was erased."""
        return cls.begin(context, command.subject_id, fields=fields, reason=command.reason)

    @event(PersonalDataErased)
    def __init__(self, fields: tuple[str, ...], reason: str) -> None:
        self.fields = tuple(fields)
