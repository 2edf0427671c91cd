"""What can be the case when a token account says no.

Facts are JSON-ready and safe to show to whoever asked; amounts are millitokens, moments are ISO 8601.
"""

from __future__ import annotations

from felix.domain.errors import Corrupt, Forbidden, Invalid, NotFound, PaymentRequired, Refused


class InsufficientTokens(PaymentRequired):
    """The account has fewer tokens than are needed.

    ``shortfall_mtok`` = ``required_mtok`` - ``available_mtok`` - ``credit_mtok``; the last is what the credit limit
    still leaves, and is 0 for holds and transfers, which are never made on credit.
    """

    def __init__(self, *, required_mtok: int, available_mtok: int, credit_mtok: int = 0) -> None:
        super().__init__(
            required_mtok=required_mtok,
            available_mtok=available_mtok,
            credit_mtok=credit_mtok,
            shortfall_mtok=required_mtok - available_mtok - credit_mtok,
        )


class SpendCapReached(PaymentRequired):
    """A hard spend cap leaves no room for this in its window."""

    def __init__(self, *, cap_id: str, limit_mtok: int, spent_mtok: int, required_mtok: int, resets_at: str) -> None:
        super().__init__(
            cap_id=cap_id,
            limit_mtok=limit_mtok,
            spent_mtok=spent_mtok,
            required_mtok=required_mtok,
            resets_at=resets_at,
        )


class AccountRestricted(PaymentRequired):
    """The account owes more than its credit limit; new holds wait until tokens come in."""


class AccountFrozen(Refused):
    """The account is frozen: nothing can be spent, held or sent."""


class AccountNotFrozen(Refused):
    """The account is not frozen."""


class AccountClosed(Refused):
    """The account is closed."""


class AccountNotEmpty(Refused):
    """The account still has tokens, holds or debt."""


class HoldNotOpen(NotFound):
    """There is no open hold with this id: it is unknown, settled, released or has expired."""


class CaptureExceedsHold(Refused):
    """The work cost more than was held, and the overshoot policy denies that."""


class LotNotFound(NotFound):
    """There is no lot with this id, or it was used up long ago."""


class LotUsedUp(Refused):
    """Nothing is left of the lot."""


class LotHasExpired(Refused):
    """The lot has expired."""


class LotHasNotExpired(Refused):
    """The lot has not expired yet."""


class LotIsFrozen(Refused):
    """The lot is frozen already."""


class LotIsNotFrozen(Refused):
    """The lot is not frozen."""


class LotIsVoid(Refused):
    """The lot was taken back."""


class ExpiryInThePast(Refused):
    """The expiry is not after now."""


class ExpiryNotLater(Refused):
    """The expiry is not later than the one the lot has."""


class AmountTooLarge(Refused):
    """The account would hold or owe more than can be counted in 63 bits."""


class TooManyLots(Refused):
    """The account has as many lots with something left as it can have."""


class TooManyHolds(Refused):
    """The account has as many open holds as it can have."""


class TooManyCaps(Refused):
    """The account has as many spend caps as it can have."""


class TooManyAdjustments(Refused):
    """As many proposed adjustments wait for approval as can wait."""


class CapNotFound(NotFound):
    """There is no spend cap with this id."""


class DebitNotFound(NotFound):
    """There is no debit with this id on this account."""


class ReversalExceedsDebit(Refused):
    """More would be reversed than is left of the debit."""


class TransferToItself(Invalid):
    """An account can't send tokens to itself."""


class AdjustmentOfNothing(Invalid):
    """An adjustment by zero changes nothing."""


class AdjustmentNotFound(NotFound):
    """No adjustment with this id waits for approval: it is unknown, applied or turned down."""


class OwnApproval(Forbidden):
    """Whoever proposed an adjustment can't approve it: another person has to."""


class BooksDoNotBalance(Corrupt):
    """The account's sums contradict its lots and holds."""
