"""What a step of a change costs, line by line, and by which price card."""

from __future__ import annotations

from dataclasses import dataclass, field

from felix.domain.changes.messages import Step

#: Meters of changes. What language models use is metered as ``llm.input_tokens`` and ``llm.output_tokens``. A rollback
#: has none: it is never charged.
CONTEXT, PLAN, OPERATION, DIFF, CHECK, DEPLOY, SAMPLE = (
    "changes.context_kb", "changes.plan", "changes.operation", "changes.diff", "changes.check_cpu_ms",
    "changes.deploy", "changes.canary_sample",
)  # fmt: skip
#: What a step's hold is booked under, whatever its lines are.
METERS: dict[Step, str] = {"ingest": CONTEXT, "plan": PLAN, "diff": DIFF, "check": CHECK, "deploy": DEPLOY}


@dataclass(frozen=True, slots=True)
class Bill:
    """Priced lines: ``(meter, quantity, amount_mtok, trace)``."""

    lines: list[tuple[str, int, int, str]] = field(default_factory=list)
    price_card: str = ""

    @property
    def amount_mtok(self) -> int:
        """The sum."""
        return sum(amount_mtok for _, _, amount_mtok, _ in self.lines)


NOTHING = Bill()
