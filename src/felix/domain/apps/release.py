"""A release: the whole app as one immutable bundle, called by the digest of its bytes.

What runs is a pointer to one of these. The bundle holds every file of the tree and what it was made for, so the same
bytes mean the same behaviour wherever and whenever they are run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from felix.domain.apps.tree import AppTree, canonical
from felix.domain.errors import ObjectDamaged

#: What an interpreter must understand to run a bundle; moves when the meaning of files changes.
RUNTIME = 1


class BundleBroken(ObjectDamaged):
    """A release's bundle is not what its digest says."""


@dataclass(frozen=True, slots=True)
class Release:
    """A bundle's bytes and its digest: 64 hex digits of SHA-256."""

    content: bytes

    @classmethod
    def of(cls, tree: AppTree) -> Release:
        """The release of a tree that was checked."""
        return cls(canonical({"runtime": RUNTIME, "tree": tree.digest, "files": dict(tree.files)}))

    @property
    def digest(self) -> str:
        """What the release is called."""
        return sha256(self.content).hexdigest()


def unbundle(content: bytes, digest: str) -> AppTree:
    """The tree of a bundle. Raises :class:`BundleBroken` when bytes, digest or runtime do not fit together."""
    if sha256(content).hexdigest() != digest:
        raise BundleBroken(release=digest)
    bundle: dict[str, Any] = json.loads(content)
    if bundle["runtime"] > RUNTIME:
        raise BundleBroken("This release was made for a newer Felix.", release=digest, runtime=bundle["runtime"])
    tree = AppTree(bundle["files"])
    if tree.digest != bundle["tree"]:
        raise BundleBroken(release=digest)
    return tree
