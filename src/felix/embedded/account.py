"""Decides as which user the servers run, and what that user can reach.

Postgres refuses to run as root, and no server should. As root Felix therefore uses an unprivileged
account; it never changes the permissions of a directory it did not create.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FALLBACK_UID = 65534  # the kernel's overflow uid: "nobody" even where no such name exists


@dataclass(frozen=True)
class ServiceAccount:
    """The user the servers run as; `switch` is true when Felix is root and has to change to it."""

    uid: int
    gid: int
    name: str
    switch: bool


def service_account(database_dir: Path) -> ServiceAccount:
    """Choose the current user, or as root the owner of an existing database, else `nobody`."""
    if os.geteuid() != 0:
        return ServiceAccount(os.geteuid(), os.getegid(), _name(os.geteuid()), switch=False)
    # A database made by an ordinary user stays that user's: Postgres only opens its owner's files,
    # and after `sudo felix up` the plain `felix up` must still work.
    try:
        owner = database_dir.stat()
    except OSError:
        owner = None
    if owner is not None and owner.st_uid != 0:
        return ServiceAccount(owner.st_uid, owner.st_gid, _name(owner.st_uid), switch=True)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return ServiceAccount(FALLBACK_UID, FALLBACK_UID, str(FALLBACK_UID), switch=True)
    return ServiceAccount(nobody.pw_uid, nobody.pw_gid, "nobody", switch=True)


def first_blocked(account: ServiceAccount, paths: Sequence[Path]) -> Path | None:
    """Return the first of `paths` or their parents that the account may not enter or execute.

    Raises OSError when this process may not become that user at all.
    """
    steps = [step for path in paths for step in (*reversed(path.parents), path)]
    if not account.switch:
        return next((step for step in steps if not os.access(step, os.X_OK)), None)
    # The kernel is asked as that user, because modes alone do not show ACLs and mount options.
    script = 'for step do test -x "$step" || { printf %s "$step"; exit; }; done'
    asked = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *map(str, steps)],
        capture_output=True,
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        check=True,
    )
    return Path(os.fsdecode(asked.stdout)) if asked.stdout else None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
