"""How a request gets to the release of an app that answers it, and what is counted of that.

Pointer, share of a canary, release: looked up once a request, before anything else. The answer says which release it
was in ``Felix-Release``.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from felix.api.auth import Principal
from felix.api.http import Endpoint, allowed, chosen, fresh, services
from felix.api.problems import problem, status_of
from felix.application.apps.releases import NoSuchRelease
from felix.application.records import no_app, shape_of
from felix.domain.apps.measured import SLOW_S, Running
from felix.domain.apps.roles import NotForYourRole, sees_entity
from felix.domain.apps.shapes import CompiledApp, InvalidRecord, Shape
from felix.domain.errors import FelixError, Invalid, NotFound
from felix.projections import balances, records
from felix.projections.freshness import last_position, wait_until
from felix.projections.records import Place

#: Which release has answered.
RELEASE_HEADER = "Felix-Release"


@dataclass(frozen=True, slots=True)
class Served:
    """A release of an app, ready to answer one caller."""

    principal: Principal
    partition: int
    name: str
    environment: str
    app: CompiledApp

    @property
    def tenant_id(self) -> UUID:
        """Whose app it is."""
        return self.principal.tenant_id

    @property
    def role(self) -> str:
        """As what the caller uses the app."""
        return self.principal.role

    @property
    def running(self) -> Running:
        """Under which counts are kept."""
        return Running(self.partition, self.tenant_id, self.name, self.environment, self.app.release)

    def shape(self, entity: str) -> Shape:
        """An entity that is for this caller. Raises ``NoSuchEntity`` and ``NotForYourRole``."""
        shape = shape_of(self.app, entity)
        if not sees_entity(self.app, entity, self.role):
            raise NotForYourRole(entity=entity)
        return shape

    def place(self, entity: str) -> Place:
        """Where the records of an entity are."""
        return Place(self.name, self.environment, entity)


ServedEndpoint = Callable[[Request, Served], Awaitable[Response]]


def served(action: str, *, writes: bool = False) -> Callable[[ServedEndpoint], Endpoint]:
    """Let an endpoint be answered by the release that is active for its caller."""

    def wrap(endpoint: ServedEndpoint) -> Endpoint:
        async def run(request: Request) -> Response:
            principal = await allowed(request, action)
            serving = await _serve(request, principal, writes=writes)
            count = services(request).measurements.count
            begun = time.monotonic()
            count(serving.running, "requests")
            try:
                response = await endpoint(request, serving)
            except FelixError as error:
                if status_of(error) >= 500:
                    count(serving.running, "failed_requests")
                    raise
                if isinstance(error, InvalidRecord):
                    count(serving.running, "rejected_writes")
                response = problem(error)
            except ClientDisconnect:
                raise
            except Exception:
                count(serving.running, "failed_requests")
                raise
            if time.monotonic() - begun > SLOW_S:
                count(serving.running, "slow_requests")
            response.headers[RELEASE_HEADER] = serving.app.release
            return response

        run.__doc__, run.__name__ = endpoint.__doc__, endpoint.__name__
        return run

    return wrap


async def _serve(request: Request, principal: Principal, *, writes: bool) -> Served:
    """The release that is active for the caller or, of reads, the one that they ask for by its digest.

    Raises ``NotFound``, ``Invalid``, ``Unavailable`` and ``Corrupt``.
    """
    found = services(request)
    name, tenant_id = request.path_params["app"], principal.tenant_id
    environment = chosen(request, "environment", "production", "sandbox") or "production"
    partition = found.partition_of(tenant_id)
    preview = request.query_params.get("release")
    if preview is not None and writes:
        raise Invalid(
            "A preview can only be looked at.",
            errors=[{"pointer": "?release", "rule": "read_only", "detail": "nothing is written by a preview"}],
        )
    if not writes:
        await fresh(request, tenant_id, partition, "records")
    async with found.reads.tenant(tenant_id, partition) as tx:
        pointer = await records.pointer(tx, name, environment)
        if pointer is None:
            raise no_app(name)
        known = preview in (None, pointer.stable, pointer.candidate)
        if preview is not None and not known and not await records.ran(tx, name, environment, preview):
            raise NoSuchRelease(release=preview[:64])
    digest = preview or pointer.release_for(tenant_id, principal.caller.id)
    app = found.releases.ready(digest)
    if app is None:
        app = await to_thread.run_sync(found.releases.app, digest)
    return Served(principal, partition, name, environment, app)


async def paying_account(request: Request, tenant_id: UUID) -> str | None:
    """The account that pays where the caller names none; None is only believed when all that was written is retold.

    Raises ``NotYetProjected``.
    """
    found, partition = services(request), services(request).partition_of(tenant_id)
    for _ in range(2):
        async with found.reads.tenant(tenant_id, partition) as tx:
            account_id = await balances.paying_account(tx)
            if account_id is not None:
                return account_id
            last = await last_position(tx)
        await wait_until(found.reads, "balances", partition, last, found.read_timeout_s)
    return None


def no_view(name: str) -> NotFound:
    """The same answer whether there is no such view or its entity is hidden."""
    return NotFound(f"There is no view {name}.", id=name)
