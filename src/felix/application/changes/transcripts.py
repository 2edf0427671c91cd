"""What was said to a language model and by it: kept beside the log, sealed, and for one tenant only.

A transcript has words of people in it. The event knows its digest, so whoever has to forget the words deletes the
object, and the log stays valid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from felix.application.apps.releases import ReleaseStore
from felix.domain.changes.messages import OBJECTS
from felix.eventstore.sealing import RootKeys

_KIND = OBJECTS["transcript"]


@dataclass(frozen=True, slots=True)
class Transcripts:
    """The transcripts of all tenants."""

    objects: ReleaseStore
    root_keys: Callable[[], RootKeys] = field(repr=False)

    def keep(self, tenant_id: UUID, transcript: bytes) -> str:
        """Keep it; the digest of what is kept. Raises ``Unavailable``."""
        return self.objects.put(_KIND, self.root_keys().seal(transcript, _KIND, str(tenant_id)))

    def read(self, tenant_id: UUID, digest: str) -> bytes:
        """What was said, for the tenant whose it is. Raises ``NotFound``, ``SealBroken``, ``Unavailable``."""
        return self.root_keys().unseal(self.objects.get(_KIND, digest), _KIND, str(tenant_id))
