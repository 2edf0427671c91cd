"""Every ledger event as double entry: the one table from events to postings.

A posting is a signed amount that an account of the book receives (+) or gives (-); the postings of an event sum to
zero per asset. So a balance is what has arrived in an account less what has left it:

* ``lot:{id}`` (what is free of a lot), ``held`` and ``frozen`` are never negative;
* ``debt`` is never positive: its balance is minus what the client owes;
* ``issuance:{kind}`` only gives; ``consumed:{meter}``, ``breakage`` and ``revoked`` only receive, but for reversals;
* ``transfer`` is zero over all accounts of a tenant at every position.

The asset of tokens is ``TOK``, in millitokens; that of money its currency code, in minor units. In the money book a
paid lot moves its price from ``stripe:clearing`` to ``deferred_revenue`` (what is paid for and not yet delivered,
never negative), from where each slice takes its recorded share along: to ``revenue:usage``, to ``revenue:breakage``
or back by ``refunds``. ``stripe:clearing`` receives from the payments themselves, which are not in this book. What
was not paid for at Stripe comes from ``opening_balance`` (migration) or ``promo_expense`` (any other kind).

The functions read an event's state as it is stored: lists for tuples, ISO 8601 for moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from felix.domain.base import FelixCreated
from felix.domain.ledger import messages
from felix.domain.ledger.messages import MovesNothing

TOKEN = "TOK"

_PAID_WITH = {"purchased": "stripe:clearing", "migration": "opening_balance"}


class Posting(NamedTuple):
    """What one account of the book receives, or gives where the amount is negative."""

    account: str
    asset: str
    amount: int


Postings = list[Posting]
Payload = Mapping[str, Any]


def postings_of(event_name: str, payload: Payload) -> Postings:
    """The postings of a stored event; none for those in :data:`EVENTS_WITHOUT_POSTINGS`.

    :raises KeyError: for an event that is in neither table.
    """
    if (post := _POST.get(event_name)) is not None:
        return post(payload)
    if event_name in EVENTS_WITHOUT_POSTINGS:
        return []
    raise KeyError(event_name)


def _move(source: str, target: str, asset: str, amount: int) -> Postings:
    return [Posting(source, asset, -amount), Posting(target, asset, amount)] if amount else []


def _leave(allocation: Iterable[Sequence[Any]]) -> Postings:
    """What leaves the free part of its lots."""
    return [Posting("lot:" + lot_id, TOKEN, -amount) for lot_id, _, amount, _ in allocation]


def _enter(allocation: Iterable[Sequence[Any]]) -> Postings:
    return [Posting("lot:" + lot_id, TOKEN, amount) for lot_id, _, amount, _ in allocation]


def _sum(allocation: Iterable[Sequence[Any]]) -> int:
    return sum(amount for _, _, amount, _ in allocation)


def _deliver(allocation: Iterable[Sequence[Any]], currencies: Mapping[str, str], target: str) -> Postings:
    """The shares of the price that leave deferred revenue with their tokens, summed by currency."""
    shares: dict[str, int] = {}
    for lot_id, _, _, cost_minor in allocation:
        if cost_minor:
            currency = currencies[lot_id]
            shares[currency] = shares.get(currency, 0) + cost_minor
    found: Postings = []
    for currency, cost_minor in shares.items():
        found += _move("deferred_revenue", target, currency, cost_minor)
    return found


def _issue(
    kind: str, lot_id: str, amount: int, repaid: int, cost_minor: int, debt_cost_minor: int, currency: str | None
) -> Postings:
    found = [Posting("issuance:" + kind, TOKEN, -amount)]
    found += _arrive(lot_id, amount, repaid)
    if cost_minor and currency is not None:
        found += _move(_PAID_WITH.get(kind, "promo_expense"), "deferred_revenue", currency, cost_minor)
        found += _move("deferred_revenue", "revenue:usage", currency, debt_cost_minor)
    return found


def _arrive(lot_id: str, amount: int, repaid: int) -> Postings:
    """What comes into a lot, after debt has been repaid from it."""
    found = [Posting("debt", TOKEN, repaid)] if repaid else []
    if amount > repaid:
        found.append(Posting("lot:" + lot_id, TOKEN, amount - repaid))
    return found


def _granted(e: Payload) -> Postings:
    return _issue(
        e["kind"],
        e["lot_id"],
        e["amount_mtok"],
        e["debt_repaid_mtok"],
        e["cost_minor"],
        e["debt_cost_minor"],
        e["currency"],
    )


def _expired(e: Payload) -> Postings:
    found = _move("lot:" + e["lot_id"], "breakage", TOKEN, e["amount_mtok"])
    if e["cost_minor"]:
        found += _move("deferred_revenue", "revenue:breakage", e["currency"], e["cost_minor"])
    return found


def _voided(e: Payload) -> Postings:
    frozen = e["frozen_mtok"]
    found = _move("lot:" + e["lot_id"], "revoked", TOKEN, e["amount_mtok"] - frozen)
    found += _move("frozen", "revoked", TOKEN, frozen)
    if e["cost_minor"]:
        found += _move("deferred_revenue", "refunds", e["currency"], e["cost_minor"])
    return found


def _clawed_back(e: Payload) -> Postings:
    allocation, frozen, debt = e["allocation"], e["frozen"], e["debt_mtok"]
    found = _leave(allocation)
    if frozen:
        found.append(Posting("frozen", TOKEN, -_sum(frozen)))
    if debt:
        found.append(Posting("debt", TOKEN, -debt))
    found.append(Posting("revoked", TOKEN, e["amount_mtok"]))
    return found + _deliver([*frozen, *allocation], e["currencies"], "refunds")


def _lot_frozen(e: Payload) -> Postings:
    return _move("lot:" + e["lot_id"], "frozen", TOKEN, e["amount_mtok"])


def _lot_unfrozen(e: Payload) -> Postings:
    return _move("frozen", "lot:" + e["lot_id"], TOKEN, e["amount_mtok"])


def _held(e: Payload) -> Postings:
    return [*_leave(e["allocation"]), Posting("held", TOKEN, e["amount_mtok"])]


def _released(e: Payload) -> Postings:
    released = e["released"]
    return [Posting("held", TOKEN, -_sum(released)), *_enter(released)]


def _captured(e: Payload) -> Postings:
    captured, extra, released, debt = e["captured"], e["extra"], e["released"], e["debt_mtok"]
    found = [Posting("held", TOKEN, -_sum(captured) - _sum(released))]
    found += _leave(extra)
    found += _enter(released)
    if debt:
        found.append(Posting("debt", TOKEN, -debt))
    if consumed := e["amount_mtok"] - e["forgiven_mtok"]:
        found.append(Posting("consumed:" + e["meter"], TOKEN, consumed))
    return found + _deliver([*captured, *extra], e["currencies"], "revenue:usage")


def _debited(e: Payload) -> Postings:
    allocation, currencies = e["allocation"], e["currencies"]
    found = [Posting("lot:" + lot_id, TOKEN, -amount) for lot_id, _, amount, _ in allocation]
    if debt := e["debt_mtok"]:
        found.append(Posting("debt", TOKEN, -debt))
    for meter, _, amount, _ in e["lines"]:
        if amount:
            found.append(Posting("consumed:" + meter, TOKEN, amount))
    return found + _deliver(allocation, currencies, "revenue:usage") if currencies else found


def _reversed(e: Payload) -> Postings:
    found = [Posting("consumed:" + meter, TOKEN, -amount) for meter, amount in e["lines"]]
    found += _enter(e["allocation"])
    if forgiven := e["debt_mtok"]:
        found.append(Posting("debt", TOKEN, forgiven))
    if restitution := e["restitution_mtok"]:
        found.append(Posting("lot:" + e["lot_id"], TOKEN, restitution))
    for account, asset, amount in _deliver(e["allocation"], e["currencies"], "revenue:usage"):
        found.append(Posting(account, asset, -amount))
    return found


def _debt_repaid(e: Payload) -> Postings:
    found = [*_leave(e["allocation"]), Posting("debt", TOKEN, e["amount_mtok"])]
    return found + _deliver(e["allocation"], e["currencies"], "revenue:usage")


def _sent(e: Payload) -> Postings:
    found = [*_leave(e["allocation"]), Posting("transfer", TOKEN, e["amount_mtok"])]
    return found + _deliver(e["allocation"], e["currencies"], "transfer")


def _received(e: Payload) -> Postings:
    found = [Posting("transfer", TOKEN, -e["amount_mtok"])]
    for lot in e["lots"]:
        found += _arrive(lot["lot_id"], lot["amount_mtok"], lot["debt_repaid_mtok"])
        if lot["cost_minor"]:
            found += _move("transfer", "deferred_revenue", lot["currency"], lot["cost_minor"])
            found += _move("deferred_revenue", "revenue:usage", lot["currency"], lot["debt_cost_minor"])
    return found


def _adjusted(e: Payload) -> Postings:
    amount = e["amount_mtok"]
    if amount > 0:
        return _issue("goodwill", e["lot_id"], amount, e["debt_repaid_mtok"], 0, 0, None)
    found = _leave(e["allocation"])
    if debt := e["debt_mtok"]:
        found.append(Posting("debt", TOKEN, -debt))
    found.append(Posting("revoked", TOKEN, -amount))
    return found + _deliver(e["allocation"], e["currencies"], "revenue:breakage")


_POST: dict[str, Callable[[Payload], Postings]] = {
    "ledger.tokens_granted": _granted,
    "ledger.lot_expired": _expired,
    "ledger.lot_voided": _voided,
    "ledger.lot_frozen": _lot_frozen,
    "ledger.lot_unfrozen": _lot_unfrozen,
    "ledger.tokens_clawed_back": _clawed_back,
    "ledger.tokens_held": _held,
    "ledger.hold_captured": _captured,
    "ledger.hold_released": _released,
    "ledger.hold_expired": _released,
    "ledger.tokens_debited": _debited,
    "ledger.debit_reversed": _reversed,
    "ledger.debt_repaid": _debt_repaid,
    "ledger.tokens_sent": _sent,
    "ledger.tokens_received": _received,
    "ledger.adjustment_applied": _adjusted,
}

#: The stored names of all events that move tokens or money.
TOKEN_EVENTS = frozenset(_POST)

#: Those that do not, as their classes say. An event of the ledger is in exactly one of the two sets; a test says so.
EVENTS_WITHOUT_POSTINGS = frozenset(
    each.TOPIC
    for each in vars(messages).values()
    if isinstance(each, type) and issubclass(each, (FelixCreated, MovesNothing)) and "TOPIC" in vars(each)
)
