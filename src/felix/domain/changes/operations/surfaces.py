"""What happens to the surfaces that show a field when the field is hidden."""

from __future__ import annotations

from typing import Any

from felix.domain.changes.operations.draft import Draft

#: Lists that name fields, and what a surface without any of it would be; ``order`` may be empty.
_NEEDED = ("columns", "card", "sections", "group_by", "measures")


def take_out(draft: Draft, entity: str, field: str) -> None:
    """Take a field out of every view and report. Refuses where one would show nothing, or no longer what it is."""
    for path in sorted({use.path for use in draft.uses(entity, field)}):
        if path.startswith(("views/", "reports/")):
            _take_out_of(draft, path, field)


def without(condition: Any, field: str) -> Any:
    """A condition that no longer asks for a field, or None where nothing else was asked."""
    match condition:
        case {"field": named}:
            return None if named == field else condition
        case {"not": inner}:
            kept = without(inner, field)
            return None if kept is None else {"not": kept}
        case {"all": parts} | {"any": parts}:
            left = [kept for kept in (without(part, field) for part in parts) if kept is not None]
            return dict.fromkeys(condition, left) if left else None
    return condition


def _take_out_of(draft: Draft, path: str, field: str) -> None:
    surface = draft.file(path)
    for member in ("group_by", "measure"):
        part = surface.get(member)
        if part == field or (isinstance(part, dict) and part.get("field") == field):
            draft.refuse("used", path, f"/{member}", f"{path} is made of {field}; remove or change it first")
    for member in ("columns", "order", "card", "group_by", "measures"):
        if isinstance(surface.get(member), list):
            surface[member] = [part for part in surface[member] if _field_of(part) != field]
    if "sections" in surface:
        for section in surface["sections"]:
            section["fields"] = [name for name in section["fields"] if name != field]
        surface["sections"] = [section for section in surface["sections"] if section["fields"]]
    if "where" in surface:
        surface["where"] = without(surface["where"], field)
    for member in ("order", "where"):
        if not surface.get(member):
            surface.pop(member, None)
    for member in _NEEDED:
        if surface.get(member) == []:
            draft.refuse("last", path, f"/{member}", f"{path} would show nothing without {field}; remove it first")


def _field_of(part: Any) -> Any:
    return part if isinstance(part, str) else part.get("field")
