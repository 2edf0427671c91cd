"""What an approval is bound to: one digest over everything that would be different if anything were."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from typing import Any

from felix.domain.apps.tree import canonical


@dataclass(frozen=True, slots=True)
class Binding:
    """A change as it is shown to whoever decides. The page sends the digest back; the deployment works it out anew."""

    change_id: str
    environment: str
    base_tree: str
    result_tree: str
    diff: str
    release: str
    checks: str
    policy: str
    ceiling_mtok: int
    quorum: int
    roles: int
    expires_at: str

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of all parts."""
        return sha256(canonical(asdict(self))).hexdigest()

    def found(self, **parts: str) -> Binding:
        """The same with parts as they were found when it was worked out anew."""
        return replace(self, **parts)  # type: ignore[arg-type]

    def differing(self, other: Binding) -> list[str]:
        """The names of the parts in which two differ."""
        return [part.name for part in fields(self) if getattr(self, part.name) != getattr(other, part.name)]

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
