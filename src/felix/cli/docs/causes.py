"""Which command causes which event, read from the code of the decisions and handlers."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from felix.application import handlers as _handlers
from felix.application.unit_of_work import _HANDLERS
from felix.cli.docs.catalogue import classes, stored_events
from felix.domain.base import DECISIONS, Command, FelixAggregate

_ = _handlers  # importing it registers every command handler

_RUN_OUT = "any command on an account where something has run out"

#: What :func:`_events` has found, by aggregate and method; reading source takes milliseconds.
_EVENTS: dict[tuple[str, str], frozenset[type[Any]]] = {}
_FOLDS: dict[str, dict[str, type[Any]]] = {}


def causes_of_events() -> dict[type[Any], list[str]]:
    """The commands behind each event, read from the code of the decisions and handlers."""
    found: dict[type[Any], set[str]] = {}
    for command, events in _events_of_commands():
        for event in events:
            found.setdefault(event, set()).add(command.command_name)
    booked = {event for cls in classes(FelixAggregate, "domain") for event in _events(cls, "_book_what_ran_out")}
    commands = {event: sorted(names) for event, names in found.items()}
    return {
        event: [f"`{name}`" for name in commands.get(event, [])] + [_RUN_OUT] * (event in booked)
        for event in commands.keys() | booked
    }


def _events_of_commands() -> Iterator[tuple[type[Command], Collection[type[Any]]]]:
    for command, (aggregate, _, method) in DECISIONS.items():
        if command.__module__.startswith("felix."):
            yield command, _events(aggregate, method)
    aggregates = [cls for cls in classes(FelixAggregate, "domain") if "TOPIC" in vars(cls)]
    for command, handler in _HANDLERS.items():
        if not command.__module__.startswith("felix.") or command in DECISIONS:
            continue
        events = set()
        for function in _reached(handler):
            module, called = import_module(function.__module__), _calls(function)
            # Methods of different aggregates have the same name: a function decides with those that its module names.
            at_hand = [cls for cls in aggregates if vars(module).get(cls.__name__) is cls]
            events |= {event for cls in at_hand for name in called for event in _events(cls, name)}
            events |= {cls.created_event_class() for cls in at_hand if f"{cls.__name__}.begin" in called}
        yield command, events


def _reached(handler: Callable[..., Any]) -> Iterable[Callable[..., Any]]:
    """A handler and the functions of the application that it calls, or that those call."""
    reached, waiting = {handler}, [handler]
    while waiting:
        function = waiting.pop()
        known = vars(import_module(function.__module__))
        called = {helper for name in _calls(function) if inspect.isfunction(helper := known.get(name))}
        new = {helper for helper in called - reached if helper.__module__.startswith("felix.application.")}
        reached |= new
        waiting += new
    return reached


def _events(aggregate: type[Any], method: str) -> frozenset[type[Any]]:
    """The events that a method can trigger, itself or through other methods of the aggregate.

    What every decision of an account begins with, booking what has run out, is left out.
    """
    if (known := _EVENTS.get((aggregate.__qualname__, method))) is not None:
        return known
    folds, found = _folds(aggregate), set()
    seen, waiting = {"_begin", "_begin_spending", "_book_what_ran_out"} - {method}, {method}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name in folds:
            found.add(folds[name])
            continue
        bound = getattr(aggregate, name, None)
        function = getattr(bound, "__func__", bound)
        if inspect.isfunction(function) and function.__module__.startswith("felix.domain."):
            called = _calls(function, "self", "cls")
            found |= _named_events(function)
            if "begin" in called:
                found.add(aggregate.created_event_class())
            waiting |= called - seen - {"begin"}
            for given, cls in _aggregates_given(function):
                found |= {event for name in _calls(function, given) for event in _events(cls, name)}
    return _EVENTS.setdefault((aggregate.__qualname__, method), frozenset(found))


def _aggregates_given(function: Callable[..., Any]) -> Iterator[tuple[str, type[Any]]]:
    """The other aggregates that a decision moves: what they are called in it, and what they are."""
    known = vars(import_module(function.__module__))
    for name, annotation in function.__annotations__.items():
        cls = known.get(annotation)
        if inspect.isclass(cls) and issubclass(cls, FelixAggregate) and name != "return":
            yield name, cls


def _folds(aggregate: type[Any]) -> dict[str, type[Any]]:
    """The event behind each method that is decorated with ``@event``, or in a base of the aggregate ``@adds_up``."""
    if (known := _FOLDS.get(aggregate.__qualname__)) is not None:
        return known
    found = {}
    for cls in [cls for cls in aggregate.__mro__ if issubclass(cls, FelixAggregate) and cls is not FelixAggregate]:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(definition, ast.ClassDef)
        for function in [node for node in definition.body if isinstance(node, ast.FunctionDef)]:
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") in ("event", "adds_up"):
                    named = decorator.args[0]
                    name = named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")
                    found[function.name] = _events_by_name()[name]
    found.pop("__init__", None)
    return _FOLDS.setdefault(aggregate.__qualname__, found)


@cache
def _events_by_name() -> dict[str, type[Any]]:
    return {cls.__name__: cls for cls in stored_events().values()}


def _tree(function: Callable[..., Any]) -> Iterable[ast.AST]:
    return ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))


def _calls(function: Callable[..., Any], *receivers: str) -> set[str]:
    """The names of what a function calls; of methods with and without their receiver, and if asked of those alone."""
    found = set()
    for node in _tree(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if not receivers or receiver in receivers:
                found |= {node.func.attr, f"{receiver}.{node.func.attr}"}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not receivers:
            found.add(node.func.id)
    return found


def _named_events(function: Callable[..., Any]) -> set[type[Any]]:
    """The events that a function hands to ``_happens``, or names itself to ``trigger_event``."""
    known, found = _events_by_name(), set()
    for node in _tree(function):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("_happens", "trigger_event"):
            named = node.args[0]
            name = named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")
            if name in known:
                found.add(known[name])
    return found
