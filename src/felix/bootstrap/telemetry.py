"""Metrics and traces of a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from felix import measures
from felix.adapters.metrics import Metrics, clean, open_metrics
from felix.adapters.tracing import tracing
from felix.api.live.hub import LiveHub
from felix.application.performer import Performer
from felix.projections.tenant_tx import ReadPool
from felix.settings import Settings


@contextmanager
def observing(settings: Settings, kind: str) -> Iterator[Metrics]:
    """Count, and trace where that is asked for, for as long as the process works."""
    metrics = open_metrics(settings.metrics_dir, kind, settings.process_name)
    try:
        with tracing(kind):
            yield metrics
    finally:
        metrics.close()


def supervise_metrics(directory: Path) -> Metrics:
    """Begin to count anew in a directory of which this process starts all others that use it."""
    clean(directory)
    return open_metrics(directory, "supervisor", "supervisor")


def sample(performer: Performer, reads: ReadPool, live: LiveHub) -> None:
    """Set what is not counted as it happens."""
    measures.LIVE_CONNECTIONS.set(live.streams)
    for partition, waiting in performer.waiting().items():
        measures.WAITING.set(waiting, str(partition))
    for use in reads.use():
        measures.DATABASE_CONNECTIONS.set(use.busy, use.pool, "busy")
        measures.DATABASE_CONNECTIONS.set(use.idle, use.pool, "idle")
        measures.DATABASE_WAITING.set(use.waiting, use.pool)
