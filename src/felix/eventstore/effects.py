"""The outbox: what apps do to the world outside, one row an effect, written beside the event that causes it.

``held`` (made by a candidate release) → ``due`` → ``sent`` or ``failed``; ``held`` → ``dropped`` when the candidate is
rolled back. A due effect has its job, of the same id, in the same transaction. What is sent and not yet said to be is
sent again: outside an effect happens at least once, under a key that is always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from felix.domain.apps.messages import Environment
from felix.eventstore.jobs import PURGE_PAGE, NewJob
from felix.eventstore.kept_connections import KeptConnections
from felix.eventstore.mapper import canonical_json
from felix.eventstore.side_statements import SideStatement

Place = tuple[int, UUID]
State = Literal["held", "due", "sent", "failed", "dropped"]
#: The kind of job that sends an effect, and how often it tries: about two hours.
SENDS: Final = "apps.send_effect"
ATTEMPTS: Final = 12

_KEEP = """
    insert into felix.effects (partition, tenant_id, effect_id, app, environment, release, deployment_id, kind, cause,
      told, state, made_at, settled_at)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s)
    on conflict on constraint effects_pkey do nothing
"""
_RELEASE = """
    with released as (
      update felix.effects set state = 'due'
      where partition = %s and tenant_id = %s and deployment_id = %s and state = 'held'
      returning partition, tenant_id, effect_id, deployment_id)
    insert into felix.jobs (partition, job_id, tenant_id, kind, payload, due_at, max_attempts, origin)
    select partition, effect_id, tenant_id, %s, jsonb_build_object('effect_id', effect_id), clock_timestamp(), %s,
      'deployment:' || deployment_id
    from released on conflict on constraint jobs_pkey do nothing
"""
_DROP = """
    update felix.effects set state = 'dropped', settled_at = clock_timestamp()
    where partition = %s and tenant_id = %s and deployment_id = %s and state = 'held'
"""
_SETTLE = """
    update felix.effects set state = %s, failure = %s, settled_at = %s
    where partition = %s and tenant_id = %s and effect_id = %s and state = 'due'
"""
_PURGE = """
    delete from felix.effects e using (
      select partition, tenant_id, effect_id from felix.effects
      where partition = %s and settled_at < clock_timestamp() - %s limit %s
    ) old where e.partition = old.partition and e.tenant_id = old.tenant_id and e.effect_id = old.effect_id
"""
_FIND: Final[LiteralString] = (
    "select effect_id, app, environment, release, deployment_id, kind, cause, told, state, made_at"
    " from felix.effects where partition = %s and tenant_id = %s and effect_id = %s"
)


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that goes out. ``told`` is what its kind needs to know, and nothing personal."""

    effect_id: UUID
    app: str
    environment: Environment
    release: str
    deployment_id: str | None
    kind: Literal["email", "report", "webhook"]
    #: What made it, such as ``thank rec_0192…@3``.
    cause: str
    told: Mapping[str, Any]
    state: State
    made_at: datetime


def job_of(place: Place, about: str, origin: str, at: datetime) -> NewJob:
    """The job of an effect; its id is the effect's. ``about`` says what causes it: the same is done once."""
    partition, tenant_id = place
    new = NewJob(partition, tenant_id, SENDS, about, origin, ATTEMPTS, at)
    return NewJob(partition, tenant_id, SENDS, about, origin, ATTEMPTS, at, {"effect_id": str(new.job_id)})


def kept(place: Place, effect: Effect) -> SideStatement:
    """Keep a new effect; one of the same cause is there already, and stays as it is."""
    row = (
        *place, effect.effect_id, effect.app, effect.environment, effect.release, effect.deployment_id, effect.kind,
        effect.cause, canonical_json(dict(effect.told)).decode(), effect.state, effect.made_at,
        effect.made_at if effect.state == "dropped" else None,
    )  # fmt: skip
    return SideStatement(_KEEP, row)


def released(place: Place, deployment_id: str) -> SideStatement:
    """Let everything go out that a deployment's release has made: it was promoted. ``place`` is partition and tenant.

    Again it does nothing: what is out is out.
    """
    return SideStatement(_RELEASE, (*place, deployment_id, SENDS, ATTEMPTS))


def dropped(place: Place, deployment_id: str) -> SideStatement:
    """Never send what a deployment's release has made and nobody has released: it was rolled back."""
    return SideStatement(_DROP, (*place, deployment_id))


def count_held(place: Place, deployment_id: str) -> SideStatement:
    """Asks how many effects of a deployment's release are held back."""
    return SideStatement(
        "select count(*) from felix.effects"
        " where partition = %s and tenant_id = %s and deployment_id = %s and state = 'held'",
        (*place, deployment_id),
    )


def settled(place: Place, effect_id: UUID, failure: str | None, at: datetime) -> SideStatement:
    """An effect went out, or never will."""
    return SideStatement(_SETTLE, ("failed" if failure else "sent", failure, at, *place, effect_id))


def state_of(place: Place, effect_id: UUID) -> SideStatement:
    """Asks for state, kind and release of an effect."""
    return SideStatement(
        "select state, kind, release from felix.effects where partition = %s and tenant_id = %s and effect_id = %s",
        (*place, effect_id),
    )


def members_of(tenant_id: UUID, role: str, at: datetime) -> SideStatement:
    """Asks who has a role in a tenant."""
    return SideStatement(
        "select user_id from felix.memberships where tenant_id = %s and role = %s"
        " and (expires_at is null or expires_at > %s) order by user_id",
        (tenant_id, role, at),
    )


class EffectBook:
    """The outbox as a worker sees it. Safe from any thread. Raises ``Unavailable`` when the database is away."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connections = KeptConnections(connect, "The outbox")

    def find(self, place: Place, effect_id: UUID) -> Effect | None:
        """One effect."""

        def asked(connection: psycopg.Connection[Any]) -> Effect | None:
            with connection.cursor(row_factory=class_row(Effect)) as cursor:
                return cursor.execute(_FIND, (*place, effect_id)).fetchone()

        return self._connections.call(asked)

    def purge(self, age: timedelta) -> int:
        """Forget what was settled longer ago than this; how much there was."""
        partitions = self._connections.call(
            lambda c: c.execute("select partition from felix.partitions order by 1").fetchall()
        )
        purged = 0
        for (partition,) in partitions:
            asked = (partition, age, PURGE_PAGE)
            while deleted := self._connections.call(lambda c, asked=asked: c.execute(_PURGE, asked).rowcount):  # type: ignore[misc]
                purged += deleted
        return purged

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()
