"""Errors are sorted by what the caller does next.

FelixError
├── Refused              the command is understood and not allowed now: change something, use a new key
│   └── PaymentRequired  the same, and more tokens would help
├── NotFound             there is no such thing, or you may not know that there is
├── Forbidden            you may know the thing and not do this
├── Unauthenticated      say who you are
├── Invalid              the request can never be right: mend it
├── Conflict             somebody else is at it: try again, same key
├── TooMuch              smaller or later
├── Unavailable          not your fault: try again, same key
└── Corrupt              what must never be is the case: stop and call somebody

The stable ``code`` is the class name in snake case; the default sentence is the first line of the class
docstring; ``facts`` are the typed numbers and names behind it, safe to show to the caller.
"""

from __future__ import annotations

import re
import struct
from typing import Any, ClassVar

from eventsourcing.domain import EventSourcingError

#: What a defect in our own code raises, where one command or one projection must not take the others with it.
DEFECTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EventSourcingError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)

_BY_CODE: dict[str, type[FelixError]] = {}


class FelixError(Exception):
    """Something Felix can name went wrong."""

    code: ClassVar[str] = "felix_error"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        _BY_CODE[cls.code] = cls

    def __init__(self, detail: str | None = None, /, **facts: Any) -> None:
        self.detail = detail or type(self).sentence()
        self.facts: dict[str, Any] = facts
        super().__init__(self.detail)

    def __str__(self) -> str:
        return self.detail

    @classmethod
    def sentence(cls) -> str:
        """The first line of the docstring: what is the case."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def record(self) -> dict[str, Any]:
        """What is remembered of a refusal under its command key; :func:`recall` is the way back."""
        return {"code": self.code, "detail": self.detail, "facts": self.facts}


def recall(record: dict[str, Any]) -> FelixError:
    """Rebuild the error that :meth:`FelixError.record` described."""
    cls = _BY_CODE.get(record["code"], Refused)
    error = cls.__new__(cls)
    FelixError.__init__(error, record["detail"], **record["facts"])
    return error


def error_classes() -> dict[str, type[FelixError]]:
    """Every error by its stable code, for the generated catalogue and the table that maps them to HTTP."""
    return dict(_BY_CODE)


class Refused(FelixError):
    """The command is understood and not allowed in this state."""


class PaymentRequired(Refused):
    """More tokens are needed."""


class NotFound(FelixError):
    """There is no such thing here."""


class Forbidden(FelixError):
    """You may not do this."""


class Unauthenticated(FelixError):
    """A valid API key is needed."""


class Invalid(FelixError):
    """The request is not well formed."""


class Conflict(FelixError):
    """The same thing is being done right now; try again with the same key."""


class TooMuch(FelixError):
    """The request is larger, or comes faster, than the limit."""


class Unavailable(FelixError):
    """Felix can't answer right now; try again with the same key, nothing was half done."""


class Corrupt(FelixError):
    """Stored facts contradict each other; nothing more is written until somebody looks."""


class ObjectDamaged(Corrupt):
    """What is kept beside the log is not what its digest says; whoever needs it has to do without."""


class CommandKeyReused(Invalid):
    """The idempotency key was used before with a different request."""

    def __init__(self, *, conflicting_fields: list[str]) -> None:
        super().__init__(
            "The idempotency key was used before with a different request: "
            + ", ".join(conflicting_fields)
            + (" differs." if len(conflicting_fields) == 1 else " differ."),
            conflicting_fields=conflicting_fields,
        )


class CommandInProgress(Conflict):
    """The first request with this idempotency key is still running."""


class VersionConflict(Conflict):
    """Another writer appended to this stream first."""
