"""Whether Felix is alive, whether it is ready, and what it counts."""

from __future__ import annotations

from hmac import compare_digest

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents
from felix.api.http import allowed, answer, guarded, services
from felix.api.readiness import answer_of

router = APIRouter(tags=["operations"])

METRICS = "text/plain; version=0.0.4; charset=utf-8"


async def healthz(request: Request) -> Response:
    """Alive: the process answers. Says nothing about the database."""
    return answer({"status": "alive"})


async def readyz(request: Request) -> Response:
    """Ready, and why: 503 when a check that is needed fails. The others tell what to do and leave Felix in service."""
    said = answer_of(await services(request).ready())
    return answer(said, 200 if said["status"] == "ready" else 503)


async def metrics(request: Request) -> Response:
    """What all processes count, in Prometheus' text format. With the token of the metrics or a founder's key.

    Never by the caller's address: behind a proxy on the same machine everybody has that of this machine.
    """
    found = services(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    wanted = found.metrics_token
    given = token.strip().encode("latin-1")
    if wanted is None or scheme.lower() != "bearer" or not compare_digest(given, wanted.encode()):
        await allowed(request, "operations.read")
    return Response(await found.scrape(), headers={"content-type": METRICS})


_CHECKS = {
    "status": "ready",
    "checks": [
        {"name": "database", "ok": True, "needed": True, "detail": "answers"},
        {"name": "projections", "ok": True, "needed": False, "detail": "none is far behind"},
    ],
}
for _path, _endpoint, _example in (("/healthz", healthz, {"status": "alive"}), ("/readyz", readyz, _CHECKS)):
    router.add_api_route(
        _path,
        guarded(_endpoint),
        methods=["GET"],
        operation_id=_endpoint.__name__,
        summary=str(_endpoint.__doc__),
        response_class=Response,
        openapi_extra=documents.does("health.read")
        | {
            "security": [],
            "responses": {
                status: {"description": text, "content": {"application/json": {"example": _example}}}
                for status, text in (("200", "Yes."), ("503", "No, and why."))
                if status == "200" or _path == "/readyz"
            },
        },
    )
# For Prometheus, not for programs: docs/metrics.md tells what is in it.
router.add_api_route(
    "/metrics",
    guarded(metrics),
    methods=["GET"],
    operation_id="metrics",
    response_class=Response,
    include_in_schema=False,
    openapi_extra=documents.does("operations.read"),
)
