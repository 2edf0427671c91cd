"""The plainest way to write a file: without the members that only say what is so anyway."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter

from felix.domain.apps.tree import FOLDERS, TOP, canonical, kind_of


def plain(part: BaseModel) -> dict[str, Any]:
    """A part of a file as it is written into a tree."""
    return part.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def meaning(path: str, content: Any) -> Any:
    """The content of a valid file, spelled as :func:`plain` would: two files that mean the same are equal."""
    kind = kind_of(path)
    if kind is None or isinstance(content, str):
        return content
    adapter = _adapter(kind)
    return adapter.dump_python(
        adapter.validate_json(canonical(content)), mode="json", by_alias=True, exclude_defaults=True
    )


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(TOP[kind] if kind in TOP else FOLDERS[kind])
