"""What is kept about people beside the log, and how it goes.

:data:`OF_USERS` names every place; a new one is one line there, and a test finds the table that is missing. What is not
in this database, mails in files and the erasure key, is the job's that follows (:mod:`.jobs.privacy`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.errors import NotFound
from felix.domain.identity.roles import PLATFORM
from felix.domain.privacy.erasure import ErasePersonalData, Erasure
from felix.eventstore import vault
from felix.eventstore.side_statements import SideStatement
from felix.eventstore.vault import Enclosed, SubjectIsErased

#: How a question is asked: in a command's transaction, or on a connection of the writer.
Ask = Callable[[SideStatement], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Place:
    """A table that is kept beside the log, the column that names the user, and what it holds."""

    table: LiteralString
    column: LiteralString
    holds: str

    def count(self, user_id: str) -> SideStatement:
        """Question: how many rows there are."""
        return SideStatement("select count(*) from " + self._rows, (user_id,))  # noqa: S608 constants

    def clear(self, user_id: str) -> SideStatement:
        """Delete them."""
        return SideStatement("delete from " + self._rows, (user_id,))  # noqa: S608 constants

    @property
    def _rows(self) -> LiteralString:
        return self.table + " where " + self.column + " = %s"


OF_USERS = (
    Place("felix.sessions", "user_id", "sessions, with the browser they were in"),
    Place("felix.links", "subject", "links that were sent by mail"),
    Place("felix.passwords", "user_id", "the hash of the password"),
    Place("felix.second_factors", "user_id", "the sealed second factor"),
    Place("felix.recovery_codes", "user_id", "hashes of recovery codes"),
    Place("felix.bound_identities", "user_id", "who they are at a sign-in provider, by a hash"),
)
#: Tables that keep their rows of a user: an id, or a hash that is forgotten soon, says nothing of the person.
KEPT_OF_USERS = {
    "felix.users": "the row stays, as erased; what the address was found by goes",
    "felix.memberships": "what an id is a member of, as the log says it",
    "felix.sign_in_attempts": "how often was guessed, under a keyed hash of the address; forgotten after a day",
}


def what_is_kept(ask: Ask, partition: int, tenant_id: UUID, subject_id: str) -> dict[str, int]:
    """How many rows each place has of a subject, in the vault the fields. A question that changes nothing."""
    found = {"felix.vault": len(ask(vault.fields_of(partition, tenant_id, subject_id)))}
    places = OF_USERS if tenant_id == PLATFORM else ()
    return found | {each.table: ask(each.count(subject_id))[0][0] for each in places}


def forget_user(unit: UnitOfWork, user_id: str) -> None:
    """Delete everything that is kept of a user beside the log, once the command is accepted."""
    for write in vault.forget(unit.partition, unit.context.tenant_id, user_id):
        unit.beside(write)
    for each in OF_USERS:
        unit.beside(each.clear(user_id))


def keep(unit: UnitOfWork, subject_id: str, enclosed: Enclosed) -> None:
    """Put values into the vault beside the event that commits to them; what is kept already stays or is replaced.

    Raises :class:`SubjectIsErased`: the id of somebody who was erased is never used again.
    """
    place = (unit.context.tenant_id, unit.partition, subject_id)
    if unit.find(Erasure, subject_id) is not None:
        raise SubjectIsErased(subject_id=subject_id)
    known = unit.ask_beside(vault.sealed_key_of(unit.partition, unit.context.tenant_id, subject_id))
    for write in enclosed.writes(*place, sealed_key=known[0][0] if known else None):
        unit.beside(write)


@handles(ErasePersonalData)
def erase_personal_data(command: ErasePersonalData, unit: UnitOfWork) -> dict[str, Any]:
    """Erase somebody who is no user. What is gone stays gone; of whom nothing was kept there is nothing to erase.

    :raises NotFound: also for users, of whom more is kept than the vault has: those are erased by ``EraseUser``.
    """
    subject_id, place = command.subject_id, (unit.partition, unit.context.tenant_id, command.subject_id)
    erasure = unit.find(Erasure, subject_id)
    if erasure is None:
        fields = tuple(name for (name,) in unit.ask_beside(vault.fields_of(*place)))
        if not fields or subject_id.startswith("usr_"):
            raise NotFound(f"There is no subject {subject_id}.", id=subject_id)
        erasure = Erasure.of(unit.context, command, fields)
        unit.add(erasure)
        for write in vault.forget(*place):
            unit.beside(write)
    return {"subject_id": subject_id, "fields": list(erasure.fields)}
