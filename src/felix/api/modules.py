"""Modules over HTTP: what apps can begin with or have installed, and what each of them says of itself."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import allowed, answer, services
from felix.api.ledger import reads
from felix.domain.changes.modules import described, overview

router = APIRouter(tags=["modules"])
_VERSION = documents.query("version", "Which version; default: the newest.", type="string", pattern="^[0-9.]{5,20}$")


@reads("/v1/modules", examples.MODULES, action="modules.read", router=router)
async def list_modules(request: Request) -> Response:
    """Every module that can be installed, by name, in its newest version: what it is, what it needs and may do."""
    await allowed(request, "modules.read")
    library = await to_thread.run_sync(services(request).library)
    return answer({"data": overview(library), "next": None})


@reads("/v1/modules/{module}", examples.MODULE, _VERSION, action="modules.read", router=router)
async def show_module(request: Request) -> Response:
    """A module's manifest: what it brings, what it may do, how it is set, and what it costs."""
    await allowed(request, "modules.read")
    library = await to_thread.run_sync(services(request).library)
    return answer(described(library, request.path_params["module"], request.query_params.get("version")))
