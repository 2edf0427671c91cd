"""A key that can forget: every subject's wrapping key follows from it, until that subject is erased.

A backup of the database holds the keys of people who are erased after it was made, and cannot be changed. So those keys
are wrapped once more, with a key that no backup of the database holds and that can be made to forget one subject and
nobody else: a puncturable pseudorandom function (Goldreich, Goldwasser and Micali 1986; Boneh and Waters 2013). It is a
tree of which only the tops are kept. To forget a leaf, the node above it is replaced by the siblings along the path:
every other leaf still follows from one of them, this one from none. What is kept grows by about 2 kB an erasure and
not at all when a subject is added.

The file is the only copy that counts. ``felix backup`` mirrors it and keeps no earlier state of it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256, sha512
from pathlib import Path

from felix.domain.errors import Corrupt, Unavailable

DEPTH_BITS = 64
_NODE_BYTES = 32
_ROW_BYTES = 1 + DEPTH_BITS // 8 + _NODE_BYTES
_HEADER = b"felix erasure key 1\n"

#: Depth and path of a node.
_Place = tuple[int, int]


class ErasureKeyBroken(Corrupt):
    """The erasure key can't be read: the file was cut or is something else. Put its copy from the backups back."""


class NoErasureKey(Unavailable):
    """The erasure key is missing, without which personal data stays sealed. Put its copy from the backups back."""


class ErasureKey:
    """The nodes from which every leaf follows that was not forgotten."""

    def __init__(self, nodes: dict[_Place, bytes]) -> None:
        self._nodes = nodes

    @classmethod
    def new(cls) -> ErasureKey:
        """One that has forgotten nothing."""
        return cls({(0, 0): os.urandom(_NODE_BYTES)})

    def wrapping_key(self, *subject: str) -> bytes | None:
        """The key of a subject; None once it was forgotten."""
        leaf = _leaf(subject)
        found = self._above(leaf)
        if found is None:
            return None
        depth, path = found
        node = self._nodes[depth, path]
        for below in range(depth, DEPTH_BITS):
            node = _children(node)[leaf >> (DEPTH_BITS - 1 - below) & 1]
        return node

    def knows(self, *subject: str) -> bool:
        """Whether a subject was not forgotten."""
        return self._above(_leaf(subject)) is not None

    def forget(self, *subject: str) -> bool:
        """Make a subject's key follow from nothing that is kept; False when it did not before."""
        leaf = _leaf(subject)
        found = self._above(leaf)
        if found is None:
            return False
        depth, path = found
        node = self._nodes.pop((depth, path))
        for below in range(depth, DEPTH_BITS):
            bit = leaf >> (DEPTH_BITS - 1 - below) & 1
            pair = _children(node)
            self._nodes[below + 1, path << 1 | 1 - bit] = pair[1 - bit]
            node, path = pair[bit], path << 1 | bit
        return True

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return _HEADER + b"".join(
            depth.to_bytes(1, "big") + path.to_bytes(DEPTH_BITS // 8, "big") + node
            for (depth, path), node in self._nodes.items()
        )

    @classmethod
    def from_bytes(cls, kept: bytes) -> ErasureKey:
        """Raises :class:`ErasureKeyBroken`."""
        rows = kept[len(_HEADER) :]
        if not kept.startswith(_HEADER) or len(rows) % _ROW_BYTES:
            raise ErasureKeyBroken()
        nodes = {}
        for at in range(0, len(rows), _ROW_BYTES):
            row = rows[at : at + _ROW_BYTES]
            nodes[row[0], int.from_bytes(row[1:-_NODE_BYTES], "big")] = row[-_NODE_BYTES:]
        return cls(nodes)

    def _above(self, leaf: int) -> _Place | None:
        """The one node that is kept of those from the top to a leaf."""
        for depth in range(DEPTH_BITS + 1):
            if (place := (depth, leaf >> (DEPTH_BITS - depth))) in self._nodes:
                return place
        return None


class ErasureKeyFile:
    """The erasure key of an installation, shared by its processes; each sees at once what another made it forget."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        self._read: tuple[tuple[int, int, int], ErasureKey] | None = None

    def make(self) -> None:
        """Make the file unless there is one."""
        with self._locked():
            if not self.path.exists():
                self._write(ErasureKey.new())

    def wrapping_key(self, *subject: str) -> bytes | None:
        """The key of a subject; None once it was forgotten. Raises what reading the file does."""
        return self._current().wrapping_key(*subject)

    def knows(self, *subject: str) -> bool:
        """Whether a subject was not forgotten. Raises what reading the file does."""
        return self._current().knows(*subject)

    def forget(self, subjects: Iterable[tuple[str, ...]]) -> int:
        """Forget these, on disk before it returns; how many of them were known."""
        with self._locked():
            key = ErasureKey.from_bytes(self._bytes())
            forgotten = sum([key.forget(*subject) for subject in subjects])
            if forgotten:
                self._write(key)
            return forgotten

    def _current(self) -> ErasureKey:
        """Read again only when the file is another one: it is always replaced, never changed."""
        with self._guard:
            try:
                found = self.path.stat()
            except OSError:
                raise NoErasureKey(path=str(self.path)) from None
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._read is None or self._read[0] != seen:
                self._read = (seen, ErasureKey.from_bytes(self._bytes()))
            return self._read[1]

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError:
            raise NoErasureKey(path=str(self.path)) from None

    def _write(self, key: ErasureKey) -> None:
        """Replace the file, whole or not at all."""
        partial = self.path.with_name(self.path.name + ".new")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(key.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _leaf(subject: Iterable[str]) -> int:
    named = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in subject)
    return int.from_bytes(sha256(b"felix:erasure" + named).digest()[: DEPTH_BITS // 8], "big")


def _children(node: bytes) -> tuple[bytes, bytes]:
    """A hash suffices to double a node that is random; an HMAC takes three times as long, 64 times a subject."""
    pair = sha512(b"felix:erasure" + node).digest()
    return pair[:_NODE_BYTES], pair[_NODE_BYTES:]
