"""Workflows, automations, schedules, mails and connections: what happens, and what reaches people outside."""

from __future__ import annotations

from typing import Any

from felix.domain.apps.places import ABSENT, pointer_of
from felix.domain.changes.meanings.difference import VERBS, Difference, Said
from felix.domain.changes.risk import Risk
from felix.domain.changes.words import counted, quoted


def workflow(d: Difference) -> Said:
    title = d.words.title("workflows", d.name)
    match d.parts:
        case ():
            return f"workflow_{d.change}", "high", f"{'Adds' if d.before is ABSENT else 'Removes'} the workflow {title}"
        case ("title",):
            return "workflow_renamed", "low", f"Calls the workflow {quoted(d.before)} {quoted(d.after)}"
        case ("transitions", _, "label"):
            return "step_renamed", "low", f"Calls a step of the workflow {title} {quoted(d.after)}"
        case ("transitions", action) if d.before is ABSENT:
            return "step_added", "high", f"Adds the step {quoted(d.after['label'])} to the workflow {title}"
        case ("transitions", action) if d.after is ABSENT:
            return "step_removed", "high", f"Removes the step {quoted(d.before['label'])} of the workflow {title}"
        case ("transitions", action, attribute):
            return "step_changed", "high", f"Changes who may take {quoted(action)} in {title}, or when: {attribute}"
    return "workflow_changed", "high", f"Changes the workflow {title}: {pointer_of(d.parts)}"


def automation(d: Difference) -> Said:
    title = d.words.title("automations", d.name)
    mail = "; it sends mail" if _sends_mail(d.becomes()) else ""
    mail += "; it calls another system" if _calls_others(d.becomes()) else ""
    risk: Risk = "high" if mail else "medium"
    match d.parts:
        case () if d.before is ABSENT:
            off = "; it is switched off" if d.after.get("enabled") is False else ""
            return "automation_added", risk, f"Adds the automation {title}{mail}{off}"
        case ():
            return "automation_removed", "medium", f"Removes the automation {title}"
        case ("title",):
            return "automation_renamed", "low", f"Calls the automation {quoted(d.before)} {quoted(d.after)}"
        case ("enabled",) if d.after is False:
            return "automation_disabled", "medium", f"Switches the automation {title} off"
        case ("enabled",):
            return "automation_enabled", risk, f"Switches the automation {title} on{mail}"
    return "automation_changed", risk, f"Changes the automation {title}{mail}: {d.parts[0]}"


def _calls_others(automation: Any) -> bool:
    """Whether an automation is switched on and tells another system."""
    return (
        automation is not ABSENT
        and automation.get("enabled") is not False
        and any(action["do"] == "call_webhook" for action in automation["actions"])
    )


def _sends_mail(automation: Any, template: str | None = None) -> bool:
    """Whether an automation is switched on and sends mail, where one is named of that template."""
    return (
        automation is not ABSENT
        and automation.get("enabled") is not False
        and any(
            action["do"] == "send_email" and template in (None, action["template"]) for action in automation["actions"]
        )
    )


def schedule(d: Difference) -> Said:
    title = d.words.title("schedules", d.name)
    match d.parts:
        case () if d.before is ABSENT:
            return "schedule_added", "medium", f"Adds the schedule {title}, at {quoted(d.after['cron'])}"
        case ():
            return "schedule_removed", "medium", f"Removes the schedule {title}"
        case ("title",):
            return "schedule_renamed", "low", f"Calls the schedule {quoted(d.before)} {quoted(d.after)}"
        case ("enabled",):
            return "schedule_switched", "medium", f"Switches the schedule {title} {'off' if d.after is False else 'on'}"
    return "schedule_changed", "medium", f"Changes the schedule {title}: {d.parts[0]} {d.value}"


def template(d: Difference) -> Said | None:
    title = d.words.title("templates", d.name)
    body = d.path.endswith(".liquid")
    if d.parts == ():
        if d.change != "changed":
            return None if body else (f"mail_{d.change}", "medium", f"{VERBS[d.change]} the mail {title}")
        return _mail_changed(d, f"Changes the text of the mail {title}")
    match d.parts:
        case ("title",):
            return "mail_renamed", "low", f"Calls the mail {quoted(d.before)} {quoted(d.after)}"
        case ("subject",):
            return _mail_changed(d, f"Gives the mail {title} the subject {quoted(d.after)}")
    return "mail_changed", "medium", f"Changes the mail {title}: {d.parts[0]} {d.value}"


def _mail_changed(d: Difference, sentence: str) -> Said:
    """A mail that goes out and leads somewhere new is as good as a new one."""
    sent = any(
        _sends_mail(content, d.name) for path, content in d.new.tree.files.items() if path.startswith("automations/")
    )
    links = d.new_links
    if sent and links:
        return "mail_links", "high", f"{sentence}, and leads to {counted(len(links), 'new place')}"
    return "mail_changed", "medium", sentence


def integration(d: Difference) -> Said:
    title = d.words.title("integrations", d.name)
    match d.parts:
        case () if d.before is ABSENT:
            return "integration_added", "high", f"Connects the app with another system: {title}"
        case ():
            return "integration_removed", "medium", f"Removes the connection {title}"
        case ("title",):
            return "integration_renamed", "low", f"Calls the connection {quoted(d.before)} {quoted(d.after)}"
        case ("mapping", source):
            into = "nowhere" if d.after is ABSENT else f"into the field {quoted(d.after)}"
            return "mapping_changed", "medium", f"Takes {quoted(source)} of {title} over {into}"
        case ("config", key):
            risk: Risk = "high" if d.new_links else "medium"
            return "config_changed", risk, f"Sets {quoted(key)} of {title} to {d.value}"
        case ("enabled",) if d.after is False:
            return "integration_disabled", "medium", f"Switches the connection {title} off"
        case ("enabled",):
            return "integration_enabled", "high", f"Switches the connection {title} on"
    return "integration_changed", "high", f"Changes the connection {title}: {d.parts[0]} {d.value}"


def example(d: Difference) -> Said:
    title = d.words.title("tests", d.name)
    risk: Risk = "low" if d.before is ABSENT and not d.parts else "medium"
    return (
        f"example_{d.change if not d.parts else 'changed'}",
        risk,
        f"{'Changes' if d.parts else VERBS[d.change]} the example {title}",
    )
