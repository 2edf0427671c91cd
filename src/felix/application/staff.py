"""Handlers for what staff do with a client's data: what they read, and whose eyes they read it with."""

from __future__ import annotations

from typing import Any

from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.identity.access_log import AccessLog, RecordRead
from felix.domain.identity.impersonation import BeginImpersonation, EndImpersonation, Impersonation
from felix.eventstore.impersonations import end_impersonation, keep_impersonation


@handles(RecordRead)
def record_read(command: RecordRead, unit: UnitOfWork) -> dict[str, Any]:
    """Add to what this member of staff has read of the client."""
    log = unit.find(AccessLog, command.reader_id)
    if log is None:
        log = AccessLog.open(unit.context, command.reader_id)
        unit.add(log)
    return log.record(command)


@handles(BeginImpersonation)
def begin_impersonation(command: BeginImpersonation, unit: UnitOfWork) -> dict[str, Any]:
    """Begin to see the client as somebody with this role."""
    begun = Impersonation.start(unit.context, command)
    unit.add(begun)
    unit.beside(
        keep_impersonation(
            unit.partition,
            unit.context.tenant_id,
            begun.local_id,
            caller_id=command.caller_id,
            credential_id=command.credential_id,
            role=begun.role,
            expires_at=begun.expires_at,
        )
    )
    return {"impersonation_id": begun.local_id, "role": begun.role, "expires_at": begun.expires_at.isoformat()}


@handles(EndImpersonation)
def end(command: EndImpersonation, unit: UnitOfWork) -> dict[str, Any]:
    """End an impersonation before its time."""
    ended = unit.get(Impersonation, command.impersonation_id).end()
    unit.beside(end_impersonation(unit.partition, unit.context.tenant_id, command.impersonation_id))
    return ended
