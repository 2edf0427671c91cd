"""Modules: ready-made parts of an app. Their files are copied into the tree, and belong to the client from then on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from felix.domain.apps.base import ModuleId, Version
from felix.domain.apps.merge import Clash, merge
from felix.domain.apps.places import pointer_of
from felix.domain.apps.tree import MAX_PROBLEMS, AppTree
from felix.domain.changes import edits
from felix.domain.changes.edits import Edit
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft
from felix.domain.changes.operations.surfaces import take_out
from felix.domain.changes.uses import modules_of
from felix.domain.changes.words import Words
from felix.domain.errors import Refused

_APP, _LOCK = "app.json", "modules.lock.json"
#: Whose side is taken where the module and the app want different things; without, such a place is refused.
Side = Literal["ours", "theirs"]


class ModuleConflict(Refused):
    """The module and the app want different things in the same places; say which side is to be kept."""

    def __init__(self, clashes: Sequence[Clash]) -> None:
        super().__init__(conflicts=[clash.shown() for clash in clashes[:MAX_PROBLEMS]])


class _OfModule(Drawn):
    module: ModuleId

    def _known(self, draft: Draft, version: str) -> AppTree:
        files = draft.library.get((self.module, version))
        if files is None:
            draft.refuse("unknown", _APP, self._place, f"there is no module {self.module} {version}")
        return files

    def _installed(self, draft: Draft) -> str:
        version: str | None = draft.file(_APP).get("modules", {}).get(self.module)
        if version is None:
            draft.refuse("unknown", _APP, self._place, f"the module {self.module} is not installed")
        return version

    def _take_in(self, draft: Draft, base: AppTree, module: AppTree, version: str, prefer: Side | None) -> None:
        merged = merge(base, draft.tree, module)
        if merged.clashes and prefer is None:
            raise ModuleConflict(merged.clashes)
        result = merged.tree
        if prefer == "theirs":
            result = edits.apply(result, [_taking_theirs(clash) for clash in merged.clashes])
        for path in {*base.files, *module.files}:
            if path in result.files:
                draft.put(path, result.files[path])
            elif draft.has(path):
                draft.remove(path)
        self._keep_hidden(draft)
        draft.file(_APP).setdefault("modules", {})[self.module] = version
        if not draft.has(_LOCK):
            draft.add(_LOCK, {})
        locked = {"version": version, "digest": module.digest}
        draft.file(_LOCK).setdefault("modules", {})[self.module] = locked

    def _keep_hidden(self, draft: Draft) -> None:
        """What the client has hidden stays hidden, whatever the module's new views show."""
        result = draft.result()
        for path, content in result.files.items():
            if path.startswith("entities/"):
                for name, field in content["fields"].items():
                    if field.get("hidden"):
                        take_out(draft, path[9:-5], name)

    @property
    def _place(self) -> str:
        return pointer_of(("modules", self.module))


class InstallModule(_OfModule):
    """Copy a module into the app. Files that the app has already must be the same, or have nothing in common."""

    op: Literal["install_module"] = "install_module"
    version: Version
    prefer: Side | None = None

    def draw(self, draft: Draft) -> None:
        if self.module in draft.file(_APP).get("modules", {}):
            draft.refuse("taken", _APP, self._place, f"the module {self.module} is installed; upgrade it")
        self._take_in(draft, AppTree({}), self._known(draft, self.version), self.version, self.prefer)

    def sentence(self, words: Words) -> str:
        return f"Installs the module {self.module} {self.version}"


class UpgradeModule(_OfModule):
    """Bring a module up to a later version. What the client has changed is kept: a three-way merge, file by file."""

    op: Literal["upgrade_module"] = "upgrade_module"
    version: Version
    prefer: Side | None = None

    def draw(self, draft: Draft) -> None:
        installed = self._installed(draft)
        if _ordered(self.version) < _ordered(installed):
            draft.refuse("older", _APP, self._place, f"{self.module} is at {installed}, which is later")
        base, module = self._known(draft, installed), self._known(draft, self.version)
        locked = draft.file(_LOCK).get("modules", {}).get(self.module) if draft.has(_LOCK) else None
        if locked != {"version": installed, "digest": base.digest}:
            draft.refuse("lock", _LOCK, self._place, f"the app was not made from the known files of {installed}")
        self._take_in(draft, base, module, self.version, self.prefer)

    def sentence(self, words: Words) -> str:
        found = words.tree.files.get(_APP)
        installed = found.get("modules", {}).get(self.module, "") if isinstance(found, dict) else ""
        return f"Upgrades the module {self.module} {f'from {installed} ' if installed else ''}to {self.version}"


class DisableModule(_OfModule):
    """Take a module out of the app: its handlers run no more. Its entities, views and records stay, as the client's."""

    op: Literal["disable_module"] = "disable_module"

    def draw(self, draft: Draft) -> None:
        self._installed(draft)
        del draft.file(_APP)["modules"][self.module]
        if draft.has(_LOCK):
            draft.file(_LOCK).get("modules", {}).pop(self.module, None)
        for path, content in draft.tree.files.items():
            if self.module in modules_of(path, content):
                draft.remove(path)

    def sentence(self, words: Words) -> str:
        return f"Takes the module {self.module} out, with the schedules that run it; its views and records stay"


def _taking_theirs(clash: Clash) -> Edit:
    return Edit.model_construct(path=clash.path, pointer=clash.pointer, before=clash.ours, after=clash.theirs)


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
