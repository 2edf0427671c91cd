"""Each event is double entry, or is named as one that moves nothing."""

from __future__ import annotations

import pytest
from account_harness import Ledger, state_of

from felix.domain.base import FelixEvent
from felix.domain.ledger import messages as m
from felix.domain.ledger.postings import EVENTS_WITHOUT_POSTINGS, TOKEN_EVENTS, Posting, postings_of

EVENTS = [
    event
    for event in vars(m).values()
    if isinstance(event, type) and issubclass(event, FelixEvent) and "TOPIC" in vars(event)
]


def test_every_event_is_in_exactly_one_of_the_two_tables() -> None:
    names = {event.TOPIC for event in EVENTS}
    assert len(names) == len(EVENTS)
    assert names == TOKEN_EVENTS | EVENTS_WITHOUT_POSTINGS
    assert not TOKEN_EVENTS & EVENTS_WITHOUT_POSTINGS


def test_an_unknown_event_has_no_postings_to_guess() -> None:
    with pytest.raises(KeyError):
        postings_of("ledger.tokens_vanished", {})
    assert postings_of("ledger.credit_limit_set", {}) == []


def test_the_life_of_a_paid_lot_in_both_books() -> None:
    ledger = Ledger()
    ledger.open(credit_limit_mtok=10)
    lot_id = ledger.grant(10, cost_minor=100, currency="EUR")
    assert postings_of("ledger.tokens_granted", state_of(ledger.last[0])) == [
        Posting("issuance:purchased", "TOK", -10),
        Posting("lot:" + lot_id, "TOK", 10),
        Posting("stripe:clearing", "EUR", -100),
        Posting("deferred_revenue", "EUR", 100),
    ]
    debit = ledger.charge(("x", 12))
    assert postings_of("ledger.tokens_debited", state_of(debit)) == [
        Posting("lot:" + lot_id, "TOK", -10),
        Posting("debt", "TOK", -2),
        Posting("consumed:x", "TOK", 12),
        Posting("deferred_revenue", "EUR", -100),
        Posting("revenue:usage", "EUR", 100),
    ]
    ledger.reverse(debit, 3)
    assert postings_of("ledger.debit_reversed", state_of(ledger.last[0])) == [
        Posting("consumed:x", "TOK", -3),
        Posting("lot:" + lot_id, "TOK", 1),
        Posting("debt", "TOK", 2),
        Posting("deferred_revenue", "EUR", 10),
        Posting("revenue:usage", "EUR", -10),
    ]
    ledger.do(m.VoidLot, lot_id=lot_id, reason="refund")
    assert postings_of("ledger.lot_voided", state_of(ledger.last[0])) == [
        Posting("lot:" + lot_id, "TOK", -1),
        Posting("revoked", "TOK", 1),
        Posting("deferred_revenue", "EUR", -10),
        Posting("refunds", "EUR", 10),
    ]
