"""Looking at how Felix is, for ``/readyz``, scrapes and ``felix doctor``."""

from __future__ import annotations

import asyncio

import psycopg
from anyio import to_thread

from felix import measures
from felix.adapters.doorbell import answers
from felix.api.one_look import LOOK_TIMEOUT_S, OneLook
from felix.api.readiness import Check, checks_of, disk_of
from felix.bootstrap.books import open_read_pool
from felix.bootstrap.endpoints import Endpoints
from felix.bootstrap.following import POLICIES
from felix.domain.errors import FelixError
from felix.projections import registry
from felix.projections.feeds import FeedName
from felix.projections.tenant_tx import ReadPool
from felix.projections.vital_signs import VitalSigns, take
from felix.settings import Settings

#: A person who asks from a cold start waits for imports too.
PATIENT_LOOK_S = 5.0


async def look_around(settings: Settings) -> tuple[VitalSigns | str, list[Check]]:
    """What the database says, and what ``/readyz`` makes of it, for a process that serves nothing."""
    endpoints = Endpoints.locate(settings)
    reads = open_read_pool(endpoints, max_size=2)
    await reads.open()
    looks = Looks(settings, endpoints, reads, timeout_s=PATIENT_LOOK_S)
    try:
        return await looks.look()
    finally:
        await looks.close()
        await reads.close()


class Looks:
    """What the API looks at to say how Felix is."""

    def __init__(
        self, settings: Settings, endpoints: Endpoints, reads: ReadPool, *, timeout_s: float = LOOK_TIMEOUT_S
    ) -> None:
        self._data_dir = settings.data_dir
        feeds: dict[str, FeedName] = {**registry.FOLLOWING, **{policy.name: "events" for policy in POLICIES}}

        async def ask_database() -> VitalSigns | str:
            try:
                return await take(reads, feeds, settings.planner_model)
            except (FelixError, psycopg.Error) as error:
                return f"The database does not answer as it should: {error}"

        async def ask_valkey() -> bool | None:
            url = endpoints.redis_url
            return None if url is None else await to_thread.run_sync(answers, url)

        late = f"The database does not answer within {timeout_s:g} s."
        self._database = OneLook[VitalSigns | str](ask_database, late, timeout_s)
        self._valkey = OneLook[bool | None](ask_valkey, False, timeout_s)

    async def look(self) -> tuple[VitalSigns | str, list[Check]]:
        """What the database says, and the checks of ``/readyz``."""
        signs, valkey_answers = await asyncio.gather(self._database.look(), self._valkey.look())
        return signs, checks_of(signs, valkey_answers, self._data_dir)

    async def checks(self) -> list[Check]:
        """The checks of ``/readyz``."""
        return (await self.look())[1]

    async def readings(self) -> list[tuple[measures.Measure, measures.Labels, float]]:
        """What is asked for a scrape."""
        signs, valkey_answers = await asyncio.gather(self._database.look(), self._valkey.look())
        disk = disk_of(self._data_dir)
        return [
            (measures.DATABASE_UP, (), float(not isinstance(signs, str))),
            *([] if valkey_answers is None else [(measures.VALKEY_UP, (), float(valkey_answers))]),
            (measures.DISK_FREE, (), disk.free),
            (measures.DISK_SIZE, (), disk.total),
            *([] if isinstance(signs, str) else signs.readings()),
        ]

    async def close(self) -> None:
        """End what still hangs."""
        await self._database.close()
        await self._valkey.close()
