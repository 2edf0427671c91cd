"""Who folds a rebuild: threads of this process for a short log, processes of their own for a long one."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from felix.domain.errors import Unavailable
from felix.projections.base import Projection
from felix.projections.runner import ProjectionRunner
from felix.projections.table_sets import REBUILD

#: Larger than live: nobody waits for a single event, and each batch costs the same few statements.
BATCH = 5_000
#: A process needs a second to start; below this it isn't worth it.
ALONE_BELOW_EVENTS = 25_000
SAY_EVERY_S = 0.5
STOP_TIMEOUT_S = 5.0
#: New objects between two young collections: a batch makes tens of thousands, and none of them is garbage.
GC_THRESHOLDS = (100_000, 20, 100)


class FolderDied(Unavailable):
    """A process that folded a rebuild has ended; the rebuild goes on where it was when it is run again."""


class Folders(Protocol):
    """They fold until they are stopped."""

    def errors(self) -> dict[int, str]:
        """What keeps which partition from going on. Raises :class:`FolderDied`."""


@contextmanager
def folding(url: str, projection: Projection, partitions: Sequence[int], processes: int) -> Iterator[Folders]:
    """Fold these partitions for a while; ``processes`` is 0 for threads of this one."""
    if processes == 0:
        with _Threads(url, projection, partitions) as threads:
            yield threads
    else:
        with _Processes(url, projection, partitions, processes) as apart:
            yield apart


class _Threads:
    def __init__(self, url: str, projection: Projection, partitions: Sequence[int]) -> None:
        self._runner = ProjectionRunner(url, [projection], partitions, REBUILD, far_behind=BATCH)

    def __enter__(self) -> _Threads:
        self._runner.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.stop(STOP_TIMEOUT_S)

    def errors(self) -> dict[int, str]:
        return _errors(self._runner)


class _Processes:
    def __init__(self, url: str, projection: Projection, partitions: Sequence[int], processes: int) -> None:
        context = get_context("spawn")
        self._children: list[tuple[SpawnProcess, Connection]] = []
        self._errors: dict[int, str] = {}
        for number in range(min(processes, len(partitions))):
            ours, theirs = context.Pipe()
            mine = list(partitions)[number::processes]
            child = context.Process(target=fold_apart, args=(url, projection, mine, theirs), daemon=True)
            child.start()
            theirs.close()
            self._children.append((child, ours))

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for _child, pipe in self._children:
            pipe.close()
        for child, _pipe in self._children:
            child.join(2 * STOP_TIMEOUT_S)
            if child.is_alive():
                child.kill()
                child.join()

    def errors(self) -> dict[int, str]:
        for child, pipe in self._children:
            try:
                while pipe.poll():
                    mine: Sequence[int]
                    mine, errors = pipe.recv()
                    for partition in mine:
                        self._errors.pop(partition, None)
                    self._errors |= errors
            except (EOFError, OSError):
                child.join(1)
                raise FolderDied(exit_code=child.exitcode) from None
        return self._errors


def fold_apart(url: str, projection: Projection, partitions: Sequence[int], pipe: Any) -> None:
    """The main function of a process that folds: until the other end of the pipe is closed, by intent or by death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the parent closes the pipe
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    runner = ProjectionRunner(url, [projection], partitions, REBUILD, far_behind=BATCH)
    runner.start()
    try:
        while not pipe.poll(SAY_EVERY_S):
            pipe.send((partitions, _errors(runner)))
    except OSError:
        pass  # nobody listens any more: the parent is gone
    runner.stop(STOP_TIMEOUT_S)


def _errors(runner: ProjectionRunner) -> dict[int, str]:
    return {lag.partition: lag.error for lag in runner.lag().values() if lag.error is not None}
