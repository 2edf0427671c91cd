"""The diff of two trees: what people approve. Felix works it out; nobody else's word for it is taken."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from felix.domain.apps.tree import AppTree, canonical
from felix.domain.changes.effects import Effect, effects
from felix.domain.changes.limits import check_diff
from felix.domain.changes.risk import Risk, highest

#: Files with more lines are shown as replaced: comparing them line by line could take minutes.
MAX_COMPARED_LINES = 4_000


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that differs, with the SHA-256 of its bytes before and after; None where there is no file."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The proof that nothing else differs: how many files are the same, and the digest that both trees give them."""

    files: int
    digest: str


@dataclass(frozen=True)
class Diff:
    """What is different between two trees, in three ways: for people, line by line, and as digests."""

    base_tree: str
    result_tree: str
    effects: tuple[Effect, ...]
    files: tuple[ChangedFile, ...]
    unchanged: Unchanged
    lines: str

    @property
    def risk(self) -> Risk:
        """The highest risk of any effect."""
        return highest(effect.risk for effect in self.effects)

    @property
    def digest(self) -> str:
        """SHA-256 over all of it: what an approval binds to."""
        return sha256(canonical(self.shown())).hexdigest()

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "base_tree": self.base_tree,
            "result_tree": self.result_tree,
            "risk": self.risk,
            "effects": [effect.shown() for effect in self.effects],
            "files": [{"path": file.path, "before": file.before, "after": file.after} for file in self.files],
            "unchanged": {"files": self.unchanged.files, "digest": self.unchanged.digest},
            "lines": self.lines,
        }


def diff(before: AppTree, after: AppTree) -> Diff:
    """What is different between two apps. Raises ``ChangeTooLarge`` where nobody could read it."""
    digests = [{path: sha256(tree.bytes_of(path)).hexdigest() for path in tree.files} for tree in (before, after)]
    was, becomes = digests
    paths = sorted({*was, *becomes})
    changed = [path for path in paths if was.get(path) != becomes.get(path)]
    return Diff(
        before.digest,
        after.digest,
        tuple(effects(before, after)),
        tuple(ChangedFile(path, was.get(path), becomes.get(path)) for path in changed),
        _unchanged(was, [path for path in paths if was.get(path) == becomes.get(path)]),
        line_diff(before, after, changed),
    )


def line_diff(before: AppTree, after: AppTree, paths: Sequence[str]) -> str:
    """A unified diff of the canonical bytes of some files. Raises ``ChangeTooLarge``."""
    found: list[str] = []
    size = 0
    for path in paths:
        was, becomes = _lines(before, path), _lines(after, path)
        for line in _compared(path, was, becomes, path in before.files, path in after.files):
            size += len(line.encode())
            check_diff(size)
            found.append(line)
    return "".join(found)


def _compared(path: str, was: list[str], becomes: list[str], existed: bool, exists: bool) -> Iterator[str]:
    old, new = (f"a/{path}" if existed else "/dev/null"), (f"b/{path}" if exists else "/dev/null")
    if len(was) + len(becomes) <= MAX_COMPARED_LINES:
        yield from difflib.unified_diff(was, becomes, old, new)
        return
    yield f"--- {old}\n+++ {new}\n@@ -1,{len(was)} +1,{len(becomes)} @@\n"
    yield from (f"-{line}" for line in was)
    yield from (f"+{line}" for line in becomes)


def _lines(tree: AppTree, path: str) -> list[str]:
    """The lines of a file, each with its end; a text without one at the very end says so as git does."""
    if path not in tree.files:
        return []
    lines = tree.bytes_of(path).decode().split("\n")
    *whole, rest = (*(f"{line}\n" for line in lines[:-1]), lines[-1])
    return [*whole, f"{rest}\n\\ No newline at end of file\n"] if rest else whole


def _unchanged(digests: dict[str, str], paths: Sequence[str]) -> Unchanged:
    whole = sha256()
    for path in paths:
        whole.update(f"{path}\0{digests[path]}\n".encode())
    return Unchanged(len(paths), whole.hexdigest())
