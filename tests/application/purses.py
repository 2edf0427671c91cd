"""A small aggregate whose commands go wrong in every way that a handler can."""

from __future__ import annotations

from typing import Any, ClassVar

from eventsourcing.domain import event

from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.base import Command, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.errors import Refused

PURSE = "purse"


class PurseSewn(FelixCreated):
    """A purse was made."""

    TOPIC: ClassVar[str] = "test.purse_sewn"


class CoinPut(FelixEvent):
    """A coin went in."""

    TOPIC: ClassVar[str] = "test.coin_put"
    coins: int


class CoinStuck(FelixEvent):
    """A coin got stuck: its fold changes something and then fails."""

    TOPIC: ClassVar[str] = "test.coin_stuck"
    coins: int


class Purse(FelixAggregate):
    """Counts coins."""

    TOPIC = "test.purse"
    kind = "purse"
    Event = FelixEvent
    PurseSewn = PurseSewn
    CoinPut = CoinPut
    CoinStuck = CoinStuck

    @event(PurseSewn)
    def __init__(self) -> None:
        self.coins = 0

    @event(CoinPut)
    def _put(self, coins: int) -> None:
        self.coins += coins

    @event(CoinStuck)
    def _stuck(self, coins: int) -> None:
        self.coins += coins
        raise LookupError("the fold fails midway")


class PurseTorn(Refused):
    """The purse is torn."""


class Unforeseen(Exception):
    """Of no kind that Felix knows."""


class PutCoins(Command):
    """Put coins into the purse, and then let ``then`` happen."""

    command_name: ClassVar[str] = "test.put_coins"
    coins: int
    then: str = "fine"


@handles(PutCoins)
def put_coins(command: PutCoins, unit: UnitOfWork) -> dict[str, Any]:
    """Emit first, go wrong afterwards."""
    purse = unit.find(Purse, PURSE)
    if purse is None:
        purse = Purse.begin(unit.context, PURSE)
        unit.add(purse)
    if command.then == "stuck":
        purse._stuck(coins=command.coins)
    purse._put(coins=command.coins)
    match command.then:
        case "refused":
            raise PurseTorn(coins=purse.coins)
        case "unspeakable refusal":
            raise PurseTorn(coins=2**80, purse=object())
        case "defect":
            raise KeyError("a defect")
        case "unspeakable":
            return {"purse": object()}
        case "unforeseen":
            raise Unforeseen
        case "by zero":
            return {"coins": 1 // 0}
    return {"coins": purse.coins}
