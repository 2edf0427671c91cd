"""Ends sessions whose client froze where Postgres does not notice: in the middle of a COPY, or of an answer.

Postgres looks at ``transaction_timeout`` between messages. A backend that waits for the rest of a COPY, or for room to
send, looks at nothing but a request to end: the timeout passes unheard, and its locks stay for as long as the client
is frozen. So whoever waits for such locks looks, and asks.
"""

from __future__ import annotations

import logging
from typing import Any

import psycopg

log = logging.getLogger("felix.eventstore")

# Materialised, so that nobody is asked to end before every condition has been looked at.
_END = (
    "with frozen as materialized (select pid, clock_timestamp() - xact_start as age from pg_stat_activity"
    " where datname = current_database() and application_name = current_setting('application_name')"
    " and wait_event_type = 'Client' and xact_start < clock_timestamp() - make_interval(secs => %s)"
    " and pid <> pg_backend_pid()) select pid, age from frozen where pg_terminate_backend(pid)"
)


def end_frozen(connection: psycopg.Connection[Any], after_s: float) -> int:
    """End the sessions of the same name that wait for their client in a transaction older than this; how many.

    ``after_s`` is the ``transaction_timeout`` of these sessions: none of them should be there.
    """
    with connection.transaction():
        # Who signs in as somebody else and takes the role on may end its own sessions, and the role not those.
        connection.execute("set local role none")
        ended = connection.execute(_END, (after_s,)).fetchall()
    for pid, age in ended:
        log.warning("ended session %d: its client has been frozen in the middle of a transaction for %s", pid, age)
    return len(ended)
