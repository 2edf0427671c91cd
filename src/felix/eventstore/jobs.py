"""The table of jobs: what is due, who has it, and what became of it.

``waiting`` → ``handed_out`` (its key is in a queue) → ``running`` (claimed) → ``done``, or ``waiting`` again after a
failure, or ``dead`` when there were enough of those; ``cancelled`` by a person. Every step is one statement that names
the state it comes from, so of two who try one succeeds. Times are the database's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4, uuid5

import psycopg
from psycopg.rows import class_row

from felix.domain.errors import Refused, Unavailable
from felix.eventstore.kept_connections import KeptConnections
from felix.eventstore.mapper import canonical_json
from felix.eventstore.side_statements import SideStatement

#: The work of the platform itself lives here and belongs to no tenant.
PLATFORM_PARTITION = 0
#: Ids of jobs follow from what they are about, within the tenant; those of the platform within this.
_PLATFORM = UUID("8d4b4d2e-31f5-4a52-9a55-3d8f0c1f9b10")
#: What is kept of an error: enough for a person, not a dump.
MAX_ERROR_CHARACTERS = 2_000
#: Rows that one statement of a purge deletes.
PURGE_PAGE = 5_000
#: How long a worker has a job of a kind that it says nothing about.
LEASE_OF_UNKNOWN_S = 5.0
#: Of two tickers, the one that has this lock ticks.
_TICKER_LOCK = (4608, 7)

JobKey = tuple[int, UUID]
T = TypeVar("T")

_INSERT = """
    insert into felix.jobs (partition, job_id, tenant_id, kind, payload, due_at, max_attempts, origin, correlation_id,
      causation_id)
    select p, job, tenant, kind, payload::jsonb, due_at, attempts, origin, correlation, causation
    from unnest(%b::int[], %b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::timestamptz[], %b::int[], %b::text[],
      %b::uuid[], %b::uuid[])
      as j (p, job, tenant, kind, payload, due_at, attempts, origin, correlation, causation)
    on conflict on constraint jobs_pkey do nothing
"""
# The earliest of each partition, by its index, and of those the earliest of all: timers that are not due cost nothing.
_HAND_OUT = """
    update felix.jobs j set state = 'handed_out', handed_out_at = clock_timestamp()
    from (
      select due.partition, due.job_id from felix.partitions p cross join lateral (
        select d.partition, d.job_id, d.due_at from felix.jobs d
        where d.partition = p.partition and d.state = 'waiting' and d.due_at <= clock_timestamp()
        order by d.due_at limit %(most)s for update skip locked
      ) due
      order by due.due_at
      limit greatest(0, %(most)s - (select count(*) from felix.jobs h where h.state = 'handed_out'))
    ) chosen
    where j.partition = chosen.partition and j.job_id = chosen.job_id
    returning j.partition, j.job_id
"""


def _update(changes: str, where: str, returning: str = "") -> str:
    """A step from one state to another. Whoever holds a job in between is let go of."""
    return f"update felix.jobs set {changes} where {where} {returning}"  # noqa: S608 constants


_FREE = "handed_out_at = null, claim = null, claimed_until = null"
_ONE = "partition = %s and job_id = %s"
_HELD = f"{_ONE} and state = 'running' and claim = %s"
_CLAIM = _update(
    "state = 'running', handed_out_at = null, claim = %s, attempts = attempts + 1, progress_done = null,"
    " progress_total = null,"
    " claimed_until = clock_timestamp() + make_interval(secs => coalesce((%s::jsonb ->> kind)::float8, %s))",
    f"{_ONE} and state in ('waiting', 'handed_out') and due_at <= clock_timestamp()",
    "returning partition, job_id, tenant_id, kind, payload, due_at, attempts, max_attempts, origin, correlation_id,"
    " causation_id, claim",
)
_EXTEND = _update(
    "claimed_until = clock_timestamp() + %s, progress_done = coalesce(%s, progress_done),"
    " progress_total = coalesce(%s, progress_total)",
    _HELD,
)
_FINISH = _update(f"state = 'done', {_FREE}, error = null, result = %s::jsonb, finished_at = clock_timestamp()", _HELD)
_PUT_OFF = _update(f"state = 'waiting', {_FREE}, error = %s, due_at = clock_timestamp() + %s", _HELD)
_BURY = _update(f"state = 'dead', {_FREE}, error = %s, result = %s::jsonb, finished_at = clock_timestamp()", _HELD)
_GIVE_BACK = _update(f"state = 'waiting', {_FREE}, attempts = attempts - 1", _HELD)
_WAIT = _update(f"state = 'waiting', {_FREE}, attempts = attempts - 1, due_at = %s", _HELD)
_HASTEN = _update(
    "due_at = clock_timestamp()",
    "partition = %s and tenant_id = %s and kind = %s and state = 'waiting' and due_at > clock_timestamp()",
)
_TAKE_BACK = _update(f"state = 'waiting', {_FREE}", "state = 'handed_out' and handed_out_at < clock_timestamp() - %s")
_LAPSE = _update(
    f"{_FREE}, error = %s, state = case when attempts < max_attempts then 'waiting' else 'dead' end,"
    " finished_at = case when attempts < max_attempts then null else clock_timestamp() end",
    "state = 'running' and claimed_until < clock_timestamp()",
    "returning partition, job_id, kind, state",
)
_RETRY = _update(
    f"state = 'waiting', {_FREE}, attempts = 0, due_at = clock_timestamp(), finished_at = null, settled_by = %s",
    f"{_ONE} and state in ('dead', 'cancelled', 'waiting')",
)
_CANCEL = _update(
    f"state = 'cancelled', {_FREE}, finished_at = clock_timestamp(), settled_by = %s",
    f"{_ONE} and state in ('waiting', 'handed_out', 'dead')",
)
# The newest job of an entry of the schedule stays, whatever its age: it says how far the schedule has come.
_PURGE = """
    delete from felix.jobs j using (
      select partition, job_id from felix.jobs f
      where f.partition = %(partition)s and f.state in ('done', 'cancelled')
        and f.finished_at < clock_timestamp() - %(age)s
        and (f.tenant_id is not null or exists (
          select from felix.jobs later where later.partition = f.partition and later.tenant_id is null
            and later.origin = f.origin and later.due_at > f.due_at))
      limit %(page)s
    ) old where j.partition = old.partition and j.job_id = old.job_id
"""
_SCHEDULE = """
    insert into felix.jobs (partition, job_id, kind, payload, due_at, max_attempts, origin, state, error, finished_at)
    select %(partition)s, %(job_id)s, %(kind)s, %(payload)s::jsonb, %(due_at)s, %(max_attempts)s, %(origin)s,
      case when known then 'waiting' else 'cancelled' end,
      case when known then null else 'This entry of the schedule is new; it begins with its next time.' end,
      case when known then null else clock_timestamp() end
    from (select exists (select from felix.jobs where partition = %(partition)s and tenant_id is null
      and origin = %(origin)s) as known) k
    where not exists (select from felix.jobs where partition = %(partition)s and tenant_id is null
      and origin = %(origin)s and due_at >= %(due_at)s)
    on conflict on constraint jobs_pkey do nothing
"""


class JobNotSettled(Refused):
    """This job can't be retried or cancelled in the state it is in."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """Work that somebody asks for. ``about`` says what it is about: the same kind about the same is the same job."""

    partition: int
    tenant_id: UUID | None
    kind: str
    about: str
    origin: str
    max_attempts: int
    due_at: datetime
    payload: Mapping[str, Any] = field(default_factory=dict)
    correlation_id: UUID | None = None
    causation_id: UUID | None = None

    @property
    def job_id(self) -> UUID:
        """The same whenever the same is asked for."""
        return uuid5(self.tenant_id or _PLATFORM, f"{self.kind}/{self.about}")


@dataclass(frozen=True, slots=True)
class Job:
    """A job that somebody has claimed."""

    partition: int
    job_id: UUID
    tenant_id: UUID | None
    kind: str
    payload: dict[str, Any]
    due_at: datetime
    attempts: int
    max_attempts: int
    origin: str
    correlation_id: UUID | None
    causation_id: UUID | None
    claim: UUID

    @property
    def held(self) -> tuple[int, UUID, UUID]:
        """What names the claim."""
        return (self.partition, self.job_id, self.claim)


def insert_jobs(connection: psycopg.Connection[Any], jobs: Sequence[NewJob]) -> int:
    """Add jobs in the caller's transaction; those that are there already stay as they are. How many are new."""
    once = {(job.partition, job.job_id): job for job in reversed(jobs)}
    rows = [_row(job) for _, job in sorted(once.items())]
    if not rows:
        return 0
    return connection.execute(_INSERT, [list(column) for column in zip(*rows, strict=True)], prepare=True).rowcount


def _row(job: NewJob) -> tuple[Any, ...]:
    return (
        job.partition, job.job_id, job.tenant_id, job.kind, canonical_json(dict(job.payload)).decode(), job.due_at,
        job.max_attempts, job.origin, job.correlation_id, job.causation_id,
    )  # fmt: skip


def asked_beside(job: NewJob) -> SideStatement:
    """Ask for a job in the transaction of a command's events."""
    return SideStatement(_INSERT, [[value] for value in _row(job)])


class JobBook:
    """The table as the worker sees it. Safe from any thread; each call is one transaction.

    Raises :class:`~felix.domain.errors.Unavailable` when the database is away. A call whose answer was lost is made
    once more on a fresh connection, which at worst finds that it has happened.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connections = KeptConnections(connect, "The jobs")

    def add(self, jobs: Sequence[NewJob]) -> int:
        """Ask for jobs; how many were not asked for before."""
        return self._call(lambda connection: insert_jobs(connection, jobs))

    def hand_out(self, most: int) -> list[JobKey]:
        """Take the keys of jobs that are due, the earliest first; never more than ``most`` are handed out at once."""
        return self._call(lambda c: c.execute(_HAND_OUT, {"most": most}, prepare=True).fetchall())

    def handed_out(self, since_s: float) -> int:
        """How many jobs have been handed out for longer than this and not been claimed."""
        query = "select count(*) from felix.jobs where state = 'handed_out' and handed_out_at < clock_timestamp() - %s"
        return int(self._call(lambda c: c.execute(query, (timedelta(seconds=since_s),)).fetchall())[0][0])

    def claim(self, key: JobKey, leases_s: Mapping[str, float]) -> Job | None:
        """Claim a job that is due, for as long as its kind says; None when somebody else has it, or it is over."""
        given = (uuid4(), _json(leases_s), LEASE_OF_UNKNOWN_S, *key)

        def claiming(connection: psycopg.Connection[Any]) -> Job | None:
            with connection.cursor(row_factory=class_row(Job)) as cursor:
                return cursor.execute(_CLAIM, given, prepare=True).fetchone()

        return self._call(claiming)

    def extend(self, job: Job, lease_s: float, done: int | None = None, total: int | None = None) -> bool:
        """Keep a claim for longer, and say how far the work is. False when the claim is lost."""
        return self._change(_EXTEND, timedelta(seconds=lease_s), done, total, *job.held)

    def finish(self, job: Job, result: Mapping[str, Any]) -> bool:
        """The work is done. False when the claim was lost: then somebody else does it, or did."""
        return self._change(_FINISH, _json(result), *job.held)

    def put_off(self, job: Job, error: str, pause_s: float) -> bool:
        """The work failed and is tried again."""
        return self._change(_PUT_OFF, error[:MAX_ERROR_CHARACTERS], timedelta(seconds=pause_s), *job.held)

    def bury(self, job: Job, error: str, result: Mapping[str, Any] | None = None) -> bool:
        """The work failed for good; a person has to look."""
        return self._change(_BURY, error[:MAX_ERROR_CHARACTERS], _json(result or {}), *job.held)

    def give_back(self, job: Job) -> bool:
        """Let another worker go on at once; this attempt does not count."""
        return self._change(_GIVE_BACK, *job.held)

    def wait(self, job: Job, until: datetime) -> bool:
        """There is nothing to do before this time; this attempt does not count."""
        return self._change(_WAIT, until, *job.held)

    def hasten(self, place: tuple[int, UUID], kind: str) -> int:
        """Let all jobs of a kind that wait for their time be due now; how many. ``place`` is partition and tenant."""
        return self._call(lambda c: c.execute(_HASTEN.encode(), (*place, kind), prepare=True).rowcount)

    def take_back(self, since_s: float) -> int:
        """Jobs handed out longer ago than this are waiting again: their message is lost, or late and then harmless."""
        return self._call(lambda c: c.execute(_TAKE_BACK, (timedelta(seconds=since_s),)).rowcount)

    def lapse(self) -> list[tuple[int, UUID, str, str]]:
        """Jobs whose claim has run out are waiting again, or dead; their partition, id, kind and new state."""
        told = "The worker that had it was not heard of any more."
        return self._call(lambda c: c.execute(_LAPSE, (told,)).fetchall())

    def retry(self, key: JobKey, actor: str) -> None:
        """Try a dead, cancelled or waiting job now, with all its attempts. Raises :class:`JobNotSettled`."""
        self._settle(_RETRY, key, actor, "Only a dead, cancelled or waiting job can be retried.")

    def cancel(self, key: JobKey, actor: str) -> None:
        """Never do a job that is not under way. Raises :class:`JobNotSettled`."""
        self._settle(_CANCEL, key, actor, "Only a waiting or dead job can be cancelled.")

    def purge(self, age: timedelta) -> int:
        """Delete what was done or cancelled longer ago than this; dead jobs stay. How many there were."""
        partitions = self._call(lambda c: c.execute("select partition from felix.partitions order by 1").fetchall())
        purged = 0
        for (partition,) in partitions:
            chosen = {"partition": partition, "age": age, "page": PURGE_PAGE}
            while deleted := self._call(lambda c, chosen=chosen: c.execute(_PURGE, chosen).rowcount):  # type: ignore[misc]
                purged += deleted
        return purged

    def close(self) -> None:
        """Give the connections back. Who is late can still say what became of a job, on a connection of its own."""
        self._connections.close()

    def _settle(self, query: str, key: JobKey, actor: str, sentence: str) -> None:
        if not self._change(query, actor, *key):
            raise JobNotSettled(sentence, id=str(key[1]))

    def _change(self, query: str, *parameters: Any) -> bool:
        return self._call(lambda c: c.execute(query.encode(), parameters, prepare=True).rowcount) == 1

    def _call(self, asked: Callable[[psycopg.Connection[Any]], T]) -> T:
        return self._connections.call(asked)


class ScheduleBook:
    """The schedule as a ticker sees it. Not thread-safe; the lock is its connection's, so both go together."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None
        self._mine = False

    def now(self) -> datetime | None:
        """The database's time, if this ticker is the one that ticks; None when another is.

        Raises :class:`~felix.domain.errors.Unavailable`.
        """
        row = self._execute(
            "select clock_timestamp(), %s or pg_try_advisory_lock(%s, %s)", (self._mine, *_TICKER_LOCK)
        ).fetchone()
        self._mine = bool(row and row[1])
        return row[0].astimezone(UTC) if row and self._mine else None

    def add(self, job: NewJob) -> bool:
        """Ask for the job of a time of the schedule, unless a later one of the same origin was asked for before.

        The first of an origin is only noted: a new entry begins with its next time.
        """
        row = {
            "partition": job.partition, "job_id": job.job_id, "kind": job.kind, "payload": _json(job.payload),
            "due_at": job.due_at, "max_attempts": job.max_attempts, "origin": job.origin,
        }  # fmt: skip
        return self._execute(_SCHEDULE, row).rowcount == 1

    def close(self) -> None:
        """Let another ticker tick."""
        self._mine = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, query: str, parameters: Any) -> psycopg.Cursor[Any]:
        try:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection.execute(query.encode(), parameters)
        except psycopg.OperationalError as error:
            self.close()
            raise Unavailable("The schedule can't be reached right now.", sqlstate=error.sqlstate or "") from error


def _json(value: Mapping[str, Any]) -> str:
    return canonical_json(dict(value)).decode()
