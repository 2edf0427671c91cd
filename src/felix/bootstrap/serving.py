"""Everything that the API needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from uuid import UUID

from anyio import to_thread

from felix.adapters.passwords import Argon2Passwords
from felix.api.addresses import read_networks
from felix.api.auth import Authenticator
from felix.api.credentials import impersonation_look_up, key_look_up, session_look_up
from felix.api.http import Services
from felix.api.key_uses import LastUses
from felix.api.live.hub import LiveHub
from felix.api.rate_limits import RateLimits
from felix.api.watch import log_requests
from felix.bootstrap.books import (
    listen_to_doorbell,
    open_directory,
    open_doorbell,
    open_job_book,
    open_key_uses,
    open_performer,
    open_read_pool,
)
from felix.bootstrap.endpoints import Endpoints
from felix.bootstrap.following import projection_orders
from felix.bootstrap.keys import following_root_keys, open_vault
from felix.bootstrap.looks import Looks
from felix.bootstrap.objects import ObjectsWhenNeeded, open_objects, open_releases
from felix.bootstrap.people import open_inviter, open_sign_in_book, open_sign_in_provider
from felix.bootstrap.sources import open_documents
from felix.bootstrap.telemetry import observing, sample
from felix.domain.errors import NotFound
from felix.eventstore.app_measurements import AppMeasurements
from felix.eventstore.connections import connect
from felix.eventstore.tenants import TenantDirectory
from felix.modules.library import library
from felix.projections.tenant_tx import ReadPool
from felix.settings import Settings


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Everything the API needs, opened and closed in order."""
    endpoints = Endpoints.locate(settings)
    log_requests(slow_after_s=settings.slow_request_s, everything=settings.log_requests)
    directory = open_directory(endpoints, partitions=settings.partitions)
    reads = open_read_pool(endpoints)
    doorbell = open_doorbell(endpoints)
    live = LiveHub(reads)
    jobs = open_job_book(endpoints, role="felix_writer")
    document_desk = open_documents(endpoints, settings)
    measurements = AppMeasurements(lambda: connect(endpoints.writer_url))
    provider = open_sign_in_provider(settings)

    def committed(partition: int, position: int) -> None:
        doorbell.ring(partition, position)
        live.wake(partition, position)

    performer = open_performer(endpoints, directory.partition_of, committed=committed)
    authenticator = _authenticator(reads, directory)
    key_uses = open_key_uses(endpoints)
    passwords, sign_in_book = Argon2Passwords(), open_sign_in_book(endpoints)

    def write_uses(used_at: Mapping[str, datetime]) -> None:
        key_uses.write(used_at)
        sign_in_book.seen(used_at)

    last_uses = LastUses(authenticator.take_uses, write_uses)
    looks = Looks(settings, endpoints, reads)
    listener = listen_to_doorbell(endpoints, live.wake, live.followed)
    await reads.open()
    last_uses.start()
    if listener is not None:
        listener.start()
    try:

        async def scrape() -> bytes:
            return await to_thread.run_sync(metrics.scrape, await looks.readings())

        with observing(settings, "api") as metrics, metrics.sampling(lambda: sample(performer, reads, live)):
            yield Services(
                performer=performer,
                reads=reads,
                authenticator=authenticator,
                partition_of=directory.partition_of,
                root_keys=following_root_keys(settings),
                vault=open_vault(settings),
                pin_tenant=directory.pin,
                jobs=jobs,
                projection_orders=projection_orders(endpoints),
                objects=ObjectsWhenNeeded(cache(lambda: open_objects(settings))),
                releases=open_releases(settings),
                measurements=measurements,
                library=library,
                documents=document_desk,
                ready=looks.checks,
                scrape=scrape,
                metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else None,
                live=live,
                rate_limits=RateLimits(
                    reads_per_s=settings.limit_reads_per_s,
                    writes_per_s=settings.limit_writes_per_s,
                    client_times=settings.limit_client_times,
                    strangers_per_minute=settings.limit_strangers_per_minute,
                    processes=settings.api_processes,
                ),
                passwords=passwords,
                sign_in_book=sign_in_book,
                inviter=open_inviter(settings),
                sign_in_provider=provider,
                trusted_proxies=read_networks(settings.trusted_proxies),
                planner_model=settings.planner_model,
                read_timeout_s=settings.read_timeout_s,
            )
    finally:
        if provider is not None:
            provider.close()
        await live.close()
        await last_uses.close()
        key_uses.close()
        sign_in_book.close()
        passwords.close()
        await to_thread.run_sync(performer.close)
        if listener is not None:
            await to_thread.run_sync(listener.close)
        if doorbell is not None:
            await to_thread.run_sync(doorbell.close)
        await looks.close()
        await reads.close()
        jobs.close()
        document_desk.index.close()
        await to_thread.run_sync(measurements.close)
        directory.close()


def _authenticator(reads: ReadPool, directory: TenantDirectory) -> Authenticator:
    async def generation() -> int:
        async with reads.unbound() as tx:
            row = await tx.fetch_one("select generation from felix.access_generation")
        return int(row["generation"]) if row else 0

    async def find_tenant(named: str) -> UUID:
        async with reads.founder() as tx:
            row = await tx.fetch_one(
                "select tenant_id, partition from felix.tenants where slug = %s or tenant_id::text = %s",
                named,
                named,
            )
        if row is None:
            raise NotFound(f"There is no tenant {named}.", id=named)
        found: UUID = row["tenant_id"]
        directory.remember(found, row["partition"])
        return found

    return Authenticator(
        key_look_up(reads, directory.remember),
        session_look_up(reads, directory.remember),
        generation,
        find_tenant,
        impersonation_look_up(reads, directory.partition_of),
    )
