"""How the event store connects: one URL, one role a purpose, and timeouts that free a partition from the frozen."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import conninfo

#: A writer that stops in the middle of a batch (frozen process, dead network) loses its transaction after this.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 2_000
#: A batch is milliseconds of work; whatever holds a partition's head for this long is broken.
TRANSACTION_TIMEOUT_MS = 15_000


_WHO = ("user", "password", "passfile", "sslkey", "sslcert", "sslpassword")


def role_url(url: str, role: str, *, password: str | None = None, **options: int | str) -> str:
    """The connection string for one of Felix's roles.

    With a role password the role signs in itself; without one the user of ``url`` signs in and takes the role on
    (``-c role=…``), which needs membership but no second secret.
    """
    parts = conninfo.conninfo_to_dict(url)
    settings = {"timezone": "UTC", "application_name": role, **options}
    if password is not None:
        parts["user"], parts["password"] = role, password
    else:
        settings["role"] = role
    existing = str(parts.get("options") or "")
    parts["options"] = " ".join(filter(None, [existing, *(f"-c {name}={value}" for name, value in settings.items())]))
    parts.setdefault("connect_timeout", "5")
    return conninfo.make_conninfo("", **{name: value for name, value in parts.items() if value is not None})


def without_user(url: str) -> str:
    """The same database, for those who sign in as one of Felix's roles: without the user and the password."""
    parts = conninfo.conninfo_to_dict(url)
    return conninfo.make_conninfo("", **{name: value for name, value in parts.items() if name not in _WHO})


def writer_url(url: str, *, password: str | None = None) -> str:
    """The connection string of the lanes."""
    return role_url(
        url,
        "felix_writer",
        password=password,
        idle_in_transaction_session_timeout=IDLE_IN_TRANSACTION_TIMEOUT_MS,
        transaction_timeout=TRANSACTION_TIMEOUT_MS,
    )


def connect(url: str) -> psycopg.Connection[Any]:
    """A connection in autocommit mode; transactions are opened by name where they are needed."""
    return psycopg.connect(url, autocommit=True)
