"""Everything that Felix counts and times: one catalogue, which any room may add to and none keeps.

A measure that nobody keeps costs one look at a variable. :mod:`felix.adapters.metrics` keeps them for all processes of
an installation and answers ``GET /metrics``; `docs/metrics.md` is written from this file.

No measure has a label for a tenant, an account or a key: each new value of a label is a series that every scrape and
every dashboard pays for, for ever, and a client's name would leave the house with them. What one client does is asked
of the read models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

#: Values of one measure's labels that are kept apart; what comes later is counted under ``other``.
MAX_SERIES = 500

Labels = tuple[str, ...]
FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SLOW_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)


class Book(Protocol):
    """Keeps what is measured."""

    def add(self, measure: Measure, labels: Labels, by: float) -> None:
        """Count."""

    def observe(self, measure: Histogram, labels: Labels, value: float) -> None:
        """Put a value among the others."""

    def set(self, measure: Measure, labels: Labels, value: float) -> None:
        """Say how much there is now, in this process."""


@dataclass(frozen=True, eq=False)
class Measure:
    """One name in the catalogue. ``source`` says where the numbers come from: ``processes`` or ``database``."""

    name: str
    help: str
    labels: Labels = ()
    source: str = "processes"
    kind: ClassVar[str] = "gauge"

    def __post_init__(self) -> None:
        if self.name in CATALOGUE:
            raise ValueError(f"there are two measures named {self.name}")
        CATALOGUE[self.name] = self


class Counter(Measure):
    """Goes up; kept when the process that counted dies."""

    kind = "counter"

    def add(self, *labels: str, by: float = 1) -> None:
        """Count ``by`` more."""
        if _book is not None:
            _book.add(self, labels, by)


@dataclass(frozen=True, eq=False)
class Histogram(Measure):
    """How values are spread; kept when the process that observed them dies."""

    kind: ClassVar[str] = "histogram"
    buckets: tuple[float, ...] = FAST_S

    def observe(self, value: float, *labels: str) -> None:
        """Put a value among the others."""
        if _book is not None:
            _book.observe(self, labels, value)


class Gauge(Measure):
    """How much there is now, in the processes that live; each says it once a second."""

    def set(self, value: float, *labels: str) -> None:
        """Say how much there is now, in this process."""
        if _book is not None:
            _book.set(self, labels, value)


class Reading(Measure):
    """How much there is now, asked when somebody scrapes; it is the same whichever process is asked."""


CATALOGUE: dict[str, Measure] = {}
_book: Book | None = None


def keep_in(book: Book | None) -> None:
    """From now on measures of this process are kept there; None for nowhere."""
    global _book
    _book = book


def is_kept() -> bool:
    """Whether anybody keeps what is measured; for those who would have to work to find it out."""
    return _book is not None


# --- commands -------------------------------------------------------------------------------------------------------

COMMANDS = Counter(
    "felix_commands_total",
    "Commands that were answered: accepted, refused (remembered), replayed (known before) or failed (not remembered).",
    ("type", "outcome"),
)
REFUSALS = Counter("felix_refusals_total", "Commands that were refused, by the code of the error.", ("code",))
FAILURES = Counter("felix_command_failures_total", "Commands that failed, by the code of the error.", ("code",))
EVENTS = Counter("felix_events_appended_total", "Events that were committed.")
SNAPSHOTS = Counter("felix_snapshots_stored_total", "Snapshots of long streams that were stored.")
BATCH_COMMANDS = Histogram("felix_batch_commands", "Commands of one batch of a lane.", buckets=SIZES)
BATCH_WEIGHT = Histogram("felix_batch_weight", "Work of one batch of a lane, in events.", buckets=SIZES)
BATCH_SECONDS = Histogram("felix_batch_seconds", "Time of a whole batch: take the head, load, decide, commit.")
COMMIT_SECONDS = Histogram("felix_commit_seconds", "Time of the commit of a batch, with its inserts.")
WAITING = Gauge("felix_lane_waiting_commands", "Commands that wait in a lane or are being performed.", ("partition",))

# --- requests -------------------------------------------------------------------------------------------------------

REQUESTS = Histogram(
    "felix_request_seconds",
    "Time until the answer began, by route, method and status. Paths that are no route are `other`.",
    ("route", "method", "status"),
)
LIVE_CONNECTIONS = Gauge("felix_live_connections", "Readers that are connected to /v1/live.")
DATABASE_CONNECTIONS = Gauge(
    "felix_database_connections",
    "Connections of the read side, by pool and whether they are in use.",
    ("pool", "state"),
)
DATABASE_WAITING = Gauge("felix_database_requests_waiting", "Requests that wait for a connection.", ("pool",))

# --- read models ----------------------------------------------------------------------------------------------------

LAG_EVENTS = Reading(
    "felix_projection_lag_events",
    "Events that are committed and not retold yet.",
    ("projection", "partition"),
    "database",
)
LAG_SECONDS = Reading(
    "felix_projection_lag_seconds",
    "Age of the oldest event that is not retold yet; 0 when there is none.",
    ("projection", "partition"),
    "database",
)
POISONED = Reading(
    "felix_projection_poisoned_tenants",
    "Tenants for which a projection has stopped because an event of theirs can't be folded.",
    ("projection",),
    "database",
)
POSITION = Reading("felix_log_position", "The last position of each partition of the log.", ("partition",), "database")

# --- jobs -----------------------------------------------------------------------------------------------------------

JOBS = Reading("felix_jobs", "Jobs by state.", ("state",), "database")
JOBS_OLDEST_DUE = Reading(
    "felix_jobs_oldest_due_seconds", "How long the job that waits longest is overdue; 0 when none is.", (), "database"
)
JOB_RUNS = Histogram("felix_job_run_seconds", "Time of a run of a job.", ("kind", "outcome"), buckets=SLOW_S)

# --- the house ------------------------------------------------------------------------------------------------------

DATABASE_UP = Reading("felix_database_up", "1 when the database answers.", (), "database")
VALKEY_UP = Reading("felix_valkey_up", "1 when Valkey answers. Missing where Felix runs without.", (), "valkey")
VERIFIED_AT = Reading(
    "felix_ledger_verified_timestamp_seconds", "When the last verification of the ledger ended.", (), "database"
)
VERIFICATION_PROBLEMS = Reading(
    "felix_ledger_verification_problems", "Problems that the last verification of the ledger found.", (), "database"
)
CLOCK_SKEW = Reading(
    "felix_clock_skew_seconds", "Clock of the database less clock of the process that answers.", (), "database"
)
DISK_FREE = Reading("felix_disk_free_bytes", "Free space where the data directory is.", (), "disk")
DISK_SIZE = Reading("felix_disk_size_bytes", "Size of the disk where the data directory is.", (), "disk")
BUILD = Gauge("felix_build_info", "1; the version that the process runs is in the label.", ("version", "process"))
STARTED = Gauge("felix_process_start_time_seconds", "When the process began to count.", ("process",))
MEMORY = Gauge("felix_process_resident_memory_bytes", "Memory of the process.", ("process",))
CPU = Counter("felix_process_cpu_seconds_total", "Processor time that the process has used.", ("process",))
RESTARTS = Counter(
    "felix_process_restarts_total", "Processes and services that died and were started again.", ("process",)
)
