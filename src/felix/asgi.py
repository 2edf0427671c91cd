"""``felix.asgi:app``: the API as an ASGI server runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from felix import bootstrap
from felix.api.app import create_app
from felix.settings import Settings


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the services when the server starts, and close them in order when it stops."""
    async with bootstrap.open_services(Settings()) as services:
        app.state.services = services
        yield


app = create_app(lifespan)
