"""What is kept of people outside of the database, and erasing them once more after a restore."""

from __future__ import annotations

from shutil import rmtree
from typing import Any
from uuid import UUID

from felix.application.performer import new_context
from felix.bootstrap.books import open_directory, open_performer
from felix.bootstrap.endpoints import Endpoints
from felix.bootstrap.keys import erasure_key
from felix.bootstrap.people import MAIL_DIR
from felix.domain.base import Command
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import EraseUser
from felix.domain.privacy.erasure import ErasePersonalData
from felix.embedded.backup_store import BackupStore
from felix.eventstore.connections import connect
from felix.eventstore.erasure_key import ErasureKeyFile
from felix.eventstore.vault import EVERY_SUBJECT
from felix.settings import Settings

#: Why somebody is erased once more after a restore.
ERASED_BEFORE = "This was erased after the moment to which the database was restored."


def kept_outside(settings: Settings, tenant_id: UUID, subject_id: str) -> dict[str, Any]:
    """What is kept of a subject outside of the database."""
    key, mails = erasure_key(settings), settings.data_dir / MAIL_DIR / subject_id
    return {
        "erasure_key": key.path.exists() and key.knows(str(tenant_id), subject_id),
        "mails": len(list(mails.iterdir())) if mails.is_dir() else 0,
    }


def forget_outside(settings: Settings, tenant_id: UUID, subject_id: str) -> dict[str, Any]:
    """Forget what is kept of a subject outside of the database: its erasure key, here and in the backups, and mails."""
    key, backups = erasure_key(settings), BackupStore(settings.backup_dir or settings.data_dir / "backups")
    went = kept_outside(settings, tenant_id, subject_id)
    if key.path.exists():
        key.forget([(str(tenant_id), subject_id)])
        if backups.keys.exists():
            backups.mirror_erasure_key(settings.data_dir)
    if went["mails"]:
        rmtree(settings.data_dir / MAIL_DIR / subject_id)
    return went


def erase_again(endpoints: Endpoints, key: ErasureKeyFile, *, partitions: int) -> int:
    """Erase in a restored database whoever was erased after its moment; how many.

    Nobody needs a list of them: they are those whom the erasure key has forgotten.
    """
    if not key.path.exists():
        return 0
    with connect(endpoints.writer_url) as connection:
        kept = connection.execute(EVERY_SUBJECT).fetchall()
    forgotten = [(tenant_id, subject) for _, tenant_id, subject in kept if not key.knows(str(tenant_id), subject)]
    directory = open_directory(endpoints, partitions=partitions)
    performer = open_performer(endpoints, directory.partition_of)
    try:
        for tenant_id, subject in forgotten:
            command: Command = (
                EraseUser(user_id=subject, reason=ERASED_BEFORE)
                if tenant_id == PLATFORM and subject.startswith("usr_")
                else ErasePersonalData(subject_id=subject, reason=ERASED_BEFORE)
            )
            context = new_context(tenant_id, f"restore:erase:{subject}", "felix:restore")
            _ = performer.perform_blocking(command, context).result
    finally:
        performer.close()
        directory.close()
    return len(forgotten)
