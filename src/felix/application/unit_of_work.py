"""What a command handler sees: the aggregates of its tenant, as they are after every command before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from felix.domain.base import DECISIONS, Command, CommandContext, FelixAggregate, FelixEvent
from felix.domain.errors import NotFound
from felix.eventstore.side_statements import SideStatement

A = TypeVar("A", bound=FelixAggregate)
C = TypeVar("C", bound=Command)


class UnitOfWork(Protocol):
    """One command being decided. Everything it changes is stored together with its outcome, or not at all."""

    context: CommandContext
    partition: int

    def get(self, aggregate_class: type[A], local_id: str) -> A:
        """An aggregate of the command's tenant. Raises :class:`NotFound`."""

    def find(self, aggregate_class: type[A], local_id: str) -> A | None:
        """The same, or None."""

    def add(self, aggregate: FelixAggregate) -> None:
        """Store a new aggregate."""

    def event_at(self, aggregate: FelixAggregate, version: int) -> FelixEvent | None:
        """An event of this aggregate's past."""

    def known_usage(self, keys: list[bytes]) -> set[bytes]:
        """Which dedupe keys already had their effect."""

    def beside(self, write: SideStatement) -> None:
        """Change a table that is kept beside the log, in the same transaction, once the command is accepted."""

    def ask_beside(self, question: SideStatement) -> list[tuple[Any, ...]]:
        """Ask a table that is kept beside the log; commands before this one have had their effect."""

    def remember_usage(self, event: FelixEvent, key: bytes) -> None:
        """Store this dedupe key with the event: the same usage never has an effect again."""


Handler = Callable[[Any, UnitOfWork], dict[str, Any]]
_HANDLERS: dict[type[Command], Handler] = {}


def handles(command_class: type[C]) -> Callable[[Callable[[C, UnitOfWork], dict[str, Any]]], Handler]:
    """Register the handler of a command that makes an aggregate or concerns several."""

    def register(handler: Callable[[C, UnitOfWork], dict[str, Any]]) -> Handler:
        if command_class in _HANDLERS or command_class in DECISIONS:
            raise TypeError(f"{command_class.__name__} is handled twice")
        _HANDLERS[command_class] = handler
        return handler

    return register


def handler_of(command_class: type[Command]) -> Handler:
    """The handler of a command: its own, or the one method of one aggregate that decides it."""
    handler = _HANDLERS.get(command_class)
    if handler is None:
        aggregate_class, by, method = DECISIONS[command_class]

        def handler(command: Any, unit: UnitOfWork) -> dict[str, Any]:
            decided: dict[str, Any] = getattr(unit.get(aggregate_class, getattr(command, by)), method)(command)
            return decided

        _HANDLERS[command_class] = handler
    return handler


def not_found(aggregate_class: type[FelixAggregate], local_id: str) -> NotFound:
    """The same answer whether it never existed or belongs to somebody else."""
    return NotFound(f"There is no {aggregate_class.kind.replace('_', ' ')} {local_id}.", id=local_id)
