"""Values that every command and event shares, with their limits.

Token amounts are integers in millitokens (``_mtok``; 1 token = 1,000 mtok), money is integer minor units with
an ISO 4217 currency (``_minor``). No floats anywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

#: Postgres ``bigint`` and every JSON reader that keeps 64 bits: the largest amount, balance or quantity.
MAX_AMOUNT = 2**63 - 1
#: One debit, grant or hold at the most: sums of any 1,024 of them still fit in ``MAX_AMOUNT``.
MAX_SINGLE_AMOUNT = 2**53 - 1


def storable(text: str) -> str:
    """The same text. Raises ``ValueError`` for what Postgres, or UTF-8, can't hold."""
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates") from None
    return text


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the calendar in UTC") from None


Amount = Annotated[int, Field(gt=0, le=MAX_SINGLE_AMOUNT, strict=True)]
AmountOrZero = Annotated[int, Field(ge=0, le=MAX_SINGLE_AMOUNT, strict=True)]
Quantity = Annotated[int, Field(gt=0, le=MAX_SINGLE_AMOUNT, strict=True)]
Text = Annotated[str, AfterValidator(storable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(storable)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
#: A password, a code or a token as it is presented: whatever it is, it is not long.
Presented = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(storable)]
MeterName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$", max_length=64)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Moment = Annotated[AwareDatetime, AfterValidator(_utc), Field(strict=False)]
AccountId = Annotated[str, StringConstraints(pattern=r"^acct_[0-9a-f]{32}$")]
LotId = Annotated[str, StringConstraints(pattern=r"^lot_[0-9a-f]{32}$")]
HoldId = Annotated[str, StringConstraints(pattern=r"^hold_[0-9a-f]{32}$")]
#: A debit's id is its event id and, in the last ten digits, its version in the account's stream.
DebitId = Annotated[str, StringConstraints(pattern=r"^deb_[0-9a-f]{42}$")]
AdjustmentId = Annotated[str, StringConstraints(pattern=r"^adj_[0-9a-f]{32}$")]
CapId = Annotated[str, StringConstraints(pattern=r"^cap_[0-9a-f]{32}$")]
