"""Sends spans to an OpenTelemetry collector, if the extra ``felix[otel]`` is installed and an endpoint is named.

Where it goes, and how much of it, is said in OpenTelemetry's own variables: ``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_TRACES_SAMPLER``. Without the first nothing of it is imported. Spans carry ids
and outcomes; no bodies, no amounts, no texts of errors.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from uuid import UUID

from felix import __version__, trail
from felix.trail import BatchTimes, TracedCommand

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

log = logging.getLogger("felix.tracing")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
#: How long the end of a process waits for the collector.
FLUSH_TIMEOUT_MS = 2_000

_wanted_trace: ContextVar[UUID | None] = ContextVar("felix_wanted_trace", default=None)


@contextmanager
def tracing(kind: str) -> Iterator[None]:
    """Trace this process for as long as it works, if that is asked for."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        yield
        return
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        log.warning("an OpenTelemetry endpoint is set, and the extra felix[otel] is not installed: nothing is traced")
        yield
        return
    provider = _provider(kind)
    trail.trace_with(OpenTelemetryTracer(provider))
    try:
        yield
    finally:
        trail.trace_with(None)
        provider.force_flush(FLUSH_TIMEOUT_MS)
        provider.shutdown()


def _provider(kind: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """A trace that begins here has the id of the work that it is about."""

        def generate_trace_id(self) -> int:
            wanted = _wanted_trace.get()
            return super().generate_trace_id() if wanted is None else wanted.int

    resource = Resource.create({"service.name": f"felix-{kind}", "service.version": __version__})
    provider = TracerProvider(resource=resource, id_generator=Ids())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=FLUSH_TIMEOUT_MS / 1000)))
    return provider


class OpenTelemetryTracer:
    """The :class:`~felix.trail.Tracer` that speaks OpenTelemetry."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import context, propagate, trace

        self._tracer = provider.get_tracer("felix", __version__)
        self._context, self._propagate, self._trace = context, propagate, trace

    def request(
        self, method: str, request_id: UUID, headers: Sequence[tuple[bytes, bytes]]
    ) -> Callable[[str, int], None]:
        """Begin the span of a request: under the caller's, where there is one, else the trace is its correlation id."""
        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        parent = self._propagate.extract(sent)
        with _wanting(_correlation(sent.get("felix-correlation-id")) or request_id):
            span = self._tracer.start_span(
                method,
                context=parent,
                kind=self._trace.SpanKind.SERVER,
                attributes={"http.request.method": method, "felix.request_id": str(request_id)},
            )
        self._context.attach(self._trace.set_span_in_context(span))

        def answered(route: str, status: int) -> None:
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                self._fail(span)
            span.end()

        return answered

    def here(self) -> Any:
        """The span at hand, if it is recorded."""
        span = self._trace.get_current_span()
        return self._trace.set_span_in_context(span) if span.is_recording() else None

    def batch(self, partition: int, times: BatchTimes, commands: Sequence[TracedCommand]) -> None:
        """A span for each command, with its wait in the lane, and the deciding and committing it shared."""
        for command in commands:
            span = self._tracer.start_span(
                command.name,
                context=command.parent,
                start_time=command.submitted_ns,
                attributes={**command.attributes, "felix.partition": partition},
            )
            within = self._trace.set_span_in_context(span)
            for name, began_ns, ended_ns in (
                ("lane wait", command.submitted_ns, times.begun_ns),
                ("decide", times.begun_ns, times.decided_ns),
                ("commit", times.decided_ns, times.ended_ns),
            ):
                self._tracer.start_span(name, context=within, start_time=began_ns).end(ended_ns)
            if command.failed:
                self._fail(span)
            span.end(times.ended_ns)

    @contextmanager
    def work(self, name: str, correlation_id: UUID | None, about: Mapping[str, Any]) -> Iterator[None]:
        """A span in the trace of what caused the work."""
        attributes = {f"felix.{key}": str(value) for key, value in about.items() if value is not None}
        with _wanting(correlation_id):
            # In a context of its own: a span that happens to be at hand must not be its parent.
            span = self._tracer.start_span(name, context=self._context.Context(), attributes=attributes)
        token = self._context.attach(self._trace.set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            self._fail(span)
            raise
        finally:
            self._context.detach(token)
            span.end()

    def _fail(self, span: Span) -> None:
        span.set_status(self._trace.StatusCode.ERROR)


@contextmanager
def _wanting(trace_id: UUID | None) -> Iterator[None]:
    token = _wanted_trace.set(trace_id)
    try:
        yield
    finally:
        _wanted_trace.reset(token)


def _correlation(given: str | None) -> UUID | None:
    try:
        return UUID(given) if given else None
    except ValueError:
        return None
