"""The tree that an operation is changing, and what it looks after for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, NoReturn

from felix.domain.apps.places import at, pointer_of
from felix.domain.apps.tree import AppTree
from felix.domain.changes.edits import Edit, between
from felix.domain.changes.modules import NO_MODULES, Library
from felix.domain.changes.uses import Use, modules_of, uses_in, uses_of
from felix.domain.errors import Refused

__all__ = ["NO_MODULES", "Draft", "Library", "OperationRefused", "switch"]


class OperationRefused(Refused):
    """This operation does not fit the app as it is."""

    def __init__(
        self, detail: str | None = None, *, rule: str, path: str, pointer: str = "", operation: int | None = None
    ) -> None:
        numbered = {} if operation is None else {"operation": operation}
        super().__init__(detail, rule=rule, path=path, pointer=pointer, **numbered)

    def of(self, operation: int) -> OperationRefused:
        """The same, with the number of the operation in its list, from 0."""
        return OperationRefused(self.detail, **{**self.facts, "operation": operation})


class Draft:
    """A working copy: files are copied when they are first looked at, and the tree itself never changes."""

    def __init__(self, tree: AppTree, library: Library = NO_MODULES) -> None:
        self.tree, self.library = tree, library
        self._files: dict[str, Any] = {}
        self._removed: set[str] = set()
        self._brought: set[str] = set()

    def has(self, path: str) -> bool:
        """Whether there is such a file now."""
        return path not in self._removed and (path in self._files or path in self.tree.files)

    def file(self, path: str) -> Any:
        """A file to change. Refuses where there is none."""
        if not self.has(path):
            folder, _, name = path.removesuffix(".json").partition("/")
            self.refuse("unknown", path, "", f"there is nothing called {name or path} in {folder}")
        if path not in self._files:
            self._files[path] = deepcopy(self.tree.files[path])
        return self._files[path]

    def put(self, path: str, content: Any) -> None:
        """Write a file, whatever was there."""
        self._removed.discard(path)
        self._files[path] = content

    def bring(self, path: str, content: Any) -> None:
        """Write a file of a module. It may be about what the client has hidden, and is seen when that is shown."""
        self.put(path, content)
        self._brought.add(path)

    def add(self, path: str, content: Any) -> None:
        """Write a file that must not be there yet."""
        if self.has(path):
            self.refuse("taken", path, "", f"{path} is there already")
        self.put(path, content)

    def remove(self, path: str) -> None:
        """Take a file out. Refuses where there is none."""
        self.file(path)
        self._removed.add(path)

    def entity(self, name: str) -> dict[str, Any]:
        """The file of an entity."""
        found: dict[str, Any] = self.file(f"entities/{name}.json")
        return found

    def field(self, entity: str, name: str, *types: str) -> dict[str, Any]:
        """A field to change, of one of the types where any are named."""
        fields = self.entity(entity)["fields"]
        path, pointer = f"entities/{entity}.json", pointer_of(("fields", name))
        if name not in fields:
            self.refuse("unknown", path, pointer, f"{entity} has no field {name}")
        found: dict[str, Any] = fields[name]
        if types and found["type"] not in types:
            self.refuse("type", path, pointer, f"{name} is of type {found['type']}; needed is {' or '.join(types)}")
        return found

    def uses(self, entity: str, field: str) -> Iterator[Use]:
        """Every place that names a field."""
        return (use for use in uses_in(self.result()) if (use.entity, use.field) == (entity, field))

    def refuse(self, rule: str, path: str, pointer: str, detail: str) -> NoReturn:
        """Say why the operation can't be."""
        raise OperationRefused(detail, rule=rule, path=path, pointer=pointer)

    def result(self) -> AppTree:
        """The tree as it is drawn so far."""
        files = {**self.tree.files, **self._files}
        return AppTree({path: content for path, content in files.items() if path not in self._removed})

    def edits(self) -> list[Edit]:
        """What was drawn, after what it relies on. Refuses what changes nothing, and what names what is not there."""
        result = self.result()
        written = between(self.tree, result)
        if not written:
            self.refuse("already", next(iter(self._files), "app.json"), "", "that is how it is already")
        places = dict.fromkeys(place for edit in written for place in self._relied_on(edit.path, result))
        relied_on = [self._expectation(*place) for place in places]
        return [one for one in relied_on if not any(one.overlaps(edit) for edit in written)] + written

    def _relied_on(self, path: str, result: AppTree) -> Iterator[tuple[str, Sequence[str]]]:
        """The places elsewhere that a changed file began to rely on."""
        if path not in result.files:
            return
        before = self.tree.files.get(path)
        known = set() if before is None else set(uses_of(path, before, self.tree))
        for use in uses_of(path, result.files[path], result):
            if use not in known:
                self._check(use, result)
                yield from _places_of(use)
        run = set() if before is None else set(modules_of(path, before))
        for module in modules_of(path, result.files[path]):
            if module not in run:
                yield "app.json", ("modules", module)

    def _expectation(self, path: str, parts: Sequence[str]) -> Edit:
        pointer = pointer_of(parts)
        found = at(self.tree, path, pointer)
        return Edit.model_construct(path=path, pointer=pointer, before=found, after=found)

    def _check(self, use: Use, result: AppTree) -> None:
        entity = result.files.get(f"entities/{use.entity}.json")
        if entity is None:
            self.refuse("reference", use.path, use.pointer, f"there is no entity {use.entity}")
        if use.shows and entity.get("hidden") and use.path not in self._brought:
            self.refuse("hidden", use.path, use.pointer, f"{use.entity} is hidden; show it first")
        if use.field is None:
            return
        field = entity["fields"].get(use.field)
        if field is None:
            self.refuse("reference", use.path, use.pointer, f"{use.entity} has no field {use.field}")
        if use.shows and field.get("hidden"):
            self.refuse("hidden", use.path, use.pointer, f"{use.entity} has hidden the field {use.field}")
        if use.path.startswith("tests/") or field["type"] not in ("choice", "choices"):
            return
        for value in use.values:
            if value not in [option["value"] for option in field["options"]]:
                self.refuse("reference", use.path, use.pointer, f"{value} is no option of {use.field}")


def switch(content: dict[str, Any], member: str, value: bool, *, usually: bool) -> None:
    """Set a member that is left out where it says what is usual; one that says so already stays as it is written."""
    if content.get(member, usually) is value:
        return
    if value is usually:
        del content[member]
    else:
        content[member] = value


def _places_of(use: Use) -> Iterator[tuple[str, Sequence[str]]]:
    path = f"entities/{use.entity}.json"
    yield path, ("hidden",)
    if use.field is not None:
        yield path, ("fields", use.field, "type")
        yield path, ("fields", use.field, "hidden")
        if use.values:
            yield path, ("fields", use.field, "options")
