"""What is larger than an event: object storage, and the releases of apps in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from felix.application.apps.releases import Releases
from felix.modules.library import hooks
from felix.settings import Settings

if TYPE_CHECKING:
    # Imported where they are used: an HTTP client takes longer to load than most commands take.
    from felix.adapters.objects import Objects


def open_objects(settings: Settings) -> Objects:
    """Where immutable things are kept that are larger than an event."""
    from felix.adapters.objects import Objects

    return Objects.open(settings.objects_url or settings.data_dir / "objects")


@dataclass(frozen=True, slots=True)
class ObjectsWhenNeeded:
    """Object storage that is opened at its first use: most processes never need it."""

    open: Callable[[], Objects]

    def put(self, kind: str, content: bytes) -> str:
        return self.open().put(kind, content)

    def get(self, kind: str, digest: str) -> bytes:
        return self.open().get(kind, digest)


def open_releases(settings: Settings) -> Releases:
    """The releases of all apps."""
    return Releases(ObjectsWhenNeeded(cache(lambda: open_objects(settings))), hooks())
