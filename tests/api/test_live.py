"""Live streams: every event once and in order, whatever is restarted; the newest state; and nobody else's."""

from __future__ import annotations

import json
import re
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from felix_world import PARTITIONS, Caller, World, new_key
from live_streams import Listening, Served, eventually, freeze, listen, serve, serve_app

from felix import bootstrap
from felix.adapters.doorbell import Doorbell
from felix.api.live import hub, sources, stream
from felix.api.live.hub import Limits
from felix.application.api_keys import make_key
from felix.cli import one_write
from felix.domain.identity.roles import PLATFORM
from felix.embedded import EmbeddedValkey, ValkeySettings
from felix.projections import tail
from felix.settings import Settings


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Served]:
    """An API behind a socket. What `world` writes is another process's to it: no signal, and no Valkey."""
    with serve(settings_of(world)) as opened:
        yield opened


@pytest.fixture
def frozen() -> Iterator[list[socket.socket]]:
    """Where a test keeps the connections that it does not read."""
    kept: list[socket.socket] = []
    yield kept
    for each in kept:
        each.close()


@pytest.fixture(autouse=True)
def let_go(request: pytest.FixtureRequest) -> Iterator[None]:
    """No stream of a test is open in the next one."""
    yield
    if "served" in request.fixturenames:
        live = request.getfixturevalue("served").live
        for reader in list(live._readers):
            live._loop.call_soon_threadsafe(reader.end, "the test is over")
        eventually(lambda: live.streams == 0)


@pytest.fixture
def writing(world: World) -> Iterator[None]:
    """The bakery opens one account after the other, while the test looks on."""
    stopping = threading.Event()

    def write() -> None:
        while not stopping.wait(0.002):
            world.bakery.open_account()

    thread = threading.Thread(target=write)
    thread.start()
    yield
    stopping.set()
    thread.join()


def settings_of(world: World, **others: Any) -> Settings:
    return Settings(_env_file=None, database_url=world.endpoints.database_url, partitions=PARTITIONS, **others)


def ready(listening: Listening) -> Listening:
    listening.wait_for(lambda it: bool(it.told("ready")))
    return listening


def all_told(served: Served, caller: Caller, last_event_id: str = "0", **query: str) -> Listening:
    """What is told up to now."""
    listening = listen(served.url, caller.headers, last_event_id, **{"follow": "false"} | query)
    eventually(lambda: listening.ended)
    return listening


def log_of(caller: Caller) -> list[dict[str, Any]]:
    """The tenant's events as the log has them."""
    found, cursor = [], 0
    while page := caller.seen(f"/v1/events?limit=1000&cursor={cursor}")["data"]:
        found += page
        cursor = page[-1]["tenant_sequence"]
    return found


def wrong(sequences: list[int], first: int, last: int) -> list[str]:
    """What a reader has missed, or was told twice or in the wrong order, from ``first`` to ``last``."""
    told = [f"{a} then {b}" for a, b in pairwise([first - 1, *sequences]) if b != a + 1]
    return told + ([] if sequences and sequences[-1] == last else [f"ends before {last}"])


def many_events(caller: Caller, account: str, count: int) -> None:
    for _ in range(count // 1000):
        events = [
            {
                "specversion": "1.0", "type": "felix.usage", "source": "/apps/assistant", "id": new_key(),
                "subject": account, "data": {"meter": "free", "quantity": 1},
            }
            for _ in range(1000)
        ]  # fmt: skip
        assert caller.done("/v1/usage/batch", {"events": events})["accepted"] == 1000


def test_events_are_told_as_they_are_committed_and_as_the_log_shows_them(world: World, served: Served) -> None:
    listening = ready(listen(served.url, world.bakery.headers))
    began_at = listening.last_event_id
    world.bakery.open_account(world.founder, 1000)
    listening.wait_for(lambda it: len(it.told()) == 2)
    assert listening.told("ready") == [{"position": began_at, "topics": ["events"]}]
    assert listening.told() == world.bakery.seen(f"/v1/events?cursor={began_at}")["data"]
    assert [message.id for message in listening.messages[1:]] == [str(n) for n in listening.sequences()]
    assert listening.lines[0].startswith("retry: ")
    sent = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store", "x-accel-buffering": "no"}
    assert listening.headers.items() >= (sent | {"x-content-type-options": "nosniff"}).items()


def test_a_stream_goes_on_exactly_after_its_id(world: World, served: Served) -> None:
    world.garage.open_account(world.founder, 1000)
    log = log_of(world.garage)
    for seen in range(len(log) + 1):
        assert all_told(served, world.garage, str(seen)).told() == log[seen:]
    everything = listen(served.url, world.garage.headers, follow="false", **{"from": "beginning"})
    eventually(lambda: everything.ended)
    assert everything.told() == log
    # A browser that comes back asks at the address it began with, and says in the header how far it is.
    again = all_told(served, world.garage, "2", **{"from": "beginning", "follow": "false"})
    assert again.told() == log[2:]
    answered = world.garage.get("/v1/live?last_event_id=1&follow=false")
    assert list(map(json.loads, re.findall("event: events\ndata: (.*)", answered.text))) == log[1:]


@pytest.mark.parametrize("last_event_id", ["x", "-1", "1.5", "9" * 19, "٣", "1:2", "0:1,1:1", "1/", "/1", "1/2/3"])
def test_an_id_that_was_never_told_is_refused(last_event_id: str, world: World, served: Served) -> None:
    asked = {"last_event_id": last_event_id}
    refused = world.client.get("/v1/live", params=asked, headers=world.bakery.headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert refused.json()["errors"][0]["pointer"] == "Last-Event-ID"


def test_an_id_of_the_future_is_refused(world: World, served: Served) -> None:
    end = len(log_of(world.bakery))
    for future in (f"{end + 1}", f"{end + 1}/1", f"1/{end + 1}"):
        refused = world.client.get("/v1/live", params={"last_event_id": future}, headers=world.bakery.headers)
        assert refused.status_code == 422, future
    for future in ("0:9999999", "7:1", "0:1,0:1", str(end)):
        everybody = {"Authorization": world.founder.headers["Authorization"]}
        refused = world.client.get("/v1/live", params={"last_event_id": future}, headers=everybody)
        assert refused.status_code == 422, future


def test_an_id_that_another_process_told_just_now_is_known(world: World, served: Served) -> None:
    """This one looks at the log once an hour: it has not read yet what the reader has already been told."""
    served.live.poll_s = 3600
    try:
        here = ready(listen(served.url, world.bakery.headers))
        world.bakery.open_account()
        told_elsewhere = str(len(log_of(world.bakery)))
        assert int(told_elsewhere) > int(here.last_event_id)
        resumed = listen(served.url, world.bakery.headers, told_elsewhere)
        assert resumed.status == 200
        world.bakery.open_account()
        served.live.wake(log_of(world.bakery)[0]["partition"], 0)
        resumed.wait_for(lambda it: it.sequences() == [int(told_elsewhere) + 1])
    finally:
        served.live.poll_s = hub.POLL_S


def test_topics_that_do_not_exist_are_named(world: World) -> None:
    asked = {"topics": "events,ledger.tokens_lost,balances,nothing.*"}
    refused = world.client.get("/v1/live", params=asked, headers=world.bakery.headers)
    assert refused.status_code == 422
    assert refused.json()["topics"] == ["ledger.tokens_lost", "nothing.*"]
    assert "ledger.tokens_lost" in refused.json()["detail"]


@pytest.mark.parametrize("query", ["follow=maybe", "from=yesterday", "topics=os:system", "topics=*", "topics=events."])
def test_what_is_not_understood_is_refused(query: str, world: World) -> None:
    assert world.client.get(f"/v1/live?{query}", headers=world.bakery.headers).status_code == 422


def test_a_stream_tells_the_types_that_it_was_asked_for(world: World, served: Served) -> None:
    world.bakery.open_account(world.founder, 1000)
    log = log_of(world.bakery)
    for topics, kept in {
        "ledger.tokens_granted": ["ledger.tokens_granted"],
        "metering.*,tenancy.*": [type_ for type_ in {event["type"] for event in log} if type_[:3] in ("met", "ten")],
    }.items():
        told = all_told(served, world.bakery, topics=topics)
        assert told.told() == [event for event in log if event["type"] in kept]
        assert told.told()


def test_what_is_not_told_is_passed_all_the_same(world: World, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of rare events comes back near the end of the log, not at the last event that it was told."""
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    listening = ready(listen(served.url, world.bakery.headers, topics="metering.*"))
    world.bakery.open_account()
    end = str(len(log_of(world.bakery)))
    listening.wait_for(lambda it: it.last_event_id == end)
    assert ": beat" in listening.lines
    assert listening.told() == []


def test_tenants_are_told_their_own_events_only_whatever_id_they_send(world: World, served: Served) -> None:
    listening = [ready(listen(served.url, caller.headers)) for caller in (world.bakery, world.garage)]
    for _ in range(5):
        world.bakery.open_account(), world.garage.open_account()
    for one, caller in zip(listening, (world.bakery, world.garage), strict=True):
        one.wait_for(lambda it: len(it.told()) == 5)
        assert {event["tenant_id"] for event in one.told()} == {caller.tenant_id}
    few = min(len(log_of(world.bakery)), len(log_of(world.garage)))
    for seen in (0, few - 1, few):
        assert all_told(served, world.garage, str(seen)).told() == log_of(world.garage)[seen:]
    for named in ({"Felix-Tenant": world.bakery.tenant_id}, {}):
        query = "" if named else f"?tenant={world.bakery.tenant_id}"
        assert world.client.get(f"/v1/live{query}", headers=world.garage.headers | named).status_code == 404


def test_the_founder_is_told_everything_and_goes_on_in_every_partition(world: World, served: Served) -> None:
    everybody = Caller(world.client, {"Authorization": world.founder.headers["Authorization"]})
    first = ready(listen(served.url, everybody.headers))
    tenants = [world.bakery, world.garage, *(world.new_tenant() for _ in range(3))]
    for caller in tenants:
        caller.open_account()
    ids = {each.tenant_id for each in tenants}
    first.wait_for(lambda it: ids <= {event["tenant_id"] for event in it.told()})
    first.hang_up()
    for caller in tenants:
        caller.open_account()
    second = all_told(served, everybody, first.last_event_id)
    told = [(event["partition"], event["position"]) for event in first.told() + second.told()]
    begun = dict(part.split(":") for part in first.messages[0].id.split(","))
    for partition in range(PARTITIONS):
        positions = [position for at, position in told if at == partition]
        began_at = int(begun.get(str(partition), 0))
        assert positions == list(range(began_at + 1, began_at + 1 + len(positions)))
    # What founders do themselves is in the platform's log.
    assert {event["tenant_id"] for event in second.told()} - {str(PLATFORM)} == ids
    whole = all_told(served, everybody)
    assert {event["event_id"] for event in log_of(world.garage)} <= {event["event_id"] for event in whole.told()}
    named = listen(served.url, everybody.headers, "0", follow="false", tenant=world.garage.tenant_id)
    eventually(lambda: named.ended)
    assert named.told() == log_of(world.garage)
    refused = world.client.get("/v1/live?topics=balances", headers=everybody.headers)
    assert refused.status_code == 422 and "tenant" in refused.json()["detail"]


def balances_told(listening: Listening, account: str) -> list[int]:
    told = listening.told("balances")
    return [each["balance"]["available_mtok"] for each in told if each["account_id"] == account]


def test_balances_are_told_until_the_newest(world: World, served: Served) -> None:
    account = world.bakery.open_account(world.founder, 1_000)
    listening = ready(listen(served.url, world.bakery.headers, topics="balances,events"))
    debits = [{"meter": "free", "amount_mtok": 1}] * 20
    for debit in debits:
        after = world.bakery.post(f"/v1/token-accounts/{account}/debits", debit)
    listening.wait_for(lambda it: balances_told(it, account)[-1:] == [980])
    listening.wait_for(lambda it: len(it.told()) == 20)
    told = balances_told(listening, account)
    assert told == sorted(told, reverse=True)
    shown = world.bakery.seen(f"/v1/token-accounts/{account}", after)
    newest = listening.told("balances")[-1]
    assert newest.keys() == shown.keys() and newest["balance"] == shown["balance"]
    listening.wait_for(lambda it: "/" not in it.last_event_id)


def test_balances_that_changed_meanwhile_are_told_and_others_are_not(world: World, served: Served) -> None:
    changed, other = (world.bakery.open_account(world.founder, 1_000) for _ in range(2))
    listening = ready(listen(served.url, world.bakery.headers, topics="balances"))
    listening.hang_up()
    world.bakery.done(f"/v1/token-accounts/{changed}/debits", {"meter": "free", "amount_mtok": 1})
    resumed = all_told(served, world.bakery, listening.last_event_id, topics="balances")
    assert balances_told(resumed, changed) == [999] and balances_told(resumed, other) == []
    nothing = all_told(served, world.bakery, resumed.last_event_id, topics="balances")
    assert nothing.told("balances") == []
    everything = all_told(served, world.bakery, topics="balances")
    assert balances_told(everything, other) == [1_000]


def test_events_do_not_wait_for_a_read_model_and_the_id_says_how_far_that_is(world: World, served: Served) -> None:
    account = world.bakery.open_account(world.founder, 1_000)
    log_of(world.bakery)
    listening = ready(listen(served.url, world.bakery.headers, topics="balances,events"))
    began_at = len(log_of(world.bakery))
    with bootstrap.connect_owner(world.endpoints) as owner, owner.transaction():
        owner.execute("lock table read.token_accounts in exclusive mode")
        world.bakery.done(f"/v1/token-accounts/{account}/debits", {"meter": "free", "amount_mtok": 1})
        listening.wait_for(lambda it: it.sequences() == [began_at + 1])
        place = listening.last_event_id
        listening.hang_up()
    assert place == f"{began_at + 1}/{began_at}" and balances_told(listening, account) == []
    resumed = listen(served.url, world.bakery.headers, place, topics="balances,events")
    resumed.wait_for(lambda it: balances_told(it, account) == [999])
    resumed.wait_for(lambda it: it.last_event_id == str(began_at + 1))
    assert resumed.told() == [], "the event was told before"


def test_many_readers_of_a_tenant_cost_one_question_a_wake_up(
    world: World, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = [ready(listen(served.url, world.bakery.headers)) for _ in range(30)]
    asked, ask = [], tail.tenant_events

    async def count(*arguments: Any) -> Any:
        asked.append(arguments)
        return await ask(*arguments)

    monkeypatch.setattr(tail, "tenant_events", count)
    world.bakery.open_account()
    for reader in readers:
        reader.wait_for(lambda it: len(it.told()) == 1)
    assert 1 <= len(asked) <= 4


def test_an_idle_process_asks_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ask = [], tail.heads

    async def count(*arguments: Any) -> Any:
        asked.append(arguments)
        return await ask(*arguments)

    eventually(lambda: not served.live._watches and not served.live._feeds)
    monkeypatch.setattr(tail, "heads", count)
    time.sleep(3 * hub.POLL_S)
    assert asked == []


def test_without_a_signal_an_event_is_told_within_the_poll(world: World, served: Served) -> None:
    listening = ready(listen(served.url, world.bakery.headers))
    took_s = []
    for count in range(1, 8):
        world.bakery.open_account()
        began_at = time.monotonic()
        listening.wait_for(lambda it, count=count: len(it.told()) == count)
        took_s.append(time.monotonic() - began_at)
    assert statistics.median(took_s) < 5 * hub.POLL_S


def test_a_commit_of_this_process_needs_no_poll(world: World, served: Served) -> None:
    served.live.poll_s = 3600
    try:
        time.sleep(hub.POLL_S)
        listening = ready(listen(served.url, world.bakery.headers))
        headers = world.bakery.headers | {"Idempotency-Key": new_key()}
        httpx.post(f"{served.url}/v1/token-accounts", json={"name": "x"}, headers=headers, trust_env=False)
        listening.wait_for(lambda it: len(it.told()) == 1)
    finally:
        served.live.poll_s = hub.POLL_S


@pytest.mark.parametrize(
    ("limits", "status"),
    [(Limits(streams_of_a_key=2), 429), (Limits(streams_of_a_tenant=2), 429), (Limits(streams=2), 503)],
)
def test_streams_are_limited_and_a_place_is_given_back(
    limits: Limits, status: int, world: World, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.live, "limits", limits)
    first, _ = (ready(listen(served.url, world.bakery.headers)) for _ in range(2))
    refused = listen(served.url, world.bakery.headers)
    assert (refused.status, refused.headers["content-type"]) == (status, "application/problem+json")
    assert int(refused.headers["retry-after"]) > 0
    asked = world.client.get("/v1/live?follow=false", headers=world.bakery.headers)
    assert asked.status_code == 200, "another process has its own"
    if status == 429:
        ready(listen(served.url, world.garage.headers))
    first.hang_up()
    eventually(lambda: listen(served.url, world.bakery.headers).status == 200)


def test_a_refused_stream_keeps_no_place(world: World, served: Served) -> None:
    for _ in range(3):
        assert listen(served.url, world.bakery.headers, "x").status == 422
    assert served.live.streams == 0 and not served.live._watches


def test_a_revoked_key_ends_its_streams_and_no_others(world: World, served: Served) -> None:
    key, known = make_key(world.performer, UUID(world.bakery.tenant_id), "short-lived")
    doomed = [ready(listen(served.url, {"Authorization": f"Bearer {key}"})) for _ in range(2)]
    other = ready(listen(served.url, world.bakery.headers))
    world.founder.done(f"/v1/api-keys/{known['key_id']}/revoke")
    began_at = time.monotonic()
    eventually(lambda: all(each.ended for each in doomed))
    assert time.monotonic() - began_at < 2 * hub.RECHECK_S + 2
    assert any("not valid" in line for line in doomed[0].lines)
    assert not other.ended
    assert listen(served.url, {"Authorization": f"Bearer {key}"}, doomed[0].last_event_id).status == 401


def test_a_reader_that_does_not_read_is_cut_off_and_others_go_on(
    world: World, served: Served, frozen: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is far behind, so there is more to tell it than any buffer takes; that is read in pages, and not kept."""
    monkeypatch.setattr(stream, "WRITE_TIMEOUT_S", 0.5)
    big = world.new_tenant()
    world.founder.about(big).done(
        "/v1/rate-cards/default/versions", {"prices": [{"kind": "flat", "meter": "free", "price_mtok": 0}]}
    )
    account = big.open_account()
    many_events(big, account, 5_000)
    frozen += [freeze(served.url, big.headers, last_event_id="0") for _ in range(2)]
    eventually(lambda: served.live.streams == 2)
    following = ready(listen(served.url, big.headers))
    reading = listen(served.url, big.headers, "0")
    reading.wait_for(lambda it: len(it.told()) >= 5_000)
    eventually(lambda: served.live.streams == 2, patience_s=10)
    big.open_account()
    following.wait_for(lambda it: len(it.told()) == 1)
    end = int(following.last_event_id)
    reading.wait_for(lambda it: it.last_event_id == str(end))
    assert wrong(reading.sequences(), 1, end) == []
    assert all(len(source._kept) <= sources.KEPT_EVENTS for source in reading_sources(served))


def reading_sources(served: Served) -> list[sources.Source]:
    return [source for reader in served.live._readers for source in reader.sources.values()]


def test_a_lost_database_ends_no_stream_and_loses_nothing(world: World, served: Served) -> None:
    listening = ready(listen(served.url, world.bakery.headers, topics="events,balances"))
    began_at = int(listening.last_event_id.partition("/")[0])
    for _ in range(3):
        world.bakery.open_account()
        with bootstrap.connect_owner(world.endpoints) as owner:
            owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                " and pid <> pg_backend_pid() and (usename in ('felix_reader', 'felix_founder')"
                " or application_name in ('felix_reader', 'felix_founder'))"
            )
        eventually(lambda: world.bakery.get("/v1/meters").status_code == 200)
    listening.wait_for(lambda it: len(it.told()) == 3)
    assert wrong(listening.sequences(), began_at + 1, began_at + 3) == []
    assert not listening.ended


def hop(servers: list[Served], caller: Caller, hops: int, by: Any) -> tuple[list[int], int, int]:
    """Read a few events here, then go on there; what was told, and from where to where it should have been."""
    first = last_event_id = ""
    told: list[int] = []
    for number in range(hops):
        listening = ready(listen(servers[number % 2].url, caller.headers, last_event_id))
        first = first or listening.messages[0].id
        listening.wait_for(lambda it: len(it.told()) >= 3)
        listening.hang_up()
        eventually(lambda it=listening: it.ended)
        told += by(listening.sequences())
        last_event_id = listening.last_event_id if by is all_of else ""
    return told, int(first) + 1, told[-1]


def all_of(sequences: list[int]) -> list[int]:
    return sequences


def without_one(sequences: list[int]) -> list[int]:
    return [*sequences[:1], *sequences[2:]]


def test_a_reader_that_changes_processes_misses_nothing(world: World, served: Served, writing: None) -> None:
    with serve(settings_of(world)) as other:
        told, first, last = hop([served, other], world.bakery, 12, all_of)
        assert len(told) >= 36
        assert wrong(told, first, last) == []


def test_the_check_for_missing_events_finds_them(world: World, served: Served, writing: None) -> None:
    """A reader that loses one, and one that comes back without its id: it begins now, and misses what was between."""
    with serve(settings_of(world)) as other:
        told, first, last = hop([served, other], world.bakery, 3, without_one)
        assert wrong(told, first, last)
    told = []
    for _ in range(3):
        listening = ready(listen(served.url, world.bakery.headers))
        listening.wait_for(lambda it: len(it.told()) >= 3)
        listening.hang_up()
        eventually(lambda it=listening: it.ended)
        told += listening.sequences()
        world.bakery.open_account()
    assert wrong(told, told[0], told[-1])
    assert wrong([4, 5, 5], 4, 5) and wrong([4, 6, 5], 4, 5) and not wrong([4, 5], 4, 5)


def test_a_server_that_stops_ends_its_streams_at_once(world: World, frozen: list[socket.socket], writing: None) -> None:
    with serve(settings_of(world)) as stopping:
        readers = [ready(listen(stopping.url, world.bakery.headers)) for _ in range(20)]
        frozen += [freeze(stopping.url, world.bakery.headers, last_event_id="0") for _ in range(10)]
        eventually(lambda: stopping.live.streams == 30)
        began_at = time.monotonic()
    assert time.monotonic() - began_at < 4
    for reader in readers:
        eventually(lambda it=reader: it.ended)
        assert any(line.startswith(": Felix is shutting down") for line in reader.lines)
        told, first = reader.sequences(), int(reader.messages[0].id) + 1
        assert not told or wrong(told, first, int(reader.last_event_id)) == []


def test_the_doorbell_of_another_process_is_heard(world: World) -> None:
    place = Path(tempfile.mkdtemp(prefix="felix-live-", dir="/tmp"))
    place.chmod(0o755)
    valkey = EmbeddedValkey(ValkeySettings(place / "data"))
    doorbell = Doorbell(valkey.start().url)
    try:
        with serve(settings_of(world, redis_url=valkey.start().url)) as hearing:
            hearing.live.poll_s = 3600
            listening = ready(listen(hearing.url, world.bakery.headers))
            world.bakery.open_account()
            partition = log_of(world.bakery)[0]["partition"]

            def rung() -> bool:
                doorbell.ring(partition, 0)
                return len(listening.told()) == 1

            eventually(rung)
    finally:
        doorbell.close()
        valkey.stop()
        shutil.rmtree(place, ignore_errors=True)


class WithoutEnd:
    """An application that never waits for anything but its server."""

    def __init__(self) -> None:
        self.written = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while self.written < 40_000_000:
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            self.written += 100_000
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(("gathered_bytes", "holds"), [(one_write.GATHERED_BYTES, True), (10**12, False)])
def test_the_server_does_not_buffer_for_a_client_that_does_not_read(
    gathered_bytes: int, holds: bool, frozen: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gathered into one write meets the flow control, although the turn of the loop is not over.

    If it were gathered without a limit, this test would see it.
    """
    monkeypatch.setattr(one_write, "GATHERED_BYTES", gathered_bytes)
    app = WithoutEnd()
    with serve_app(app) as (url, _):
        frozen.append(freeze(url, {}, path="/"))
        before = -1
        while before != app.written or not app.written:
            before = app.written
            time.sleep(0.1)
        assert (before < 20_000_000) is holds, "the sockets of the system take some megabytes"
        frozen.pop().close()
