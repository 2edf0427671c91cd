"""The Postgres that runs in a data directory, as the commands beside `felix up` find it; no driver is needed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from felix.embedded.binaries import reachable_postgres
from felix.embedded.cluster import BACKUP_USER, USER, Cluster
from felix.embedded.errors import NotRunning, ServiceNotAnswering
from felix.embedded.postgres import SOCKET_PORT, PostgresAddress
from felix.embedded.programs import Programs
from felix.embedded.workspace import Workspace


@dataclass(frozen=True)
class LivePostgres:
    """A running server, and the programs of its version."""

    workspace: Workspace
    programs: Programs
    address: PostgresAddress

    @classmethod
    def find(cls, data_dir: Path) -> Self:
        """The server of this data directory. Raises NotRunning."""
        absent = NotRunning(f"Postgres does not run in {data_dir}", "Start Felix there with `felix up`.")
        if not (data_dir / "pgdata" / "PG_VERSION").exists():
            raise absent
        workspace = Workspace(data_dir)
        bin_dir = reachable_postgres(workspace)
        live = Cluster(workspace, bin_dir).live_postmaster()
        if live is None or live.status != "ready":
            raise absent
        password = workspace.password_file.read_text().strip()
        address = PostgresAddress(Path(live.socket_dir), live.port or SOCKET_PORT, USER, password)
        return cls(workspace, Programs(bin_dir, workspace.account), address)

    @property
    def environment(self) -> dict[str, str]:
        """What the programs need to connect."""
        return {
            "PGHOST": str(self.address.socket_dir),
            "PGPORT": str(self.address.port),
            "PGUSER": self.address.user,
            "PGPASSWORD": self.address.password,
            "PGPASSFILE": "/dev/null",
            "PGDATABASE": "postgres",
            "PGCONNECT_TIMEOUT": "5",
        }

    @property
    def copying(self) -> dict[str, str]:
        """What the program that copies the server's files needs: a role that reads no table.

        A server that no migrated Felix has run on has only its administrator.
        """
        place = self.workspace.backup_password_file
        if not place.exists():
            return self.environment
        return self.environment | {"PGUSER": BACKUP_USER, "PGPASSWORD": place.read_text().strip()}

    def query(self, sql: str) -> list[str]:
        """The columns of the last row that a query returns. Raises ServiceNotAnswering."""
        said = self.programs.ask(
            "psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-F", "\t", "-c", sql, environment=self.environment
        )
        if not said.done:
            raise ServiceNotAnswering(f"postgres did not answer:\n{said.problem}", "Is `felix up` still running?")
        return said.out.rpartition("\n")[2].split("\t")
