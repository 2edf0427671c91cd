"""``felix records``: what clients keep in their apps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from felix.cli.options import Reading, Writing
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.record_drawer import Drawer, Environment
from felix.cli.session import open_session

if TYPE_CHECKING:
    from felix.domain.records.messages import RecordCommand
    from felix.projections.tenant_tx import TenantTx

app = App(name="records", help="List, show, add and change what clients keep in their apps.")


@app.command(name="list")
def list_records(
    app: str,
    entity: str,
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
    app
        The app, as felix apps list names it.
    entity
        What is kept, such as deal.
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
    app: str, entity: str, record: str, *, environment: Environment = "production", reading: Reading | None = None
) -> None:
    """Show a record with all its fields.

    Parameters
    ----------
    app
        The app, as felix apps list names it.
    entity
        What is kept, such as deal.
    record
        Its id, as felix records list shows it.
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
    app: str,
    entity: str,
    *values: str,
    account: str | None = None,
    environment: Environment = "production",
    writing: Writing | None = None,
) -> None:
    """Add a record: felix records add bakery deal title=Bread value=12500

    Parameters
    ----------
    app
        The app, as felix apps list names it.
    entity
        What is kept, such as deal.
    values
        FIELD=VALUE, as many as there are.
    account
        The token account that pays; without it the client's oldest.
    environment
        Where the app runs.
    """
    from felix.application.records import creating

    writing = writing or Writing()
    with open_session() as session:
        drawer = Drawer.open(session, writing.tenant, app, entity, environment)
        given, fields = drawer.values(values), drawer.fields(account)
        command, enclosed = creating(drawer.sealing(), drawer.client.tenant_id, drawer.app, fields, given)
        session.perform(drawer.client, command, writing, enclosed=enclosed)


@app.command
def change(
    app: str,
    entity: str,
    record: str,
    *values: str,
    expected_version: Annotated[int | None, Parameter(show_default=False)] = None,
    account: str | None = None,
    environment: Environment = "production",
    writing: Writing | None = None,
) -> None:
    """Change some values of a record; FIELD= takes a value away.

    Parameters
    ----------
    app
        The app, as felix apps list names it.
    entity
        What is kept, such as deal.
    record
        Its id, as felix records list shows it.
    values
        FIELD=VALUE, as many as change.
    expected_version
        The version that you have seen: nothing happens if it is another by now.
    account
        The token account that pays; without it the client's oldest.
    environment
        Where the app runs.
    """
    from felix.application.records import changing

    writing = writing or Writing()
    with open_session() as session:
        drawer = Drawer.open(session, writing.tenant, app, entity, environment)
        fields = drawer.fields(account) | {"record_id": record, "expected_version": expected_version}
        given = drawer.values(values)
        command, enclosed = changing(drawer.sealing(), drawer.client.tenant_id, drawer.app, fields, given)
        session.perform(drawer.client, command, writing, enclosed=enclosed)


@app.command
def step(
    app: str,
    entity: str,
    record: str,
    action: str,
    *,
    expected_version: Annotated[int | None, Parameter(show_default=False)] = None,
    account: str | None = None,
    environment: Environment = "production",
    writing: Writing | None = None,
) -> None:
    """Take a record a step further in its workflow: felix records step bakery deal rec_… win

    Parameters
    ----------
    app
        The app, as felix apps list names it.
    entity
        What is kept, such as deal.
    record
        Its id, as felix records list shows it.
    action
        The step, as the app's workflow names it.
    expected_version
        The version that you have seen: nothing happens if it is another by now.
    account
        The token account that pays; without it the client's oldest.
    environment
        Where the app runs.
    """
    from felix.domain.records.messages import TakeStep

    said = {"record_id": record, "action": action, "expected_version": expected_version}
    _perform(TakeStep, app, entity, said, account, environment, writing)


@app.command
def remove(
    app: str,
    entity: str,
    record: str,
    *,
    expected_version: Annotated[int | None, Parameter(show_default=False)] = None,
    account: str | None = None,
    environment: Environment = "production",
    writing: Writing | None = None,
) -> None:
    """Remove a record. It can be restored.

    Parameters
    ----------
    app
        The app, as felix apps list names it.
    entity
        What is kept, such as deal.
    record
        Its id, as felix records list shows it.
    expected_version
        The version that you have seen: nothing happens if it is another by now.
    account
        The token account that pays; without it the client's oldest.
    environment
        Where the app runs.
    """
    from felix.domain.records.messages import RemoveRecord

    said = {"record_id": record, "expected_version": expected_version}
    _perform(RemoveRecord, app, entity, said, account, environment, writing)


@app.command
def restore(
    app: str,
    entity: str,
    record: str,
    *,
    account: str | None = None,
    environment: Environment = "production",
    writing: Writing | None = None,
) -> None:
    """Bring a removed record back as it was.

    Parameters
    ----------
    app
        The app, as felix apps list names it.
    entity
        What is kept, such as deal.
    record
        Its id, as felix records remove was given it.
    account
        The token account that pays; without it the client's oldest.
    environment
        Where the app runs.
    """
    from felix.domain.records.messages import RestoreRecord

    _perform(RestoreRecord, app, entity, {"record_id": record}, account, environment, writing)


def _perform(
    command: type[RecordCommand],
    app: str,
    entity: str,
    said: dict[str, Any],
    account: str | None,
    environment: Environment,
    writing: Writing | None,
) -> None:
    """Perform a command that brings no values."""
    from felix.application.records import about

    writing = writing or Writing()
    with open_session() as session:
        drawer = Drawer.open(session, writing.tenant, app, entity, environment)
        fields = drawer.fields(account) | said | {"release": drawer.app.release}
        session.perform(drawer.client, command.model_validate(fields), writing, enclosed=about(drawer.app))
