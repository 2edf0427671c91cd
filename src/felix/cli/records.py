"""``felix records``: what clients keep in their apps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts import App

from felix.cli.options import Reading, Writing
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.record_drawer import Drawer, Environment, Expected, InApp, Keeping, OfEntity, RecordId
from felix.cli.session import open_session

if TYPE_CHECKING:
    from felix.domain.records.messages import RecordCommand
    from felix.projections.tenant_tx import TenantTx

app = App(name="records", help="List, show, add and change what clients keep in their apps.")


@app.command(name="list")
def list_records(
    app: InApp,
    entity: OfEntity,
    *,
    where: str | None = None,
    search: str = "",
    limit: int = 100,
    environment: Environment = "production",
    reading: Reading | None = None,
) -> None:
    """List the records of an entity, the oldest first.

    Parameters
    ----------
    where
        A condition in JSON, such as {"field":"stage","is":"equal","value":"open"}.
    search
        A text that some field contains.
    limit
        How many at the most.
    environment
        Where the app runs.
    """
    from felix.api.record_pages import SEARCHED, read_condition
    from felix.projections import records
    from felix.projections.record_filters import Filter
    from felix.projections.records import Place

    reading = reading or Reading()
    with open_session() as session:
        drawer = Drawer.open(session, reading.tenant, app, entity, environment)
        shape = drawer.shape
        searched = [name for name, field in shape.shown.items() if field.type in SEARCHED and not field.personal]
        condition = read_condition(where, shape) if where else None
        fitting = Filter(condition, search=search, searched=searched)

        async def ask(tx: TenantTx) -> list[dict[str, Any]]:
            return await drawer.shown(
                tx, await records.records(tx, Place(app, environment, entity), fitting, limit=limit)
            )

        rows = session.ask(drawer.client, ask)
    if reading.json:
        print_json(rows)
        return
    headings = {"record_id": "record"} | {name: field.label for name, field in list(shape.shown.items())[:6]}
    flat = [
        {"record_id": row["record_id"]} | {name: _told(row, name) for name in headings if name != "record_id"}
        for row in rows
    ]
    print_table(flat, headings, empty=f"There are no records. Add one: felix records add {app} {entity} FIELD=VALUE")


def _told(row: dict[str, Any], name: str) -> Any:
    """A value as a table shows it: references by the name of what they lead to."""
    if name in row["erased"]:
        return "(erased)"
    value = row["values"][name]
    return row["names"].get(value, value) if isinstance(value, str) else value


@app.command
def show(
    app: InApp,
    entity: OfEntity,
    record: RecordId,
    *,
    environment: Environment = "production",
    reading: Reading | None = None,
) -> None:
    """Show a record with all its fields.

    Parameters
    ----------
    environment
        Where the app runs.
    """
    from felix.domain.records.record import not_there
    from felix.projections import records
    from felix.projections.records import Place

    reading = reading or Reading()
    with open_session() as session:
        drawer = Drawer.open(session, reading.tenant, app, entity, environment)

        async def ask(tx: TenantTx) -> list[dict[str, Any]]:
            row = await records.record(tx, Place(app, environment, entity), record)
            return await drawer.shown(tx, [] if row is None else [row])

        found = session.ask(drawer.client, ask)
    if not found:
        raise not_there(record)
    (row,) = found
    if reading.json:
        print_json(row)
        return
    told = {"record_id": row["record_id"], "version": row["version"], "changed_at": row["changed_at"]}
    print_facts(told | {field.label: _told(row, name) for name, field in drawer.shape.shown.items()})


@app.command
def add(
    app: InApp,
    entity: OfEntity,
    *values: str,
    keeping: Keeping | None = None,
    writing: Writing | None = None,
) -> None:
    """Add a record: felix records add bakery deal title=Bread value=12500

    Parameters
    ----------
    values
        FIELD=VALUE, as many as there are.
    """
    from felix.application.records import creating

    keeping, writing = keeping or Keeping(), writing or Writing()
    with open_session() as session:
        drawer = Drawer.open(session, writing.tenant, app, entity, keeping.environment)
        given, fields = drawer.values(values), drawer.fields(keeping.account)
        command, enclosed = creating(drawer.sealing(), drawer.client.tenant_id, drawer.app, fields, given)
        session.perform(drawer.client, command, writing, enclosed=enclosed)


@app.command
def change(
    app: InApp,
    entity: OfEntity,
    record: RecordId,
    *values: str,
    expected_version: Expected = None,
    keeping: Keeping | None = None,
    writing: Writing | None = None,
) -> None:
    """Change some values of a record; FIELD= takes a value away.

    Parameters
    ----------
    values
        FIELD=VALUE, as many as change.
    """
    from felix.application.records import changing

    keeping, writing = keeping or Keeping(), writing or Writing()
    with open_session() as session:
        drawer = Drawer.open(session, writing.tenant, app, entity, keeping.environment)
        fields = drawer.fields(keeping.account) | {"record_id": record, "expected_version": expected_version}
        given = drawer.values(values)
        command, enclosed = changing(drawer.sealing(), drawer.client.tenant_id, drawer.app, fields, given)
        session.perform(drawer.client, command, writing, enclosed=enclosed)


@app.command
def step(
    app: InApp,
    entity: OfEntity,
    record: RecordId,
    action: str,
    *,
    expected_version: Expected = None,
    keeping: Keeping | None = None,
    writing: Writing | None = None,
) -> None:
    """Take a record a step further in its workflow: felix records step bakery deal rec_… win

    Parameters
    ----------
    action
        The step, as the app's workflow names it.
    """
    from felix.domain.records.messages import TakeStep

    said = {"record_id": record, "action": action, "expected_version": expected_version}
    _perform(TakeStep, app, entity, said, keeping, writing)


@app.command
def remove(
    app: InApp,
    entity: OfEntity,
    record: RecordId,
    *,
    expected_version: Expected = None,
    keeping: Keeping | None = None,
    writing: Writing | None = None,
) -> None:
    """Remove a record. It can be restored."""
    from felix.domain.records.messages import RemoveRecord

    said = {"record_id": record, "expected_version": expected_version}
    _perform(RemoveRecord, app, entity, said, keeping, writing)


@app.command
def restore(
    app: InApp,
    entity: OfEntity,
    record: str,
    *,
    keeping: Keeping | None = None,
    writing: Writing | None = None,
) -> None:
    """Bring a removed record back as it was.

    Parameters
    ----------
    record
        Its id, as felix records remove was given it.
    """
    from felix.domain.records.messages import RestoreRecord

    _perform(RestoreRecord, app, entity, {"record_id": record}, keeping, writing)


def _perform(
    command: type[RecordCommand],
    app: str,
    entity: str,
    said: dict[str, Any],
    keeping: Keeping | None,
    writing: Writing | None,
) -> None:
    """Perform a command that brings no values."""
    from felix.application.records import about

    keeping, writing = keeping or Keeping(), writing or Writing()
    with open_session() as session:
        drawer = Drawer.open(session, writing.tenant, app, entity, keeping.environment)
        fields = drawer.fields(keeping.account) | said | {"release": drawer.app.release}
        session.perform(drawer.client, command.model_validate(fields), writing, enclosed=about(drawer.app))
