"""Hooks: what a module decides when a record is written, because no file of an app could say it.

The stock of an item follows from its moves, and a move that would take more than there is must not be. A hook is a
function of the record that is being written, of records that it looks up by their ids, and of the module's
configuration: no clock, no database, no random number. What it answers is written in the same append as the record; to
refuse, it raises ``Refused``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Writing:
    """A record that is being written, as it was and as it will be: None before it is made, and after it is removed.

    Both are whole, with defaults, and without what is personal.
    """

    entity: str
    record_id: str
    before: Values | None
    after: Values | None

    def changes(self, *fields: str) -> bool:
        """Whether any of these fields will have another value."""
        was, becomes = self.before or {}, self.after or {}
        return any(was.get(field) != becomes.get(field) for field in fields)


class Records(Protocol):
    """The other records of the same app and environment, while one is being written."""

    def find(self, entity: str, record_id: str) -> Values | None:
        """The values of a record without what is personal; None where there is none, or it was removed."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """Values that are written along with a record: into another, which is made if it is not there, or into itself.

    They are the module's own sums and are written as they are, into hidden fields too; fields that the app does not
    have are left out. They set off automations, and no hooks.
    """

    entity: str
    record_id: str
    values: Values


Decide = Callable[[Writing, Records, Values], Iterable[Consequence]]


@dataclass(frozen=True, slots=True)
class Hook:
    """What a module decides about the records of an entity. ``writes`` are the entities that it may write."""

    module: str
    entity: str
    decide: Decide
    writes: frozenset[str]


class HookOverstepped(RuntimeError):
    """A module's hook writes what its capabilities do not name: a defect of the module."""


#: All hooks of an installation.
NO_HOOKS: tuple[Hook, ...] = ()


def consequences(
    hooks: Iterable[Hook], configs: Mapping[str, Values], writing: Writing, records: Records
) -> list[Consequence]:
    """What else is written, one consequence a record, in the order in which they were found.

    ``configs`` has the configuration of each module. Raises the module's own ``Refused``, and :class:`HookOverstepped`.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for hook in hooks:
        if hook.entity != writing.entity:
            continue
        for each in hook.decide(writing, records, configs.get(hook.module, {})):
            if each.entity not in hook.writes:
                raise HookOverstepped(f"{hook.module} must not write {each.entity}")
            found.setdefault((each.entity, each.record_id), {}).update(each.values)
    return [Consequence(entity, record_id, values) for (entity, record_id), values in found.items()]


def derived_id(*parts: str) -> str:
    """The id of the one record that these parts have, such as the stock of an item at a location."""
    return f"rec_{sha256(':'.join(parts).encode()).hexdigest()[:32]}"
