"""Modules as operations see them: the files of a version, and how an app with an earlier one gets there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from felix.domain.apps.modules import Manifest, ordered
from felix.domain.apps.spelling import plain
from felix.domain.apps.tree import AppTree
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.domain.changes.operations.base import Operation


@dataclass(frozen=True)
class Module:
    """One version of a module. ``links`` are the files that it has for apps with another module, by that one's id.

    ``migrations`` are the operations of its manifest, by the version that they begin at, read.
    """

    manifest: Manifest
    own: AppTree
    links: Mapping[str, AppTree] = field(default_factory=dict)
    migrations: Mapping[str, Sequence[Operation]] = field(default_factory=dict)

    def beside(self, others: Collection[str]) -> AppTree:
        """The files that it brings into an app with these other modules, that which says what it may do among them."""
        files = {**self.own.files, f"modules/{self.manifest.id}.json": plain(self.manifest.installed)}
        for other, linked in self.links.items():
            if other in others:
                files |= linked.files
        return AppTree(files)

    @cached_property
    def digest(self) -> str:
        """What a lock calls this version: SHA-256 over all its files, 64 hex digits."""
        return digest_of(self.own, self.links)


def digest_of(own: AppTree, links: Mapping[str, AppTree]) -> str:
    """The digest over the files of a module, those for apps with other modules too."""
    linked = {
        f"when_present/{other}/{path}": content for other, tree in links.items() for path, content in tree.files.items()
    }
    return AppTree({**own.files, **linked}).digest


#: Every version of every module that can be installed, by id and version.
Library = Mapping[tuple[str, str], Module]
NO_MODULES: Library = {}


class NoSuchModule(NotFound):
    """There is no such module to be had."""


def overview(library: Library) -> list[dict[str, Any]]:
    """Every module in its newest version, by name: what it is, and what it needs and may do."""
    shown = ("id", "version", "title", "description", "versions", "requires", "when_present", "capabilities")
    found = (described(library, name) for name in sorted(newest(library)))
    return [{member: module[member] for member in shown} for module in found]


def described(library: Library, name: str, version: str | None = None) -> dict[str, Any]:
    """All that a module says of itself, in its newest version or another. Raises :class:`NoSuchModule`."""
    versions = sorted((known for known in library if known[0] == name), key=lambda known: ordered(known[1]))
    asked = (name, version) if version is not None else versions[-1] if versions else (name, "")
    if asked not in library:
        raise NoSuchModule(f"There is no module {' '.join(asked).strip()} to be had.", module=name)
    said = library[asked].manifest.model_dump(mode="json", by_alias=True, exclude_none=True)
    return said | {"versions": [known for _, known in versions]}


def newest(library: Library) -> dict[str, str]:
    """The latest version of every module."""
    versions: dict[str, str] = {}
    for name, version in library:
        if name not in versions or ordered(versions[name]) < ordered(version):
            versions[name] = version
    return versions
