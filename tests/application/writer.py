"""A process that debits an account many times at once: ``writer.py DATABASE ACCOUNT NAME COUNT``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from offices import ACME, open_office

from felix.application.performer import new_context
from felix.domain.ledger.messages import DebitTokens


async def debit(database: str, account_id: str, name: str, number: int) -> int:
    """All debits at once; gives how many were accepted."""
    with open_office(database) as office:
        command = DebitTokens(account_id=account_id, meter="m", amount_mtok=1)
        print("ready", flush=True)
        sys.stdin.readline()
        outcomes = await asyncio.gather(
            *(office.performer.perform(command, new_context(ACME, f"{name}-{n}", "founder:a")) for n in range(number))
        )
        return sum(outcome.accepted for outcome in outcomes)


if __name__ == "__main__":
    database, account_id, name, number = sys.argv[1:]
    print(asyncio.run(debit(database, account_id, name, int(number))), flush=True)
