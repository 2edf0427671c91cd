"""An app over HTTP as its people use it: what it is, and its lists, boards, forms and charts.

All of it is read from the release that is active for the caller. What a release keeps for other roles is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents
from felix.api import record_examples as examples
from felix.api.http import answer, services
from felix.api.record_pages import ORDER, PAGE, SEARCH, WHERE, filter_of, next_of, orders_of, page_of
from felix.api.records import reads, router
from felix.api.serving import Served, no_view, served
from felix.domain.apps.entities import Field
from felix.domain.apps.roles import NotForYourRole, may, sees_entity
from felix.domain.apps.shapes import Shape
from felix.domain.apps.spelling import plain
from felix.domain.apps.surfaces import BoardView, ChartView, FormView, ListView, View
from felix.domain.apps.transitions import open_steps
from felix.domain.records.record import not_there
from felix.projections import record_rows, records
from felix.projections.records import Order
from felix.projections.tenant_tx import Row, TenantTx

RECORD_ID = documents.query("record", "Of a form: the record that is in it; without one it is empty.", type="string")


@reads("/v1/apps/{app}", examples.APP)
@served("records.read")
async def show_app(request: Request, serving: Served) -> Response:
    """What an app is for you: its entities with their fields, its views and its workflows, in the release you have."""
    app, role = serving.app.app, serving.role
    seen = {
        name: shape
        for name, shape in serving.app.shapes.items()
        if not shape.entity.hidden and sees_entity(serving.app, name, role)
    }
    return answer(
        {
            "app": serving.name,
            "title": app.app.title,
            "environment": serving.environment,
            "release": serving.app.release,
            "entities": [
                plain_of(shape.entity, "title", "plural", "named_by") | {"name": name, "fields": _fields(shape)}
                for name, shape in seen.items()
            ],
            "views": [
                plain_of(view, "kind", "title", "entity") | {"name": name}
                for name, view in app.views.items()
                if view.entity in seen and may(view.roles, role)
            ],
            "workflows": [
                plain(workflow) | {"name": name} for name, workflow in app.workflows.items() if workflow.entity in seen
            ],
        }
    )


@reads("/v1/apps/{app}/views/{view}", examples.VIEW, WHERE, SEARCH, ORDER, *PAGE, RECORD_ID)
@served("records.read")
async def show_view(request: Request, serving: Served) -> Response:
    """A view with the records in it: a list has rows, a board columns of cards, a chart groups, a form one record.

    Conditions, search, order and pages narrow what the view shows; they can't widen it.
    """
    name = request.path_params["view"]
    view = serving.app.app.views.get(name)
    if view is None or serving.app.app.entities[view.entity].hidden:
        raise no_view(name)
    if not may(view.roles, serving.role):
        raise NotForYourRole(view=name)
    shape = serving.app.shapes[view.entity]
    async with services(request).reads.tenant(serving.tenant_id, serving.partition) as tx:
        shown = await _shown(request, serving, tx, view, shape)
    return answer({"view": name, "kind": view.kind, "title": view.title, "entity": view.entity} | shown)


async def _shown(request: Request, serving: Served, tx: TenantTx, view: View, shape: Shape) -> dict[str, Any]:
    match view:
        case ListView():
            return await _list(request, serving, tx, view, shape)
        case BoardView():
            return await _board(request, serving, tx, view, shape)
        case FormView():
            return await _form(request, serving, tx, view, shape)
        case ChartView():
            return await _chart(request, serving, tx, view, shape)


async def _list(request: Request, serving: Served, tx: TenantTx, view: ListView, shape: Shape) -> dict[str, Any]:
    fitting = filter_of(request, shape, view.where)
    orders = orders_of(request, shape, [Order(order.field, order.descending) for order in view.order])
    after, limit = page_of(request, orders)
    columns = {column.field: column for column in view.columns if column.field in shape.shown}
    rows = await records.records(tx, serving.place(shape.name), fitting, orders, after, limit)
    return {
        "columns": [
            _field(name, shape.shown[name]) | ({"label": column.label} if column.label is not None else {})
            for name, column in columns.items()
        ],
        "data": await record_rows.shown(tx, rows, serving.app, shape, services(request).vault, columns),
        "next": next_of(rows, limit),
    }


async def _board(request: Request, serving: Served, tx: TenantTx, view: BoardView, shape: Shape) -> dict[str, Any]:
    """A column an option, with how many records are in it; behind them those without an option, if there are any."""
    fitting = filter_of(request, shape, view.where)
    rows = await records.cards(tx, serving.place(shape.name), fitting, view.group_by)
    fields = {view.group_by, *view.card}
    shown = await record_rows.shown(tx, rows, serving.app, shape, services(request).vault, fields)
    of: dict[str | None, list[tuple[Row, dict[str, Any]]]] = {}
    for row, card in zip(rows, shown, strict=True):
        of.setdefault(row["grouped"], []).append((row, card))
    options = {option.value: option.label for option in shape.entity.fields[view.group_by].options or ()}
    return {
        "group_by": view.group_by,
        "card": [_field(name, shape.shown[name]) for name in view.card if name in shape.shown],
        "data": [
            {
                "value": value,
                "label": options.get(value or "", value),
                "count": of[value][0][0]["counted"] if value in of else 0,
                "cards": [card for _, card in of.get(value, ())],
            }
            for value in [*options, *(value for value in of if value not in options)]
        ],
    }


async def _form(request: Request, serving: Served, tx: TenantTx, view: FormView, shape: Shape) -> dict[str, Any]:
    fields = {name for section in view.sections for name in section.fields}
    record_id, row, steps = request.query_params.get("record"), None, []
    if record_id is not None:
        found = await records.record(tx, serving.place(shape.name), record_id)
        if found is None:
            raise not_there(record_id[:64])
        (row,) = await record_rows.shown(tx, [found], serving.app, shape, services(request).vault, fields)
        is_maker = found["maker"] == serving.principal.caller.id
        steps = open_steps(serving.app, shape.name, found["values"], role=serving.role, is_maker=is_maker)
    return {
        "sections": [
            {
                "title": section.title,
                "fields": [_field(name, shape.shown[name]) for name in section.fields if name in shape.shown],
            }
            for section in view.sections
        ],
        "record": row,
        "steps": steps,
    }


async def _chart(request: Request, serving: Served, tx: TenantTx, view: ChartView, shape: Shape) -> dict[str, Any]:
    """One figure a group. An average is rounded to a whole number of the field's last place."""
    grouping, measure = view.group_by, view.measure
    fitting = filter_of(request, shape, view.where)
    found = await records.groups(tx, serving.place(shape.name), fitting, grouping.field, grouping.by, measure.field)
    field = shape.entity.fields[grouping.field]
    labels: Mapping[str, str] = {option.value: option.label for option in field.options or ()}
    return {
        "chart": view.chart,
        "group_by": plain(grouping),
        "measure": plain(measure),
        "data": [
            {
                "group": row["grouped"],
                "label": labels.get(row["grouped"], row["grouped"]),
                "value": None if row[measure.function] is None else int(row[measure.function]),
            }
            for row in found
        ],
    }


def _fields(shape: Shape) -> list[dict[str, Any]]:
    return [_field(name, field) for name, field in shape.shown.items()]


def _field(name: str, field: Field) -> dict[str, Any]:
    """A field as its file describes it, with its name."""
    return plain(field) | {"name": name}


def plain_of(part: Any, *names: str) -> dict[str, Any]:
    """Some members of a part of a file."""
    return {name: getattr(part, name) for name in names}


__all__ = ["router"]
