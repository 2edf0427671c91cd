"""Views and reports: what people see, and who does."""

from __future__ import annotations

from typing import Any

from felix.domain.apps.places import ABSENT, at
from felix.domain.changes.meanings.difference import VERBS, Difference, Said
from felix.domain.changes.words import quoted


def view(d: Difference) -> Said:
    title = d.words.title("views", d.name)
    entity = str(at(d.words.tree, d.path, "/entity"))
    match d.parts:
        case () if d.before is ABSENT:
            sentence = f"Adds the {d.after['kind']} {title} of {d.new.entity(entity)}"
            return "view_added", "medium", sentence
        case () if d.after is ABSENT:
            return "view_removed", "medium", f"Removes the {d.before['kind']} {title}; its records stay"
        case ("title",):
            return "view_renamed", "low", f"Calls the view {quoted(d.before)} {quoted(d.after)}"
        case ("roles",):
            return "view_roles", "high", f"Changes who sees the view {title}: {_roles(d.before)}, now {_roles(d.after)}"
        case ("where",):
            condition = "" if d.after is ABSENT else d.new.condition(entity, d.after)
            shows = f"records where {condition}" if condition else "every record"
            return "view_filter", "medium", f"Lets the view {title} show {shows}"
        case ("columns" | "card", field) | ("sections", _, "fields", field) if d.before is ABSENT:
            return "column_added", "low", f"Shows the field {d.new.field(entity, field)} in the view {title}"
        case ("columns" | "card", field) | ("sections", _, "fields", field) if d.after is ABSENT:
            return (
                "column_removed",
                "low",
                f"Shows the field {d.old.field(entity, field)} no longer in the view {title}",
            )
        case ("columns" | "card" | "sections" | "order" | "group_by" | "measure" | "chart", *_):
            return "view_changed", "low", f"Changes how the view {title} shows its records ({d.parts[0]})"
        case ("kind" | "entity",):
            return "view_changed", "medium", f"Makes the view {title} another one: {d.parts[0]} {quoted(d.after)}"
    return d.unknown()


def _roles(roles: Any) -> str:
    return "everybody" if roles is ABSENT else quoted([role.removeprefix("client_") for role in roles])


def report(d: Difference) -> Said:
    title = d.words.title("reports", d.name)
    match d.parts:
        case ():
            return f"report_{d.change}", "medium", f"{VERBS[d.change]} the report {title}"
        case ("title",):
            return "report_renamed", "low", f"Calls the report {quoted(d.before)} {quoted(d.after)}"
        case ("entity",):
            return "report_changed", "medium", f"Makes the report {title} one of {d.new.entity(d.after)}"
        case ("where",):
            condition = "" if d.after is ABSENT else d.new.condition(str(d.becomes("entity")), d.after)
            counts = f"records where {condition}" if condition else "every record"
            return "report_filter", "low", f"Lets the report {title} count {counts}"
        case ("group_by" | "measures" | "format", *_):
            return "report_changed", "low", f"Changes what is in the report {title}: {d.parts[0]}"
    return d.unknown()
