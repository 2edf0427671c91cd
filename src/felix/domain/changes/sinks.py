"""Where an app may send something, or who may see or do it, that nobody asked for.

A language model reads what strangers wrote. Whatever it was talked into, it can do harm only through an address, a link
or a role; one that the client did not name themselves makes the change one of high risk, so that two people look at it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

from felix.domain.apps.base import AppRole
from felix.domain.apps.tree import AppTree
from felix.domain.changes.risk import Risk, highest

_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_HOST = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{1,20}:)?//(?:[^\s/@\"'<>]*@)?([^\s/:?#\"'<>\\]+)|\b(www\.[\w-]+(?:\.[\w-]+)+)",
    re.IGNORECASE,
)
_ROLES: tuple[str, ...] = get_args(AppRole)


def unnamed_sinks(before: AppTree, after: AppTree, said: str) -> list[str]:
    """Recipients, hosts and roles that are new in an app, and that the client did not name."""
    known, heard = _sinks(before), said.casefold()
    return sorted(
        f"{kind} {name}"
        for (kind, name), count in _sinks(after).items()
        if count > known[kind, name] and _word(name) not in heard
    )


def with_sinks(risk: Risk, sinks: list[str]) -> Risk:
    """The risk of a change with these."""
    return highest((risk, "high")) if sinks else risk


def _sinks(tree: AppTree) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for path, content in tree.files.items():
        # What examples say is never sent.
        if path.startswith("tests/"):
            continue
        for text in _texts(content):
            if text in _ROLES:
                found["role", text] += 1
            found.update(("address", address.casefold()) for address in _ADDRESS.findall(text))
            found.update(("host", (one or other).casefold()) for one, other in _HOST.findall(text))
    return found


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for name, value in content.items():
            yield name
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)


def _word(name: str) -> str:
    """What a client calls it: nobody writes ``client_owner``."""
    return name.removeprefix("client_")
