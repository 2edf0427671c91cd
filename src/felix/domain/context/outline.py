"""An app in few words: every file, entity and field of its tree, and of records nothing.

A planner has to know what there is, all of it, or it would add a second time what it was not told of. Bodies of
templates, values in examples and what an integration is set to are not told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from felix.domain.apps.tree import AppTree
from felix.domain.context.cleaning import Cleaned, clean

#: Beyond this, files other than entities are told by their titles alone.
GOOD_BYTES = 200_000
#: What is told of a file beside its title, by its folder; of all others everything is.
_TOLD: dict[str, frozenset[str]] = {
    "tests": frozenset(),
    "integrations": frozenset({"connector", "enabled"}),
}
_FLAGS = ("required", "hidden", "personal", "indexed")


def outline(tree: AppTree) -> Cleaned:
    """The outline of an app, one line a file or field, in the order of their paths."""
    text = "\n".join(_lines(tree, briefly=False))
    if len(text.encode()) > GOOD_BYTES:
        text = "\n".join(_lines(tree, briefly=True))
    return clean(text)


def _lines(tree: AppTree, *, briefly: bool) -> Iterator[str]:
    for path, content in sorted(tree.files.items()):
        folder, _, _ = path.partition("/")
        if not isinstance(content, Mapping):
            yield f"{path}: {len(str(content))} characters"
        elif folder == "entities":
            yield f"{path}: {_compact({name: told for name, told in content.items() if name != 'fields'})}"
            fields = content.get("fields")
            for name, field in fields.items() if isinstance(fields, Mapping) else ():
                yield f"  {name}: {_field(field)}"
        elif folder in _TOLD or (briefly and "/" in path):
            told = _TOLD.get(folder, frozenset()) | {"title"}
            yield f"{path}: {_compact({name: value for name, value in content.items() if name in told})}"
        else:
            yield f"{path}: {_compact(content)}"


def _field(field: Any) -> str:
    if not isinstance(field, Mapping):
        return _compact(field)
    flags = [flag for flag in _FLAGS if field.get(flag) is True]
    # What somebody's field is by default can be about a person.
    hidden = {"type", "label", *_FLAGS, *(("default",) if field.get("personal") else ())}
    more = {name: value for name, value in field.items() if name not in hidden and value is not None}
    if options := more.get("options"):
        more["options"] = [option.get("value") if isinstance(option, Mapping) else option for option in options]
    words = [str(field.get("type")), _compact(field.get("label")), *flags, *([_compact(more)] if more else [])]
    return " ".join(words)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
