"""Whether the data directory belongs to whom it should, and keeps its secrets."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from felix.cli.doctoring.configuration import ENV_FILE
from felix.cli.doctoring.examination import Examination
from felix.cli.doctoring.findings import Findings, ok, problem, warning
from felix.embedded.account import first_blocked, service_account

SECRETS = (
    "postgres-password",
    "role-password",
    "backup-password",
    "root-key",
    "erasure-key",
    "founder-key",
    "metrics-token",
    "run.json",
    "demo.json",
)


def data_directory(examination: Examination) -> Findings:
    """Felix may write there, and the servers' user may enter."""
    place = examination.data_dir
    if not place.is_dir():
        existing = next(path for path in (place, *place.parents) if path.exists())
        if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            yield ok(f"{place} will be made by the first `felix up`")
        else:
            yield problem(
                f"{place} does not exist and can't be made in {existing}.",
                "Felix keeps everything there.",
                "export FELIX_DATA_DIR=… (a directory that you may write in)",
            )
        return
    found = False
    if not os.access(place, os.W_OK | os.X_OK):
        found = True
        yield problem(
            f"You may not write in {place}; it belongs to uid {place.stat().st_uid}, you are uid {os.geteuid()}.",
            "Felix can't start here as this user.",
            f"sudo chown -R $(id -un) {shlex.quote(str(place))}, or run Felix as its owner",
        )
    elif place.stat().st_mode & 0o022:
        found = True
        yield problem(
            f"{place} can be written by others (mode {place.stat().st_mode & 0o777:o}).",
            "Whoever may write there can replace the database and the keys.",
            f"chmod go-w {shlex.quote(str(place))}",
        )
    for database in [place / "pgdata"] if examination.embedded_database else []:
        if database.is_dir():
            for finding in _of_the_servers(examination, database):
                found = True
                yield finding
    if not found:
        yield ok(f"{place} belongs to whom it should")


def _of_the_servers(examination: Examination, database: Path) -> Findings:
    """What Postgres insists on: a directory of its own user that nobody else can open."""
    account, state = service_account(database), database.stat()
    quoted = shlex.quote(str(database))
    if state.st_uid != account.uid:
        yield problem(
            f"{database} belongs to uid {state.st_uid}; Postgres runs as {account.name} (uid {account.uid}).",
            "Postgres opens its owner's files only, and never runs as root.",
            f"chown -R {account.name} {quoted}",
        )
    elif state.st_mode & 0o077:
        yield problem(
            f"{database} can be opened by others (mode {state.st_mode & 0o777:o}).",
            "Postgres refuses to start on it.",
            f"chmod 700 {quoted}",
        )
    elif (blocked := first_blocked(account, [examination.data_dir])) is not None:
        yield problem(
            f"User {account.name}, who runs the servers, may not enter {blocked}.",
            "Postgres and Valkey can't reach their files.",
            f"chmod o+x {shlex.quote(str(blocked))}, or set FELIX_DATA_DIR to another directory",
        )


def secrets(examination: Examination) -> Findings:
    """Nobody else can read passwords and keys, or enter the sockets' directory."""
    place = examination.data_dir
    open_ones = [path for path in (place / name for name in SECRETS) if path.exists() and path.stat().st_mode & 0o077]
    if ENV_FILE.is_file() and ENV_FILE.stat().st_mode & 0o004 and _names_a_secret(ENV_FILE):
        open_ones.append(ENV_FILE)
    for path in open_ones:
        yield problem(
            f"{path} can be read by others (mode {path.stat().st_mode & 0o777:o}).",
            "It holds a password or a key of this Felix. Whoever has read it keeps it: change it as well.",
            f"chmod 600 {shlex.quote(str(path))}",
        )
    unsafe = _unsafe_sockets(place)
    if unsafe is not None:
        yield problem(
            f"The sockets' directory {unsafe} can be entered by others (mode {unsafe.stat().st_mode & 0o777:o}).",
            "Felix refuses to put its sockets there: others could talk to Valkey, which has no password.",
            f"chmod 700 {shlex.quote(str(unsafe))}",
        )
    if not open_ones and unsafe is None:
        yield ok("keys, passwords and sockets are for their owner alone")


def _unsafe_sockets(place: Path) -> Path | None:
    try:
        sockets = Path((place / "socket-directory").read_text().strip())
        return sockets if sockets.stat().st_mode & 0o077 else None
    except OSError:
        return None


def _names_a_secret(path: Path) -> bool:
    return any(word in path.read_text().upper() for word in ("PASSWORD=", "_URL=", "KEY=", "SECRET="))


def leftovers(examination: Examination) -> Findings:
    """No file says that something runs which does not."""
    place, found = examination.data_dir, False
    if examination.supervisor is None:
        for name in ("processes.json", *(["run.json"] if examination.embedded_database else [])):
            if (place / name).exists():
                found = True
                yield warning(
                    f"{place / name} is left from a Felix that was killed.",
                    "Other commands believe it and look for services that may be gone. Nothing is lost.",
                    "felix up (it goes on where that one stopped)",
                )
    if (place / "pgdata.new").exists() and examination.supervisor is None:
        found = True
        yield warning(
            f"{place / 'pgdata.new'} is a database whose making was broken off.",
            "It holds nothing.",
            "felix up (it begins again)",
        )
    if not found:
        yield ok("nothing is left of an earlier run")
