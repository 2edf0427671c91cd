"""Handlers of metering: rate cards, meters, and a batch of usage that is priced and debited item by item."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from felix.application.outcome import record_of
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.errors import FelixError, NotFound, Refused, TooMuch
from felix.domain.ledger.token_account import TokenAccount
from felix.domain.metering.catalogue import CATALOGUE_ID, MeterCatalogue
from felix.domain.metering.messages import DebitUsageBatch, DefineMeter, PublishRateCard
from felix.domain.metering.rate_card import RateCard, UnknownPrice

#: A sender's clock may be ahead by this much.
CLOCK_TOLERANCE = timedelta(minutes=5)
#: The time of use chooses the price in force, so a client may not choose any time; 35 days is what Stripe allows.
CLIENTS_MAY_BACKDATE = timedelta(days=35)
#: Who imports what happened before, by the role that the log names them with.
MAY_CHOOSE_ANY_TIME = ("founder", "system")
ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class UsageOutOfTime(Refused):
    """The time of this usage is in the future, or further back than a client may report."""


@handles(DefineMeter)
def define_meter(command: DefineMeter, unit: UnitOfWork) -> dict[str, Any]:
    """Define a meter in the tenant's catalogue, which begins with its first meter."""
    return _catalogue(unit).define(command)


@handles(PublishRateCard)
def publish_rate_card(command: PublishRateCard, unit: UnitOfWork) -> dict[str, Any]:
    """Publish the next version; meters that it names first are defined by it."""
    card = unit.find(RateCard, command.rate_card_id)
    if card is None:
        card = RateCard.begin(unit.context, command.rate_card_id)
        unit.add(card)
    published = card.publish(command)
    _catalogue(unit).define_priced(price.meter for price in command.prices)
    return published


@handles(DebitUsageBatch)
def debit_usage_batch(command: DebitUsageBatch, unit: UnitOfWork) -> dict[str, Any]:
    """Charge every item that is new, readable, priced and affordable; name the others with their reason.

    Items are told by their place in the request: those in neither ``duplicates`` nor ``refused`` were accepted.
    """
    now = unit.context.at
    newest = now + CLOCK_TOLERANCE
    by = unit.context.actor.partition(":")[0]
    oldest = ANY_TIME if by in MAY_CHOOSE_ANY_TIME else now - CLIENTS_MAY_BACKDATE
    known = unit.known_usage([item.dedupe_key for item in command.items])
    card = unit.find(RateCard, command.rate_card_id)
    accounts: dict[str, TokenAccount | None] = {}
    rate_cards: dict[int, str] = {}
    duplicates: list[int] = []
    refused: list[dict[str, Any]] = list(command.malformed)
    accepted = charged_mtok = 0
    for position, item in zip(command.positions, command.items, strict=True):
        if item.dedupe_key in known:
            duplicates.append(position)
            continue
        try:
            account_id = item.account_id
            account = accounts.get(account_id)
            if account is None:
                account = accounts[account_id] = unit.get(TokenAccount, account_id)
            if card is None:
                raise UnknownPrice(meter=item.lines[0][0], model=item.model, rate_card_version=None)
            at = item.at or now
            if not oldest <= at <= newest:
                raise UsageOutOfTime(at=at.isoformat(), oldest=oldest.isoformat(), newest=newest.isoformat())
            lines = []
            version = 0
            for meter, quantity in item.lines:
                amount_mtok, version, trace = card.price(meter, quantity, item.model, at)
                lines.append((meter, quantity, amount_mtok, trace))
            if version not in rate_cards:
                rate_cards[version] = f"{command.rate_card_id}/{version}"
            debit = account.charge(
                lines=lines,
                app=item.app,
                person=item.person,
                model=item.model,
                rate_card=rate_cards.get(version)
                or rate_cards.setdefault(version, f"{command.rate_card_id}/{version}"),
                reference=item.reference,
                usage_source=item.source,
                usage_id=item.id,
                usage_at=item.at,
            )
        except (Refused, NotFound, TooMuch) as error:
            refused.append(_refusal(position, error))
            continue
        known.add(item.dedupe_key)
        unit.remember_usage(debit, item.dedupe_key)
        accepted += 1
        charged_mtok += debit.amount_mtok
    refused.sort(key=lambda entry: entry["index"])
    return {"accepted": accepted, "charged_mtok": charged_mtok, "duplicates": duplicates, "refused": refused}


def _refusal(position: int, error: FelixError) -> dict[str, Any]:
    return {"index": position, **record_of(error)}


def _catalogue(unit: UnitOfWork) -> MeterCatalogue:
    catalogue = unit.find(MeterCatalogue, CATALOGUE_ID)
    if catalogue is None:
        catalogue = MeterCatalogue.begin(unit.context, CATALOGUE_ID)
        unit.add(catalogue)
    return catalogue
