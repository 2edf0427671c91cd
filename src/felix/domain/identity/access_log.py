"""An access log says what one member of staff has read of one client: auditors, founders and whoever acts for them.

It is written in the client's own log, so the client sees it. What was read is named and not repeated: the path, how
many rows there were, and of the query only what can't be personal.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from eventsourcing.domain import event
from pydantic import Field, StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.identity.impersonation import ImpersonationId
from felix.domain.values import Name, Text

#: ``usr_…`` or ``key_…``, as the log names callers.
ReaderId = Annotated[str, StringConstraints(pattern=r"^[a-z]+_[0-9A-Za-z]{1,64}$")]
MAX_WHAT = 1_000
What = Annotated[Text, StringConstraints(min_length=1, max_length=MAX_WHAT)]


class RecordRead(Command):
    """Record that staff read a client's data. Performed before the answer leaves; without it none does."""

    command_name: ClassVar[str] = "access.record_read"
    reader_id: ReaderId
    action: Name
    what: What
    rows: Annotated[int, Field(ge=0)] | None = None
    impersonation_id: ImpersonationId | None = None


class AccessLogBegun(FelixCreated):
    """A member of staff read something of a client for the first time."""

    TOPIC: ClassVar[str] = "access.access_log_begun"


class SensitiveDataRead(FelixEvent):
    """A member of staff read a client's data. ``rows`` is missing where the answer is no list, or never ends."""

    TOPIC: ClassVar[str] = "access.sensitive_data_read"
    action: str = Field(description="as the table of actions calls it")
    what: str = Field(description="the path, and the query without values that may be somebody's name")
    rows: int | None = Field(None, description="how many rows were shown")
    impersonation_id: str | None = Field(None, description="in which impersonation, if in one")


class AccessLog(FelixAggregate):
    """What one member of staff has read of one client. Its id is theirs."""

    TOPIC = "access.access_log"
    kind = "access_log"
    Event = FelixEvent
    AccessLogBegun = AccessLogBegun
    SensitiveDataRead = SensitiveDataRead

    @classmethod
    def open(cls, context: CommandContext, reader_id: str) -> AccessLog:
        """Begin the stream of one reader."""
        return cls.begin(context, reader_id)

    @event(AccessLogBegun)
    def __init__(self) -> None:
        self.reads = 0

    def record(self, command: RecordRead) -> dict[str, int]:
        """Never refused: what was read is read."""
        self._read(
            action=command.action, what=command.what, rows=command.rows, impersonation_id=command.impersonation_id
        )
        return {"reads": self.reads}

    @event(SensitiveDataRead)
    def _read(self, action: str, what: str, rows: int | None, impersonation_id: str | None) -> None:
        self.reads += 1
