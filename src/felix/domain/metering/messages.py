"""What can be asked of meters and rate cards, what can have happened to them, and a batch of usage to debit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, InstanceOf, StringConstraints

from felix.domain.base import Command, FelixCreated, FelixEvent
from felix.domain.metering.prices import PriceList
from felix.domain.values import MeterName, Moment, Reason, Slug, Text

#: Items of one batch: one transaction, and one answer that still reads well.
MAX_BATCH_ITEMS = 1_000
#: Meters of one item, and so lines of one debit.
MAX_LINES_PER_ITEM = 20

Aggregation = Literal["sum"]


class UsageItem(NamedTuple):
    """One CloudEvent that has been read: who used how much of what.

    ``lines`` are ``(meter, quantity)``, each meter once. ``dedupe_key`` is 16 bytes that stand for tenant, source
    and id for ever. ``at`` is the time of use in UTC, where the event told one.
    """

    source: str
    id: str
    account_id: str
    lines: list[tuple[str, int]]
    model: str | None
    app: str | None
    person: str | None
    at: datetime | None
    reference: str | None
    dedupe_key: bytes


# --- commands -----------------------------------------------------------------------------------------------


class DefineMeter(Command):
    """Say what a meter counts. The unit and the aggregation of a defined meter never change."""

    command_name: ClassVar[str] = "metering.define_meter"
    name: MeterName
    unit: Annotated[Text, StringConstraints(min_length=1, max_length=50)]
    description: Annotated[Text, StringConstraints(max_length=1000)] = ""
    aggregation: Aggregation = "sum"


class PublishRateCard(Command):
    """Publish the next version of a rate card, for ever unchanged.

    Without ``effective_from`` it is in force at once. It is never before the version published last, so a version
    that is waiting can be replaced (same moment) or followed; only a card's first version may lie in the past.
    """

    command_name: ClassVar[str] = "metering.publish_rate_card"
    rate_card_id: Slug = "default"
    effective_from: Moment | None = None
    prices: PriceList
    note: Reason | None = None


class DebitUsageBatch(Command):
    """Price and debit a batch of usage, item by item; a bad item never stops the others.

    ``positions`` are the places of the items in the request. ``malformed`` are the errors of those that could not be
    read: they take part in the answer, and nothing else.
    """

    model_config = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex")
    command_name: ClassVar[str] = "metering.debit_usage_batch"
    rate_card_id: Slug = "default"
    items: Annotated[list[InstanceOf[UsageItem]], Field(max_length=MAX_BATCH_ITEMS)]
    positions: Annotated[list[int], Field(max_length=MAX_BATCH_ITEMS)]
    malformed: Annotated[list[dict[str, Any]], Field(max_length=MAX_BATCH_ITEMS)] = []
    #: Stands for the whole request when a key is used again: a hash of the items as they were sent.
    request_digest: str

    @classmethod
    def of(
        cls,
        read: list[tuple[int, UsageItem]],
        malformed: list[dict[str, Any]],
        request_digest: str,
        rate_card_id: str = "default",
    ) -> Self:
        """The command for what :func:`felix.domain.metering.usage.read_usage` answered."""
        return cls(
            rate_card_id=rate_card_id,
            items=[item for _, item in read],
            positions=[position for position, _ in read],
            malformed=malformed,
            request_digest=request_digest,
        )

    @property
    def weight(self) -> int:
        """One event an item, at the most."""
        return max(1, len(self.items))

    def fingerprint_fields(self) -> dict[str, Any]:
        """The items as they were sent, and the rate card."""
        return {"events": self.request_digest, "rate_card_id": self.rate_card_id}


# --- events -------------------------------------------------------------------------------------------------


class MeterCatalogueOpened(FelixCreated):
    """The tenant's list of meters was begun."""

    TOPIC: ClassVar[str] = "metering.meter_catalogue_opened"


class MeterDefined(FelixEvent):
    """A meter was defined or described anew; ``implicit`` when a price named it before anybody defined it."""

    TOPIC: ClassVar[str] = "metering.meter_defined"
    aggregation: str
    description: str
    implicit: bool
    name: str
    unit: str


class RateCardCreated(FelixCreated):
    """A rate card was begun; it has no version yet."""

    TOPIC: ClassVar[str] = "metering.rate_card_created"


class RateCardPublished(FelixEvent):
    """A version of a rate card was published. ``prices`` are the prices as they were written."""

    TOPIC: ClassVar[str] = "metering.rate_card_published"
    effective_from: Moment
    note: str | None
    prices: list[dict[str, Any]]
    rate_card_version: int
