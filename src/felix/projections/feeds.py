"""Where projections get what they retell: the events of the log, or the outcomes of all commands, refused ones too.

Both are dense per partition and in commit order, which is checked on every batch; each has a head of its own.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal
from uuid import UUID

import psycopg

import felix.domain
from felix.eventstore.batches import read_batch, read_tenant, read_tenant_commands
from felix.eventstore.reader import command_heads, heads, read_commands

FeedName = Literal["events", "commands"]


@dataclass(frozen=True, slots=True)
class Feed:
    """A dense sequence of facts in every partition.

    ``read(connection, partition, after, limit)`` raises ``GapInLog``; ``read_tenant(connection, partition, tenant_id,
    first, last, limit)`` gives what one tenant has between two positions, both included; ``heads(connection)`` is the
    last position of every partition.
    """

    name: FeedName
    read: Callable[[psycopg.Connection[Any], int, int, int], Sequence[Any]]
    read_tenant: Callable[[psycopg.Connection[Any], int, UUID, int, int, int], Sequence[Any]]
    heads: Callable[[psycopg.Connection[Any]], dict[int, int]]


FEEDS: dict[FeedName, Feed] = {
    "events": Feed("events", read_batch, read_tenant, heads),
    "commands": Feed("commands", read_commands, read_tenant_commands, command_heads),
}


def know_all_events() -> None:
    """Import the entire domain, so that every stored event name leads to its class: whoever folds without that takes
    every event for one of a newer version."""
    for module in pkgutil.walk_packages(felix.domain.__path__, felix.domain.__name__ + "."):
        import_module(module.name)


know_all_events()
