"""The library: every published version of every module, read from the packages here and checked as a whole.

A package holds its newest version as the files that an app would have, with ``manifest.json`` beside them, and each
earlier one as ``published/<version>.json``, which never changes. ``handlers.py`` decides for all of them. Whatever does
not fit stops Felix from starting, with every fault named: no client can mend a module.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from felix.domain.apps.founding import new_app
from felix.domain.apps.modules import Manifest, ordered
from felix.domain.apps.places import pointer_of
from felix.domain.apps.references import check
from felix.domain.apps.tree import FOLDERS, MAX_PROBLEMS, AppTree, Problem, canonical, kind_of, read_tree
from felix.domain.changes.modules import Library, Module, NoSuchModule, digest_of, newest
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.union import read_recorded
from felix.domain.errors import FelixError, Invalid
from felix.domain.records.hooks import Decide, Hook

_HERE = Path(__file__).parent
_MANIFEST, _LINKS, _PUBLISHED = "manifest.json", "when_present/", "published/"
_WRITES = "records:write:"
#: What may lie in a package besides the files of its newest version.
_CODE = frozenset({".py", ".pyc", ".pyi"})


class InvalidModule(Invalid):
    """This module can't be offered to anybody."""

    def __init__(self, module: str, problems: Iterable[Problem]) -> None:
        shown = [problem.shown() for problem in problems][:MAX_PROBLEMS]
        said = "; ".join(f"{one['pointer']}: {one['detail']}" for one in shown[:3])
        super().__init__(f"The module {module} can't be offered to anybody: {said}", module=module, errors=shown)


@cache
def library() -> Library:
    """Every version of every module here, read and checked once a process. Raises :class:`InvalidModule`."""
    found: dict[tuple[str, str], Module] = {}
    for package in _packages():
        found |= read_package(package, _handlers(package))
    check_together(found)
    return found


@cache
def hooks() -> tuple[Hook, ...]:
    """What the modules here decide about records, each within its capabilities."""
    versions = newest(library())
    return tuple(
        Hook(package.name, entity, decide, _written(library()[package.name, versions[package.name]].manifest))
        for package in _packages()
        for entity, decide in _handlers(package).items()
    )


def read_package(package: Path, handlers: Mapping[str, Decide]) -> dict[tuple[str, str], Module]:
    """All versions in one package. Raises :class:`InvalidModule`."""
    name = package.name
    paths = [path for path in sorted(package.rglob("*")) if path.is_file() and path.suffix not in _CODE]
    stored = {path.relative_to(package).as_posix(): path.read_bytes() for path in paths}
    kept = {path: stored.pop(path) for path in sorted(stored) if path.startswith(_PUBLISHED)}
    latest = _version(name, "", _parsed(name, _MANIFEST, stored.pop(_MANIFEST, b"")), stored, handlers)
    found = {(name, latest.manifest.version): latest}
    for path, content in kept.items():
        whole = _parsed(name, path, content)
        files = whole.get("files", {}).items()
        earlier = {inner: text.encode() if isinstance(text, str) else canonical(text) for inner, text in files}
        module = _version(name, f"{path}#", whole.get("manifest"), earlier, handlers)
        version = module.manifest.version
        if path != f"{_PUBLISHED}{version}.json" or ordered(version) > ordered(latest.manifest.version):
            raise InvalidModule(name, [Problem(path, "/manifest/version", "version", f"{version} belongs elsewhere")])
        if found.setdefault((name, version), module).digest != module.digest:
            raise InvalidModule(name, [Problem(path, "/files", "published", f"{version} has other files now")])
    return found


def keep(name: str) -> Path:
    """Keep the newest version of a module as it is, before a later one is written; where it lies.

    Raises :class:`NoSuchModule`, and :class:`InvalidModule` where it was kept already and is not the same any more.
    """
    package = _HERE / name
    if package not in _packages():
        raise NoSuchModule(f"There is no module {name} here.", module=name)
    module = next(iter(read_package(package, _handlers(package)).values()))
    path = package / _PUBLISHED / f"{module.manifest.version}.json"
    content = bundle_of(module)
    if path.exists() and path.read_bytes() != content:
        raise InvalidModule(name, [Problem(path.name, "", "published", "was kept already, with other files")])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def bundle_of(module: Module) -> bytes:
    """A version in one file."""
    links = {
        f"{_LINKS}{other}/{path}": content
        for other, tree in module.links.items()
        for path, content in tree.files.items()
    }
    manifest = module.manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return canonical({"manifest": manifest, "files": {**module.own.files, **links}})


def check_together(library: Library) -> None:
    """Whether every version makes an app, alone with what it needs and beside each module that it has files for.

    Raises :class:`InvalidModule`.
    """
    for (name, version), module in library.items():
        for others in ((), *((other,) for other in module.links)):
            try:
                check(new_app("checked", "Checked", [name, *others], library, {name: version}))
            except FelixError as error:
                raise InvalidModule(name, _told(version, others, error)) from None


def _version(
    name: str, place: str, manifest: Any, stored: Mapping[str, bytes], handlers: Mapping[str, Decide]
) -> Module:
    """One version. ``place`` is what its paths are called after in errors."""
    try:
        said = Manifest.model_validate_json(to_json(manifest))
    except ValidationError as error:
        entries = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidModule(
            name,
            (Problem(place + _MANIFEST, pointer_of(map(str, one["loc"])), one["type"], one["msg"]) for one in entries),
        ) from None
    try:
        read = read_tree(stored).files
    except FelixError as error:
        wrong = error.facts["errors"]
        raise InvalidModule(
            name, [Problem(place, one["pointer"], one["rule"], one["detail"]) for one in wrong]
        ) from None
    own = AppTree({path: content for path, content in read.items() if not path.startswith(_LINKS)})
    links: dict[str, dict[str, Any]] = {}
    for path, content in read.items():
        if path.startswith(_LINKS):
            other, _, inner = path.removeprefix(_LINKS).partition("/")
            links.setdefault(other, {})[inner] = content
    linked = {other: AppTree(files) for other, files in links.items()}
    # Python is of the newest version: an earlier one has what it was published with, and may not know of the rest.
    decided = handlers.keys() & set(said.provides.handlers) if place else handlers.keys()
    problems = list(_problems(name, said, own, linked, stored, decided))
    migrations: dict[str, list[Operation]] = {}
    for number, migration in enumerate(said.migrations):
        try:
            migrations.setdefault(migration.from_, []).extend(read_recorded(to_json(migration.operations)))
        except FelixError as error:
            problems.append(Problem(_MANIFEST, f"/migrations/{number}", error.code, str(error)))
    if problems:
        raise InvalidModule(name, (Problem(place + one.path, one.pointer, one.rule, one.detail) for one in problems))
    return Module(said, own, linked, migrations)


def _problems(
    name: str,
    said: Manifest,
    own: AppTree,
    links: Mapping[str, AppTree],
    stored: Mapping[str, bytes],
    decided: Collection[str],
) -> Iterator[Problem]:
    if said.id != name:
        yield Problem(_MANIFEST, "/id", "id", f"the package is called {name}")
    for prefix, tree in (("", own), *((f"{_LINKS}{other}/", tree) for other, tree in links.items())):
        for path in tree.files:
            if kind_of(path) not in FOLDERS or kind_of(path) in ("modules", "integrations"):
                yield Problem(prefix + path, "", "path", "no file of a module can be called this")
            elif tree.bytes_of(path) != stored[prefix + path]:
                yield Problem(prefix + path, "", "canonical", "is not written as Felix would: sorted keys, two spaces")
    if sorted(links) != sorted(said.when_present):
        detail = f"there are files for {', '.join(sorted(links)) or 'no other module'}"
        yield Problem(_MANIFEST, "/when_present", "when_present", detail)
    there = {folder: list(own.names(folder)) for folder in FOLDERS} | {"handlers": sorted(decided)}
    for folder, names in said.provides:
        if sorted(names) != there[folder]:
            detail = f"there are {', '.join(there[folder]) or 'none'}"
            yield Problem(_MANIFEST, f"/provides/{folder}", "provides", detail)
    for needed in sorted(_needed(own, links) - set(said.capabilities)):
        yield Problem(_MANIFEST, "/capabilities", "capability", f"its files need {needed}")
    for entity in sorted(_written(said) - set(there["entities"])):
        yield Problem(_MANIFEST, "/capabilities", "capability", f"{entity} is no entity of this module")
    if said.digest != (digest := digest_of(own, links)):
        detail = f"its files have the digest {digest}; published files never change, so give new ones a new version"
        yield Problem(_MANIFEST, "/digest", "digest", detail)


def _told(version: str, others: Sequence[str], error: FelixError) -> Iterator[Problem]:
    """Why a version makes no app."""
    place = f"{version} beside {', '.join(others)}" if others else version
    for one in error.facts.get("errors", ()):
        yield Problem(place, one["pointer"], one["rule"], one["detail"])
    for one in error.facts.get("conflicts", ()):
        yield Problem(place, f"{one['path']}#{one['pointer']}", error.code, "both have this, and not the same")
    if not {"errors", "conflicts"} & error.facts.keys():
        yield Problem(place, "", error.code, str(error))


def _needed(own: AppTree, links: Mapping[str, AppTree]) -> set[str]:
    """The capabilities that files make use of."""
    needed: set[str] = set()
    for tree in (own, *links.values()):
        for path, content in tree.files.items():
            if path.startswith("schedules/"):
                needed.add("schedules:run")
            elif path.startswith("automations/") and "send_email" in {one.get("do") for one in content["actions"]}:
                needed.add("mail:send")
    return needed


def _written(said: Manifest) -> frozenset[str]:
    """The entities that handlers may write."""
    return frozenset(one.removeprefix(_WRITES) for one in said.capabilities if one.startswith(_WRITES))


def _packages() -> list[Path]:
    return sorted(path.parent for path in _HERE.glob(f"*/{_MANIFEST}"))


def _handlers(package: Path) -> Mapping[str, Decide]:
    if not (package / "handlers.py").exists():
        return {}
    handlers: Mapping[str, Decide] = import_module(f"{__package__}.{package.name}.handlers").HOOKS
    return handlers


def _parsed(name: str, path: str, content: bytes) -> Any:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise InvalidModule(name, [Problem(path, "", "json", str(error)[:200])]) from None
    if not isinstance(found, dict):
        raise InvalidModule(name, [Problem(path, "", "object", "is no JSON object")])
    return found
