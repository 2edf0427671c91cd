"""``felix status``: what runs, how far it is, and whether it is ready."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from felix.cli.installation import recorded_processes
from felix.cli.options import Showing
from felix.cli.output import print_facts, print_json, print_table
from felix.settings import Settings


def status(*, showing: Showing | None = None) -> int:
    """Say what runs, how far the log is, and whether Felix is ready.

    The exit code is 1 when it is not: the database or Valkey does not answer, migrations are pending, a process of
    `felix up` is gone, or a read model is far behind.
    """
    from felix import bootstrap
    from felix.adapters.doorbell import answers

    showing = showing or Showing()
    settings = Settings()
    endpoints = bootstrap.Endpoints.locate(settings)
    recorded = recorded_processes(settings.data_dir)
    url = recorded.pop("url", None)
    processes = [{"process": name, "pid": pid, "alive": _alive(pid)} for name, pid in recorded.items()]
    found: dict[str, Any] = {"url": url, "database": "answers", "valkey": "answers", "processes": processes}
    problems = [f"the process {each['process']} is gone" for each in processes if not each["alive"]]
    if endpoints.redis_url is None:
        found["valkey"] = "not used"
    elif not answers(endpoints.redis_url):
        found["valkey"] = "does not answer"
        problems.append("Valkey does not answer (Felix goes on without, read models are a little later)")
    try:
        found |= _what_the_database_says(endpoints)
    except bootstrap.DATABASE_ERRORS as error:
        found["database"] = "does not answer"
        problems.append(f"the database does not answer: {str(error).strip()}")
    else:
        if found["migrations_pending"]:
            problems.append(f"{found['migrations_pending']} migrations are pending: felix migrate")
        for row in found["projections"]:
            if row["lag_events"] > bootstrap.LAG_ALARM_EVENTS:
                problems.append(f"{row['projection']} is {row['lag_events']:,} events behind")
    found |= {"ready": not problems, "problems": problems}
    if showing.json:
        print_json(found)
    else:
        _print(found)
    return 0 if not problems else 1


def _what_the_database_says(endpoints: Any) -> dict[str, Any]:
    from felix.eventstore.audit import cursors
    from felix.eventstore.connections import connect
    from felix.eventstore.migrations import pending
    from felix.eventstore.reader import heads

    waiting = pending(endpoints.database_url)
    if waiting and waiting[0].version == 1:
        return {"migrations_pending": len(waiting), "events": 0, "partitions": {}, "projections": []}
    with connect(endpoints.as_role("felix_founder")) as connection:
        at = heads(connection)
        behind: dict[str, dict[str, Any]] = {}
        for projection, partition, position in cursors(connection):
            if partition in at:
                row = behind.setdefault(projection, {"projection": projection, "lag_events": 0})
                row["lag_events"] = max(row["lag_events"], at[partition] - position)
    return {
        "migrations_pending": len(waiting),
        "events": sum(at.values()),
        "partitions": at,
        "projections": sorted(behind.values(), key=lambda row: str(row["projection"])),
    }


def _alive(pid: Any) -> bool:
    with suppress(OSError, TypeError):
        os.kill(pid, 0)
        return True
    return False


def _print(found: dict[str, Any]) -> None:
    print_facts(
        {
            "ready": found["ready"],
            "url": found["url"],
            "database": found["database"],
            "valkey": found["valkey"],
            "migrations pending": found.get("migrations_pending"),
            "events": found.get("events"),
            "partitions": len(found.get("partitions", ())),
        }
    )
    for title, rows in (("\nprocesses", found["processes"]), ("\nread models", found.get("projections", []))):
        if rows:
            print(title)
            print_table(rows, {name: name.replace("_", " ") for name in rows[0]}, empty="")
    for problem in found["problems"]:
        print(f"\nnot ready: {problem}")
