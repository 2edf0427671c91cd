"""Where the services are: the database, Valkey, and Felix itself."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from felix.domain.errors import Invalid, Unavailable
from felix.eventstore.connections import connect, role_url, without_user, writer_url
from felix.settings import Settings

#: Written by ``felix up`` so that other commands on this machine find the running services.
RUN_FILE = "run.json"
#: What runs here, and where, while ``felix up`` does.
PROCESSES_FILE = "processes.json"
#: What the driver raises when the database is away, for those who may not import it.
DATABASE_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError)


class NotRunning(Unavailable):
    """Felix is not running here. Start it with `felix up`, or set FELIX_DATABASE_URL."""


class NotAnAddress(Invalid):
    """FELIX_DATABASE_URL is not the address of a database. It looks like postgresql://user:password@host/database."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the services are. URLs carry passwords: its text shows none of it."""

    database_url: str = field(repr=False)
    redis_url: str | None = field(repr=False)
    role_password: str | None = field(repr=False)

    def save(self, data_dir: Path) -> None:
        """Leave the addresses for other commands on this machine, readable by the owner only."""
        path = data_dir / RUN_FILE
        partial = path.with_suffix(".new")
        partial.touch(mode=0o600)
        partial.write_text(
            json.dumps(
                {
                    "database_url": self.database_url,
                    "redis_url": self.redis_url,
                    "role_password": self.role_password,
                }
            )
        )
        partial.rename(path)

    @classmethod
    def locate(cls, settings: Settings) -> Endpoints:
        """From the settings, or from the ``felix up`` that runs on the same data directory. Raises NotRunning."""
        if settings.database_url is not None:
            return cls(
                _checked(settings.database_url.get_secret_value()),
                settings.redis_url.get_secret_value() if settings.redis_url else None,
                settings.database_role_password.get_secret_value() if settings.database_role_password else None,
            )
        with suppress(OSError, ValueError, TypeError):
            return cls(**json.loads((settings.data_dir / RUN_FILE).read_text()))
        raise NotRunning()

    @property
    def writer_url(self) -> str:
        """For lanes and the tenant directory."""
        return writer_url(self.database_url, password=self.role_password)

    @property
    def serving_url(self) -> str:
        """For processes that serve: with a role password nothing in it lets them sign in as the administrator."""
        return self.database_url if self.role_password is None else without_user(self.database_url)

    def as_role(self, role: str) -> str:
        """For one of the other roles."""
        return role_url(self.database_url, role, password=self.role_password)


def _checked(url: str) -> str:
    """The same, if it can be read; what the driver says of one that can't would repeat its password."""
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise NotAnAddress() from None
    return url


def public_url(settings: Settings) -> str:
    """Where people reach Felix: as set, or where the `felix up` of this directory says that it listens."""
    if settings.public_url is not None:
        return settings.public_url
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads((settings.data_dir / PROCESSES_FILE).read_text())["url"])
    return f"http://{settings.host}:{settings.port}"


def connect_owner(endpoints: Endpoints) -> psycopg.Connection[tuple[object, ...]]:
    """A connection that may take on ``felix_owner``: for keys, and nothing that a serving process does."""
    return connect(endpoints.database_url)


def ensure_database(server_url: str, name: str) -> bool:
    """Make a database on a server of our own unless it exists; True when it was made."""
    with connect(server_url) as connection:
        if connection.execute("select from pg_database where datname = %s", (name,)).fetchone() is not None:
            return False
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return True
