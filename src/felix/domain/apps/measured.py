"""What is counted of releases while they run, minute by minute."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, NamedTuple
from uuid import UUID

#: ``slow_requests`` took longer than :data:`SLOW_S`; ``failed_requests`` are those that Felix could not answer, and
#: ``rejected_writes`` those whose values the app does not take. ``outbound`` is mails, messages and calls of webhooks.
Measure = Literal[
    "requests", "failed_requests", "slow_requests", "writes", "rejected_writes", "automations", "failed_automations",
    "outbound", "burned_mtok",
]  # fmt: skip
#: A request of an app that takes longer counts as slow.
SLOW_S = 0.5
#: What is older is forgotten: guardrails compare with the week before.
KEEP_COUNTS = timedelta(days=8)


class Running(NamedTuple):
    """A release where it runs, or ran: whoever still has it is counted too."""

    partition: int
    tenant_id: UUID
    app: str
    environment: str
    release: str
