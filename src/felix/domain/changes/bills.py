"""What a step of a change costs, line by line, and by which price card."""

from __future__ import annotations

from dataclasses import dataclass, field

from felix.domain.changes.messages import Step

#: Meters of changes. A rollback has none: it is never charged.
CONTEXT, PLAN, OPERATION, DIFF, CHECK, DEPLOY, SAMPLE = (
    "changes.context_kb", "changes.plan", "changes.operation", "changes.diff", "changes.check_cpu_ms",
    "changes.deploy", "changes.canary_sample",
)  # fmt: skip
#: Meters of language models, priced for each model: what it reads, what of that it had read before, what it writes.
INPUT, CACHED_INPUT, OUTPUT = "llm.input_tokens", "llm.cached_input_tokens", "llm.output_tokens"
#: What a step's hold is booked under, whatever its lines are.
METERS: dict[Step, str] = {"ingest": CONTEXT, "plan": PLAN, "diff": DIFF, "check": CHECK, "deploy": DEPLOY}


def key_secret(model: str) -> str:
    """The name of the secret that is a key for a model, of a client or of the platform: ``planner.openai-key``."""
    return f"planner.{model.partition(':')[0]}-key"


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
