"""The living part of the demo: apps that post usage, hold and capture tokens, and are refused now and then.

It is a client like any other: it knows the API, keys and nothing else. Run by ``felix up --demo`` as a process of its
own, or by ``felix demo``.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("felix.demo")

EVENTS_PER_S = 20
#: Below this an account buys more, where its client can.
TOP_UP_BELOW_MTOK = 10_000_000
TOP_UP_MTOK = 50_000_000
ORPHAN_TIMEOUT_S = 2.0
APPS = ("assistant", "order-sync", "reports", "email-automator")
PEOPLE = ("ada", "ben", "chloe", "dev")


class Traffic:
    """A seeded generator of what five small businesses do all day."""

    def __init__(self, client: httpx.Client, tenants: list[dict[str, Any]], founder_key: str | None, seed: int) -> None:
        self._client = client
        self._tenants = tenants
        self._founder_key = founder_key
        self._random = random.Random(seed)
        self._run = uuid4().hex[:12]
        self._count = 0
        self._open_holds: list[tuple[float, dict[str, Any], str]] = []
        self._last: tuple[dict[str, Any], list[dict[str, Any]]] | None = None

    def step(self) -> float:
        """Do one thing; the seconds to wait before the next."""
        dice = self._random.random()
        tenant = self._random.choice(self._tenants)
        if self._open_holds and self._open_holds[0][0] < time.monotonic():
            self._settle()
            return 0.02
        if dice < 0.06:
            self._hold(tenant)
        elif dice < 0.07:
            self._debit_too_much(tenant)
        elif dice < 0.08 and self._last is not None:
            self._send(*self._last)  # a gateway that retries: every item is a duplicate
        else:
            events = [self._event(tenant) for _ in range(self._random.choice((1, 2, 4, 8)))]
            self._last = (tenant, events)
            self._send(tenant, events)
            return len(events) / EVENTS_PER_S
        return 0.05

    def _event(self, tenant: dict[str, Any]) -> dict[str, Any]:
        """One piece of usage; sizes of language model calls are log-normal, as measured ones are."""
        dice = self._random
        self._count += 1
        data: dict[str, Any] = {"person": dice.choice(PEOPLE)}
        kind = dice.random()
        if kind < 0.7:
            data |= {
                "app": "assistant",
                "model": dice.choices(("gpt-4o", "claude-sonnet", "llama-3-8b"), (3, 2, 5))[0],
                "quantities": {
                    "llm.input_tokens": max(1, min(60_000, int(dice.lognormvariate(7.2, 0.9)))),
                    "llm.output_tokens": max(1, min(8_000, int(dice.lognormvariate(4.0, 1.1)))),
                },
            }
        elif kind < 0.85:
            data |= {"app": "order-sync", "meter": "orders.synced", "quantity": dice.randint(1, 40)}
        elif kind < 0.97:
            data |= {"app": "email-automator", "meter": "emails.sent", "quantity": dice.randint(1, 25)}
        else:
            data |= {"app": "reports", "meter": "reports.generated", "quantity": 1}
        return {
            "specversion": "1.0",
            "type": "felix.usage",
            "source": f"/apps/{data['app']}",
            "id": f"{self._run}-{self._count}",
            "subject": tenant["account_id"],
            "data": data,
        }

    def _send(self, tenant: dict[str, Any], events: list[dict[str, Any]]) -> None:
        answer = self._post(tenant, "/v1/usage/batch", {"events": events})
        if answer and any(refused.get("code") == "insufficient_tokens" for refused in answer.get("refused", ())):
            self._top_up(tenant)

    def _hold(self, tenant: dict[str, Any]) -> None:
        asked = {"amount_mtok": 50_000, "meter": "llm.output_tokens", "purpose": "an agent at work", "app": "assistant"}
        answer = self._post(tenant, f"/v1/token-accounts/{tenant['account_id']}/holds", asked)
        if answer and "hold_id" in answer:
            ends_at = time.monotonic() + self._random.uniform(0.5, 4)
            self._open_holds.append((ends_at, tenant, answer["hold_id"]))
            self._open_holds.sort(key=lambda each: each[0])
            if answer.get("balance", {}).get("available_mtok", TOP_UP_BELOW_MTOK) < TOP_UP_BELOW_MTOK:
                self._top_up(tenant)

    def _settle(self) -> None:
        _, tenant, hold_id = self._open_holds.pop(0)
        place = f"/v1/token-accounts/{tenant['account_id']}/holds/{hold_id}"
        if self._random.random() < 0.8:
            self._post(tenant, f"{place}/capture", {"amount_mtok": self._random.randint(5_000, 50_000)})
        else:
            self._post(tenant, f"{place}/release", {})

    def _debit_too_much(self, tenant: dict[str, Any]) -> None:
        asked = {"meter": "reports.generated", "amount_mtok": 10**12, "app": "reports", "reference": "a huge report"}
        self._post(tenant, f"/v1/token-accounts/{tenant['account_id']}/debits", asked)

    def _top_up(self, tenant: dict[str, Any]) -> None:
        """Buy more, but for the one who forgets to, and so is refused."""
        if self._founder_key is None or tenant is self._tenants[-1]:
            return
        bought = {"amount_mtok": TOP_UP_MTOK, "cost_minor": 4_900, "currency": "EUR", "reason": "demo top-up"}
        headers = {"Authorization": f"Bearer {self._founder_key}", "Felix-Tenant": tenant["slug"]}
        self._post(tenant, f"/v1/token-accounts/{tenant['account_id']}/grants", bought, headers)

    def _post(
        self, tenant: dict[str, Any], path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any] | None:
        """The answer, or nothing where Felix refused. Raises ``httpx.HTTPError`` when it is not there."""
        answer = self._client.post(
            path,
            json=body,
            headers={"Authorization": f"Bearer {tenant['key']}", "Idempotency-Key": uuid4().hex, **(headers or {})},
        )
        if answer.status_code in (429, 503):
            time.sleep(0.5)
        elif answer.status_code not in (200, 201, 402):
            log.warning("%s answered %s: %s", path, answer.status_code, answer.text[:300])
        if not answer.is_success:
            return None
        told: dict[str, Any] = answer.json()
        return told


def run(url: str, data_dir: Path, *, should_stop: Callable[[], bool]) -> None:
    """Make traffic until ``should_stop``; waits for an API that is away."""
    import httpx

    from felix.cli.demo import known_clients
    from felix.cli.installation import FOUNDER_KEY_FILE

    founder_key = data_dir / FOUNDER_KEY_FILE
    key = founder_key.read_text().strip() if founder_key.exists() else None
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        traffic = Traffic(client, list(known_clients(data_dir).values()), key, seed=20_260_131)
        due_at = time.monotonic()
        while not should_stop():
            try:
                due_at = max(due_at + traffic.step(), time.monotonic() - 1.0)
            except httpx.HTTPError as error:
                log.warning("the API is away: %s", error)
                due_at = time.monotonic() + 1.0
            while not should_stop() and (pause_s := due_at - time.monotonic()) > 0:
                time.sleep(min(pause_s, 0.2))


def main() -> None:
    """The child of ``felix up --demo``."""
    from felix.adapters.logs import log_json
    from felix.embedded import begin_child
    from felix.settings import Settings

    stopping = begin_child(at_the_latest_s=ORPHAN_TIMEOUT_S)
    settings = Settings()
    log_json(settings.log_level, process="demo")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    run(sys.argv[sys.argv.index("--url") + 1], settings.data_dir, should_stop=stopping.is_set)


if __name__ == "__main__":
    main()
