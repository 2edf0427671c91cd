"""Which types a field can become without a single stored value losing its validity or its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felix.domain.apps.shapes import MAX_LONG_TEXT, MAX_TEXT

#: A link may be longer than a text. An integer becomes a decimal without places only: a decimal is stored as a whole
#: number of its last place, so a stored 5 would be 0.05 with two places.
WIDENINGS: dict[str, tuple[str, ...]] = {
    "text": ("long_text",),
    "email": ("text", "long_text"),
    "phone": ("text", "long_text"),
    "url": ("long_text",),
    "choice": ("text", "long_text"),
    "integer": ("decimal",),
}
_LONGEST = {"text": MAX_TEXT, "long_text": MAX_LONG_TEXT}


def widens(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a field of the second definition can hold whatever one of the first can, limits aside."""
    if after["type"] == "decimal" and before["type"] == "integer":
        return after.get("places") == 0
    return after["type"] == before["type"] or after["type"] in WIDENINGS.get(before["type"], ())


def narrows(limit: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether the second definition shuts out by a limit what the first let in."""
    was, becomes = (field.get(limit, _LONGEST.get(field["type"])) for field in (before, after))
    if limit == "max_length" or was is None or becomes is None:
        return becomes is not None and (was is None or becomes < was)
    return bool(becomes > was if limit == "minimum" else becomes < was)
