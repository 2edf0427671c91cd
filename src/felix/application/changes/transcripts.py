"""What was said to a language model and by it: kept beside the log, sealed, and for one tenant only.

A transcript has words of people in it. It is sealed with a key that is one of the tenant's secrets, which Felix makes
itself: whoever erases the tenant's key, or removes that secret, has erased every transcript, and the log stays valid.
The first transcripts were sealed with the root key.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

from felix.application.apps.releases import ReleaseStore
from felix.application.secrets import Secrets, User
from felix.domain.changes.messages import OBJECTS
from felix.domain.errors import NotFound
from felix.eventstore.sealing import RootKeys, seal, unseal

#: The secret that is the key of a tenant's transcripts.
TRANSCRIPTS_KEY = "felix.transcripts"
_KIND = OBJECTS["transcript"]
#: What is sealed with the root key begins with another byte.
_FORMAT = b"\x02"
_KEY_ID_BYTES = 4


class TranscriptForgotten(NotFound):
    """The key of this transcript was erased, and with it what was said."""


@dataclass(frozen=True, slots=True)
class Transcripts:
    """The transcripts of all tenants."""

    objects: ReleaseStore
    secrets: Secrets
    root_keys: Callable[[], RootKeys] = field(repr=False)

    def keep(self, tenant_id: UUID, transcript: bytes, user: User) -> str:
        """Keep it; the digest of what is kept. The first one makes the tenant's key. Raises ``Unavailable``."""
        try:
            return self._seal(tenant_id, transcript, user)
        except NotFound:
            self.secrets.make(tenant_id, TRANSCRIPTS_KEY, user)
            return self._seal(tenant_id, transcript, user)

    def read(self, tenant_id: UUID, digest: str, user: User) -> bytes:
        """What was said, for the tenant whose it is.

        Raises ``NotFound``, :class:`TranscriptForgotten`, ``SealBroken``, ``Unavailable``.
        """
        kept = self.objects.get(_KIND, digest)
        if kept[:1] != _FORMAT:
            return self.root_keys().unseal(kept, _KIND, str(tenant_id))
        key_id, sealed = kept[1 : 1 + _KEY_ID_BYTES], kept[1 + _KEY_ID_BYTES :]
        try:
            with self._key(tenant_id, "transcripts.read", user) as key:
                if _id_of(key) == key_id:
                    return unseal(key, sealed, _KIND, str(tenant_id))
        except NotFound:
            pass
        raise TranscriptForgotten(digest=digest)

    def _seal(self, tenant_id: UUID, transcript: bytes, user: User) -> str:
        with self._key(tenant_id, "transcripts.seal", user) as key:
            return self.objects.put(_KIND, _FORMAT + _id_of(key) + seal(key, transcript, _KIND, str(tenant_id)))

    @contextmanager
    def _key(self, tenant_id: UUID, purpose: str, user: User) -> Iterator[bytes]:
        with self.secrets.use(tenant_id, TRANSCRIPTS_KEY, purpose=purpose, user=user) as key:
            yield base64.b64decode(key)


def _id_of(key: bytes) -> bytes:
    """What tells one key of a tenant from the next, after the one before was removed."""
    return sha256(b"felix:transcripts-key" + key).digest()[:_KEY_ID_BYTES]
