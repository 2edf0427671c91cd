"""Records: how values become commands at the door, and what is decided about them in the lane.

The door checks values against the release that is active for the caller and puts what is personal apart; the release
itself travels enclosed. The handler asks whether that release runs, or ran a moment ago, so requests that are under way
while a deploy moves the pointer stay valid. A write is paid for in the same append: without the tokens there is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from felix.application.erasure import keep
from felix.application.ledger import price_line
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.apps.roles import NotForYourRole, sees_entity
from felix.domain.apps.shapes import CompiledApp, InvalidRecord, Shape
from felix.domain.apps.transitions import decide, refuse_leaps, started
from felix.domain.base import CommandContext
from felix.domain.changes.environment import AppEnvironment
from felix.domain.errors import Conflict, NotFound, PaymentRequired, Refused
from felix.domain.ledger.reversals import debit_id_of
from felix.domain.ledger.token_account import TokenAccount
from felix.domain.metering.catalogue import own_price
from felix.domain.metering.rate_card import UnknownPrice
from felix.domain.records.hooks import Values, Writing
from felix.domain.records.messages import (
    ChangeRecord,
    CreateRecord,
    RecordCommand,
    RemoveRecord,
    RestoreRecord,
    TakeStep,
)
from felix.domain.records.record import Record, maker_of, not_there
from felix.eventstore import vault
from felix.eventstore.sealing import RootKeys
from felix.eventstore.vault import Enclosed, Vault

METER = "apps.record_writes"
_APP, _PERSONAL = "app", "personal"


class NoSuchEntity(NotFound):
    """The app keeps no such records."""


class ReleaseNotInForce(Conflict):
    """This release of the app does not run here any more; ask again."""


class EnvironmentReadOnly(Refused):
    """Nothing is written in this environment until somebody has looked at what went wrong in it."""


class NoTokenAccount(PaymentRequired):
    """The client has no token account that could pay for this."""


# --- at the door --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sealing:
    """What is needed to put personal values apart; only asked for where there are some."""

    root_keys: Callable[[], RootKeys]
    vault: Callable[[], Vault]

    def digests(self, tenant_id: UUID, values: Mapping[str, Any]) -> dict[str, str | None]:
        """What stands for personal values in a command: it tells two requests under one key apart, and no more."""
        return {
            name: None
            if value is None
            else self.root_keys().index("record", f"{tenant_id}/{name}/{as_text(value)}").hex()
            for name, value in values.items()
        }


def as_text(value: Any) -> str:
    """A value as the vault keeps it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shape_of(app: CompiledApp, entity: str) -> Shape:
    """The shape of an entity that is there to be seen. Raises :class:`NoSuchEntity`."""
    shape = app.shapes.get(entity)
    if shape is None or shape.entity.hidden:
        raise NoSuchEntity(f"The app has no {entity}.", entity=entity)
    return shape


def creating(
    sealing: Sealing, tenant_id: UUID, app: CompiledApp, fields: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[CreateRecord, dict[str, Any]]:
    """The command that makes a record, and what travels with it enclosed. ``fields`` say where and who pays.

    Raises :class:`NoSuchEntity`, ``InvalidRecord`` and ``StartsElsewhere``.
    """
    shape = shape_of(app, fields["entity"])
    checked = started(app, shape.name, shape.whole(values))
    plain, personal = _apart(shape, checked)
    personal = {name: value for name, value in personal.items() if value is not None}
    told = {"values": plain, "personal": sealing.digests(tenant_id, personal)}
    command = CreateRecord.model_validate({**fields, **told, "release": app.release})
    return command, _enclosed(sealing, app, personal)


def changing(
    sealing: Sealing, tenant_id: UUID, app: CompiledApp, fields: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[ChangeRecord, dict[str, Any]]:
    """The same for a record that is there, of which some values change; null takes one away."""
    shape = shape_of(app, fields["entity"])
    plain, personal = _apart(shape, shape.part(values))
    told = {"values": plain, "personal": sealing.digests(tenant_id, personal)}
    command = ChangeRecord.model_validate({**fields, **told, "release": app.release})
    return command, _enclosed(sealing, app, personal)


def about(app: CompiledApp) -> dict[str, Any]:
    """What travels enclosed with a command that brings no values."""
    return {_APP: app}


def _apart(shape: Shape, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What may be in an event, and what is personal."""
    plain = {name: value for name, value in values.items() if name not in shape.personal}
    return plain, {name: value for name, value in values.items() if name in shape.personal}


def _enclosed(sealing: Sealing, app: CompiledApp, personal: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: as_text(value) for name, value in personal.items() if value is not None}
    return {_APP: app} | ({_PERSONAL: sealing.vault().enclose(**given)} if given else {})


# --- in the lane --------------------------------------------------------------------------------------------


@handles(CreateRecord)
def create_record(command: CreateRecord, unit: UnitOfWork) -> dict[str, Any]:
    """Make a record, and what the app's modules want written with it."""
    desk = _Desk(command, unit)
    desk.refuse_dangling(command.values)
    record_id = unit.context.mint("rec")
    own = desk.follow(record_id, None, command.values)
    values, enclosed = command.values | own, desk.personal
    record = Record.create(unit.context, record_id, command, values, enclosed.commitments if enclosed else {})
    unit.add(record)
    if enclosed is not None:
        keep(unit, record_id, enclosed)
    return desk.done(record)


@handles(ChangeRecord)
def change_record(command: ChangeRecord, unit: UnitOfWork) -> dict[str, Any]:
    """Change what is given, and leave what is not: also what a release before or after this one knows of it.

    The same values again change nothing, and cost nothing.
    """
    desk = _Desk(command, unit)
    record = desk.record(command.record_id, command.expected_version)
    different = record.differing(command.values)
    refuse_leaps(desk.app, command.entity, different)
    desk.refuse_dangling(different)
    enclosed = desk.personal
    sealed = dict.fromkeys(command.personal) | (enclosed.commitments if enclosed else {})
    if different:
        different |= desk.follow(command.record_id, record.values, record.values | different)
    gone = [name for name in record.personal if name in different or (name in sealed and sealed[name] is None)]
    if not record.change(command.release, different, sealed):
        return desk.outcome(record)
    for name in gone:
        unit.beside(vault.drop(unit.partition, unit.context.tenant_id, command.record_id, name))
    if enclosed is not None:
        keep(unit, command.record_id, enclosed)
    return desk.done(record)


@handles(TakeStep)
def take_step(command: TakeStep, unit: UnitOfWork) -> dict[str, Any]:
    """Go a step further, if the workflow, the roles and the record allow it."""
    desk = _Desk(command, unit)
    record = desk.record(command.record_id, command.expected_version)
    is_maker = record.maker == maker_of(unit.context)
    taken = decide(desk.app, command.entity, command.action, record.told, role=desk.role, is_maker=is_maker)
    values = {taken.field: taken.becomes}
    own = desk.follow(command.record_id, record.values, record.values | values)
    record.step(command.release, command.action, taken)
    record.change(command.release, own, {})
    return desk.done(record)


@handles(RemoveRecord)
def remove_record(command: RemoveRecord, unit: UnitOfWork) -> dict[str, Any]:
    """Take a record out of sight."""
    desk = _Desk(command, unit)
    record = desk.record(command.record_id, command.expected_version)
    desk.follow(command.record_id, record.values, None)
    record.remove(command.release)
    return desk.done(record)


@handles(RestoreRecord)
def restore_record(command: RestoreRecord, unit: UnitOfWork) -> dict[str, Any]:
    """Bring a removed record back."""
    desk = _Desk(command, unit)
    record = desk.record(command.record_id, command.expected_version, removed=True)
    record.bring_back(command.release)
    record.change(command.release, desk.follow(command.record_id, None, record.values), {})
    return desk.done(record)


class _Desk:
    """One command about a record, where its release is in force and its entity is for whoever asks."""

    def __init__(self, command: RecordCommand, unit: UnitOfWork) -> None:
        self.app: CompiledApp = unit.context.enclosed[_APP]
        self.personal: Enclosed | None = unit.context.enclosed.get(_PERSONAL)
        self.role = role_of(unit.context)
        self._command = command
        self._unit = unit
        self._refuse_release()
        self._shape = shape_of(self.app, command.entity)
        if not sees_entity(self.app, command.entity, self.role):
            raise NotForYourRole(entity=command.entity)

    def _refuse_release(self) -> None:
        command = self._command
        environment = self._unit.find(AppEnvironment, f"{command.app}.{command.environment}")
        if environment is None:
            raise no_app(command.app)
        if environment.read_only:
            raise EnvironmentReadOnly(app=command.app, environment=command.environment)
        # What ran a moment ago counts too: requests are under way while a deploy moves the pointer.
        if command.release not in (environment.candidate, *(entry["release"] for entry in environment.history)):
            raise ReleaseNotInForce(release=command.release)

    def record(self, record_id: str, expected_version: int | None, *, removed: bool = False) -> Record:
        """The record that is meant. Raises ``NotFound`` and ``RecordChangedMeanwhile``."""
        record = self._unit.find(Record, record_id)
        if record is None or (record.removed and not removed):
            raise not_there(record_id)
        record.refuse_elsewhere(self._command, record_id)
        record.refuse_stale(expected_version)
        return record

    def find(self, entity: str, record_id: str) -> Values | None:
        """What the modules' hooks see of another record."""
        record = self._unit.find(Record, record_id)
        if record is None or record.removed or not self._is_here(record, entity):
            return None
        return self._whole(entity, record.values)

    def refuse_dangling(self, values: Mapping[str, Any]) -> None:
        """Every record that values refer to is there, and of the right kind. Raises ``InvalidRecord``."""
        wrong = [
            {"pointer": f"/values/{name}", "rule": "reference", "detail": f"there is no {field.to} with this id"}
            for name, field in self._shape.shown.items()
            if field.to is not None and values.get(name) is not None and self.find(field.to, values[name]) is None
        ]
        if wrong:
            raise InvalidRecord(entity=self._shape.name, errors=wrong)

    def follow(self, record_id: str, before: Values | None, after: Values | None) -> dict[str, Any]:
        """Write what the app's modules want written along with a record; what of it is the record's own is answered.

        Raises their ``Refused``.
        """
        entity = self._shape.name
        writing = Writing(
            entity,
            record_id,
            None if before is None else self._whole(entity, before),
            None if after is None else self._whole(entity, after),
        )
        own: dict[str, Any] = {}
        for each in self.app.consequences(writing, self):
            if (each.entity, each.record_id) == (entity, record_id):
                own |= each.values
            else:
                self._write(each.entity, each.record_id, dict(each.values))
        return own

    def _write(self, entity: str, record_id: str, values: dict[str, Any]) -> None:
        unit, command = self._unit, self._command
        record = unit.find(Record, record_id)
        if record is None:
            made = CreateRecord(
                app=command.app, environment=command.environment, entity=entity, release=command.release, values=values
            )
            unit.add(Record.create(unit.context, record_id, made, values, {}))
            return
        if not self._is_here(record, entity):
            raise not_there(record_id)
        if record.removed:
            record.bring_back(command.release)
        record.change(command.release, values, {})

    def _is_here(self, record: Record, entity: str) -> bool:
        return record.is_of(self._command.app, self._command.environment, entity)

    def _whole(self, entity: str, values: Values) -> dict[str, Any]:
        shape = self.app.shapes.get(entity)
        fields = {} if shape is None else shape.entity.fields
        defaults = {name: field.default for name, field in fields.items() if field.default is not None}
        return {name: value for name, value in (defaults | dict(values)).items() if value is not None}

    def done(self, record: Record) -> dict[str, Any]:
        """Pay for it; the outcome. Raises :class:`NoTokenAccount` and what an account refuses with."""
        unit, command = self._unit, self._command
        if command.account_id is None:
            raise NoTokenAccount()
        account = unit.get(TokenAccount, command.account_id)
        try:
            line, version = price_line(unit, METER, 1, command.entity, unit.context.at)
            rate_card: str | None = f"default/{version}"
        except UnknownPrice:
            priced = own_price(METER, 1)
            line, rate_card = (METER, 1, priced.amount_mtok, priced.trace), None
        debit = account.charge(
            lines=[line],
            app=command.app,
            person=maker_of(unit.context),
            rate_card=rate_card,
            reference=record.local_id,
        )
        return self.outcome(record) | {"charged_mtok": debit.amount_mtok, "debit_id": debit_id_of(debit)}

    def outcome(self, record: Record) -> dict[str, Any]:
        """What is remembered of it: nothing personal."""
        return {
            "record_id": record.local_id,
            "version": record.version,
            "release": self._command.release,
            "charged_mtok": 0,
            "debit_id": None,
        }


def role_of(context: CommandContext) -> str:
    """As what somebody does this."""
    return context.actor.partition(":")[0]


def no_app(app: str) -> NotFound:
    """The same answer whether it is nobody's or somebody else's, and whichever environment was meant."""
    return NotFound(f"There is no app {app}.", id=app)
