"""Modules: ready-made parts of an app. Their files are copied into the tree, and belong to the client from then on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from felix.domain.apps.base import ModuleId, SpecName, Version
from felix.domain.apps.merge import Clash, merge
from felix.domain.apps.modules import ordered, satisfies
from felix.domain.apps.places import at, pointer_of, same
from felix.domain.apps.tree import MAX_PROBLEMS, AppTree
from felix.domain.changes import edits
from felix.domain.changes.edits import Edit
from felix.domain.changes.modules import Module
from felix.domain.changes.operations.base import Drawn, Operation
from felix.domain.changes.operations.draft import Draft, OperationRefused
from felix.domain.changes.operations.integrations import ConfigValue
from felix.domain.changes.operations.surfaces import take_out
from felix.domain.changes.uses import modules_of
from felix.domain.changes.words import Words, quoted
from felix.domain.errors import Refused

_APP, _LOCK = "app.json", "modules.lock.json"
#: Whose side is taken where the module and the app want different things; without, such a place is refused.
Side = Literal["ours", "theirs"]
#: Places that the sentence of a conflict tells; its facts have all of them.
_SAID = 3


class ModuleConflict(Refused):
    """The module and the app want different things in the same places; say which side is to be kept."""

    def __init__(self, clashes: Sequence[Clash]) -> None:
        said = "; ".join(
            f"{clash.path}#{clash.pointer} is {_said(clash.ours)} here and {_said(clash.theirs)} in the module"
            for clash in clashes[:_SAID]
        )
        more = f", and {len(clashes) - _SAID} more" if len(clashes) > _SAID else ""
        super().__init__(
            f"The module and the app want different things: {said}{more}. Say which side is to be kept.",
            conflicts=[clash.shown() for clash in clashes[:MAX_PROBLEMS]],
        )


class _OfModule(Drawn):
    module: ModuleId

    def _known(self, draft: Draft, version: str) -> Module:
        found = draft.library.get((self.module, version))
        if found is None:
            draft.refuse("unknown", _APP, self._place, f"there is no module {self.module} {version}")
        return found

    def _installed(self, draft: Draft) -> str:
        version: str | None = _modules(draft).get(self.module)
        if version is None:
            draft.refuse("unknown", _APP, self._place, f"the module {self.module} is not installed")
        return version

    def _others(self, draft: Draft) -> set[str]:
        return _modules(draft).keys() - {self.module}

    def _put(self, draft: Draft, result: AppTree, version: str, module: Module) -> None:
        """Write the result of merges, and which files it was made from."""
        for path in {*draft.tree.files, *result.files}:
            if path not in result.files:
                draft.remove(path)
            elif path not in draft.tree.files or not same(draft.tree.files[path], result.files[path]):
                draft.bring(path, result.files[path])
        self._keep_hidden(draft)
        draft.file(_APP).setdefault("modules", {})[self.module] = version
        if not draft.has(_LOCK):
            draft.add(_LOCK, {})
        locked = {"version": version, "digest": module.digest}
        draft.file(_LOCK).setdefault("modules", {})[self.module] = locked
        self._check_needs(draft)

    def _keep_hidden(self, draft: Draft) -> None:
        """What the client has hidden stays hidden, whatever new views show and new examples fill in."""
        result = draft.result()
        for path, content in result.files.items():
            if path.startswith("entities/"):
                for name, field in content["fields"].items():
                    if field.get("hidden"):
                        take_out(draft, path[9:-5], name)
                        self._leave_out_examples(draft, path[9:-5], name)

    def _leave_out_examples(self, draft: Draft, entity: str, field: str) -> None:
        for path in {use.path for use in draft.uses(entity, field) if use.shows}:
            if path.startswith("tests/") and path not in draft.tree.files:
                draft.remove(path)

    def _check_needs(self, draft: Draft) -> None:
        """Every module must have those that it needs, in versions that it can use."""
        installed = _modules(draft)
        for name, version in installed.items():
            known = draft.library.get((name, version))
            for needed, least in known.manifest.requires.items() if known else ():
                if needed not in installed or not satisfies(installed[needed], least):
                    detail = (
                        f"{name} {version} needs the module {needed} {least} or a later {least[: least.index('.')]}.x"
                    )
                    draft.refuse("requires", _APP, self._place, detail)

    @property
    def _place(self) -> str:
        return pointer_of(("modules", self.module))


class InstallModule(_OfModule):
    """Copy a module into the app. Files that the app has already must be the same, or have nothing in common.

    With it come the files that it has for other modules of the app, and those that they have for it.
    """

    op: Literal["install_module"] = "install_module"
    version: Version
    prefer: Side | None = None

    def draw(self, draft: Draft) -> None:
        if self.module in _modules(draft):
            draft.refuse("taken", _APP, self._place, f"the module {self.module} is installed; upgrade it")
        module, others = self._known(draft, self.version), self._others(draft)
        result = _merged(AppTree({}), draft.tree, module.beside(others), self.prefer)
        for other in sorted(others):
            linking = draft.library.get((other, _modules(draft)[other]))
            if linking is not None and self.module in linking.links:
                linked = linking.beside({*others, self.module})
                result = _merged(linking.beside(others), result, linked, self.prefer)
        self._put(draft, result, self.version, module)

    def sentence(self, words: Words) -> str:
        return f"Installs the module {self.module} {self.version}"


class UpgradeModule(_OfModule):
    """Bring a module up to a later version. What the client has changed is kept: a three-way merge, file by file.

    Before it, the module's migrations bring the client's own files along.
    """

    op: Literal["upgrade_module"] = "upgrade_module"
    version: Version
    prefer: Side | None = None

    def draw(self, draft: Draft) -> None:
        installed = self._installed(draft)
        if ordered(self.version) < ordered(installed):
            draft.refuse("older", _APP, self._place, f"{self.module} is at {installed}, which is later")
        old, new = self._known(draft, installed), self._known(draft, self.version)
        locked = draft.file(_LOCK).get("modules", {}).get(self.module) if draft.has(_LOCK) else None
        if locked != {"version": installed, "digest": old.digest}:
            draft.refuse("lock", _LOCK, self._place, f"the app was not made from the known files of {installed}")
        others = self._others(draft)
        base = old.beside(others)
        ours = draft.tree
        for start in sorted(new.migrations, key=ordered):
            if ordered(start) >= ordered(installed):
                ours = _migrated(new.migrations[start], base, ours, self.prefer)
        self._put(draft, _merged(base, ours, new.beside(others), self.prefer), self.version, new)

    def sentence(self, words: Words) -> str:
        found = words.tree.files.get(_APP)
        installed = found.get("modules", {}).get(self.module, "") if isinstance(found, dict) else ""
        return f"Upgrades the module {self.module} {f'from {installed} ' if installed else ''}to {self.version}"


class SetModuleConfig(_OfModule):
    """Set one property of a module's configuration; null for what it is by default."""

    op: Literal["set_module_config"] = "set_module_config"
    key: SpecName
    value: ConfigValue | None

    def draw(self, draft: Draft) -> None:
        self._installed(draft)
        content = draft.file(self._path)
        known = content.get("config_schema", {}).get("properties", {})
        if self.key not in known:
            draft.refuse("unknown", self._path, "/config", f"{self.module} has no setting {self.key}")
        config = content.setdefault("config", {})
        if self.value is None:
            config.pop(self.key, None)
        else:
            config[self.key] = self.value
        if not config:
            del content["config"]

    def sentence(self, words: Words) -> str:
        value = "what it is by default" if self.value is None else quoted(self.value)
        found = at(words.tree, self._path, pointer_of(("config_schema", "properties", self.key, "title")))
        setting = found if isinstance(found, str) else self.key
        return f"Sets {quoted(setting)} of the module {self.module} to {value}"

    @property
    def _path(self) -> str:
        return f"modules/{self.module}.json"


class DisableModule(_OfModule):
    """Take a module out of the app: its handlers run no more, and its examples of what they do go with them. Its
    entities, views and records stay, as the client's."""

    op: Literal["disable_module"] = "disable_module"

    def draw(self, draft: Draft) -> None:
        known = draft.library.get((self.module, self._installed(draft)))
        for path in known.beside(self._others(draft)).files if known else ():
            if path.startswith("tests/") and draft.has(path):
                draft.remove(path)
        del draft.file(_APP)["modules"][self.module]
        if draft.has(_LOCK):
            draft.file(_LOCK).get("modules", {}).pop(self.module, None)
        if draft.has(path := f"modules/{self.module}.json"):
            draft.remove(path)
        for path, content in draft.tree.files.items():
            if self.module in modules_of(path, content):
                draft.remove(path)
        self._check_needs(draft)

    def sentence(self, words: Words) -> str:
        return f"Takes the module {self.module} out, with its examples and its schedules; its views and records stay"


def _said(side: Any) -> str:
    return "something else" if isinstance(side, list | Mapping) else quoted(side)


def _modules(draft: Draft) -> dict[str, str]:
    found: dict[str, str] = draft.file(_APP).get("modules", {})
    return found


def _merged(base: AppTree, ours: AppTree, theirs: AppTree, prefer: Side | None) -> AppTree:
    merged = merge(base, ours, theirs)
    if merged.clashes and prefer is None:
        raise ModuleConflict(merged.clashes)
    if prefer == "theirs":
        return edits.apply(merged.tree, [_taking_theirs(clash) for clash in merged.clashes])
    return merged.tree


def _migrated(operations: Sequence[Operation], base: AppTree, tree: AppTree, prefer: Side | None) -> AppTree:
    """The app after the operations of a migration; where the client has changed what one of them sets, both want
    something else there."""
    for operation in operations:
        try:
            drawn = operation.edits(tree)
        except OperationRefused as refused:
            if refused.facts["rule"] == "already":
                continue
            raise
        clashes = list(_overwritten(drawn, base))
        if clashes and prefer is None:
            raise ModuleConflict(clashes)
        if not clashes or prefer == "theirs":
            tree = edits.apply(tree, drawn)
    return tree


def _overwritten(drawn: Sequence[Edit], base: AppTree) -> Iterator[Clash]:
    """What a client has set otherwise than the module did. Of a list an operation takes no more than it names."""
    for edit in drawn:
        if not edit.writes or edit.path not in base.files or isinstance(edit.before, list | Mapping):
            continue
        if not same(at(base, edit.path, edit.pointer), edit.before):
            yield Clash(edit.path, edit.pointer, edit.before, edit.after)


def _taking_theirs(clash: Clash) -> Edit:
    return Edit.model_construct(path=clash.path, pointer=clash.pointer, before=clash.ours, after=clash.theirs)
