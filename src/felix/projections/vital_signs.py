"""Asks the database how Felix is: one look, at one moment, for ``/readyz``, ``/metrics`` and ``felix status``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from felix import measures
from felix.domain.changes.bills import key_secret
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.migrations import Migration, unseen
from felix.measures import Labels, Measure
from felix.projections.feeds import FeedName
from felix.projections.tenant_tx import ReadPool, ReadTx

#: Who retells is connected under this name, also from another machine.
PROJECTOR = "felix_projector"
#: The job whose result says what was found in the books.
VERIFICATION = "ledger.verify"

_FIRST = (
    "select extract(epoch from clock_timestamp())::float8 as now_s,"
    " to_regclass('felix.applied_migrations') is not null as tells_migrations,"
    " exists (select from pg_stat_activity where datname = current_database() and application_name = %s) as retold"
)
_LAGS = (
    "select c.projection, c.partition, c.position,"
    " case when c.projection = any(%s) then p.commands else p.position end as head,"
    " extract(epoch from clock_timestamp() - case when c.projection = any(%s) then"
    "  (select d.recorded_at from felix.commands d where d.partition = c.partition and d.sequence = c.position + 1)"
    " else"
    "  (select e.recorded_at from felix.events e where e.partition = c.partition and e.position = c.position + 1)"
    " end)::float8 as age_s,"
    " extract(epoch from clock_timestamp() - c.updated_at)::float8 as moved_s"
    " from felix.cursors c join felix.partitions p using (partition) where c.projection = any(%s)"
    " order by c.projection, c.partition"
)
_HEADS = (
    "select p.partition, p.position, (select max(e.position) from felix.events e where e.partition = p.partition)"
    " as last from felix.partitions p order by p.partition"
)
_POISONED = (
    "select projection, count(distinct tenant_id) as tenants, min(error) as error from felix.poisoned"
    " group by projection order by projection"
)
_JOBS = (
    "select state, count(*) as jobs, max(extract(epoch from clock_timestamp() - due_at))::float8 as overdue_s"
    " from felix.jobs where state in ('waiting', 'handed_out', 'running', 'dead') group by state"
)
_VERIFIED = (
    "select finished_at, state, result, error from felix.jobs where partition = 0 and tenant_id is null and kind = %s"
    " and state in ('done', 'dead') order by finished_at desc limit 1"
)


#: Whether a client's newest default rate card prices what a model reads and writes, by its name or whatever the model,
#: or a client has set a key of its own for it; and whether there are clients. It stops at the first that does.
_MODEL = """
    select not exists (select from felix.tenants where tenant_id <> %s) or exists (
      select from felix.tenants t where t.tenant_id <> %s and (
        (select count(distinct price->>'meter') = 2
         from (
           select convert_from(e.state, 'UTF8')::jsonb as card from felix.events e
           where e.partition = t.partition and e.stream = t.tenant_id || ':rate_card:default'
             and e.type = 'metering.rate_card_published' order by e.version desc limit 1
         ) newest, jsonb_array_elements(card->'prices') price
         where price->>'meter' in ('llm.input_tokens', 'llm.output_tokens')
           and coalesce(price->>'model', %s) = %s)
        or exists (
          select from felix.events e where e.partition = t.partition and e.stream = t.tenant_id || ':secrets:secrets'
            and e.type = 'secrets.secret_set' and convert_from(e.state, 'UTF8')::jsonb->>'name' = %s)
      )
    ) as can_be_paid
"""


@dataclass(frozen=True, slots=True)
class ProjectionLag:
    """How far a projection is behind in a partition. ``age_s``: of the oldest thing that it has not retold."""

    projection: str
    partition: int
    lag_events: int
    age_s: float
    moved_s: float


@dataclass(frozen=True, slots=True)
class Poisoned:
    """Tenants for which a projection has stopped, and the kind of one of the errors."""

    projection: str
    tenants: int
    error: str


@dataclass(frozen=True, slots=True)
class Verification:
    """How the last verification of the ledger ended. ``problems`` is None when it did not get to its end."""

    finished_at: datetime
    problems: int | None
    error: str | None


@dataclass(slots=True)
class VitalSigns:
    """What the database says. With migrations pending nothing else is asked, because it may not be there yet."""

    skew_s: float
    retold: bool
    pending: list[Migration] | None = None
    lags: list[ProjectionLag] = field(default_factory=list)
    heads: dict[int, tuple[int, int]] = field(default_factory=dict)
    poisoned: list[Poisoned] = field(default_factory=list)
    jobs: dict[str, int] = field(default_factory=dict)
    overdue_s: float = 0.0
    verification: Verification | None = None
    #: Whether anybody can pay for the model that is set; None where none is.
    model_can_be_paid: bool | None = None

    def readings(self) -> Iterator[tuple[Measure, Labels, float]]:
        """The same as values of measures."""
        yield measures.CLOCK_SKEW, (), self.skew_s
        for lag in self.lags:
            labels = (lag.projection, str(lag.partition))
            yield measures.LAG_EVENTS, labels, lag.lag_events
            yield measures.LAG_SECONDS, labels, lag.age_s
        if self.pending != []:
            return
        poisoned = {each.projection: each.tenants for each in self.poisoned}
        for name in sorted({lag.projection for lag in self.lags} | poisoned.keys()):
            yield measures.POISONED, (name,), poisoned.get(name, 0)
        for partition, (position, _) in self.heads.items():
            yield measures.POSITION, (str(partition),), position
        for state in ("waiting", "handed_out", "running", "dead"):
            yield measures.JOBS, (state,), self.jobs.get(state, 0)
        yield measures.JOBS_OLDEST_DUE, (), self.overdue_s
        if self.verification is not None:
            yield measures.VERIFIED_AT, (), self.verification.finished_at.timestamp()
            if self.verification.problems is not None:
                yield measures.VERIFICATION_PROBLEMS, (), self.verification.problems


async def take(reads: ReadPool, feeds: Mapping[str, FeedName], model: str | None = None) -> VitalSigns:
    """Look once. ``feeds`` names what follows the log, and what of it; ``model`` is the one that plans.

    Raises :class:`~felix.domain.errors.Unavailable`; waits as long as the database makes it.
    """
    async with reads.founder() as tx:
        asked_at = time.time()
        first = await tx.fetch_one(_FIRST, PROJECTOR)
        assert first is not None
        signs = VitalSigns(first["now_s"] - (asked_at + time.time()) / 2, first["retold"])
        if not first["tells_migrations"]:
            return signs
        applied = await tx.fetch("select version, sha256 from felix.applied_migrations")
        signs.pending = unseen({row["version"]: row["sha256"] for row in applied})
        if not signs.pending:
            await _look_at_the_rest(tx, signs, feeds)
            if model is not None:
                platform = str(PLATFORM)
                row = await tx.fetch_one(_MODEL, platform, platform, model, model, key_secret(model))
                signs.model_can_be_paid = row is not None and row["can_be_paid"]
        return signs


async def _look_at_the_rest(tx: ReadTx, signs: VitalSigns, feeds: Mapping[str, FeedName]) -> None:
    of_commands = [name for name, feed in feeds.items() if feed == "commands"]
    signs.lags = [
        ProjectionLag(
            row["projection"],
            row["partition"],
            row["head"] - row["position"],
            max(0.0, row["age_s"] or 0.0),
            row["moved_s"],
        )
        for row in await tx.fetch(_LAGS, of_commands, of_commands, list(feeds))
    ]
    signs.heads = {row["partition"]: (row["position"], row["last"] or 0) for row in await tx.fetch(_HEADS)}
    signs.poisoned = [Poisoned(row["projection"], row["tenants"], row["error"]) for row in await tx.fetch(_POISONED)]
    for row in await tx.fetch(_JOBS):
        signs.jobs[row["state"]] = row["jobs"]
        if row["state"] in ("waiting", "handed_out"):
            signs.overdue_s = max(signs.overdue_s, row["overdue_s"])
    verified = await tx.fetch_one(_VERIFIED, VERIFICATION)
    if verified is not None:
        found = (verified["result"] or {}).get("violations")
        signs.verification = Verification(verified["finished_at"], found, verified["error"])
