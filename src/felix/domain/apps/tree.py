"""The tree of an app: which files there may be, what is in each, and the bytes that its digest is taken from.

A tree is a value: changing one gives another. JSON files are canonical (sorted keys, two spaces, NFC, one line feed at
the end), so the same app has the same bytes and the same digest wherever it is made, and a diff shows what changed and
nothing else.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, StringConstraints, TypeAdapter, ValidationError

from felix.domain.apps.base import Label, ModuleId, Spec, SpecName, Version
from felix.domain.apps.behaviour import Automation, Example, Integration, Policy, Schedule, Template, Workflow
from felix.domain.apps.entities import Entity
from felix.domain.apps.modules import InstalledModule
from felix.domain.apps.surfaces import Report, View
from felix.domain.errors import Invalid

#: Limits of one app; a change that goes beyond is refused whole.
MAX_FILES = 2_000
MAX_FILE_BYTES = 64 * 1024
MAX_TREE_BYTES = 2 * 2**20
MAX_DEPTH = 20
#: Problems that a refusal lists; more would help nobody.
MAX_PROBLEMS = 50

_DIGEST = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class App(Spec):
    """``app.json``: what the app is called, and the modules that it is built on."""

    spec_version: Literal[1] = 1
    app: SpecName
    title: Label
    locale: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")] = "en"
    modules: dict[ModuleId, Version] = {}


class LockedModule(Spec):
    """Which files of a module a tree was made from: what an upgrade compares with."""

    version: Version
    digest: _DIGEST


class ModulesLock(Spec):
    """``modules.lock.json``."""

    modules: dict[ModuleId, LockedModule] = {}


#: The files at the top, and the folders with one kind of file each.
TOP: dict[str, type[BaseModel]] = {"app.json": App, "modules.lock.json": ModulesLock, "policy.json": Policy}
FOLDERS: dict[str, Any] = {
    "entities": Entity,
    "views": View,
    "workflows": Workflow,
    "automations": Automation,
    "schedules": Schedule,
    "templates": Template,
    "reports": Report,
    "integrations": Integration,
    "tests": Example,
    "modules": InstalledModule,
}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(model) for name, model in FOLDERS.items()}
_PATH = re.compile(r"(?P<folder>[a-z]+)/(?P<name>[a-z][a-z0-9_]{0,62})\.(?P<suffix>json|liquid)", re.ASCII)


class InvalidApp(Invalid):
    """This is not an app that Felix could run."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: a file, and inside it a JSON pointer."""

    path: str
    pointer: str
    rule: str
    detail: str

    def shown(self) -> dict[str, str]:
        """In the form in which errors list what is wrong."""
        return {"pointer": f"{self.path}#{self.pointer}", "rule": self.rule, "detail": self.detail}


@dataclass(frozen=True)
class AppTree:
    """Files by path. JSON files are values, templates' texts are strings."""

    files: Mapping[str, Any] = field(default_factory=dict)

    def with_file(self, path: str, content: Any) -> AppTree:
        """The same with one file changed or added."""
        return AppTree({**self.files, path: content})

    def without_file(self, path: str) -> AppTree:
        """The same without a file."""
        return AppTree({other: content for other, content in self.files.items() if other != path})

    def names(self, folder: str) -> Iterator[str]:
        """The names of the JSON files in a folder, sorted."""
        for path in sorted(self.files):
            match = _PATH.fullmatch(path)
            if match and match["folder"] == folder and match["suffix"] == "json":
                yield match["name"]

    def bytes_of(self, path: str) -> bytes:
        """The canonical bytes of a file."""
        content = self.files[path]
        return _text(content) if isinstance(content, str) else canonical(content)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every path and the SHA-256 of its bytes, in the order of the paths; 64 hex digits."""
        whole = sha256()
        for path in sorted(self.files):
            whole.update(f"{path}\0{sha256(self.bytes_of(path)).hexdigest()}\n".encode())
        return whole.hexdigest()

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """What keeps this from being an app, file by file; references between files are checked by ``references``."""
        return tuple(_problems(self.files))

    def parsed(self) -> ParsedApp:
        """The app. Raises :class:`InvalidApp`, which names every file and field that is wrong."""
        if self.problems:
            raise InvalidApp(errors=[problem.shown() for problem in self.problems[:MAX_PROBLEMS]])
        of: dict[str, dict[str, Any]] = {folder: {} for folder in FOLDERS}
        for folder, adapter in _ADAPTERS.items():
            for name in self.names(folder):
                of[folder][name] = adapter.validate_json(self.bytes_of(f"{folder}/{name}.json"))
        texts = {path[10:-7]: text for path, text in self.files.items() if path.endswith(".liquid")}
        return ParsedApp(
            App.model_validate_json(self.bytes_of("app.json")),
            Policy.model_validate_json(self.bytes_of("policy.json")) if "policy.json" in self.files else Policy(),
            of["entities"], of["views"], of["workflows"], of["automations"], of["schedules"], of["templates"],
            texts, of["reports"], of["integrations"], of["tests"], of["modules"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ParsedApp:
    """An app whose every file is of its kind."""

    app: App
    policy: Policy
    entities: Mapping[str, Entity]
    views: Mapping[str, View]
    workflows: Mapping[str, Workflow]
    automations: Mapping[str, Automation]
    schedules: Mapping[str, Schedule]
    templates: Mapping[str, Template]
    texts: Mapping[str, str]
    reports: Mapping[str, Report]
    integrations: Mapping[str, Integration]
    tests: Mapping[str, Example]
    modules: Mapping[str, InstalledModule]


def canonical(content: Any) -> bytes:
    """A JSON value as it is stored: sorted keys, two spaces, NFC, a line feed at the end."""
    text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return _text(text + "\n")


def read_tree(files: Mapping[str, bytes]) -> AppTree:
    """A tree from stored bytes. Raises :class:`InvalidApp` for what is no JSON, or has a member twice."""
    found: dict[str, Any] = {}
    wrong: list[Problem] = []
    for path, content in files.items():
        try:
            text = content.decode()
            found[path] = text if path.endswith(".liquid") else json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            wrong.append(Problem(path, "", "json", str(error)[:200]))
    if wrong:
        raise InvalidApp(errors=[problem.shown() for problem in wrong[:MAX_PROBLEMS]])
    return AppTree(found)


def kind_of(path: str) -> str | None:
    """The folder of a path, the path itself for a file at the top, or None where no such file may be."""
    if path in TOP:
        return path
    match = _PATH.fullmatch(path)
    if (
        match is None
        or match["folder"] not in FOLDERS
        or (match["suffix"] == "liquid") > (match["folder"] == "templates")
    ):
        return None
    return match["folder"]


def _problems(files: Mapping[str, Any]) -> Iterator[Problem]:
    if "app.json" not in files:
        yield Problem("app.json", "", "required", "every app has this file")
    if len(files) > MAX_FILES:
        yield Problem("", "", "files", f"at most {MAX_FILES} files")
        return
    size = 0
    for path, content in sorted(files.items()):
        kind = kind_of(path)
        if kind is None:
            yield Problem(path[:200], "", "path", "no file of an app can be called this")
            continue
        if path.endswith(".liquid") != isinstance(content, str):
            yield Problem(path, "", "type", "templates are text, all other files are JSON objects")
            continue
        if not isinstance(content, str) and _depth(content) > MAX_DEPTH:
            yield Problem(path, "", "depth", f"at most {MAX_DEPTH} levels")
            continue
        try:
            stored = _text(content) if isinstance(content, str) else canonical(content)
        except (ValueError, TypeError) as error:
            yield Problem(path, "", "json", str(error)[:200])
            continue
        size += len(stored)
        if len(stored) > MAX_FILE_BYTES:
            yield Problem(path, "", "size", f"at most {MAX_FILE_BYTES} bytes")
        elif path.endswith(".liquid"):
            if path[:-7] + ".json" not in files:
                yield Problem(path, "", "pair", "a template's text needs the .json file beside it")
        else:
            yield from _wrong_in(path, kind, stored)
            if kind == "templates" and path[:-5] + ".liquid" not in files:
                yield Problem(path, "", "pair", "a template needs the .liquid file beside it")
    if size > MAX_TREE_BYTES:
        yield Problem("", "", "size", f"at most {MAX_TREE_BYTES} bytes in all")


def _wrong_in(path: str, kind: str, stored: bytes) -> Iterator[Problem]:
    try:
        if kind in TOP:
            TOP[kind].model_validate_json(stored)
        else:
            _ADAPTERS[kind].validate_json(stored)
    except ValidationError as error:
        for entry in error.errors(include_url=False, include_context=False, include_input=False):
            pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in entry["loc"])
            yield Problem(path, pointer, entry["type"], entry["msg"])


def _text(text: str) -> bytes:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return unicodedata.normalize("NFC", text).encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
    return depth


def _inside(value: dict[str, Any] | list[Any]) -> Iterator[Any]:
    """The objects and arrays in an object or array."""
    inside = value.values() if isinstance(value, dict) else value
    return (inner for inner in inside if isinstance(inner, dict | list))
