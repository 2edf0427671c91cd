"""Runs Postgres and Valkey for a Felix that was given no servers of its own.

`Supervisor(data_dir)` is all that `felix up` needs; `throwaway_postgres()` is what tests need. This
room knows no SQL driver and nothing else of Felix.
"""

from felix.embedded.binaries import postgres_bin_dir, valkey_server_path
from felix.embedded.children import Child, await_brief, begin_child, supervised, when_orphaned
from felix.embedded.errors import (
    BinariesMissing,
    DataDirUnusable,
    DirectoryInUse,
    EmbeddedError,
    NotRunning,
    ServiceDidNotStart,
    ServiceNotAnswering,
    StartCancelled,
    VersionMismatch,
)
from felix.embedded.postgres import EmbeddedPostgres, PostgresAddress, PostgresSettings
from felix.embedded.supervisor import Addresses, Supervisor
from felix.embedded.throwaway import throwaway_postgres
from felix.embedded.valkey import EmbeddedValkey, ValkeyAddress, ValkeySettings

__all__ = [
    "Addresses",
    "BinariesMissing",
    "Child",
    "DataDirUnusable",
    "DirectoryInUse",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedValkey",
    "NotRunning",
    "PostgresAddress",
    "PostgresSettings",
    "ServiceDidNotStart",
    "ServiceNotAnswering",
    "StartCancelled",
    "Supervisor",
    "ValkeyAddress",
    "ValkeySettings",
    "VersionMismatch",
    "await_brief",
    "begin_child",
    "postgres_bin_dir",
    "supervised",
    "throwaway_postgres",
    "valkey_server_path",
    "when_orphaned",
]
