"""What a GitHub of our own keeps of a repository: git's objects by their real digests, refs, and what stands beside."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

#: Mode and digest of each entry of a folder, by its name.
Folder = dict[str, tuple[str, str]]
FOLDER, PLAIN = "040000", "100644"


@dataclass
class Repository:
    """One repository."""

    name: str
    default_branch: str = "main"
    protected: set[str] = field(default_factory=lambda: {"main"})
    drafts: bool = True
    #: The ways to merge that its owner allows, and what rules say against merging anything, if they do.
    merges: set[str] = field(default_factory=lambda: {"merge", "squash", "rebase"})
    rule: str | None = None
    objects: dict[str, Any] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    deployments: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def holding(cls, name: str, files: dict[str, str], **modes: str) -> Repository:
        """A repository whose default branch has these files. ``modes`` are of those that are not plain."""
        made = cls(name)
        tree = made.with_files(None, {path: (modes.get(path, PLAIN), made.blob(text)) for path, text in files.items()})
        made.refs["heads/main"] = made.commit(tree, [], "Begin")
        return made

    def keep(self, value: Any) -> str:
        """The digest of an object, which is kept under it: that of git for files and folders."""
        if "blob" in value:
            digest = self._digest(b"blob", value["blob"].encode(errors="surrogateescape"))
        elif "folder" in value:
            entries = [(name, *entry) for name, entry in value["folder"].items()]
            entries.sort(key=lambda entry: (entry[0] + "/" * (entry[1] == FOLDER)).encode())
            parts = (f"{mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(sha) for name, mode, sha in entries)
            digest = self._digest(b"tree", b"".join(parts))
        else:
            digest = self._digest(b"commit", json.dumps(value, sort_keys=True).encode())
        self.objects[digest] = value
        return digest

    @staticmethod
    def _digest(kind: bytes, content: bytes) -> str:
        return sha1(kind + b" %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

    def blob(self, text: str) -> str:
        """Keep a file's text."""
        return self.keep({"blob": text})

    def commit(self, tree: str, parents: list[str], message: str) -> str:
        """Keep a commit. No two are the same, for the time is a part of them."""
        return self.keep({"tree": tree, "parents": parents, "message": message, "number": len(self.objects)})

    def folder(self, tree: str | None) -> Folder:
        """What is in a folder."""
        return {} if tree is None else {name: (mode, sha) for name, (mode, sha) in self.objects[tree]["folder"].items()}

    def with_files(self, base: str | None, entries: dict[str, tuple[str, str | None]]) -> str:
        """A tree with some files written or, where there is no digest, taken out."""
        folder, below = self.folder(base), dict[str, dict[str, tuple[str, str | None]]]()
        for path, (mode, sha) in entries.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = (mode, sha)
            elif sha is None:
                del folder[name]
            else:
                folder[name] = (mode, sha)
        for name, inner in below.items():
            was = folder.get(name)
            made = self.with_files(was[1] if was and was[0] == FOLDER else None, inner)
            folder[name] = (FOLDER, made)
            if not self.folder(made):
                del folder[name]
        return self.keep({"folder": {name: list(entry) for name, entry in sorted(folder.items())}})

    def files(self, commit: str) -> dict[str, str]:
        """Every file of a commit with its text."""
        return {path: self.objects[sha]["blob"] for path, _, sha in self.walk(self.objects[commit]["tree"])}

    def walk(self, tree: str, above: str = "") -> list[tuple[str, str, str]]:
        """Every file below a folder: path, mode, digest."""
        found = []
        for name, (mode, sha) in self.folder(tree).items():
            found += self.walk(sha, f"{above}{name}/") if mode == FOLDER else [(above + name, mode, sha)]
        return found

    def push(self, branch: str, files: dict[str, str], message: str = "Somebody else's work") -> str:
        """A commit of somebody else on a branch."""
        head = self.refs[f"heads/{branch}"]
        modes = {path: mode for path, mode, _ in self.walk(self.objects[head]["tree"])}
        entries: dict[str, tuple[str, str | None]] = {
            path: (modes.get(path, PLAIN), self.blob(text)) for path, text in files.items()
        }
        made = self.commit(self.with_files(self.objects[head]["tree"], entries), [head], message)
        self.refs[f"heads/{branch}"] = made
        return made

    def merge(self, number: int) -> str:
        """Somebody merges a pull request, squashed, as it is."""
        pull = self.pulls[number - 1]
        head, base = self.refs[f"heads/{pull['head']}"], self.refs[f"heads/{pull['base']}"]
        parent = self.objects[head]["parents"][0]
        was, becomes = (
            {path: (mode, sha) for path, mode, sha in self.walk(self.objects[at]["tree"])} for at in (parent, head)
        )
        changed = {path for path in {*was, *becomes} if was.get(path) != becomes.get(path)}
        entries: dict[str, tuple[str, str | None]] = {path: becomes.get(path, (PLAIN, None)) for path in changed}
        tree = self.with_files(self.objects[base]["tree"], entries)
        pull["merged"] = self.refs[f"heads/{pull['base']}"] = self.commit(tree, [base], pull["title"])
        pull["state"] = "closed"
        return str(pull["merged"])
