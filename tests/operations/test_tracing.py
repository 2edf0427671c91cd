"""With an endpoint named, a request, its command and the jobs that follow stand in one trace; without, nothing runs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import pytest
from felix_world import Caller, open_world
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from felix import trail
from felix.adapters.tracing import tracing


class Receiver:
    """A collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                for resource in sent.resource_spans:
                    for scope in resource.scope_spans:
                        receiver.spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield receiver
    receiver.close()


def attribute(span: Span, name: str) -> str:
    return next(str(each.value.string_value) for each in span.attributes if each.key == name)


def debit(caller: Caller, account: str, **headers: str) -> UUID:
    """A debit, and the correlation id that it was answered with."""
    answer = caller.post(f"/v1/token-accounts/{account}/debits", {"meter": "m", "amount_mtok": 1}, **headers)
    assert answer.status_code == 201, answer.text
    return UUID(answer.headers["felix-correlation-id"])


def test_a_request_its_command_and_a_job_stand_in_one_trace(database: str, receiver: Receiver) -> None:
    with open_world(database) as world:
        account = world.bakery.open_account(world.founder, 1_000)
        correlation_id = debit(world.bakery, account)
        chosen, theirs = uuid4(), uuid4()
        assert debit(world.bakery, account, Felix_Correlation_Id=str(chosen)) == chosen
        assert debit(world.bakery, account, traceparent=f"00-{theirs.hex}-00f067aa0ba902b7-01") == theirs
        with trail.work("job ledger.book_expiries", chosen, {"job_id": "j"}):
            pass
        with pytest.raises(RuntimeError), trail.work("job that fails", None, {}):
            raise RuntimeError("a secret")
    # The end of the world has flushed.
    requests = receiver.named("POST /v1/token-accounts/{account_id}/debits")
    commands = receiver.named("ledger.debit_tokens")
    assert [UUID(bytes=span.trace_id) for span in requests] == [correlation_id, chosen, theirs]
    assert [UUID(bytes=span.trace_id) for span in commands] == [correlation_id, chosen, theirs]
    assert [span.parent_span_id for span in commands] == [span.span_id for span in requests]
    assert requests[2].parent_span_id.hex() == "00f067aa0ba902b7" and not requests[0].parent_span_id
    for command, request in zip(commands, requests, strict=True):
        parts = [span for span in receiver.spans if span.parent_span_id == command.span_id]
        assert [part.name for part in parts] == ["lane wait", "decide", "commit"]
        assert request.start_time_unix_nano <= command.start_time_unix_nano == parts[0].start_time_unix_nano
        assert parts[2].end_time_unix_nano == command.end_time_unix_nano
        assert all(part.start_time_unix_nano <= part.end_time_unix_nano for part in parts)
        assert attribute(command, "felix.outcome") == "accepted"
        assert attribute(command, "felix.correlation_id") == str(UUID(bytes=command.trace_id))
    (job,) = receiver.named("job ledger.book_expiries")
    assert UUID(bytes=job.trace_id) == chosen and not job.parent_span_id
    (failed,) = receiver.named("job that fails")
    assert failed.status.code == 2 and "a secret" not in str(failed)


def test_without_an_endpoint_nothing_is_traced_or_imported(database: str) -> None:
    with open_world(database) as world:
        account = world.bakery.open_account(world.founder, 1_000)
        theirs = uuid4()
        assert trail.tracer is None
        # What a caller's trace is called is kept all the same, as the correlation id.
        assert debit(world.bakery, account, traceparent=f"00-{theirs.hex}-00f067aa0ba902b7-01") == theirs
    script = "import sys, felix.bootstrap, felix.adapters.tracing as t\nwith t.tracing('api'): pass\n"
    script += "print(any(name.startswith('opentelemetry') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


def test_a_collector_that_is_away_delays_nobody(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with open_world(database) as world:
        account = world.bakery.open_account(world.founder, 1_000)
        debit(world.bakery, account)
    assert trail.tracer is None


def test_where_the_extra_is_missing_it_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("felix.adapters.tracing.find_spec", lambda name: None)
    with tracing("api"):
        assert trail.tracer is None
    assert "felix[otel]" in caplog.text
