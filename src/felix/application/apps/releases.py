"""Releases: kept in object storage by their digest, compiled once in every process that serves them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Protocol

from felix.domain.apps.references import check
from felix.domain.apps.release import Release, unbundle
from felix.domain.apps.shapes import CompiledApp, compile_app
from felix.domain.apps.tree import AppTree
from felix.domain.errors import NotFound
from felix.domain.records.hooks import NO_HOOKS, Hook

#: Compiled apps that one process keeps; one of 60 entities with 20 fields each takes five megabytes.
KEPT_RELEASES = 64
_KIND = "releases"


class NoSuchRelease(NotFound):
    """There is no such release."""


class ReleaseStore(Protocol):
    """Keeps bytes that are called by their SHA-256, for good."""

    def put(self, kind: str, content: bytes) -> str:
        """Keep this, once; its digest. Raises ``Unavailable``."""

    def get(self, kind: str, digest: str) -> bytes:
        """The bytes. Raises ``NotFound``, ``Corrupt`` and ``Unavailable``."""


class Releases:
    """Every release there is. All threads of a process share one."""

    def __init__(self, store: ReleaseStore, hooks: Iterable[Hook] = NO_HOOKS, *, kept: int = KEPT_RELEASES) -> None:
        """``hooks`` are those of all modules that this installation has."""
        self._store = store
        self._hooks = tuple(hooks)
        self._kept = kept
        self._compiled: OrderedDict[str, CompiledApp] = OrderedDict()
        self._turn = Lock()

    def put(self, tree: AppTree) -> str:
        """Make a release of a tree, and keep it; its digest. Raises ``InvalidApp`` and ``Unavailable``."""
        check(tree)
        return self._store.put(_KIND, Release.of(tree).content)

    def tree(self, digest: str) -> AppTree:
        """The files of a release. Raises :class:`NoSuchRelease`, ``Corrupt`` and ``Unavailable``."""
        try:
            content = self._store.get(_KIND, digest)
        except NotFound:
            raise NoSuchRelease(release=digest) from None
        return unbundle(content, digest)

    def app(self, digest: str) -> CompiledApp:
        """A release that is ready to serve; compiled here at its first use. Raises what :meth:`tree` does."""
        compiled = self.ready(digest)
        if compiled is None:
            # Two threads may compile the same release at once: the same work twice, and never a wait for each other.
            compiled = compile_app(digest, check(self.tree(digest)), self._hooks)
            with self._turn:
                self._compiled[digest] = compiled
                while len(self._compiled) > self._kept:
                    self._compiled.popitem(last=False)
        return compiled

    def ready(self, digest: str) -> CompiledApp | None:
        """The same, without a wait: None where it was not compiled here, or long ago."""
        with self._turn:
            compiled = self._compiled.get(digest)
            if compiled is not None:
                self._compiled.move_to_end(digest)
            return compiled
