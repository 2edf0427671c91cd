"""Every sentence that can be said, by noun: what a page lists, and what is matched."""

from __future__ import annotations

from felix.domain.changes.planning.grammar.notation import Pattern
from felix.domain.changes.planning.grammar.sentences import (
    app,
    automations,
    entities,
    fields,
    lists,
    options,
    reports,
    views,
    workflows,
)

#: By what they are about, in the order of the page.
SENTENCES: dict[str, tuple[Pattern, ...]] = {
    "Fields": fields.SENTENCES,
    "Options of a choice": options.SENTENCES,
    "Kinds of records": entities.SENTENCES,
    "Lists": lists.SENTENCES,
    "Boards, charts and forms": views.SENTENCES,
    "Steps": workflows.SENTENCES,
    "Automations and mails": automations.SENTENCES,
    "Reports and schedules": reports.SENTENCES,
    "Modules, integrations, rules": app.SENTENCES,
}
