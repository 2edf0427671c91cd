"""Conditions of apps as Postgres evaluates them: one jsonpath, whose text holds no value but what is searched for.

A condition means here exactly what :mod:`felix.domain.apps.conditions` says it does. Each comparison asks for the type
first, so none is ever unknown, and ``not`` is the opposite. The path is a parameter of a constant query, and so are the
values that it compares with; only what a text must contain stands in it, as a JSON string, since jsonpath takes it in
no other way.

A document is ``{"v": values, "f": folded}``: all values by field, and those that are texts once more, case-folded. What
is personal is there as an object with its commitment: it is filled, and equal to nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from felix.domain.apps.base import AllOf, AnyOf, Comparison, Condition, Not

_NEVER, _ALWAYS = "(1 == 0)", "(1 == 1)"
_ORDERS = {"less": "<", "at_most": "<=", "more": ">", "at_least": ">="}
#: Longer values are in no index; see the fold.
MAX_KEY_CHARS = 100


class Filter:
    """A condition, and texts that must be found, ready to be asked."""

    def __init__(self, *conditions: Condition | None, search: str = "", searched: Iterable[str] = ()) -> None:
        """``search`` is looked for in the fields ``searched``, whatever its case."""
        self.variables: dict[str, Any] = {}
        #: A field and the value that a record must have in it to fit: what the index can say beforehand.
        self.key: tuple[str, Any] | None = None
        parts = []
        for condition in conditions:
            if condition is not None:
                parts.append(self._path(condition))
                self._take_key(condition)
        if search:
            found = [_contains(field, search) for field in searched]
            parts.append(_joined(found, " || ", _NEVER))
        self.path = _joined(parts, " && ", _ALWAYS)

    def _path(self, condition: Condition) -> str:
        match condition:
            case AllOf():
                return _joined([self._path(part) for part in condition.all], " && ", _ALWAYS)
            case AnyOf():
                return _joined([self._path(part) for part in condition.any], " || ", _NEVER)
            case Not():
                return f"(!{self._path(condition.not_)})"
            case Comparison():
                return self._comparison(condition)

    def _comparison(self, comparison: Comparison) -> str:
        field, wanted = comparison.field, comparison.value
        match comparison.is_:
            case "is_empty":
                return _empty(field)
            case "is_filled":
                return f"(!{_empty(field)})"
            case "equal":
                return self._compared(field, "==", wanted)
            case "not_equal":
                return f"(!{self._compared(field, '==', wanted)})"
            case "one_of":
                assert isinstance(wanted, list)
                return _joined([self._compared(field, "==", each) for each in wanted], " || ", _NEVER)
            case "contains":
                if not isinstance(wanted, str):
                    return _NEVER
                element = f'exists($.v."{field}"[*] ? (@ == {self._variable(wanted)}))'
                return f"(({_is(field, 'array')} && {element}) || {_contains(field, wanted)})"
            case order:
                return _NEVER if isinstance(wanted, bool) else self._compared(field, _ORDERS[order], wanted)

    def _compared(self, field: str, operator: str, wanted: Any) -> str:
        """With a value of the same type; there is no record with a number that is not whole."""
        kind = {bool: "boolean", int: "number", str: "string"}.get(type(wanted))
        if kind is None:
            return _NEVER
        return f'({_is(field, kind)} && $.v."{field}" {operator} {self._variable(wanted)})'

    def _variable(self, value: Any) -> str:
        name = f"v{len(self.variables)}"
        self.variables[name] = value
        return f"${name}"

    def _take_key(self, condition: Condition) -> None:
        match condition:
            case AllOf():
                for part in condition.all:
                    self._take_key(part)
            case Comparison(is_="equal", value=bool() | int() | str() as wanted) if len(str(wanted)) <= MAX_KEY_CHARS:
                self.key = (condition.field, wanted)


def folded(values: Mapping[str, Any]) -> dict[str, str]:
    """The texts among values, case-folded: what they are searched in."""
    return {name: value.casefold() for name, value in values.items() if isinstance(value, str)}


def _is(field: str, kind: str) -> str:
    return f'$.v."{field}".type() == "{kind}"'


def _empty(field: str) -> str:
    return (
        f'(!exists($.v."{field}") || {_is(field, "null")} || ({_is(field, "string")} && $.v."{field}" == "")'
        f' || ({_is(field, "array")} && $.v."{field}".size() == 0))'
    )


def _contains(field: str, text: str) -> str:
    # The flag q takes the text for what it is and not for a regular expression; an empty one is in every text.
    found = f'like_regex {json.dumps(text.casefold())} flag "q"' if text else 'starts with ""'
    return f'($.f."{field}" {found})'


def _joined(parts: list[str], operator: str, none: str) -> str:
    return f"({operator.join(parts)})" if parts else none
