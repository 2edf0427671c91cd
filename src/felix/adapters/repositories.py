"""The git repository of each tenant: bare, written without a work tree, and moved by compare-and-swap only.

Git is how an app's history can be read with the tools that everybody has; what runs is a release. Every file is a plain
one (mode 100644) at a path that :mod:`felix.domain.apps.tree` allows: dulwich itself would take ``.git``, links and
everything else.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from dulwich.file import FileLocked
from dulwich.objects import Blob, Commit, ObjectID, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from felix.domain.apps.tree import AppTree, InvalidApp, kind_of, read_tree
from felix.domain.errors import Corrupt, NotFound

_REF = re.compile(r"refs/(heads|env|changes)/[a-z0-9][a-z0-9_-]{0,80}(/[a-z0-9][a-z0-9_-]{0,80})?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
#: Locks that killed writers may have left in the way of one write.
MAX_STALE_LOCKS = 8
_PLAIN, _FOLDER = 0o100644, 0o040000


T = TypeVar("T")


class RepositoryBroken(Corrupt):
    """A repository holds something that Felix did not put there."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One commit: its id, its parent, when it was made, and its message."""

    commit: str
    parent: str | None
    at: datetime
    message: str


class AppRepository:
    """The repository of one tenant. Threads may share it; processes meet at the refs."""

    def __init__(self, repositories: Path, tenant_id: UUID) -> None:
        """``repositories`` is the directory with one repository a tenant; this one is made when it is first used."""
        self._path = repositories / f"{tenant_id}.git"
        self._guard = threading.Lock()
        self._opened: Repo | None = None

    def head(self, ref: str) -> str | None:
        """The commit that a ref points to; None where there is none yet."""
        with self._guard:
            found = self._repo().refs.read_loose_ref(_ref(ref))
        return None if found is None else found.decode()

    def tree(self, commit: str) -> AppTree:
        """The app as of a commit. Raises ``NotFound`` and :class:`RepositoryBroken`."""
        with self._guard:
            files = dict(self._files(self._commit(commit).tree, ""))
        try:
            return read_tree(files)
        except InvalidApp as error:
            raise RepositoryBroken(commit=commit) from error

    def record(self, tree: AppTree, parent: str | None, message: str, author: str, at: datetime) -> str:
        """Store a tree and a commit of it; no ref moves. The same arguments give the same commit, however often."""
        return self._alone(lambda: self._record(tree, parent, message, author, at))

    def move(self, ref: str, old: str | None, new: str) -> bool:
        """Let a ref point to another commit, if it still points to ``old``; whether it did."""
        return self._alone(lambda: self._move(ref, old, new))

    def _alone(self, write: Callable[[], T]) -> T:
        """Write while nobody else does, in this process or another.

        dulwich locks each file by one beside it, which stays when its process is killed; whoever writes here alone
        knows that such a file is nobody's and clears it away.
        """
        with self._guard:
            self._repo()
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for _ in range(MAX_STALE_LOCKS):
                    try:
                        return write()
                    except FileLocked as stale:
                        Path(os.fsdecode(stale.lockfilename)).unlink(missing_ok=True)
                return write()

    def _record(self, tree: AppTree, parent: str | None, message: str, author: str, at: datetime) -> str:
        folders: dict[str, Tree] = {}
        top = Tree()
        store = self._repo().object_store
        for path in sorted(tree.files):
            if kind_of(path) is None:
                raise InvalidApp(errors=[{"pointer": path[:200], "rule": "path", "detail": "no file of an app"}])
            blob = Blob.from_string(tree.bytes_of(path))
            store.add_object(blob)
            folder, _, name = path.rpartition("/")
            of = folders.setdefault(folder, Tree()) if folder else top
            of.add(name.encode(), _PLAIN, blob.id)
        for folder, content in folders.items():
            store.add_object(content)
            top.add(folder.encode(), _FOLDER, content.id)
        store.add_object(top)
        commit = Commit()
        commit.tree = top.id
        commit.parents = [] if parent is None else [self._commit(parent).id]
        commit.author = commit.committer = _signature(author)
        commit.commit_time = commit.author_time = int(at.timestamp())
        commit.commit_timezone = commit.author_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = message.encode()
        store.add_object(commit)
        return commit.id.decode()

    def _move(self, ref: str, old: str | None, new: str) -> bool:
        refs, target = self._repo().refs, self._commit(new).id
        if old is None:
            return refs.add_if_new(_ref(ref), target)
        return refs.set_if_equals(_ref(ref), ObjectID(old.encode()), target)

    def history(self, commit: str, limit: int = 100) -> Iterator[Recorded]:
        """A commit and those before it, newest first."""
        following: str | None = commit
        while following is not None and limit > 0:
            with self._guard:
                found = self._commit(following)
            parent = found.parents[0].decode() if found.parents else None
            at = datetime.fromtimestamp(found.commit_time, UTC)
            yield Recorded(following, parent, at, found.message.decode(errors="replace"))
            following, limit = parent, limit - 1

    def close(self) -> None:
        """Give the files back."""
        with self._guard:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _repo(self) -> Repo:
        if self._opened is None:
            if not (self._path / "HEAD").exists():
                self._make()
            self._opened = Repo(str(self._path), bare=True)
        return self._opened

    def _make(self) -> None:
        """Made beside and renamed: two processes may be at it, and a killed one leaves nothing half made."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self._path.with_name(f".{self._path.name}.{threading.get_native_id()}")
        made = Repo.init_bare(str(beside), mkdir=not beside.exists(), default_branch=b"main")
        settings = made.get_config()
        settings.set((b"core",), b"fsyncObjectFiles", b"true")
        settings.write_to_path()
        made.close()
        try:
            beside.rename(self._path)
        except OSError:
            if not (self._path / "HEAD").exists():
                raise
            for path in sorted(beside.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            beside.rmdir()

    def _commit(self, commit: str) -> Commit:
        try:
            if _COMMIT.fullmatch(commit) is None:
                raise KeyError(commit)
            found = self._repo().object_store[ObjectID(commit.encode())]
        except KeyError:
            raise NotFound(f"There is no commit {commit}.", id=commit) from None
        if not isinstance(found, Commit):
            raise NotFound(f"There is no commit {commit}.", id=commit)
        return found

    def _files(self, tree_id: ObjectID, folder: str) -> Iterator[tuple[str, bytes]]:
        tree = self._repo().object_store[tree_id]
        assert isinstance(tree, Tree)
        for entry in tree.items():
            name = entry.path.decode(errors="replace")
            if entry.mode == _FOLDER and not folder:
                yield from self._files(entry.sha, f"{name}/")
                continue
            blob = self._repo().object_store[entry.sha] if entry.mode == _PLAIN else None
            if not isinstance(blob, Blob) or kind_of(folder + name) is None:
                raise RepositoryBroken(path=folder + name)
            yield folder + name, blob.data


def _ref(name: str) -> Ref:
    if _REF.fullmatch(name) is None:
        raise NotFound(f"There is no ref {name}.", id=name)
    return Ref(name.encode())


def _signature(author: str) -> bytes:
    """Git's form of a name; what would end it is taken out."""
    clean = "".join(letter for letter in author if letter.isprintable() and letter not in "<>").strip() or "felix"
    return f"{clean} <>".encode()
