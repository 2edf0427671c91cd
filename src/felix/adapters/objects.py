"""Object storage: what is immutable and larger than an event, called by the digest of its bytes.

A directory by default, S3 or any other store that ``obstore`` speaks by its URL. Nothing is ever written over: the same
content has the same place, and other content can't have it.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.exceptions import NotFoundError as NoSuchObject
from obstore.store import LocalStore, ObjectStore, from_url

from felix.domain.errors import NotFound, ObjectDamaged, Unavailable

_KIND = re.compile(r"[a-z][a-z0-9-]{0,40}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class ObjectBroken(ObjectDamaged):
    """An object is not what its digest says."""


class ObjectsAway(Unavailable):
    """The object storage can't be reached right now; try again, nothing was half done."""


class Objects:
    """Objects by kind and digest. ``kind`` is a word such as ``releases``, in front of every place."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, place: str | Path) -> Objects:
        """A directory, which is made, or the URL of a store such as ``s3://bucket/prefix``."""
        if isinstance(place, Path):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            return cls(LocalStore(place))
        return cls(from_url(place))

    def put(self, kind: str, content: bytes) -> str:
        """Keep this, once; its digest. Raises :class:`ObjectsAway`."""
        digest = sha256(content).hexdigest()
        try:
            obstore.put(self._store, _place(kind, digest), content, mode="create")
        except AlreadyExistsError:
            self.get(kind, digest)
        except (BaseError, OSError) as error:
            raise ObjectsAway(kind=kind) from error
        return digest

    def get(self, kind: str, digest: str) -> bytes:
        """The content. Raises ``NotFound``, :class:`ObjectBroken` and :class:`ObjectsAway`."""
        try:
            content = bytes(obstore.get(self._store, _place(kind, digest)).bytes())
        except (NoSuchObject, FileNotFoundError):
            raise NotFound(f"There is no object {digest}.", id=digest) from None
        except (BaseError, OSError) as error:
            raise ObjectsAway(kind=kind) from error
        if sha256(content).hexdigest() != digest:
            raise ObjectBroken(kind=kind, digest=digest)
        return content

    def remove(self, kind: str, digest: str) -> None:
        """Let go of it; what is not there stays so. Raises :class:`ObjectsAway`."""
        try:
            obstore.delete(self._store, _place(kind, digest))
        except (NoSuchObject, FileNotFoundError):
            return
        except (BaseError, OSError) as error:
            raise ObjectsAway(kind=kind) from error


def _place(kind: str, digest: str) -> str:
    """Never made from anything but a word and 64 hex digits, so no place leads out of the store."""
    if _KIND.fullmatch(kind) is None or _DIGEST.fullmatch(digest) is None:
        raise NotFound(f"There is no object {digest}.", id=digest)
    return f"{kind}/sha256/{digest[:2]}/{digest}"
