"""A repository at a commit: every file by git's own digest, so that the whole of it has one that Felix works out.

What people approve is the digest of a result that is nowhere yet; what was merged is looked at again, and is that or
not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1, sha256
from typing import Any

from felix.domain.apps.tree import canonical
from felix.domain.changes.code_edits import PathNotAllowed
from felix.domain.changes.diff import MAX_COMPARED_LINES
from felix.domain.changes.limits import check_diff
from felix.domain.changes.risk import Risk

_FOLDER, _PLAIN = "040000", "100644"
_WRITABLE = (_PLAIN, "100755")

#: Where a hunk begins, on both sides.
_HUNK = re.compile(r"( [-+])(\d+)")

#: Mode and digest of each file, by its path.
Entries = Mapping[str, tuple[str, str]]
#: The text of files, by their paths; None for one that is not there.
Texts = Mapping[str, str | None]


def slug_of(repository: str) -> str:
    """What a repository is called where an app would be: two spellings of one name are one repository."""
    return f"code-{sha256(repository.casefold().encode()).hexdigest()[:24]}"


def digest_of(repository: str, tree: str) -> str:
    """SHA-256 that names a tree of a repository; the same for nothing that was ever looked at, whose tree is empty."""
    return sha256(canonical({"repository": repository.casefold(), "tree": tree})).hexdigest()


@dataclass(frozen=True)
class CodeTree:
    """Every file of a repository."""

    repository: str
    entries: Entries

    @cached_property
    def digest(self) -> str:
        """What names it in the log."""
        return digest_of(self.repository, self.tree)

    @cached_property
    def tree(self) -> str:
        """Git's digest of the whole."""
        return _folder([(path.split("/"), *entry) for path, entry in self.entries.items()])

    @cached_property
    def _spellings(self) -> dict[str, str]:
        """Files and folders by their names where case means nothing."""
        parts = (path.split("/") for path in self.entries)
        return {"/".join(each[:n]).casefold(): "/".join(each[:n]) for each in parts for n in range(1, len(each) + 1)}

    def entry(self, path: str) -> tuple[str, str] | None:
        """Mode and digest of a file; None where there is none. Raises ``PathNotAllowed`` for what is no plain file."""
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            part = "/".join(parts[:end])
            if self._spellings.get(part.casefold(), part) != part:
                raise PathNotAllowed(f"{path!r} is there in another spelling.", path=path, rule="case")
            if end < len(parts) and part in self.entries:
                raise PathNotAllowed(f"{path!r} leads through something that is no folder.", path=path, rule="folder")
        found = self.entries.get(path)
        if (found is None and path.casefold() in self._spellings) or (found and found[0] not in _WRITABLE):
            raise PathNotAllowed(f"{path!r} is no plain file: a link, or a folder.", path=path, rule="mode")
        return found

    def with_texts(self, texts: Texts) -> CodeTree:
        """The same with some files written or, where there is no text, taken out."""
        entries = dict(self.entries)
        for path, text in texts.items():
            was = entries.pop(path, None)
            if text is not None:
                entries[path] = (was[0] if was else _PLAIN, _object(b"blob", text.encode()))
        return CodeTree(self.repository, entries)

    def differing(self, other: CodeTree) -> list[str]:
        """The paths at which two are not the same."""
        paths = {*self.entries, *other.entries}
        return sorted(path for path in paths if self.entries.get(path) != other.entries.get(path))


@dataclass(frozen=True)
class CodeDiff:
    """What is different between two trees of a repository: as a sentence for each file, line by line, as digests."""

    base: CodeTree
    result: CodeTree
    before: Texts
    after: Texts
    risk: Risk

    @cached_property
    def effects(self) -> list[dict[str, Any]]:
        """What happens to each file."""
        return [
            {"kind": kind, "path": path, "pointer": "", "sentence": sentence, "risk": self.risk}
            for path, added, removed in self._counted
            for kind, sentence in [_said(path, self.before[path], self.after[path], len(added), len(removed))]
        ]

    @cached_property
    def meaning(self) -> str:
        """SHA-256 over the lines that come and go, wherever in their files they are: equal on another base is the
        same change."""
        return sha256(canonical([[path, added, removed] for path, added, removed in self._counted])).hexdigest()

    @cached_property
    def lines(self) -> str:
        """A unified diff. Raises ``ChangeTooLarge`` where nobody could read it."""
        found, size = [], 0
        for path in sorted(self.after):
            old = "/dev/null" if self.before[path] is None else f"a/{path}"
            new = "/dev/null" if self.after[path] is None else f"b/{path}"
            compared = _compared(self.before[path], self.after[path], context=3)
            for line in (f"--- {old}\n", f"+++ {new}\n", *compared) if compared else ():
                size += len(line.encode())
                check_diff(size)
                found.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
        return "".join(found)

    def shown(self) -> dict[str, Any]:
        """As JSON, as a diff of an app is shown."""
        changed = self.result.differing(self.base)
        kept = sha256()
        for path in sorted({*self.base.entries} - {*changed}):
            kept.update(f"{path}\0{' '.join(self.base.entries[path])}\n".encode())
        return {
            "base_tree": self.base.digest,
            "result_tree": self.result.digest,
            "risk": self.risk,
            "effects": self.effects,
            "files": [
                {"path": path, "before": _sha256(self.before[path]), "after": _sha256(self.after[path])}
                for path in changed
            ],
            "unchanged": {"files": len({*self.base.entries} - {*changed}), "digest": kept.hexdigest()},
            "lines": self.lines,
        }

    @cached_property
    def _counted(self) -> list[tuple[str, list[str], list[str]]]:
        """The lines that come and those that go, file by file."""
        found = []
        for path in sorted(self.after):
            compared = _compared(self.before[path], self.after[path], context=0)
            added, removed = ([line[1:] for line in compared if line[0] == sign] for sign in "+-")
            found.append((path, added, removed))
        return found


def _said(path: str, before: str | None, after: str | None, added: int, removed: int) -> tuple[str, str]:
    if before is None:
        return "file_added", f"Adds the file {path} with {added} lines."
    if after is None:
        return "file_removed", f"Takes out the file {path}."
    return "file_changed", f"Changes {path}: {added} lines come, {removed} go."


def _compared(before: str | None, after: str | None, context: int) -> list[str]:
    """A unified diff without its heading. What is the same at both ends is not compared: that could take minutes."""
    was, becomes = _lines(before), _lines(after)
    shorter = min(len(was), len(becomes))
    above = next((n for n in range(shorter) if was[n] != becomes[n]), shorter)
    left = shorter - above
    below = next((n for n in range(left) if was[-1 - n] != becomes[-1 - n]), left)
    first, last = max(0, above - context), max(0, below - context)
    old, new = was[first : len(was) - last], becomes[first : len(becomes) - last]
    if len(old) + len(new) > MAX_COMPARED_LINES:
        hunk = f"@@ -{first + 1},{len(old)} +{first + 1},{len(new)} @@\n"
        return [hunk, *(f"-{line}" for line in old), *(f"+{line}" for line in new)]
    lines = list(difflib.unified_diff(old, new, n=context))[2:]
    return [_HUNK.sub(lambda at: f"{at[1]}{int(at[2]) + first}", line) if line[0] == "@" else line for line in lines]


def _lines(text: str | None) -> list[str]:
    """Lines as git cuts them: only a line feed ends one."""
    if not text:
        return []
    *whole, rest = text.split("\n")
    return [*(f"{line}\n" for line in whole), *([rest] if rest else [])]


def _sha256(text: str | None) -> str | None:
    return None if text is None else sha256(text.encode()).hexdigest()


def _folder(entries: Sequence[tuple[list[str], str, str]]) -> str:
    """Git's digest of a folder."""
    below: dict[str, list[tuple[list[str], str, str]]] = {}
    found: list[tuple[str, str, str]] = []
    for (name, *rest), mode, digest in entries:
        if rest:
            below.setdefault(name, []).append((rest, mode, digest))
        else:
            found.append((name, mode, digest))
    found += [(name, _FOLDER, _folder(inner)) for name, inner in below.items()]
    # Git sorts a folder as if its name ended in a slash, and leaves out the zero of its mode.
    found.sort(key=lambda each: (each[0] + "/" * (each[1] == _FOLDER)).encode())
    content = b"".join(f"{mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(digest) for name, mode, digest in found)
    return _object(b"tree", content)


def _object(kind: bytes, content: bytes) -> str:
    return sha1(kind + b" %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
