"""Applies the numbered SQL files of ``migrations/``: forward only, each once, in one transaction each.

Several runners may start at once: they poll for an advisory lock instead of waiting in it, because a waiting
statement's snapshot would block ``create index concurrently``. A file that changed after it was applied is refused.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import psycopg
from psycopg import sql

from felix.domain.errors import Corrupt, Unavailable

_LOCK = (4608, 2)
ROLES = ("felix_writer", "felix_projector", "felix_reader", "felix_founder")
BACKUP_ROLE = "felix_backup"


class MigrationEdited(Corrupt):
    """A migration that has been applied was edited afterwards."""


class MigrationLocked(Unavailable):
    """Another migration has been running for too long."""


@dataclass(frozen=True)
class Migration:
    """One file: its number, name and text."""

    version: int
    name: str
    text: str = field(repr=False)

    @property
    def sha256(self) -> str:
        """Hex digest of the file, compared when it has been applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations_dir() -> Path:
    """``migrations/`` inside the installed wheel, or at the top of the source tree."""
    packaged = Path(str(files("felix"))) / "_migrations"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "migrations"


def read_migrations(directory: Path | None = None) -> list[Migration]:
    """All migrations in order. Numbers are dense from 1."""
    found = []
    for path in sorted((directory or migrations_dir()).glob("*.sql")):
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", path.name)) is None:
            raise Corrupt(f"{path.name} is not named like 0001_what_it_does.sql.")
        found.append(Migration(int(match[1]), match[2], path.read_text()))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise Corrupt("The migrations are not numbered 1, 2, 3 … without gaps.")
    return found


def pending(url: str) -> list[Migration]:
    """Migrations that this database has not seen. Raises :class:`MigrationEdited`."""
    with psycopg.connect(url, autocommit=True) as connection:
        return _pending(connection)


def unseen(applied: Mapping[int, str]) -> list[Migration]:
    """Migrations that are not among those applied, given by version and digest. Raises :class:`MigrationEdited`."""
    known = read_migrations()
    for migration in known:
        if applied.get(migration.version, migration.sha256) != migration.sha256:
            raise MigrationEdited(
                f"Migration {migration.version:04} ({migration.name}) was edited after it was applied.",
                version=migration.version,
            )
    return [migration for migration in known if migration.version not in applied]


def migrate(
    url: str,
    *,
    partitions: int,
    role_password: str | None = None,
    backup_password: str | None = None,
    timeout_s: float = 60,
) -> list[Migration]:
    """Bring a database up to date and return what was applied.

    ``partitions`` is the number of partitions whose heads must exist; it may grow, never shrink. With
    ``role_password`` the roles that serve get that password, with ``backup_password`` the one that copies the server's
    files gets its own. ``url`` names a role that may create roles and schemas.
    """
    applied = []
    with psycopg.connect(url, autocommit=True) as connection:
        deadline = time.monotonic() + timeout_s
        while not _one(connection, "select pg_try_advisory_lock(%s, %s)", *_LOCK):
            if time.monotonic() > deadline:
                raise MigrationLocked("Another migration has been running for too long.", waited_s=timeout_s)
            time.sleep(0.05)
        for migration in _pending(connection):
            started = time.monotonic()
            with connection.transaction():
                connection.execute("set local lock_timeout = '10s'")
                connection.execute(migration.text.encode())
                connection.execute("reset role")
                connection.execute(
                    "insert into felix_migrations (version, name, sha256, duration_ms) values (%s, %s, %s, %s)",
                    (migration.version, migration.name, migration.sha256, int(1000 * (time.monotonic() - started))),
                )
            applied.append(migration)
        connection.execute(
            "insert into felix.partitions (partition) select generate_series(0, %s) on conflict do nothing",
            (partitions - 1,),
        )
        for role, password in [*((role, role_password) for role in ROLES), (BACKUP_ROLE, backup_password)]:
            if password is not None:
                connection.execute(
                    sql.SQL("alter role {} login password {}").format(sql.Identifier(role), sql.Literal(password))
                )
    return applied


def _one(connection: psycopg.Connection[tuple[object, ...]], query: str, *parameters: object) -> object:
    row = connection.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None


def _pending(connection: psycopg.Connection[tuple[object, ...]]) -> list[Migration]:
    if _one(connection, "select to_regclass('felix_migrations')") is None:
        connection.execute(
            "create table if not exists felix_migrations (version int primary key, name text not null,"
            " sha256 text not null, applied_at timestamptz not null default now(), duration_ms int not null)"
        )
    return unseen(
        {
            int(str(version)): str(sha256)
            for version, sha256 in connection.execute("select version, sha256 from felix_migrations").fetchall()
        }
    )
