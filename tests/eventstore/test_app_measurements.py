"""What is counted of releases comes together by the minute, of each release and of all others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from felix.bootstrap import Endpoints
from felix.domain.apps.measured import Running
from felix.eventstore.app_measurements import AppMeasurements
from felix.eventstore.connections import connect

TENANT = UUID("0192f000-0000-7000-8000-000000000000")
SHOP = Running(0, TENANT, "shop", "production", "a" * 64)


def test_counts_are_added_up_and_told_apart(database: str) -> None:
    url = Endpoints(database, None, None).writer_url
    measurements, others = (AppMeasurements(lambda: connect(url)) for _ in range(2))
    begun = datetime.now(UTC).replace(second=0, microsecond=0)
    until = begun + timedelta(minutes=5)
    for _ in range(3):
        measurements.count(SHOP, "requests")
        measurements.count(SHOP._replace(release="b" * 64), "requests", 2)
        others.count(SHOP, "requests")
        others.count(SHOP._replace(environment="sandbox"), "requests")
        measurements.write()
    others.write()
    assert measurements.counted(SHOP, begun, until) == {"requests": 6}
    assert measurements.counted_of_others(SHOP, begun, until) == {"requests": 6}
    assert measurements.counted(SHOP, until, until) == {} == measurements.counted(SHOP, begun, begun)
    measurements._purge(until)
    assert measurements.counted(SHOP, begun, until) == {}
    measurements.close()
    others.close()
