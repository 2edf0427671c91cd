"""Whether Felix is alive, and whether it is ready."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api.http import answer, guarded, services

router = APIRouter(tags=["operations"])


async def healthz(request: Request) -> Response:
    """Alive: the process answers. Says nothing about the database."""
    return answer({"status": "alive"})


async def readyz(request: Request) -> Response:
    """Ready: database, migrations and read models are as they should be; 503 with the reasons when not."""
    checks = await services(request).ready()
    ready = all(check["ok"] for check in checks)
    return answer({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)


_CHECKS = {"status": "ready", "checks": [{"name": "database", "ok": True, "detail": "answers"}]}
for _path, _endpoint, _example in (("/healthz", healthz, {"status": "alive"}), ("/readyz", readyz, _CHECKS)):
    router.add_api_route(
        _path,
        guarded(_endpoint),
        methods=["GET"],
        operation_id=_endpoint.__name__,
        summary=str(_endpoint.__doc__),
        response_class=Response,
        openapi_extra={
            "security": [],
            "responses": {
                status: {"description": text, "content": {"application/json": {"example": _example}}}
                for status, text in (("200", "Yes."), ("503", "No, and why."))
                if status == "200" or _path == "/readyz"
            },
        },
    )
