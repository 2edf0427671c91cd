"""Options that many commands share, and how amounts and moments are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated
from uuid import uuid4

from cyclopts import Group, Parameter, Token

from felix.cli.errors import UsageError

SHARED = Group("Options of every command", sort_key=9)


@Parameter(name="*", group=SHARED)
@dataclass(frozen=True, kw_only=True)
class Showing:
    """How the answer is printed."""

    json: Annotated[bool, Parameter(name="--json", negative="", show_default=False)] = False
    "Print one JSON document instead of text for people."


@Parameter(name="*", group=SHARED)
@dataclass(frozen=True, kw_only=True)
class Reading(Showing):
    """Which client is asked about."""

    tenant: str | None = None
    "Short name or id of the client. May be left out while there is only one."


def new_key() -> str:
    """A key that no other command has."""
    return f"cli-{uuid4().hex}"


@Parameter(name="*", group=SHARED)
@dataclass(frozen=True, kw_only=True)
class Acting(Showing):
    """Who writes, under which key."""

    actor: str = "founder:cli"
    "Who the log says did this."
    key: Annotated[str, Parameter(show_default=False)] = field(default_factory=new_key)
    "Idempotency key: with the same one a command has its effect once, however often it is sent. Default: a new one."
    dry_run: Annotated[bool, Parameter(negative="", show_default=False)] = False
    "Print the command that would be performed, and do nothing."


@Parameter(name="*", group=SHARED)
@dataclass(frozen=True, kw_only=True)
class Writing(Acting):
    """Who writes, under which key, for which client."""

    tenant: str | None = None
    "Short name or id of the client. May be left out while there is only one."


def read_amount(text: str) -> int:
    """Millitokens of an amount as people write it: ``5000``, ``0.25`` or ``1_000`` tokens, or ``250mtok``."""
    written = text.strip().replace("_", "").lower()
    millitokens = written.endswith("mtok")
    try:
        amount = Decimal(written.removesuffix("mtok").strip()) * (1 if millitokens else 1000)
    except InvalidOperation:
        raise ValueError(f"{text} is not an amount such as 5000, 0.25 or 250mtok") from None
    if not amount.is_finite() or amount != int(amount):
        raise ValueError(f"{text} is finer than a millitoken")
    return int(amount)


def _amount(type_: type, tokens: list[Token]) -> int:
    return read_amount(tokens[0].value)


def _moment(type_: type, tokens: list[Token]) -> datetime:
    return read_moment(tokens[0].value)


def read_moment(text: str) -> datetime:
    """A moment such as ``2026-01-31``, ``2026-01-31T12:00`` or ``2026-01-31T12:00:00+01:00``; UTC without a zone."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is not a moment such as 2026-01-31 or 2026-01-31T12:00:00Z") from None


#: An amount in tokens on the command line, in millitokens everywhere else.
Amount = Annotated[int, Parameter(converter=_amount)]
Moment = Annotated[datetime, Parameter(converter=_moment)]


def read_position(text: str) -> tuple[int, int]:
    """``2:1234``: a partition and a position in it. Raises :class:`UsageError`."""
    partition, colon, position = text.partition(":")
    if colon and partition.isdecimal() and position.isdecimal():
        return int(partition), int(position)
    raise UsageError(f"{text} is not a position such as 2:1234.")


def day_of(text: str | None, default: date) -> date:
    """A day such as ``2026-01-31``. Raises :class:`UsageError`."""
    try:
        return date.fromisoformat(text) if text else default
    except ValueError:
        raise UsageError(f"{text} is not a day such as 2026-01-31.") from None
