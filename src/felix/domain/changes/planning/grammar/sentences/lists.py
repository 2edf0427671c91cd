"""Sentences about lists: columns, order and what they show."""

from __future__ import annotations

from typing import Any

from felix.domain.apps.surfaces import Column, ListView, Order
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.views import (
    AddListView,
    AddViewColumn,
    MoveViewColumn,
    RemoveViewColumn,
    SetViewFilter,
    SetViewOrder,
)
from felix.domain.changes.planning.grammar.names import FieldRef, slug
from felix.domain.changes.planning.grammar.notation import Bound, Pattern
from felix.domain.changes.planning.grammar.references import entity_view, field_in, fields_in, one_view, view_in
from felix.domain.changes.planning.grammar.scene import NoReading, Scene

_SHOWING = ("list", "board")


def _after(bound: Bound, entity: str) -> str | None:
    other: FieldRef | None = bound.get("after")
    if other is not None and other.entity != entity:
        raise NoReading
    return None if other is None else other.field


def _add_columns(scene: Scene, bound: Bound) -> list[Operation]:
    refs = fields_in(bound)
    view = view_in(scene, bound, _SHOWING, refs[0].entity)
    label = bound["label"].text if "label" in bound else None
    if len(refs) > 1 and (label or "after" in bound):
        raise NoReading
    return [AddViewColumn(view=view, field=ref.field, label=label, after=_after(bound, ref.entity)) for ref in refs]


def _remove_columns(scene: Scene, bound: Bound) -> list[Operation]:
    refs = fields_in(bound)
    view = view_in(scene, bound, ("list", "board", "form"), refs[0].entity)
    return [RemoveViewColumn(view=view, field=ref.field) for ref in refs]


def _move(scene: Scene, bound: Bound) -> list[Operation]:
    ref = field_in(bound)
    view = view_in(scene, bound, _SHOWING, ref.entity)
    return [MoveViewColumn(view=view, field=ref.field, after=_after(bound, ref.entity))]


def _order(scene: Scene, bound: Bound) -> list[Operation]:
    entity, order = bound["order"]
    if "entity" in bound:
        if bound["entity"] != entity:
            raise NoReading
        view = entity_view(scene, entity, "list")
    else:
        view = one_view(scene, bound["view"], ("list",), entity)
    return [SetViewOrder(view=view, order=[Order(field=field, descending=down) for field, down in order])]


def _filter(scene: Scene, bound: Bound) -> list[Operation]:
    if "option" in bound:
        option = bound["option"]
        entity, where = option.entity, {"field": option.field, "is": "equal", "value": option.value}
        if bound["entity"] != entity:
            raise NoReading
    else:
        entity, where = bound["condition"]
    if bound.get("entity", entity) != entity:
        raise NoReading
    view = view_in(scene, bound, ("list", "board", "chart"), entity)
    return [SetViewFilter.model_validate({"view": view, "where": where})]


def _show_all(scene: Scene, bound: Bound) -> list[Operation]:
    return [SetViewFilter(view=view_in(scene, bound, ("list", "board", "chart"), bound.get("entity")), where=None)]


def _add(scene: Scene, bound: Bound) -> list[Operation]:
    entity, refs = bound["entity"], bound["fields"]
    if refs[0].entity != entity:
        raise NoReading
    title = bound["label"].text if "label" in bound else scene.app.entities[entity].plural
    made: dict[str, Any] = {"kind": "list", "entity": entity, "title": title}
    made["columns"] = [Column(field=ref.field) for ref in refs]
    if "condition" in bound:
        about, made["where"] = bound["condition"]
        if about != entity:
            raise NoReading
    name = bound["label"].name if "label" in bound else slug(title) or entity
    return [AddListView(view=name, definition=ListView.model_validate(made))]


_VIEW = "(in|into|to|on) {view}"
SENTENCES = (
    Pattern(
        f"(show|display|put|include|<add>) {{fields}} {_VIEW} [as {{label}}]",
        "Show the contact in the deals list as Customer",
        _add_columns,
    ),
    Pattern(
        f"(show|display|put|include|<add>) {{fields}} as (column|columns) {_VIEW}",
        "Add the stage as a column to the Deals list",
        _add_columns,
    ),
    Pattern(
        f"(show|display|put|include|<add>) {{fields}} {_VIEW} after {{after:field}}",
        "Show closes on in the deals list after title",
        _add_columns,
    ),
    Pattern(
        "(in|on) {view} [,] [also] (show|display|include) [also] {fields}",
        "In the deals list, also show the stage",
        _add_columns,
    ),
    Pattern("{view} should [also] show {fields}", "The deals list should also show the stage", _add_columns),
    Pattern(
        "(remove|delete|drop|hide|take) {fields} (from|in|out of|on) {view}",
        "Take the value column out of the Deals list",
        _remove_columns,
    ),
    Pattern(
        "(don't|do not|no longer|stop to) show {fields} (in|on) {view} [any more|anymore]",
        "Don't show the value in the list of deals",
        _remove_columns,
    ),
    Pattern(
        "{view} should not show {fields} [any more|anymore]",
        "The deals list should not show the value any more",
        _remove_columns,
    ),
    Pattern(
        "(move|put) {field} to the (front|start|beginning) of {view}",
        "Move value to the front of the deals list",
        _move,
    ),
    Pattern("(move|put) {field} (first|to the front) in {view}", "Move value first in the deals list", _move),
    Pattern(
        "move {field} (after|behind) {after:field} in {view}", "Move the title after the value in the deals list", _move
    ),
    Pattern("(sort|order) {entity} by {order}", "Sort deals by stage and then by value descending", _order),
    Pattern("(sort|order) {view} by {order}", "Sort the deals list by value, highest first", _order),
    Pattern("{view} should be (sorted|ordered) by {order}", "The deals list should be sorted by value", _order),
    Pattern(
        "(<only> show|show <only>) {option} {entity} (in|on) {view}", "Only show open deals in the Deals list", _filter
    ),
    Pattern(
        "(<only> show|show <only>) {entity} [that] {condition} (in|on) {view}",
        "Show only deals whose stage is not lost in the deals list",
        _filter,
    ),
    Pattern(
        "(in|on) {view} [,] (<only> show|show <only>) {entity} {condition}",
        "In the deals list, only show deals where value is more than 1000",
        _filter,
    ),
    Pattern(
        "{view} should <only> show {entity} {condition}",
        "The deals list should only show deals with stage won",
        _filter,
    ),
    Pattern("{view} should <only> show {option} {entity}", "The deals list should only show won deals", _filter),
    Pattern("filter {view} (to|by|for) {option} {entity}", "Filter the deals list to open deals", _filter),
    Pattern(
        "filter {view} [to|by|for] [those|records|{entity}] {condition}",
        "Filter the deals list to those without a contact",
        _filter,
    ),
    Pattern("show (all|every) {entity} (in|on) {view}", "Show all deals in the deals list", _show_all),
    Pattern("<remove> filter (of|from|on|in) {view}", "Remove the filter of the deals list", _show_all),
    Pattern("clear filter (of|from|on|in) {view}", "Clear the filter of the deals list", _show_all),
    Pattern(
        "<add> list of {entity} (with|showing) {fields} [{condition}]", "Add a list of contacts with name and VIP", _add
    ),
    Pattern(
        "<add> list <called> {label} (of|for|with) {entity} (with|showing) {fields} [{condition}]",
        "Create a list called Won deals of deals with title and value where stage is won",
        _add,
    ),
    Pattern(
        "<add> list of {entity} <called> {label} (with|showing) {fields} [{condition}]",
        "Create a list of contacts called VIPs with name and e-mail",
        _add,
    ),
)
