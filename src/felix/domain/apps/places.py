"""Places in a tree: a file and, inside it, a JSON pointer (RFC 6901).

A pointer leads through objects only. A list is one value, whoever changes it: a number in a pointer would mean another
element as soon as somebody adds one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

from felix.domain.apps.tree import AppTree, canonical


class _Absent(Enum):
    ABSENT = "absent"


#: There is nothing at this place: not the same as null.
ABSENT: Final = _Absent.ABSENT

#: Objects at the top of a file that mean something only as a whole: half of a condition is another condition.
_WHOLE = frozenset({"group_by", "job", "measure", "on", "when", "where"})


def pointer_of(parts: Iterable[str]) -> str:
    """The pointer that leads through these members."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def parts_of(pointer: str) -> tuple[str, ...]:
    """The members that a pointer leads through; none for a whole file."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def at(tree: AppTree, path: str, pointer: str) -> Any:
    """What is at a place, or ``ABSENT``."""
    value = tree.files.get(path, ABSENT)
    for part in parts_of(pointer):
        value = value.get(part, ABSENT) if isinstance(value, Mapping) else ABSENT
    return value


def same(one: Any, other: Any) -> bool:
    """Whether two values are stored as the same bytes. True is not 1 here, and absent is not null."""
    if one is other:
        return True
    return one is not ABSENT and other is not ABSENT and canonical(one) == canonical(other)


def opens(parts: tuple[str, ...], *values: Any) -> bool:
    """Whether values at a place are objects whose members are places of their own."""
    return not (len(parts) == 1 and parts[0] in _WHOLE) and all(isinstance(value, Mapping) for value in values)


def within(path: str, pointer: str, other_path: str, other_pointer: str) -> bool:
    """Whether one place is the other, or is inside it, or the other way round."""
    one, other = parts_of(pointer), parts_of(other_pointer)
    shorter = min(len(one), len(other))
    return path == other_path and one[:shorter] == other[:shorter]


def differences(before: Any, after: Any, parts: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """The smallest places at which two contents of a file differ, in the order of their names."""
    if same(before, after):
        return
    if not opens(parts, before, after):
        yield parts, before, after
        return
    for name in sorted({*before, *after}):
        yield from differences(before.get(name, ABSENT), after.get(name, ABSENT), (*parts, name))
