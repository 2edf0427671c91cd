"""Whatever arrives, the answer is never a 5xx and never takes two seconds of work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from felix_world import NOBODY, Caller, World, new_key
from httpx2 import InvalidURL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from felix.api.app import create_app

#: The world's threads roll dice while a case is drawn, which Hypothesis takes for a strategy that does.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

DEEP = os.environ.get("FELIX_TEST_PROFILE") == "deep"
#: Requests an operation and kind of data; about 25 s for all of them, or minutes when there is time.
EXAMPLES = 250 if DEEP else 6
#: Of the processor and, because other tests want it too, of the clock.
LONGEST_WORK_S, LONGEST_WAIT_S = 2.0, 15.0

schema = schemathesis.openapi.from_dict(create_app(lambda app: None).openapi())  # type: ignore[arg-type,return-value]
OPERATIONS = [result.ok() for result in schema.get_all_operations()]
quick = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not DEEP,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", autouse=True)
def real(world: World) -> dict[str, str]:
    """What paths can name that is really there; the world has begun its work before anything is timed."""
    account = world.bakery.open_account(world.founder, 10**9)
    world.founder.done("/v1/apps", {"app": "shop", "title": "Shop", "modules": ["crm"]})
    values = {"values": {"title": "Bread"}, "account_id": account}
    record = world.bakery.done("/v1/apps/shop/entities/deal/records", values)["record_id"]
    operations = [{"op": "rename_view", "view": "deals", "title": "All deals"}]
    asked = world.founder.post("/v1/changes", {"app": "shop", "operations": operations, "account_id": account})
    change = asked.json()["change_id"]
    world.founder.seen(f"/v1/changes/{change}", asked)
    names = {"app": "shop", "environment": "production", "entity": "deal", "view": "deals", "module": "crm"}
    return names | {"account_id": account, "record_id": record, "change_id": change}


@pytest.fixture(autouse=True)
def impatient(world: World) -> Iterator[None]:
    """Who asks for a position that may never come is told so soon."""
    services = world.app.state.services
    before, services.read_timeout_s = services.read_timeout_s, 0.02
    yield
    services.read_timeout_s = before


def now() -> tuple[float, float]:
    return time.process_time(), time.monotonic()


def answered_well(answered: Any, began: tuple[float, float]) -> None:
    if answered.status_code >= 500:
        assert answered.json()["code"] == "not_yet_projected", (answered.request.url, answered.text)
    assert time.process_time() - began[0] < LONGEST_WORK_S, "a hang"
    assert time.monotonic() - began[1] < LONGEST_WAIT_S, "a hang"
    if answered.status_code >= 400:
        assert answered.headers["content-type"] == "application/problem+json"
        problem = answered.json()
        assert problem["status"] == answered.status_code
        assert {"type", "title", "code", "detail"} <= problem.keys()


#: What takes no input can be asked in no wrong way.
CASES = [
    pytest.param(operation, mode, id=f"{operation.definition.raw['operationId']}-{mode.value}")
    for operation in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.definition.raw.get("parameters") or operation.body
]


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_whatever_the_schema_allows_or_forbids_is_answered(
    operation: Any, mode: GenerationMode, world: World, real: dict[str, str]
) -> None:
    # Made anew for each operation: some of them end the session that asks.
    callers = (
        world.founder,
        world.bakery,
        world.person("client_owner"),
        world.person("auditor"),
        world.person("founder", stepped_up=True),
    )

    @quick
    @given(case=operation.as_strategy(generation_mode=mode), caller=st.sampled_from(callers), is_there=st.booleans())
    def knock(case: Any, caller: Caller, is_there: bool) -> None:
        if mode is GenerationMode.POSITIVE and is_there:
            case.path_parameters = {name: real.get(name, value) for name, value in (case.path_parameters or {}).items()}
        asked = case.as_transport_kwargs(base_url="http://testserver")
        headers = {
            name: value
            for name, value in dict(asked.pop("headers")).items()
            if name.lower() not in ("authorization", "felix-tenant", "user-agent", "x-schemathesis-testcaseid")
        }
        if "Idempotency-Key" in headers and mode is GenerationMode.POSITIVE:
            headers["Idempotency-Key"] = new_key()
        if operation.definition.raw["operationId"] == "live":
            # A stream that is right has no end, unless it is asked for one.
            asked["params"] = dict(asked.get("params") or {}) | {"follow": "false"}
        asked["headers"] = {name: _bytes(value) for name, value in headers.items()} | caller.headers
        asked["content"] = asked.pop("data", None)
        asked.pop("cookies", None)
        began = now()
        with suppress(InvalidURL):  # This client sends no URL that is longer than it likes, or not printable.
            answered_well(caller.client.request(**asked), began)

    knock()


def _bytes(value: Any) -> Any:
    return value.encode("latin-1", "replace") if isinstance(value, str) else value


SAMPLE = b'{"meter":"llm.input_tokens","amount_mtok":7,"app":"crm","reference":"ticket 7"}'
BATCH = (
    b'{"events":[{"specversion":"1.0","type":"felix.usage","source":"/a","id":"1","subject":"acct_00000000000000000'
    b'000000000000000","data":{"meter":"change.plan","quantity":1}}]}'
)
PIECES = [
    b"\x00", b"\xff\xfe", b"\\u0000", b"\\ud800", b"NaN", b"-Infinity", b"1e400", b"9" * 400, b"-0", b"0.1", b"true",
    b"null", b"[" * 40, b"{" * 40, b'"', b"\\", b",", b":", b"]}", b"\xed\xa0\x80", b"\xef\xbb\xbf", b" \t\r\n",
    b'"amount_mtok":1,', b"'", b"//", b"\\u0061mount_mtok", b"18446744073709551616", b"9223372036854775808",
]  # fmt: skip


@st.composite
def mangled(draw: Callable[[Any], Any], whole: bytes) -> bytes:
    """A good body with some bytes replaced, taken out, doubled or put in."""
    body = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 12)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6), st.just(body[start:end] * 2)))
        body = body[:start] + piece + body[end:]
    return body


@settings(quick, max_examples=20_000 if DEEP else 300)
@given(body=st.one_of(mangled(SAMPLE), mangled(BATCH), st.binary(max_size=80)), batch=st.booleans())
def test_a_body_of_any_bytes_is_answered(body: bytes, batch: bool, world: World) -> None:
    path = "/v1/usage/batch" if batch else f"/v1/token-accounts/{NOBODY}/debits"
    began = now()
    answered = world.bakery.post(path, body)
    answered_well(answered, began)
    assert answered.status_code in (200, 404, 422), answered.text


header_values = st.one_of(
    st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte not in b"\r\n\x00").strip()),
    st.sampled_from([b"", b'"', b'""', b"0:0", b"0:99999999999999999999999", b"-1:5", b"9" * 300, b"\xe9", b"a\tb"]),
)


@settings(quick, max_examples=5_000 if DEEP else 100)
@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["Authorization", "Felix-Tenant", "Felix-Min-Position", "Felix-Correlation-Id", "Idempotency-Key", "Accept"]
        ),
        header_values,
        max_size=4,
    ),
    write=st.booleans(),
)
def test_headers_of_any_bytes_are_answered(headers: dict[str, bytes], write: bool, world: World) -> None:
    sent = world.founder.headers | headers
    began = now()
    if write:
        answered = world.client.post("/v1/token-accounts", json={"name": "x"}, headers=sent)
    else:
        answered = world.client.get("/v1/token-accounts?limit=1", headers=sent)
    answered_well(answered, began)


query_values = st.one_of(
    st.text(max_size=12), st.sampled_from(["", "\x00", "-1", "1e9", "9" * 30, "٣", "NaN", "%", "a,b"])
)


@settings(quick, max_examples=5_000 if DEEP else 100)
@given(
    path=st.sampled_from(
        ["/v1/events", "/v1/usage", "/v1/token-accounts", f"/v1/token-accounts/{NOBODY}", "/v1/trial-balance"]
    ),
    query=st.dictionaries(
        st.sampled_from(
            ["cursor", "limit", "type", "stream", "actor", "since", "until", "from", "to", "by", "account_id", "as_of",
             "at_position", "x"]
        ),
        query_values,
        max_size=4,
    ),
)  # fmt: skip
def test_a_query_of_any_text_is_answered(path: str, query: dict[str, str], world: World) -> None:
    began = now()
    answered_well(world.client.get(path, params=query, headers=world.bakery.headers), began)
