"""A new app: its own file, and the modules that it begins with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from felix.domain.apps.tree import AppTree
from felix.domain.changes.modules import Library, NoSuchModule, newest
from felix.domain.changes.operations.modules import InstallModule

_NO_VERSIONS: Mapping[str, str] = {}


def new_app(
    app: str, title: str, modules: Iterable[str], library: Library, versions: Mapping[str, str] = _NO_VERSIONS
) -> AppTree:
    """The first tree of an app: the newest version of each module that is not named in ``versions``, after those that
    it needs. The same modules give the same tree, in whatever order they are named.

    Raises :class:`NoSuchModule`, ``ModuleConflict``, ``OperationRefused`` and ``InvalidApp``.
    """
    tree = AppTree({"app.json": {"spec_version": 1, "app": app, "title": title}})
    known = {**newest(library), **versions}
    for name in _in_order(modules, known, library):
        tree = InstallModule(module=name, version=known[name]).apply(tree, library)
    return tree


def _in_order(modules: Iterable[str], known: Mapping[str, str], library: Library) -> list[str]:
    """The modules and all that they need, each after what it needs. Of a circle the first one is refused later."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        module = library.get((name, known.get(name, "")))
        if module is None:
            raise NoSuchModule(f"There is no module {name} to be had.", module=name, known=sorted(known))
        for needed in sorted(module.manifest.requires):
            visit(needed)
        order.append(name)

    for name in sorted(modules):
        visit(name)
    return order
