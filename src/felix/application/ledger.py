"""Handlers of ledger commands that make an account, concern two, or need a price or an event of the past."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.errors import Invalid
from felix.domain.ledger.errors import DebitNotFound
from felix.domain.ledger.messages import (
    DebitTokens,
    HoldCaptured,
    OpenTokenAccount,
    ReverseDebit,
    TokensDebited,
    TransferTokens,
)
from felix.domain.ledger.reversals import parse_debit_id
from felix.domain.ledger.token_account import TokenAccount
from felix.domain.metering.rate_card import RateCard, UnknownPrice

DEFAULT_RATE_CARD = "default"


@handles(OpenTokenAccount)
def open_token_account(command: OpenTokenAccount, unit: UnitOfWork) -> dict[str, Any]:
    """Open an account under an id of this command."""
    account = TokenAccount.open(unit.context, command)
    unit.add(account)
    return {"account_id": account.local_id, "name": command.name, "credit_limit_mtok": command.credit_limit_mtok}


@handles(DebitTokens)
def debit_tokens(command: DebitTokens, unit: UnitOfWork) -> dict[str, Any]:
    """Debit a given amount, or price a quantity with the tenant's rate card first."""
    account = unit.get(TokenAccount, command.account_id)
    rate_card = None
    if command.amount_mtok is not None:
        line = (command.meter, command.quantity or 1, command.amount_mtok, "")
    elif command.quantity is not None:
        line, version = price_line(unit, command.meter, command.quantity, command.model, unit.context.at)
        rate_card = f"{DEFAULT_RATE_CARD}/{version}"
    else:
        raise Invalid(
            "Give amount_mtok, or quantity to have it priced.",
            errors=[{"pointer": "/amount_mtok", "rule": "required", "detail": "give amount_mtok or quantity"}],
        )
    charged = account.charge(
        lines=[line],
        app=command.app,
        person=command.person,
        model=command.model,
        rate_card=rate_card,
        reference=command.reference,
    )
    return account.charge_outcome(charged)


@handles(ReverseDebit)
def reverse_debit(command: ReverseDebit, unit: UnitOfWork) -> dict[str, Any]:
    """Look the debit up by its id and let the account unwind it."""
    account = unit.get(TokenAccount, command.account_id)
    event_id, version = parse_debit_id(command.debit_id)
    debit = unit.event_at(account, version) if version <= account.version else None
    if not isinstance(debit, TokensDebited | HoldCaptured) or debit.event_id != event_id:
        raise DebitNotFound(f"There is no debit {command.debit_id}.", id=command.debit_id)
    return account.reverse(command, debit)


@handles(TransferTokens)
def transfer_tokens(command: TransferTokens, unit: UnitOfWork) -> dict[str, Any]:
    """Both accounts change in one transaction, or neither."""
    if command.account_id == command.to_account_id:
        raise Invalid(
            "An account can't transfer to itself.",
            errors=[{"pointer": "/to_account_id", "rule": "different", "detail": "names the sending account"}],
        )
    sender = unit.get(TokenAccount, command.account_id)
    receiver = unit.get(TokenAccount, command.to_account_id)
    sent = sender.send(command.amount_mtok, command.to_account_id, command.reason)
    receiver.receive(sent)
    return {"transfer_id": sent.transfer_id, "amount_mtok": sent.amount_mtok, "balance": sender.balance}


def price_line(
    unit: UnitOfWork, meter: str, quantity: int, model: str | None, at: datetime, card_id: str = DEFAULT_RATE_CARD
) -> tuple[tuple[str, int, int, str], int]:
    """A priced line and the version that priced it. Raises ``UnknownPrice``: without a price nothing is charged."""
    card = unit.find(RateCard, card_id)
    if card is None:
        raise UnknownPrice(meter=meter, model=model, at=at.isoformat(), rate_card_version=None)
    priced = card.price(meter, quantity, model, at)
    return (meter, quantity, priced.amount_mtok, priced.trace), priced.version
