"""What can be asked of a token account, and what can have happened to it.

Allocations are lists of slices ``[lot_id, meter, amount_mtok, cost_minor]``: how much of which lot went to which
meter, and the share of the lot's paid price that went with it (cumulative floor, so the shares of a lot add up to
exactly what was paid). ``meter`` is an empty string where no meter is concerned.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from felix.domain.base import Command, FelixCreated, FelixEvent
from felix.domain.values import (
    AccountId,
    AdjustmentId,
    Amount,
    AmountOrZero,
    CapId,
    Currency,
    DebitId,
    HoldId,
    LotId,
    MeterName,
    Moment,
    Name,
    Quantity,
    Reason,
    Reference,
)

LotKind = Literal["purchased", "promo", "goodwill", "restitution", "migration"]
Overshoot = Literal["deny", "take_available", "debt"]
Slice = tuple[str, str, int, int]
Allocation = list[Slice]

MAX_HOLD_TTL_S = 24 * 3600
DEFAULT_HOLD_TTL_S = 15 * 60
#: Lots with something left, open holds, and caps of one account: its state is loaded with every command.
MAX_OPEN_LOTS = 1_000
MAX_OPEN_HOLDS = 10_000
MAX_CAPS = 100


# --- commands -----------------------------------------------------------------------------------------------


class OpenTokenAccount(Command):
    """Open a token account for the client, an app or a team."""

    command_name: ClassVar[str] = "ledger.open_token_account"
    name: Name
    credit_limit_mtok: AmountOrZero = 0


class CloseTokenAccount(Command):
    """Close an account that has neither tokens, holds nor debt."""

    command_name: ClassVar[str] = "ledger.close_token_account"
    account_id: AccountId
    reason: Reason


class FreezeTokenAccount(Command):
    """Stop every debit, hold and transfer out of an account; grants, captures of earlier holds and reads go on."""

    command_name: ClassVar[str] = "ledger.freeze_token_account"
    account_id: AccountId
    reason: Reason


class UnfreezeTokenAccount(Command):
    """Let a frozen account spend again."""

    command_name: ClassVar[str] = "ledger.unfreeze_token_account"
    account_id: AccountId
    reason: Reason


class GrantTokens(Command):
    """Give an account a new lot of tokens. Debt is repaid from it first."""

    command_name: ClassVar[str] = "ledger.grant_tokens"
    account_id: AccountId
    amount_mtok: Amount
    kind: LotKind = "purchased"
    priority: Annotated[int, Field(ge=0, le=1000)] = 100
    expires_at: Moment | None = None
    meters: Annotated[list[MeterName], Field(max_length=50)] = []
    cost_minor: AmountOrZero = 0
    currency: Currency | None = None
    reason: Reason | None = None
    reference: Reference | None = None

    @model_validator(mode="after")
    def _a_price_has_a_currency(self) -> Self:
        if self.cost_minor and self.currency is None:
            raise ValueError("cost_minor needs a currency")
        return self


class ExpireLot(Command):
    """Book the breakage of a lot whose expiry has passed."""

    command_name: ClassVar[str] = "ledger.expire_lot"
    account_id: AccountId
    lot_id: LotId


class BookExpiries(Command):
    """Book every hold and lot that has run out. Any other command does so too; this one is for the sweeper."""

    command_name: ClassVar[str] = "ledger.book_expiries"
    account_id: AccountId


class VoidLot(Command):
    """Take back what is left of a lot, frozen or not; what is held follows when its hold gives it back."""

    command_name: ClassVar[str] = "ledger.void_lot"
    account_id: AccountId
    lot_id: LotId
    reason: Reason


class ClawBackTokens(Command):
    """Take back tokens of a lot whose payment was refunded or lost in a dispute.

    They come from what is left of the lot, then from the other lots, then they are debt, beyond any credit limit.
    """

    command_name: ClassVar[str] = "ledger.claw_back_tokens"
    account_id: AccountId
    lot_id: LotId
    amount_mtok: Amount
    reason: Reason
    reference: Reference | None = None


class ExtendLot(Command):
    """Move the expiry of a lot that has not expired to a later moment, or to never."""

    command_name: ClassVar[str] = "ledger.extend_lot"
    account_id: AccountId
    lot_id: LotId
    expires_at: Moment | None
    reason: Reason


class AnnounceLotExpiry(Command):
    """Tell the client that a lot runs out at a moment, if it still does and something is left of it."""

    command_name: ClassVar[str] = "ledger.announce_lot_expiry"
    account_id: AccountId
    lot_id: LotId
    expires_at: Moment


class FreezeLot(Command):
    """Set what is left of a lot aside, for example while its payment is disputed."""

    command_name: ClassVar[str] = "ledger.freeze_lot"
    account_id: AccountId
    lot_id: LotId
    reason: Reason


class UnfreezeLot(Command):
    """Give a frozen lot back to its account."""

    command_name: ClassVar[str] = "ledger.unfreeze_lot"
    account_id: AccountId
    lot_id: LotId
    reason: Reason


class HoldTokens(Command):
    """Set tokens aside before work begins; the hold ends by capture, release or expiry."""

    command_name: ClassVar[str] = "ledger.hold_tokens"
    account_id: AccountId
    amount_mtok: Amount
    meter: MeterName
    ttl_s: Annotated[int, Field(gt=0, le=MAX_HOLD_TTL_S)] = DEFAULT_HOLD_TTL_S
    purpose: Reason | None = None
    app: Name | None = None
    person: Name | None = None


class ExtendHold(Command):
    """Let an open hold live for at least ``ttl_s`` more seconds from now; it never gets shorter."""

    command_name: ClassVar[str] = "ledger.extend_hold"
    account_id: AccountId
    hold_id: HoldId
    ttl_s: Annotated[int, Field(gt=0, le=MAX_HOLD_TTL_S)]


class CaptureHold(Command):
    """Debit what the held work really cost and release the rest.

    ``overshoot`` says what happens when it cost more than was held: ``deny`` refuses, ``take_available`` takes
    what the account still has and forgives the rest, ``debt`` takes what it has and books the rest as debt.
    """

    command_name: ClassVar[str] = "ledger.capture_hold"
    account_id: AccountId
    hold_id: HoldId
    amount_mtok: AmountOrZero
    overshoot: Overshoot = "deny"
    quantity: Quantity | None = None
    reference: Reference | None = None


class ReleaseHold(Command):
    """Give back everything that an open hold has set aside."""

    command_name: ClassVar[str] = "ledger.release_hold"
    account_id: AccountId
    hold_id: HoldId


class DebitTokens(Command):
    """Take tokens for usage that has happened.

    Either ``amount_mtok`` is given, or ``quantity`` alone and the account's rate card sets the price: the handler
    then fills ``amount_mtok``, ``rate_card_version`` and ``trace`` before the account decides.
    """

    command_name: ClassVar[str] = "ledger.debit_tokens"
    account_id: AccountId
    meter: MeterName
    quantity: Quantity | None = None
    amount_mtok: Amount | None = None
    model: Name | None = None
    app: Name | None = None
    person: Name | None = None
    reference: Reference | None = None


class ReverseDebit(Command):
    """Undo a debit, wholly or in part: the recorded allocation is unwound in reverse."""

    command_name: ClassVar[str] = "ledger.reverse_debit"
    account_id: AccountId
    debit_id: DebitId
    amount_mtok: Amount | None = None
    reason: Reason


class TransferTokens(Command):
    """Move tokens to another account of the same tenant; lots keep kind, expiry, restriction and cost."""

    command_name: ClassVar[str] = "ledger.transfer_tokens"
    account_id: AccountId
    to_account_id: AccountId
    amount_mtok: Amount
    reason: Reason | None = None


class SetCreditLimit(Command):
    """Let an account go into debt up to a limit when its tokens are used up."""

    command_name: ClassVar[str] = "ledger.set_credit_limit"
    account_id: AccountId
    credit_limit_mtok: AmountOrZero
    reason: Reason


class SetSpendCap(Command):
    """Limit what may be spent in a window, for the account or one meter, app or person of it.

    ``window`` is ``day`` or ``month`` (calendar, UTC) or ``rolling`` with ``window_s``; a hard cap refuses the debit
    or hold that would pass it, a soft one only records that it was passed. Consumed and held tokens both count.
    """

    command_name: ClassVar[str] = "ledger.set_spend_cap"
    account_id: AccountId
    limit_mtok: AmountOrZero
    window: Literal["day", "month", "rolling"]
    window_s: Annotated[int, Field(ge=60, le=366 * 86400)] | None = None
    scope: Literal["account", "meter", "app", "person"] = "account"
    scope_value: Name | None = None
    hard: bool = True
    reason: Reason | None = None

    @model_validator(mode="after")
    def _window_and_scope_are_whole(self) -> Self:
        if (self.window == "rolling") != (self.window_s is not None):
            raise ValueError("window_s belongs to a rolling window, and only to that")
        if (self.scope == "account") != (self.scope_value is None):
            raise ValueError("scope_value belongs to every scope but the account")
        return self


class RemoveSpendCap(Command):
    """Lift a spend cap."""

    command_name: ClassVar[str] = "ledger.remove_spend_cap"
    account_id: AccountId
    cap_id: CapId
    reason: Reason | None = None


class ProposeAdjustment(Command):
    """Propose a founder's override of a balance: a credit (positive) or a debit (negative) with a reason.

    Up to the limit for one founder it is applied at once; beyond, another founder has to approve it.
    """

    command_name: ClassVar[str] = "ledger.propose_adjustment"
    account_id: AccountId
    amount_mtok: Annotated[int, Field(ge=-(2**53) + 1, le=2**53 - 1)]
    reason: Reason


class ApproveAdjustment(Command):
    """Approve and apply a proposed adjustment; never by the one who proposed it."""

    command_name: ClassVar[str] = "ledger.approve_adjustment"
    account_id: AccountId
    adjustment_id: AdjustmentId
    reason: Reason | None = None


class RejectAdjustment(Command):
    """Turn a proposed adjustment down."""

    command_name: ClassVar[str] = "ledger.reject_adjustment"
    account_id: AccountId
    adjustment_id: AdjustmentId
    reason: Reason


# --- events -------------------------------------------------------------------------------------------------


class MovesNothing(FelixEvent):
    """What happens to an account without moving tokens or money: it has no postings."""


class TokenAccountOpened(FelixCreated):
    """A token account was opened."""

    TOPIC: ClassVar[str] = "ledger.token_account_opened"
    name: str
    credit_limit_mtok: int


class TokenAccountClosed(MovesNothing):
    """The account was closed; nothing can be booked on it any more."""

    TOPIC: ClassVar[str] = "ledger.token_account_closed"
    reason: str


class TokenAccountFrozen(MovesNothing):
    """Spending was stopped."""

    TOPIC: ClassVar[str] = "ledger.token_account_frozen"
    reason: str


class TokenAccountUnfrozen(MovesNothing):
    """Spending was allowed again."""

    TOPIC: ClassVar[str] = "ledger.token_account_unfrozen"
    reason: str


class TokensGranted(FelixEvent):
    """A lot came in. ``debt_repaid_mtok`` of ``amount_mtok`` repaid debt at once, the rest is in the lot.

    ``debt_cost_minor`` is the share of ``cost_minor`` that the repaid debt took with it.
    """

    TOPIC: ClassVar[str] = "ledger.tokens_granted"
    amount_mtok: int
    cost_minor: int
    currency: str | None
    debt_cost_minor: int
    debt_repaid_mtok: int
    expires_at: Moment | None
    kind: str
    lot_id: str
    meters: list[str]
    priority: int
    reason: str | None
    reference: str | None


class LotExpired(FelixEvent):
    """What was free of a lot became breakage at its expiry. Comes again for tokens released after that."""

    TOPIC: ClassVar[str] = "ledger.lot_expired"
    amount_mtok: int
    cost_minor: int
    currency: str | None
    lot_id: str


class LotVoided(FelixEvent):
    """What was left of a lot was taken back; ``frozen_mtok`` of ``amount_mtok`` had been frozen.

    Comes again, with the reason of the first, for tokens that were held then and are released later.
    """

    TOPIC: ClassVar[str] = "ledger.lot_voided"
    amount_mtok: int
    cost_minor: int
    currency: str | None
    frozen_mtok: int
    lot_id: str
    reason: str


class TokensClawedBack(FelixEvent):
    """Tokens of a refunded or lost payment were taken back.

    ``amount_mtok`` is the sum of ``frozen`` (slices of the lot that had been frozen), ``allocation`` (free tokens of
    the lot and then of others) and ``debt_mtok``.
    """

    TOPIC: ClassVar[str] = "ledger.tokens_clawed_back"
    allocation: Allocation
    amount_mtok: int
    currencies: dict[str, str]
    debt_mtok: int
    frozen: Allocation
    lot_id: str
    reason: str
    reference: str | None


class LotExtended(MovesNothing):
    """The expiry of a lot was moved."""

    TOPIC: ClassVar[str] = "ledger.lot_extended"
    expires_at: Moment | None
    lot_id: str
    reason: str


class LotExpiryAnnounced(MovesNothing):
    """The client was told that a lot runs out soon. ``left_mtok`` was free, held or frozen then; nothing moved."""

    TOPIC: ClassVar[str] = "ledger.lot_expiry_announced"
    expires_at: Moment
    left_mtok: int
    lot_id: str


class LotFrozen(FelixEvent):
    """What was free of a lot was set aside. Comes again for tokens released into the frozen lot."""

    TOPIC: ClassVar[str] = "ledger.lot_frozen"
    amount_mtok: int
    lot_id: str
    reason: str


class LotUnfrozen(FelixEvent):
    """A frozen lot was given back."""

    TOPIC: ClassVar[str] = "ledger.lot_unfrozen"
    amount_mtok: int
    lot_id: str
    reason: str


class TokensHeld(FelixEvent):
    """Tokens were set aside."""

    TOPIC: ClassVar[str] = "ledger.tokens_held"
    allocation: Allocation
    amount_mtok: int
    app: str | None
    expires_at: Moment
    hold_id: str
    meter: str
    person: str | None
    purpose: str | None


class HoldExtended(MovesNothing):
    """A hold was given more time."""

    TOPIC: ClassVar[str] = "ledger.hold_extended"
    expires_at: Moment
    hold_id: str


class HoldCaptured(FelixEvent):
    """The held work was paid for.

    ``amount_mtok`` was asked; ``captured`` came from the held slices, ``extra`` from other free tokens of the
    account, ``debt_mtok`` became debt, ``forgiven_mtok`` was let go, and ``released`` went back to its lots.
    """

    TOPIC: ClassVar[str] = "ledger.hold_captured"
    amount_mtok: int
    app: str | None
    captured: Allocation
    currencies: dict[str, str]
    debt_mtok: int
    extra: Allocation
    forgiven_mtok: int
    hold_id: str
    meter: str
    person: str | None
    quantity: int | None
    reference: str | None
    released: Allocation


class HoldReleased(FelixEvent):
    """A hold was given back."""

    TOPIC: ClassVar[str] = "ledger.hold_released"
    hold_id: str
    released: Allocation


class HoldExpired(FelixEvent):
    """A hold ran out of time and was given back."""

    TOPIC: ClassVar[str] = "ledger.hold_expired"
    hold_id: str
    released: Allocation


class TokensDebited(FelixEvent):
    """Tokens were used.

    ``lines`` are ``[meter, quantity, amount_mtok, trace]``; ``amount_mtok`` is their sum and equals the sum of the
    allocation plus ``debt_mtok``. ``currencies`` names the currency of each lot in the allocation that cost money.
    ``person``, ``app`` and ``model`` say whose usage it was. ``usage_source`` and ``usage_id`` name the CloudEvent.
    """

    TOPIC: ClassVar[str] = "ledger.tokens_debited"
    made_in_bulk: ClassVar[bool] = True
    allocation: Allocation
    amount_mtok: int
    app: str | None
    currencies: dict[str, str]
    debt_mtok: int
    lines: list[tuple[str, int, int, str]]
    model: str | None
    person: str | None
    rate_card: str | None
    reference: str | None
    usage_at: Moment | None
    usage_id: str | None
    usage_source: str | None


class DebitReversed(FelixEvent):
    """A debit or a captured hold was undone, wholly or in part.

    ``allocation`` goes back to its lots; ``debt_mtok`` of debt is forgiven; ``lot_id`` names the restitution lot that
    took what could not go back (``restitution_mtok``): to an expired or voided lot, to one used up too long ago to be
    known, or to a debt that was repaid since. It costs nothing: the price of what it replaces stays recognised.
    ``lines`` are ``[meter, amount_mtok]`` taken back from each meter. ``debited_at``, ``app``, ``model`` and
    ``person`` are those of the debit.
    """

    TOPIC: ClassVar[str] = "ledger.debit_reversed"
    allocation: Allocation
    amount_mtok: int
    app: str | None
    currencies: dict[str, str]
    debit_id: str
    debit_version: int
    debited_at: Moment
    debt_mtok: int
    lines: list[tuple[str, int]]
    lot_id: str | None
    model: str | None
    person: str | None
    reason: str
    restitution_meters: list[str]
    restitution_mtok: int


class DebtRepaid(FelixEvent):
    """Tokens that became free while the account owed some repaid the debt at once."""

    TOPIC: ClassVar[str] = "ledger.debt_repaid"
    allocation: Allocation
    amount_mtok: int
    currencies: dict[str, str]


class TokensSent(FelixEvent):
    """Tokens left for another account of the tenant.

    ``lots`` says, slice by slice of ``allocation``, what the other account has to make: dictionaries of
    ``amount_mtok``, ``cost_minor``, ``currency``, ``expires_at`` (ISO 8601), ``kind``, ``meters`` and ``priority``.
    """

    TOPIC: ClassVar[str] = "ledger.tokens_sent"
    allocation: Allocation
    amount_mtok: int
    currencies: dict[str, str]
    lots: list[dict[str, Any]]
    reason: str | None
    to_account_id: str
    transfer_id: str


class TokensReceived(FelixEvent):
    """Tokens came from another account of the tenant, as lots like the ones they came from.

    ``lots`` are those of :class:`TokensSent` with a ``lot_id`` each, and with ``debt_repaid_mtok`` and
    ``debt_cost_minor``: how much of the lot repaid debt first, and the share of its price that went with it.
    ``debt_repaid_mtok`` of the event is their sum.
    """

    TOPIC: ClassVar[str] = "ledger.tokens_received"
    amount_mtok: int
    debt_repaid_mtok: int
    from_account_id: str
    lots: list[dict[str, Any]]
    transfer_id: str


class CreditLimitSet(MovesNothing):
    """The limit of debt was changed."""

    TOPIC: ClassVar[str] = "ledger.credit_limit_set"
    credit_limit_mtok: int
    reason: str


class SpendCapSet(MovesNothing):
    """A spend cap came into force, or one with the same scope and window got a new limit and keeps its count."""

    TOPIC: ClassVar[str] = "ledger.spend_cap_set"
    cap_id: str
    hard: bool
    limit_mtok: int
    reason: str | None
    scope: str
    scope_value: str | None
    window: str
    window_s: int | None


class SpendCapRemoved(MovesNothing):
    """A spend cap was lifted."""

    TOPIC: ClassVar[str] = "ledger.spend_cap_removed"
    cap_id: str
    reason: str | None


class SpendCapPassed(MovesNothing):
    """Spending passed a cap, for the first time in its window: a soft one, or a hard one by a capture."""

    TOPIC: ClassVar[str] = "ledger.spend_cap_passed"
    cap_id: str
    limit_mtok: int
    spent_mtok: int


class AdjustmentProposed(MovesNothing):
    """A founder asked for an override of the balance."""

    TOPIC: ClassVar[str] = "ledger.adjustment_proposed"
    adjustment_id: str
    amount_mtok: int
    needs_approval: bool
    proposer: str
    reason: str


class AdjustmentRejected(MovesNothing):
    """A proposed override was turned down."""

    TOPIC: ClassVar[str] = "ledger.adjustment_rejected"
    adjustment_id: str
    reason: str
    rejecter: str


class AdjustmentApplied(FelixEvent):
    """An override was booked: a goodwill lot, or tokens taken back (``allocation``) and then debt.

    ``approver`` is missing where the amount was within the limit for one founder.
    """

    TOPIC: ClassVar[str] = "ledger.adjustment_applied"
    adjustment_id: str
    allocation: Allocation
    amount_mtok: int
    approver: str | None
    currencies: dict[str, str]
    debt_mtok: int
    debt_repaid_mtok: int
    lot_id: str | None
    proposer: str
    reason: str
