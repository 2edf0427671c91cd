"""Scopes limit an API key to actions of the table, or to groups of them.

``ledger.debit_tokens`` is one action, ``ledger.*`` whatever can be done with the ledger, ``*.read`` whatever can be
read. A group holds what is in the table when the key is used: it grows with Felix. A key without scopes may do all that
its role may, one with scopes never more than that.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from felix.domain.identity.access import ACTIONS

MAX_SCOPES = 50


def covers(scope: str, other: str) -> bool:
    """Whether a scope means everything that the other means, now and when the table has grown."""
    return all(mine in ("*", theirs) for mine, theirs in zip(scope.split("."), other.split("."), strict=True))


@lru_cache(maxsize=1_024)
def actions_within(scopes: frozenset[str]) -> frozenset[str]:
    """The actions that scopes leave."""
    return frozenset(action for action in ACTIONS if any(covers(scope, action) for scope in scopes))


def are_within(scopes: Collection[str] | None, limits: Collection[str] | None) -> bool:
    """Whether scopes go no further than others; None goes as far as the role."""
    if limits is None:
        return True
    return scopes is not None and all(any(covers(limit, scope) for limit in limits) for scope in scopes)


def _means_something(scope: str) -> str:
    if scope == "*.*":
        raise ValueError("everything is a key without scopes")
    if not actions_within(frozenset({scope})):
        raise ValueError(f"there is no action {scope}; docs/access.md lists them")
    return scope


Scope = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z][a-z_]*|\*)\.([a-z][a-z_]*|\*)$", max_length=100),
    AfterValidator(_means_something),
]
