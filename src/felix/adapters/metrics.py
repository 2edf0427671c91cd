"""Keeps the measures of a process in files that all processes of the installation read: each can answer for all.

Each process claims a slot (``api-1``, ``api-2``, ``worker``) by a lock on a file, which the kernel gives back when
the process dies, however it dies. A process that is started again takes over the slot with its counts, so there are
never more files than processes at once, and counters survive kill -9. Gauges belong to the living: those of a slot
whose lock is free are left out. The numbers lie in the format of prometheus_client's multi-process mode, in mapped
memory, so an increment costs about a microsecond; space is allocated first, since a mapped write to a full disk is a
SIGBUS.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.utils import floatToGoString

from felix import __version__, measures
from felix.embedded.locks import try_lock
from felix.measures import CATALOGUE, MAX_SERIES, Histogram, Labels, Measure

log = logging.getLogger("felix.metrics")

#: How often a process says how much there is now.
SAMPLE_EVERY_S = 1.0
#: Room for about 1,500 series of counters or gauges, and 12,000 lines of histograms.
FILE_BYTES = {"counter": 2**18, "gauge_livesum": 2**18, "histogram": 2**21}

_INTEGER, _DOUBLE = struct.Struct("i"), struct.Struct("d")
_PACK = _DOUBLE.pack
#: Where the first entry of a file begins.
_FIRST = 8

Readings = Iterable[tuple[Measure, Labels, float]]


class Metrics:
    """The measures of this process, and the way to those of all others in the same directory."""

    def __init__(self, directory: Path | None, kind: str, name: str | None = None) -> None:
        """Claim the slot ``name``, or the next one of the kind; without a directory, in one that goes with the process.

        Raises OSError when the directory can't be written or the disk is full.
        """
        self._own_directory = tempfile.TemporaryDirectory(prefix="felix-metrics-") if directory is None else None
        self.directory = directory = directory or Path(self._own_directory.name if self._own_directory else "")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.slot, self._lock_file = _claim(directory, kind, name)
        self._guard = threading.Lock()
        self._files: dict[str, _File] = {}
        for prefix, size_bytes in FILE_BYTES.items():
            path = directory / f"{prefix}_{self.slot}.db"
            if prefix.startswith("gauge"):
                path.unlink(missing_ok=True)
            self._files[prefix] = _File(path, size_bytes)
        self._counters: dict[tuple[Measure, Labels], _Number] = {}
        self._histograms: dict[tuple[Measure, Labels], _Spread] = {}
        self._series: dict[Measure, int] = {}
        self._samplers: list[Callable[[], None]] = []
        self._used_s = 0.0
        self._closing = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="metrics", daemon=True)

    def start(self) -> None:
        """Keep what this process measures, and say once a second how much there is now."""
        measures.keep_in(self)
        measures.BUILD.set(1, __version__, self.slot)
        measures.STARTED.set(time.time(), self.slot)
        self._samplers.append(self._sample_process)
        self._sampler.start()

    def close(self) -> None:
        """Give the slot back; what was counted stays."""
        if measures._book is self:
            measures.keep_in(None)
        self._closing.set()
        if self._sampler.ident is not None:
            self._sampler.join()
        os.close(self._lock_file)
        if self._own_directory is not None:
            self._own_directory.cleanup()

    @contextmanager
    def sampling(self, sample: Callable[[], None]) -> Iterator[None]:
        """Call ``sample`` once a second; it sets gauges."""
        self._samplers.append(sample)
        try:
            yield
        finally:
            self._samplers.remove(sample)

    def add(self, measure: Measure, labels: Labels, by: float) -> None:
        """Count."""
        number = self._counters.get((measure, labels)) or self._number("counter", measure, labels)
        with self._guard:
            number.set(number.value + by)

    def set(self, measure: Measure, labels: Labels, value: float) -> None:
        """Say how much there is now, in this process."""
        number = self._counters.get((measure, labels)) or self._number("gauge_livesum", measure, labels)
        with self._guard:
            number.set(value)

    def observe(self, measure: Histogram, labels: Labels, value: float) -> None:
        """Put a value among the others."""
        spread = self._histograms.get((measure, labels)) or self._spread(measure, labels)
        number, total = spread.buckets[bisect_left(measure.buckets, value)], spread.total
        with self._guard:
            number.set(number.value + 1)
            total.set(total.value + value)

    def scrape(self, readings: Readings = ()) -> bytes:
        """What all processes have counted, and what was read for this answer, in Prometheus' text format."""
        collector = _Collector([*MultiProcessCollector.merge(self._live_files()), *_families(readings)])
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        return generate_latest(registry)

    def _live_files(self) -> list[str]:
        found = []
        for path in sorted(self.directory.glob("*.db")):
            prefix, _, slot = path.stem.rpartition("_")
            if not prefix.startswith("gauge") or slot == self.slot or _is_held(self.directory / f"{slot}.lock"):
                found.append(str(path))
        return found

    def _number(self, prefix: str, measure: Measure, labels: Labels) -> _Number:
        with self._guard:
            labels = self._bounded(measure, labels)
            name = measure.name
            key = mmap_key(name.removesuffix("_total"), name, list(measure.labels), list(labels), measure.help)
            return self._counters.setdefault((measure, labels), _Number(self._files[prefix], key))

    def _spread(self, measure: Histogram, labels: Labels) -> _Spread:
        with self._guard:
            labels = self._bounded(measure, labels)
            file, name = self._files["histogram"], measure.name
            named = [*measure.labels, "le"]
            bounds = [floatToGoString(bound) for bound in (*measure.buckets, float("inf"))]
            spread = _Spread(
                [_Number(file, mmap_key(name, f"{name}_bucket", named, [*labels, le], measure.help)) for le in bounds],
                _Number(file, mmap_key(name, f"{name}_sum", list(measure.labels), list(labels), measure.help)),
            )
            return self._histograms.setdefault((measure, labels), spread)

    def _bounded(self, measure: Measure, labels: Labels) -> Labels:
        if len(labels) != len(measure.labels):
            raise ValueError(f"{measure.name} has the labels {measure.labels}, not {labels}")
        made = self._series.get(measure, 0)
        if made >= MAX_SERIES:
            return ("other",) * len(labels)
        self._series[measure] = made + 1
        return labels

    def _sample(self) -> None:
        while not self._closing.is_set():
            for sample in list(self._samplers):
                sample()
            self._closing.wait(SAMPLE_EVERY_S)

    def _sample_process(self) -> None:
        times = os.times()
        used_s = times.user + times.system
        measures.CPU.add(self.slot, by=used_s - self._used_s)
        self._used_s = used_s
        with suppress(OSError):  # only Linux says so
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            measures.MEMORY.set(pages * os.sysconf("SC_PAGE_SIZE"), self.slot)


class _File:
    """Numbers by their keys in mapped memory, as prometheus_client's multi-process mode lays them out.

    What is used of it, then entries: length of the key, the key padded to eight bytes, value, and a time (not used).
    Written here and not by that library, whose files grow by holes, which a full disk answers with a SIGBUS.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        _allocate(path, size_bytes)
        with path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), size_bytes)
        self._places: dict[bytes, int] = {}
        self._used = max(_INTEGER.unpack_from(self.memory)[0], _FIRST)
        place = _FIRST
        while place < self._used:
            (length,) = _INTEGER.unpack_from(self.memory, place)
            padded = length + _padding(length)
            self._places[self.memory[place + 4 : place + 4 + length]] = place + 4 + padded
            place += 4 + padded + 16

    def place_of(self, key: str) -> int | None:
        """Where the value of a key is; None when the file is full."""
        encoded = key.encode()
        if encoded not in self._places:
            entry = _INTEGER.pack(len(encoded)) + encoded + b" " * _padding(len(encoded)) + bytes(16)
            if self._used + len(entry) > len(self.memory):
                return None
            self.memory[self._used : self._used + len(entry)] = entry
            self._used += len(entry)
            self.memory[:4] = _INTEGER.pack(self._used)
            self._places[encoded] = self._used - 16
        return self._places[encoded]


def _padding(length: int) -> int:
    return 8 - (length + 4) % 8


class _Number:
    """One value in a file; a process that takes over a slot goes on from what it finds.

    What found no room any more is forgotten.
    """

    __slots__ = ("_end", "_memory", "_start", "value")

    def __init__(self, file: _File, key: str) -> None:
        place = file.place_of(key)
        self._memory: mmap.mmap | bytearray = bytearray(8) if place is None else file.memory
        self._start = place or 0
        self._end = self._start + 8
        self.value: float = _DOUBLE.unpack_from(self._memory, self._start)[0]

    def set(self, value: float) -> None:
        """In one assignment, so that a reader never sees half a number."""
        self.value = value
        self._memory[self._start : self._end] = _PACK(value)


class _Spread:
    """The buckets of a histogram, each with what fell into it alone, and the sum."""

    __slots__ = ("buckets", "total")

    def __init__(self, buckets: list[_Number], total: _Number) -> None:
        self.buckets = buckets
        self.total = total


class _Collector:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def open_metrics(directory: Path | None, kind: str, name: str | None = None) -> Metrics:
    """Begin to measure in this process. Without a directory, or when it can't be used, it answers for itself alone."""
    try:
        metrics = Metrics(directory, kind, name)
    except OSError as error:
        if directory is None:
            raise
        log.warning("what is measured is not shared with other processes: %s", error)
        metrics = Metrics(None, kind, name)
    metrics.start()
    return metrics


def clean(directory: Path) -> None:
    """Forget what the processes of an earlier start have counted. Only for who starts all of them."""
    for path in [*directory.glob("*.db"), *directory.glob("*.lock")]:
        path.unlink(missing_ok=True)


def _claim(directory: Path, kind: str, name: str | None) -> tuple[str, int]:
    """The first slot that nobody holds, beginning with the name, and the descriptor that holds it from now on."""
    for slot in chain((name,) if name else (), (f"{kind}-{number}" for number in count(1))):
        descriptor = os.open(directory / f"{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if try_lock(descriptor):
            return slot, descriptor
        os.close(descriptor)
    raise AssertionError("there are more numbers than processes")


def _is_held(path: Path) -> bool:
    """Whether a living process holds this slot. Shared, so that two who ask don't take each other for the holder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _allocate(path: Path, size_bytes: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < size_bytes:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size_bytes)
            else:
                os.ftruncate(descriptor, size_bytes)
    finally:
        os.close(descriptor)


def _families(readings: Readings) -> list[Metric]:
    found: dict[str, GaugeMetricFamily] = {}
    for measure, labels, value in readings:
        assert CATALOGUE[measure.name] is measure
        family = found.setdefault(measure.name, GaugeMetricFamily(measure.name, measure.help, labels=measure.labels))
        family.add_metric(labels, value)
    return list(found.values())
