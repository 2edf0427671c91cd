"""Sentences about boards, charts, forms, and about views as such."""

from __future__ import annotations

from typing import Any

from felix.domain.apps.surfaces import BoardView, ChartView, FormView
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.views import (
    AddBoardView,
    AddChartView,
    AddFormField,
    AddFormView,
    RemoveView,
    RenameView,
    SetViewRoles,
)
from felix.domain.changes.planning.grammar.figures import Figures, figures
from felix.domain.changes.planning.grammar.notation import Bound, Pattern
from felix.domain.changes.planning.grammar.references import definition, fields_in, view_in
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene

_ALL = ("list", "board", "chart", "form")


def _rename(scene: Scene, bound: Bound) -> list[Operation]:
    return [RenameView(view=view_in(scene, bound, _ALL), title=bound["label"].text)]


def _remove(scene: Scene, bound: Bound) -> list[Operation]:
    return [RemoveView(view=view_in(scene, bound, _ALL))]


def _roles(scene: Scene, bound: Bound) -> list[Operation]:
    return [SetViewRoles(view=view_in(scene, bound, _ALL), roles=bound.get("roles", []))]


def _add_board(scene: Scene, bound: Bound) -> list[Operation]:
    entity, by, cards = bound["entity"], bound["field"], bound["fields"]
    if {by.entity, cards[0].entity} != {entity}:
        raise NoReading
    if definition(scene, by).type != "choice":
        raise Missing("A board needs a choice to make its columns of. Which one?")
    label = bound["label"]
    made = {"kind": "board", "entity": entity, "title": label.text, "group_by": by.field}
    made["card"] = [ref.field for ref in cards]
    return [AddBoardView(view=label.name, definition=BoardView.model_validate(made))]


def _add_form(scene: Scene, bound: Bound) -> list[Operation]:
    entity, refs = bound["entity"], bound["fields"]
    if refs[0].entity != entity:
        raise NoReading
    title = bound["label"].text if "label" in bound else scene.app.entities[entity].title
    name = bound["label"].name if "label" in bound else f"{entity}_form"
    sections = [{"title": title, "fields": [ref.field for ref in refs]}]
    definition = FormView.model_validate({"kind": "form", "entity": entity, "title": title, "sections": sections})
    return [AddFormView(view=name, definition=definition)]


def _add_chart(scene: Scene, bound: Bound) -> list[Operation]:
    found: Figures = figures(scene, bound)
    if len(found.measures) != 1 or len(found.group_by) != 1:
        raise NoReading
    made: dict[str, Any] = {"kind": "chart", "entity": found.entity, "title": found.title, "chart": bound["chart"]}
    made |= {"group_by": found.group_by[0], "measure": found.measures[0]}
    return [AddChartView(view=found.name, definition=ChartView.model_validate(made))]


def _which_chart(scene: Scene, bound: Bound) -> list[Operation]:
    raise Missing("Which kind of chart?", ["bar chart", "line chart", "pie chart"])


def _add_to_form(scene: Scene, bound: Bound) -> list[Operation]:
    refs = fields_in(bound)
    view = view_in(scene, bound, ("form",), refs[0].entity)
    after = bound.get("after")
    if after is not None and (after.entity != refs[0].entity or len(refs) > 1):
        raise NoReading
    return [AddFormField(view=view, field=ref.field, after=after.field if after else None) for ref in refs]


SENTENCES = (
    Pattern("<rename> {view} (to|as) {label}", "Rename the Deals list to 'Open deals'", _rename),
    Pattern("call {view} {label}", "Call the pipeline board Sales", _rename),
    Pattern("<set> (title|name) of {view} to {label}", "Change the title of the pipeline board to Sales", _rename),
    Pattern("<remove> {view}", "Delete the pipeline board", _remove),
    Pattern(
        "(we|i) (don't|do not) need {view} (any more|anymore|any longer)",
        "We don't need the pipeline board any more",
        _remove,
    ),
    Pattern("<only> {roles} <may> see {view}", "Only owners may see the Won by month chart", _roles),
    Pattern("show {view} to {roles} only", "Show the pipeline to owners and approvers only", _roles),
    Pattern("show {view} only to {roles}", "Show the pipeline only to owners", _roles),
    Pattern(
        "(hide {view} from everybody|hide {view} from everyone) (but|except) {roles}",
        "Hide the pipeline from everybody but owners",
        _roles,
    ),
    Pattern(
        "let (everybody|everyone) see {view}",
        "Only owners may see the deals list; let everybody see the deals list",
        _roles,
    ),
    Pattern(
        "(everybody|everyone) <may> see {view}",
        "Only owners may see the Won by month chart. Everybody may see the Won by month chart.",
        _roles,
    ),
    Pattern(
        "show {view} to (everybody|everyone)",
        "Only owners may see the pipeline, then show the pipeline to everybody",
        _roles,
    ),
    Pattern(
        "<add> board of {entity} by {field} <called> {label} (showing|with) {fields}",
        "Add a board of deals by stage called Stages showing title and value",
        _add_board,
    ),
    Pattern(
        "<add> board <called> {label} (of|for) {entity} by {field} (showing|with) {fields}",
        "Add a board called Stages of deals by stage showing title and value",
        _add_board,
    ),
    Pattern(
        "<add> form (for|of) {entity} with {fields}", "Add a form for contacts with name, e-mail and VIP", _add_form
    ),
    Pattern(
        "<add> form <called> {label} (for|of) {entity} with {fields}",
        "Add a form called 'New contact' for contacts with name and e-mail",
        _add_form,
    ),
    Pattern(
        "<add> {chart} (of|with|showing|for) [{measure} of] {entity} by {grouping} [<called> {label}]",
        "Add a line chart of the value of deals by month of closes on",
        _add_chart,
    ),
    Pattern(
        "<add> {chart} <called> {label} (of|with|showing|for) [{measure} of] {entity} by {grouping}",
        "Add a bar chart called Stages of deals by stage",
        _add_chart,
    ),
    Pattern("<add> (chart|diagram|graph) of [{measure} of] {entity} by {grouping}", "", _which_chart),
    Pattern(
        "(<add>|put|show) {fields} (to|into|in|on) {view} [after {after:field}]",
        "Add the e-mail to the deal form",
        _add_to_form,
    ),
)
