"""The suites that the ``eventsourcing`` library ships hold for Felix's persistence module.

The suites are imported as modules, or pytest would collect their abstract cases.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import Tracking
from eventsourcing.tests import application as application_suites
from eventsourcing.tests import persistence as suites
from eventsourcing.tests import projection as projection_suites
from eventsourcing.utils import Environment

from felix.eventstore.postgres import (
    FelixAggregateRecorder,
    FelixApplicationRecorder,
    FelixDatastore,
    FelixFactory,
    FelixProcessRecorder,
    FelixTrackingRecorder,
)

TENANT = UUID("0192f000-0000-7000-8000-000000000001")


class OnPartitionZero:
    """A datastore on a fresh database for each test."""

    datastore: FelixDatastore

    @pytest.fixture(autouse=True)
    def _fresh_database(self, database: str) -> Any:
        self.datastore = FelixDatastore(database)
        yield
        self.datastore.close()

    def new_originator_id(self) -> str:
        return f"{TENANT}:thing:{uuid4().hex}"


class TestAggregateRecorder(OnPartitionZero, suites.AggregateRecorderTestCase):
    def create_recorder(self) -> FelixAggregateRecorder:
        return FelixAggregateRecorder(self.datastore)


class TestAggregateRecorderForSnapshots(OnPartitionZero, suites.AggregateRecorderTestCase):
    def create_recorder(self) -> FelixAggregateRecorder:
        return FelixAggregateRecorder(self.datastore, purpose="snapshots")


class TestApplicationRecorder(OnPartitionZero, suites.ApplicationRecorderTestCase):
    def create_recorder(self) -> FelixApplicationRecorder:
        return FelixApplicationRecorder(self.datastore)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(OnPartitionZero, suites.TrackingRecorderTestCase):
    def create_recorder(self) -> FelixTrackingRecorder:
        return FelixTrackingRecorder(self.datastore)


class TestProcessRecorder(OnPartitionZero, suites.ProcessRecorderTestCase):
    def create_recorder(self) -> FelixProcessRecorder:
        return FelixProcessRecorder(self.datastore)


class TestProcessRecorderAsApplicationRecorder(OnPartitionZero, suites.ApplicationRecorderTestCase):
    def create_recorder(self) -> FelixProcessRecorder:
        return FelixProcessRecorder(self.datastore)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNonInterleavingPositions(OnPartitionZero, suites.NonInterleavingNotificationIDsBaseCase):
    insert_num = 500

    def create_recorder(self) -> FelixApplicationRecorder:
        return FelixApplicationRecorder(self.datastore)


class View(FelixTrackingRecorder):
    """Any subclass, named by its topic."""


class TestFactory(suites.InfrastructureFactoryTestCase[FelixFactory]):
    @pytest.fixture(autouse=True)
    def _environment(self, database: str) -> None:
        self.env = Environment(env={"PERSISTENCE_MODULE": "felix.eventstore.postgres", "FELIX_DATABASE_URL": database})

    def expected_factory_class(self) -> type[FelixFactory]:
        return FelixFactory

    def expected_aggregate_recorder_class(self) -> type[FelixAggregateRecorder]:
        return FelixAggregateRecorder

    def expected_application_recorder_class(self) -> type[FelixApplicationRecorder]:
        return FelixApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[FelixTrackingRecorder]:
        return FelixTrackingRecorder

    def tracking_recorder_subclass(self) -> type[FelixTrackingRecorder]:
        return View

    def expected_process_recorder_class(self) -> type[FelixProcessRecorder]:
        return FelixProcessRecorder


class InTheEnvironment:
    """Names a fresh database in the process environment, as an operator would. Aggregate ids are plain UUIDs."""

    database: str

    @pytest.fixture(autouse=True)
    def _environment(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        monkeypatch.setenv("PERSISTENCE_MODULE", "felix.eventstore.postgres")
        monkeypatch.setenv("FELIX_DATABASE_URL", database)
        monkeypatch.setenv("FELIX_TENANT", str(TENANT))
        # A process manager's events are a sequence of their own, or it would follow itself.
        monkeypatch.setenv("COUNTERS_FELIX_PARTITION", "1")
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(
                "create table read.event_counters (counter text primary key, n bigint not null);"
                "grant select, insert, update on read.event_counters to felix_projector"
            )


class TestExampleApplication(InTheEnvironment, application_suites.ExampleApplicationTestCase):
    expected_factory_topic = "felix.eventstore.postgres:FelixFactory"


class CountersView(FelixTrackingRecorder, projection_suites.EventCountersView):
    """The suite's view as a Felix read model: counts and position in one transaction."""

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _count(self, counter: str) -> int:
        with self.datastore.connection(self.role) as connection:
            row = connection.execute("select n from read.event_counters where counter = %s", (counter,)).fetchone()
        return row[0] if row else 0

    def _increment(self, counter: str, tracking: Tracking) -> None:
        with self.tracked(tracking) as connection:
            connection.execute(
                "insert into read.event_counters as c values (%s, 1) on conflict (counter) do update set n = c.n + 1",
                (counter,),
            )


class TestEventCountersView(InTheEnvironment, projection_suites.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> CountersView:
        factory = FelixFactory(Environment("eventcounters", {"FELIX_DATABASE_URL": self.database}))
        self.addCleanup(factory.close)
        view = factory.tracking_recorder(CountersView)
        assert isinstance(view, CountersView)
        return view


class TestEventCountersProjection(InTheEnvironment, projection_suites.AggregateEventCountersProjectionTestCase):
    view_class = CountersView


class TestEventSourcedProjection(InTheEnvironment, projection_suites.EventSourcedProjectionTestCase):
    pass
