"""Rings in Valkey when something was committed, and hears it in other processes; best effort both ways.

A projection finds every event without it, by looking at the heads of the log: the bell only saves the wait until the
next look. So nothing here ever blocks a write, queues, retries a ring, or lets an error out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("felix.doorbell")

CHANNEL = "felix:committed"
#: One answer of Valkey takes microseconds; a server that needs longer than this is taken for gone.
TIMEOUT_S = 2.0
#: Under load there are more commits than anybody needs to hear of: between two rings the news gathers.
BETWEEN_RINGS_S = 0.002
#: How long a lost Valkey is left alone; meanwhile projections poll.
PAUSE_S = 1.0


class Doorbell:
    """Rings from a thread of its own; what it has not said yet is overwritten by what is newer."""

    def __init__(self, url: str | None) -> None:
        """``url`` is one that redis-py accepts; without one nobody is told. Connects at the first ring."""
        self._url = url
        self._news: dict[int, int] = {}
        self._guard = threading.Lock()
        self._signal = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def ring(self, partition: int, position: int) -> None:
        """Say that a partition was committed up to a position. Returns at once, from any thread."""
        if self._url is None:
            return
        with self._guard:
            self._news[partition] = position
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, args=(self._url,), name="doorbell", daemon=True)
                self._thread.start()
        self._signal.set()

    def close(self) -> None:
        """Say what is left to say, if Valkey is there, and end."""
        self._closed = True
        self._signal.set()
        if self._thread is not None:
            self._thread.join(2 * TIMEOUT_S)

    def _run(self, url: str) -> None:
        import redis

        with _client(url) as client:
            while not self._closed or self._news:
                self._signal.wait()
                self._signal.clear()
                with self._guard:
                    news, self._news = self._news, {}
                try:
                    pipeline = client.pipeline(transaction=False)
                    for partition, position in news.items():
                        pipeline.publish(CHANNEL, f"{partition}:{position}")
                    if news:
                        pipeline.execute()
                        time.sleep(BETWEEN_RINGS_S)
                except (redis.RedisError, OSError) as error:
                    log.warning("valkey is away, projections poll meanwhile: %s", error)
                    if self._closed:
                        return
                    threading.Event().wait(PAUSE_S)


class Listener:
    """Hears the bell in a thread and passes each ring on, until it is closed; reconnects for ever."""

    def __init__(self, url: str, heard: Callable[[int, int], None], wanted: threading.Event | None = None) -> None:
        """``heard(partition, position)`` is called in the listener's thread and must be quick.

        ``wanted`` is set while anybody would be woken; without one somebody always is. Hearing costs each commit.
        """
        self._url = url
        self._heard = heard
        self._wanted = wanted or _always()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="doorbell-listener", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self, timeout_s: float = 1.5) -> None:
        """End."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        import redis

        was_away = False
        while not self._closing.is_set():
            if not self._wanted.wait(0.5):
                continue
            try:
                with _client(self._url) as client, client.pubsub(ignore_subscribe_messages=True) as subscription:
                    subscription.subscribe(CHANNEL)
                    if was_away:
                        log.info("valkey is back")
                    was_away = False
                    while self._wanted.is_set() and not self._closing.is_set():
                        message = subscription.get_message(timeout=0.5)
                        if message is not None and (ring := _read(message["data"])) is not None:
                            self._heard(*ring)
            except (redis.RedisError, OSError) as error:
                if not was_away:
                    log.warning("valkey is away, projections poll meanwhile: %s", error)
                was_away = True
                self._closing.wait(PAUSE_S)


def _always() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def _client(url: str):  # type: ignore[no-untyped-def]
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )


def _read(data: object) -> tuple[int, int] | None:
    """The partition and position of a message; None for what somebody else published there."""
    if not isinstance(data, bytes):
        return None
    partition, _, position = data.partition(b":")
    if partition.isdigit() and position.isdigit() and len(data) < 40:
        return int(partition), int(position)
    return None


def answers(url: str) -> bool:
    """Whether a Valkey answers there."""
    import redis

    try:
        with _client(url) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
