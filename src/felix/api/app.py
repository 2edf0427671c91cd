"""The FastAPI application: the routers, the headers every answer carries, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from felix import __version__
from felix.api import (
    access_log,
    api_keys,
    app_runs,
    app_views,
    apps,
    audit,
    changes,
    context,
    documents,
    jobs,
    ledger,
    log,
    members,
    metering,
    modules,
    oidc,
    operations,
    own_credentials,
    privacy,
    projections,
    secrets,
    sessions,
    sign_in,
    tenancy,
)
from felix.api.auth import SESSION_COOKIE
from felix.api.documents import PROBLEM_SCHEMA
from felix.api.http import Endpoint, Services
from felix.api.live import endpoint as live
from felix.api.problems import MethodNotAllowed, problem
from felix.api.watch import Watch
from felix.domain.errors import FelixError, NotFound

ROOMS = (
    ledger,
    metering,
    log,
    live,
    audit,
    access_log,
    jobs,
    projections,
    api_keys,
    secrets,
    context,
    apps,
    app_views,
    app_runs,
    changes,
    modules,
    privacy,
    tenancy,
    members,
    operations,
    sign_in,
    oidc,
    sessions,
    own_credentials,
)
DESCRIPTION = (
    "Token accounts, metering and the event log of Felix. Amounts are integers in millitokens (`_mtok`). Every write"
    " needs an `Idempotency-Key`; its answer is remembered for ever. Errors are RFC 9457 problems with a stable"
    " `code`. `Felix-Position` of a write, sent back as `Felix-Min-Position`, reads your own writes."
)


class Door:
    """Adds the headers that every answer carries, and takes requests to their endpoints. Pure ASGI.

    Felix's endpoints read the raw request and answer with a response: FastAPI's way to them (middleware, a regular
    expression a route, an exit stack, dependencies) costs a debit more than the rest of its work and does nothing for
    them. So the door stands in front and looks the path up by its parts; what it does not know goes FastAPI's way:
    paths with a convertor, the document, 404 and 405.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self._endpoints: dict[tuple[str, int, str], list[tuple[list[str], str, Endpoint]]] = {}
        for route in routes:
            # A parameter that may hold slashes can't be told by parts.
            if isinstance(route, APIRoute) and ":path}" not in route.path:
                parts = route.path.split("/")
                for method in route.methods or ():
                    drawer = self._endpoints.setdefault((method, len(parts), _noun(parts)), [])
                    drawer.append((parts, route.path, route.endpoint))

    def find(self, method: str, path: str) -> tuple[str, Endpoint, dict[str, str]] | None:
        """The route of a path, its endpoint and the values of its parameters."""
        given = path.split("/")
        for parts, route, endpoint in self._endpoints.get((method, len(given), _noun(given)), ()):
            values = {}
            for part, value in zip(parts, given, strict=True):
                if part == value:
                    continue
                if not part.startswith("{") or not value:
                    break
                values[part[1:-1]] = value
            else:
                return route, endpoint, values
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on, and sign the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid4()
        scope["felix.request_id"] = request_id
        signature = str(request_id).encode()
        found = self.find(scope["method"], scope["path"])
        watch = Watch(scope, request_id, None if found is None else found[0])

        async def send_signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                watch.answered(message["status"])
                message["headers"].extend(scope.get("felix.rate_limit", ()))
                message["headers"].extend(
                    (
                        (b"felix-request-id", signature),
                        (b"cache-control", b"no-store"),
                        (b"x-content-type-options", b"nosniff"),
                    )
                )
            await send(message)

        if found is None:
            await self.app(scope, receive, send_signed)
            return
        _, endpoint, scope["path_params"] = found
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send_signed)


def _noun(parts: list[str]) -> str:
    """What a path is about, behind its version: never a parameter, so the routes of one noun are all that can match."""
    return parts[2] if len(parts) > 2 else ""


class Application(FastAPI):
    """FastAPI behind the :class:`Door`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for room in ROOMS:
            self.include_router(room.router)
        self._door = Door(super().__call__, [route for room in ROOMS for route in room.router.routes])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["app"] = self
        await self._door(scope, receive, send)


def create_app(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    """The application. ``lifespan`` puts :class:`Services` into ``app.state.services``."""
    app = Application(title="Felix", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    endpoints()  # an endpoint that names no action stops the start
    app.add_exception_handler(HTTPException, _as_problem)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


async def _as_problem(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return problem(NotFound("There is no such path."))
    if status == 405:
        routes = [route for room in ROOMS for route in room.router.routes]
        matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
        allowed = sorted({method for route in matching for method in getattr(route, "methods", None) or ()})
        return problem(MethodNotAllowed(), {"Allow": ", ".join(allowed)})
    refused = problem(FelixError(str(getattr(error, "detail", ""))))
    refused.status_code = status
    return refused


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title="Felix", version=__version__, description=DESCRIPTION, routes=app.routes, openapi_version="3.1.0"
        )
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
        components["securitySchemes"] = {
            "apiKey": {"type": "http", "scheme": "bearer", "description": "A key that begins with fx_live_."},
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": SESSION_COOKIE,
                "description": "The session of a person, as signing in gives it to a browser.",
            },
        }
        schema["security"] = [{"apiKey": []}]
        for path, operations_of_path in schema["paths"].items():
            for operation in operations_of_path.values():
                if in_path := documents.in_path(path):
                    operation["parameters"] = in_path + operation.get("parameters", [])
                operation.get("responses", {}).pop("200", None) if _undescribed(operation) else None
                _lift_definitions(operation, components["schemas"])
        app.openapi_schema = schema
    return app.openapi_schema


def endpoints() -> list[tuple[str, str, str]]:
    """Method, path and action of every endpoint. Raises KeyError where one names no action."""
    return [
        (method, route.path, (route.openapi_extra or {})["x-felix-action"])
        for room in ROOMS
        for route in room.router.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


def _undescribed(operation: dict[str, Any]) -> bool:
    """FastAPI adds an empty 200 where the endpoint documents another success."""
    answers = operation.get("responses", {})
    return "200" in answers and answers["200"].get("description") == "Successful Response"


def _lift_definitions(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schemas.update(content.get("schema", {}).pop("$defs", {}))


__all__ = ["Services", "create_app"]
