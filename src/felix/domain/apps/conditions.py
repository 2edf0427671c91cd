"""Whether a condition holds for a record. A missing value is never less, never more and never one of something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felix.domain.apps.base import AllOf, AnyOf, Comparison, Condition, Not


def holds(condition: Condition | None, values: Mapping[str, Any]) -> bool:
    """Whether it does; no condition always does. Never raises: what can't be compared is not so."""
    match condition:
        case None:
            return True
        case AllOf():
            return all(holds(part, values) for part in condition.all)
        case AnyOf():
            return any(holds(part, values) for part in condition.any)
        case Not():
            return not holds(condition.not_, values)
        case Comparison():
            return _compares(condition, values.get(condition.field))


def _compares(comparison: Comparison, value: Any) -> bool:
    wanted = comparison.value
    match comparison.is_:
        case "is_empty":
            return value in (None, "", [])
        case "is_filled":
            return value not in (None, "", [])
        case "equal":
            return _same(value, wanted)
        case "not_equal":
            return not _same(value, wanted)
        case "one_of":
            assert isinstance(wanted, list)
            return any(_same(value, each) for each in wanted)
        case "contains":
            if isinstance(value, list):
                return wanted in value
            return isinstance(value, str) and isinstance(wanted, str) and wanted.casefold() in value.casefold()
    if type(value) is not type(wanted) or isinstance(value, bool) or not isinstance(value, int | str):
        return False
    match comparison.is_:
        case "less":
            return value < wanted  # type: ignore[operator]
        case "at_most":
            return value <= wanted  # type: ignore[operator]
        case "more":
            return value > wanted  # type: ignore[operator]
        case _:
            return value >= wanted  # type: ignore[operator]


def _same(value: Any, wanted: Any) -> bool:
    """Equal and of one type: 1 is not true."""
    return type(value) is type(wanted) and value == wanted
