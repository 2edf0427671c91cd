"""Metering over HTTP: usage in batches, quotes, meters and rate cards, and what was used."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import (
    MAX_BATCH_BODY_BYTES,
    allowed,
    answer,
    command_from,
    fresh,
    guarded,
    missing,
    perform,
    place_of,
    read_json,
    services,
)
from felix.api.ledger import ACCOUNT, BEGINNING, reads, writes
from felix.api.problems import invalid
from felix.api.replay import moment
from felix.application.performer import new_context
from felix.domain.base import Command
from felix.domain.errors import Invalid, NotFound
from felix.domain.ledger.token_account import TokenAccount
from felix.domain.metering.catalogue import CATALOGUE_ID, MeterCatalogue
from felix.domain.metering.messages import DebitUsageBatch, DefineMeter, PublishRateCard
from felix.domain.metering.rate_card import RateCard, UnknownPrice, quote
from felix.domain.metering.usage import read_usage
from felix.domain.values import AccountId, MeterName, Name, Quantity, Slug
from felix.eventstore.mapper import canonical_json
from felix.projections import usage
from felix.projections.history import aggregate_at

router = APIRouter(tags=["metering"])

writes("/v1/meters", DefineMeter, status=201, router=router)
writes("/v1/rate-cards/{rate_card_id}/versions", PublishRateCard, status=201, router=router)


async def post_usage_batch(request: Request) -> Response:
    """Price and debit up to 1,000 CloudEvents; each is accepted, a duplicate, or refused with its reason."""
    principal = await allowed(request, "metering.debit_usage_batch")
    tenant_id = principal.tenant_id
    body = await read_json(request, MAX_BATCH_BODY_BYTES)
    items, card = body, "default"
    if isinstance(body, dict):
        if unknown := body.keys() - {"events", "rate_card_id"}:
            raise Invalid(
                "The body has fields that Felix does not know.",
                errors=[
                    {"pointer": f"/{name}", "rule": "extra_forbidden", "detail": "unknown"} for name in sorted(unknown)
                ],
            )
        items, card = body.get("events"), body.get("rate_card_id", "default")
    if not isinstance(items, list) or not items:
        raise Invalid(
            "A batch is a list of CloudEvents with at least one item.",
            errors=[{"pointer": "/events", "rule": "list", "detail": "1 to 1,000 CloudEvents"}],
        )
    read, malformed = read_usage(items, tenant_id)
    digest = blake2b(canonical_json(items), digest_size=16, key=tenant_id.bytes).hexdigest()
    try:
        command = DebitUsageBatch.of(read, malformed, digest, card)
    except ValidationError as error:
        raise invalid(error) from None
    return await perform(request, principal, command)


router.add_api_route(
    "/v1/usage/batch",
    guarded(post_usage_batch),
    methods=["POST"],
    operation_id="debit_usage_batch",
    summary=str(post_usage_batch.__doc__),
    description=(
        f"{post_usage_batch.__doc__}\n\nThe body is a list of CloudEvents 1.0, or an object with that list as `events`."
        " `source` and `id` are unique for ever: the same usage sent again is a duplicate, under whatever key."
        " Items that are named in neither `duplicates` nor `refused` were accepted; `index` counts from zero."
    ),
    response_class=Response,
    openapi_extra=documents.does("metering.debit_usage_batch")
    | documents.write(DebitUsageBatch, frozenset(), *examples.USAGE_BATCH_WRITE)
    | {"requestBody": examples.USAGE_BATCH_BODY},
)


class QuoteLine(Command):
    """A quantity of a meter."""

    meter: MeterName
    quantity: Quantity
    model: Name | None = None


class QuoteUsage(Command):
    """Say what usage would cost and what would be left, and change nothing."""

    command_name = "metering.quote_usage"
    account_id: AccountId
    lines: Annotated[list[QuoteLine], Field(min_length=1, max_length=20)]
    rate_card_id: Slug = "default"


async def post_quote(request: Request) -> Response:
    """Say what usage would cost, from which lots, and what would be left; nothing is written."""
    principal = await allowed(request, "metering.quote_usage")
    tenant_id = principal.tenant_id
    account_id = request.path_params["account_id"]
    asked = command_from(QuoteUsage, await read_json(request), {"account_id": account_id})
    assert isinstance(asked, QuoteUsage)
    partition = services(request).partition_of(tenant_id)
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        account = await aggregate_at(tx, TokenAccount, account_id)
        card = await aggregate_at(tx, RateCard, asked.rate_card_id)
    if account is None:
        raise missing("account_id", account_id)
    if card is None:
        raise UnknownPrice(meter=asked.lines[0].meter, model=asked.lines[0].model, rate_card_version=None)
    context = new_context(tenant_id, "quote", principal.actor)
    priced = quote(card, [(line.meter, line.quantity, line.model) for line in asked.lines], context.at)
    debit = account.deciding(context).charge(
        lines=[(line.meter, line.quantity, line.amount_mtok, line.trace) for line in priced.lines]
    )
    charged = account.charge_outcome(debit)
    charged.pop("debit_id")
    return answer(charged | {"rate_card": f"{asked.rate_card_id}/{priced.lines[0].version}"})


router.add_api_route(
    f"{ACCOUNT}/quotes",
    guarded(post_quote),
    methods=["POST"],
    operation_id="quote_usage",
    summary=str(post_quote.__doc__),
    response_class=Response,
    openapi_extra=documents.does("metering.quote_usage")
    | {
        "parameters": [documents.TENANT],
        "requestBody": documents.write(QuoteUsage, frozenset({"account_id"}), examples.QUOTE_ASKED, 200, {})[
            "requestBody"
        ],
        "responses": documents.responses(200, examples.QUOTE, 402, 404, 409, 413, 422),
    },
)


@reads(
    "/v1/usage",
    examples.USAGE,
    documents.query("from", "A moment of the first day (RFC 3339, UTC); default: the beginning.", type="string"),
    documents.query("to", "A moment of the last day (RFC 3339, UTC); default: today.", type="string"),
    documents.query(
        "by", "Comma-separated: day, account_id, meter, app, model, person. Default: meter.", type="string"
    ),
    documents.query("account_id", "Only this account.", type="string"),
    action="metering.read",
    router=router,
)
async def show_usage(request: Request) -> Response:
    """What was used: quantity, tokens and number of debits, by meter, app, model, person or day."""
    tenant_id, partition = await place_of(request, "metering.read")
    groups = [name for name in request.query_params.get("by", "meter").split(",") if name]
    if not set(groups) <= set(usage.DIMENSIONS):
        raise Invalid(
            "by names something that usage is not counted by.",
            errors=[{"pointer": "?by", "rule": "enum", "detail": ", ".join(usage.DIMENSIONS)}],
        )
    since = moment(request, "from") or BEGINNING
    until = moment(request, "to") or datetime.now(UTC)
    await fresh(request, tenant_id, partition, "usage")
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        found = await usage.usage(tx, since.date(), until.date(), groups, request.query_params.get("account_id"))
    return answer({"data": found})


@reads("/v1/meters", examples.METERS, action="metering.read", router=router, min_position=documents.NEVER_BEHIND)
async def list_meters(request: Request) -> Response:
    """The tenant's meters and their units."""
    tenant_id, partition = await place_of(request, "metering.read")
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        catalogue = await aggregate_at(tx, MeterCatalogue, CATALOGUE_ID)
    meters = catalogue.meters if catalogue is not None else {}
    return answer({"data": [{"name": name, **meter} for name, meter in sorted(meters.items())]})


@reads(
    "/v1/rate-cards/{rate_card_id}",
    examples.RATE_CARD,
    action="metering.read",
    router=router,
    min_position=documents.NEVER_BEHIND,
)
async def show_rate_card(request: Request) -> Response:
    """Every version of a rate card, with its prices and the moment from which it is in force."""
    tenant_id, partition = await place_of(request, "metering.read")
    card_id = request.path_params["rate_card_id"]
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        card = await aggregate_at(tx, RateCard, card_id)
    if card is None:
        raise NotFound(f"There is no rate card {card_id}.", id=card_id)
    versions = [
        {"version": version, "effective_from": at, "prices": prices}
        for version, (at, prices) in enumerate(zip(card.effective_from, card.prices, strict=True), 1)
    ]
    return answer({"rate_card_id": card_id, "versions": versions})
