"""The doorbell: what is committed here is heard there, and a Valkey that is away costs nobody anything."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from felix.adapters.doorbell import Doorbell, Listener, answers
from felix.embedded import EmbeddedValkey, ValkeySettings


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    """A server of this test, where its own user can get at it."""
    place = Path(tempfile.mkdtemp(prefix="felix-doorbell-", dir="/tmp"))
    place.chmod(0o755)
    server = EmbeddedValkey(ValkeySettings(place / "data"))
    server.start()
    yield server
    server.stop()
    shutil.rmtree(place, ignore_errors=True)


def test_what_is_rung_is_heard_also_after_valkey_was_away(
    valkey: EmbeddedValkey, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    url = valkey.start().url
    heard: list[tuple[int, int]] = []
    listener = Listener(url, lambda partition, position: heard.append((partition, position)))
    doorbell = Doorbell(url)
    listener.start()
    try:
        assert answers(url)

        def rung(partition: int, position: int) -> bool:
            doorbell.ring(partition, position)
            return (partition, position) in heard

        eventually(lambda: rung(2, 7))
        valkey.stop()
        assert not answers(url)
        doorbell.ring(2, 8)
        valkey.start()
        eventually(lambda: rung(2, 9))
    finally:
        doorbell.close()
        listener.close()


def test_a_ring_never_waits(tmp_path: Path) -> None:
    for url in (None, f"unix://{tmp_path}/nowhere.sock", "redis://192.0.2.1:6379"):
        doorbell = Doorbell(url)
        began_at = time.monotonic()
        for position in range(1000):
            doorbell.ring(0, position)
        assert time.monotonic() - began_at < 0.5
    Doorbell(None).close()
