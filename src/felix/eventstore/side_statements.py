"""Tables that are kept beside the log: who may come in, hashes, sealed secrets, the vault.

Their rows belong to events and are written in the same transaction, so they are never ahead of the log and never
behind it; what they hold must not be in an event. A statement that fails takes the whole batch with it: whoever writes
one has asked before, in the same transaction, whether it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString


@dataclass(frozen=True, slots=True)
class SideStatement:
    """One statement with its parameters; its text shows none of them."""

    text: LiteralString
    parameters: Sequence[Any] = field(repr=False)
