"""The root keys, the erasure key, and the vault that both open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from felix.domain.errors import Unavailable
from felix.embedded.backup_store import ERASURE_KEY_FILE
from felix.eventstore.erasure_key import ErasureKeyFile
from felix.eventstore.sealing import RootKeys
from felix.eventstore.vault import Vault
from felix.settings import Settings

#: Made by ``felix up``; whoever restores a database needs it too.
ROOT_KEY_FILE = "root-key"


class NoRootKey(Unavailable):
    """There is no root key here. `felix up` makes one; elsewhere set FELIX_ROOT_KEY to the one of this database."""


def root_keys(settings: Settings) -> RootKeys:
    """The root key in force and those before it. Raises :class:`NoRootKey` and ``NotARootKey``."""
    if settings.root_key is not None:
        return RootKeys(settings.root_key.get_secret_value().split(","))
    try:
        return RootKeys((settings.data_dir / ROOT_KEY_FILE).read_text().split(","))
    except OSError as error:
        raise NoRootKey(path=str(settings.data_dir / ROOT_KEY_FILE)) from error


def following_root_keys(settings: Settings) -> Callable[[], RootKeys]:
    """The root keys for a process that runs on while they are rotated: the file is read again when it was replaced."""
    path = settings.data_dir / ROOT_KEY_FILE
    known: tuple[tuple[int, int] | None, RootKeys] | None = None

    def follow() -> RootKeys:
        nonlocal known
        seen = None
        if settings.root_key is None:
            with suppress(OSError):
                found = path.stat()
                seen = (found.st_ino, found.st_mtime_ns)
        if known is None or known[0] != seen:
            known = (seen, root_keys(settings))
        return known[1]

    return follow


def erasure_key(settings: Settings) -> ErasureKeyFile:
    """The erasure key of this installation, which ``felix up`` makes where it brings its own Postgres."""
    return ErasureKeyFile(settings.data_dir / ERASURE_KEY_FILE)


def open_vault(settings: Settings) -> Callable[[], Vault]:
    """The vault, with the root keys that are in force when it is asked for."""
    follow, key = following_root_keys(settings), erasure_key(settings)
    return lambda: Vault(follow(), key if key.path.exists() else None)
