"""Sentences about reports and schedules."""

from __future__ import annotations

import re
from typing import Any

from felix.domain.apps.behaviour import Schedule
from felix.domain.apps.surfaces import Report
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.reports import AddReport, AddSchedule, DisableSchedule, EnableSchedule, SetSchedule
from felix.domain.changes.planning.grammar.figures import figures
from felix.domain.changes.planning.grammar.names import slug
from felix.domain.changes.planning.grammar.notation import Bound, Build, Pattern
from felix.domain.changes.planning.grammar.scene import Missing, Scene


def _add(scene: Scene, bound: Bound) -> list[Operation]:
    found = figures(scene, bound)
    made = {"title": found.title, "entity": found.entity, "group_by": found.group_by, "measures": found.measures}
    return [AddReport(report=found.name, definition=Report.model_validate(made))]


def _schedule(scene: Scene, bound: Bound) -> list[Operation]:
    report, times, roles = bound["report"], bound["times"], bound.get("roles", ["client_owner"])
    if times.cron is None:
        raise Missing("At what time?", ["at 8", "at 16:30"])
    if len(roles) != 1:
        raise Missing("To whom? One role at a time.", ["owners", "approvers", "members"])
    made = {
        "title": f"{scene.app.reports[report].title} {times.said}",
        "cron": times.cron,
        "job": {"run": "report", "report": report, "to_role": roles[0]},
    }
    name = slug(f"{report} {times.said}")
    return [AddSchedule(schedule=name, definition=Schedule.model_validate(made))]


def _change_times(scene: Scene, bound: Bound) -> list[Operation]:
    if bound["times"].cron is None:
        raise Missing("At what time?", ["at 8", "at 16:30"])
    return [SetSchedule(schedule=bound["schedule"], cron=bound["times"].cron)]


def _change_time(scene: Scene, bound: Bound) -> list[Operation]:
    days = re.fullmatch(r"[0-9]+ [0-9]+ (.*)", scene.app.schedules[bound["schedule"]].cron)
    if days is None:
        raise Missing("On which days?", ["every day at 8", "every Monday at 8"])
    hour, minute = bound["time"]
    return [SetSchedule(schedule=bound["schedule"], cron=f"{minute} {hour} {days[1]}")]


def _switch(operation: Any) -> Build:
    return lambda scene, bound: [operation(schedule=bound["schedule"])]


SENTENCES = (
    Pattern(
        "<add> report (of|with|on) [{measure} of] {entity} by {grouping} [<called> {label}]",
        "Add a report of deals by stage",
        _add,
    ),
    Pattern(
        "<add> report <called> {label} (of|with|on) [{measure} of] {entity} by {grouping}",
        "Create a report called Sales with the value of deals by month of closes on",
        _add,
    ),
    Pattern(
        "(send|mail|email) {report} [to {roles}] {times}", "Send the won deals report every day at 7:30", _schedule
    ),
    Pattern(
        "{times} [,] (send|mail|email) {report} [to {roles}]",
        "Every Monday at 8, send the Won deals report to the owners",
        _schedule,
    ),
    Pattern("(run|start) {schedule} {times}", "Run the Every month schedule every Friday at 16:00", _change_times),
    Pattern("(run|start) {schedule} at {time:clock}", "Run the schedule Every month at 6 o'clock", _change_time),
    Pattern("{schedule} should run at {time:clock}", "The schedule Every month should run at 6:30", _change_time),
    Pattern(
        "{schedule} should run {times}", "The schedule Every month should run every Friday at 16:00", _change_times
    ),
    Pattern("<turn off> {schedule}", "Pause the Every month schedule", _switch(DisableSchedule)),
    Pattern("<turn on> {schedule}", "", _switch(EnableSchedule)),
)
