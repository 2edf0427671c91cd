"""Watches one request from outside: how long it took, what became of it, and whether that is worth a line."""

from __future__ import annotations

import logging
from time import perf_counter
from uuid import UUID

from starlette.types import Scope

from felix import trail
from felix.measures import REQUESTS

log = logging.getLogger("felix.api")

#: A request that takes longer gets a line; one that takes longer than the second is a warning.
_line_after_s = _slow_after_s = 1.0
#: What is not in the table of routes is counted in one place: its paths and methods are whatever a caller makes up.
OTHER = "other"


class Watch:
    """Made when a request arrives, told when its answer begins: what is streamed then is not waited for."""

    __slots__ = ("_began_at", "_end_span", "_route", "_scope")

    def __init__(self, scope: Scope, request_id: UUID, route: str | None) -> None:
        self._began_at = perf_counter()
        self._scope = scope
        self._route = route
        trail.begin(request_id=request_id, method=scope["method"], route=route or OTHER)
        tracer = trail.tracer
        self._end_span = None if tracer is None else tracer.request(scope["method"], request_id, scope["headers"])

    def answered(self, status: int) -> None:
        """Count, end the span, and log what was slow, or everything where that is asked for."""
        took_s = perf_counter() - self._began_at
        route, method = self._route or OTHER, self._scope["method"] if self._route else OTHER
        if self._route is None and (found := self._scope.get("route")) is not None:
            # FastAPI found what the door can't tell by parts.
            route, method = found.path, self._scope["method"]
        REQUESTS.observe(took_s, route, method, str(status))
        if self._end_span is not None:
            self._end_span(route, status)
        if took_s > _line_after_s:
            told = {"route": route, "status": status, "duration_ms": round(1000 * took_s, 1)}
            if took_s > _slow_after_s:
                log.warning("a request was slow", extra=told)
            else:
                log.info("a request was answered", extra=told)


def log_requests(*, slow_after_s: float, everything: bool) -> None:
    """From now on requests of this process that were slow get a line, or all of them."""
    global _line_after_s, _slow_after_s
    _line_after_s, _slow_after_s = 0.0 if everything else slow_after_s, slow_after_s
