"""Which rule is for which file.

low: labels, order, columns of views and reports · medium: what adds, hides or asks for more, and can be taken back at
once · high: what reaches people outside, or changes who may do or see what · destructive: what loses values or makes
stored ones mean something else.
"""

from __future__ import annotations

from collections.abc import Callable

from felix.domain.apps.tree import kind_of
from felix.domain.changes.meanings import app, behaviour, entities, surfaces
from felix.domain.changes.meanings.difference import Difference, Said

RULES: dict[str, Callable[[Difference], Said | None]] = {
    "app.json": app.app,
    "modules.lock.json": app.lock,
    "policy.json": app.policy,
    "entities": entities.entity,
    "views": surfaces.view,
    "workflows": behaviour.workflow,
    "automations": behaviour.automation,
    "schedules": behaviour.schedule,
    "templates": behaviour.template,
    "reports": surfaces.report,
    "integrations": behaviour.integration,
    "tests": behaviour.example,
    "modules": app.module,
}


def said_of(difference: Difference) -> Said | None:
    """What a difference means; None where another difference of the same file says it already."""
    kind = kind_of(difference.path)
    return difference.unknown() if kind is None else RULES[kind](difference)
