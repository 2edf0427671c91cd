"""A commit whose answer is lost is settled by asking the log for the event ids, never by guessing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eventsourcing.persistence import IntegrityError, OperationalError, Tracking
from lamps import ACME, stored, stream
from severing_proxy import SeveringProxy, severing_proxy

from felix.domain.errors import Unavailable, VersionConflict
from felix.eventstore import appender, postgres
from felix.eventstore.connections import connect, writer_url
from felix.eventstore.partition_log import PartitionLog
from felix.eventstore.postgres import FelixApplicationRecorder, FelixDatastore, FelixProcessRecorder


@pytest.fixture
def proxy(database: str) -> Iterator[SeveringProxy]:
    with severing_proxy(database) as proxy:
        yield proxy


@pytest.fixture
def far(proxy: SeveringProxy) -> Iterator[FelixDatastore]:
    """The database as seen through the proxy."""
    store = FelixDatastore(proxy.url)
    yield store
    store.close()


@pytest.mark.parametrize("events", [1, 40], ids=["array insert", "copy"])
@pytest.mark.parametrize("fate", ["after", "during"])
def test_an_append_whose_acknowledgement_was_lost_has_succeeded_once(
    fate: str, events: int, proxy: SeveringProxy, far: FelixDatastore, datastore: FelixDatastore
) -> None:
    recorder = FelixProcessRecorder(far, tracker="dunning")
    name = stream()
    assert recorder.insert_events([stored(stream())]) == [1]
    proxy.sever(fate)
    new = [stored(name, version) for version in range(1, events + 1)]
    assert recorder.insert_events(new, tracking=Tracking("ledger", 5)) == list(range(2, events + 2))
    assert proxy.severed == 1
    near = FelixProcessRecorder(datastore, tracker="dunning")
    assert near.select_events(name) == new
    assert near.max_tracking_id("ledger") == 5
    assert recorder.insert_events([stored(stream())]) == [events + 2], "and the recorder goes on"


@pytest.mark.parametrize("fate", ["after", "during"])
def test_without_asking_a_lost_acknowledgement_looks_like_a_conflict(fate: str, proxy: SeveringProxy) -> None:
    """The positive control: the proxy does lose the answer, and trying again blindly gives a false conflict."""
    log = PartitionLog(lambda: connect(writer_url(proxy.url)), 0)
    events = postgres.FelixAggregateRecorder(FelixDatastore(proxy.url))._new_events([stored(stream())], "library", "")
    log.open_batch([])
    proxy.sever(fate)
    with pytest.raises(Unavailable):
        log.commit(events, {ACME: 0}, [])
    log.open_batch([])
    with pytest.raises(VersionConflict):
        log.commit(events, {ACME: 0}, [])
    log.close()


def test_an_append_that_never_arrived_is_not_claimed_and_may_be_tried_again(
    proxy: SeveringProxy, far: FelixDatastore, datastore: FelixDatastore
) -> None:
    recorder = FelixApplicationRecorder(far)
    event = stored(stream())
    proxy.sever("before")
    with pytest.raises(OperationalError):
        recorder.insert_events([event])
    assert proxy.severed == 1
    assert FelixApplicationRecorder(datastore).max_notification_id() is None
    assert recorder.insert_events([event]) == [1]


def test_the_same_words_of_another_writer_are_not_taken_for_ones_own(
    proxy: SeveringProxy, far: FelixDatastore, datastore: FelixDatastore
) -> None:
    mine, theirs = FelixApplicationRecorder(far), FelixApplicationRecorder(datastore)
    event = stored(stream())
    proxy.sever("before", meanwhile=lambda: theirs.insert_events([event]))
    with pytest.raises(OperationalError):
        mine.insert_events([event])
    with pytest.raises(IntegrityError):
        mine.insert_events([event])
    assert theirs.max_notification_id() == 1


def test_while_the_database_stays_away_the_outcome_is_called_unknown(
    proxy: SeveringProxy, far: FelixDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appender, "SETTLE_TIMEOUT_S", 0.3)
    recorder = FelixApplicationRecorder(far)
    recorder.insert_events([stored(stream())])
    proxy.sever("before", meanwhile=proxy.close)
    with pytest.raises(OperationalError, match="not known"):
        recorder.insert_events([stored(stream())])
