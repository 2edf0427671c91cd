"""The topic ``balances``: a token account as ``GET /v1/token-accounts`` shows it, whenever it changed."""

from __future__ import annotations

from collections.abc import Sequence

from felix.api.ledger import shown
from felix.api.live.topics import States, StateTopic
from felix.domain.ledger.token_account import TokenAccount
from felix.projections import balances
from felix.projections.balances import PROJECTION
from felix.projections.tenant_tx import Row, TenantTx


def _touches(type_: str, stream: str) -> str | None:
    _, kind, account_id = stream.split(":", 2)
    return account_id if kind == TokenAccount.kind and type_ in PROJECTION.reads else None


async def _states(tx: TenantTx, ids: Sequence[str]) -> States:
    return _by_id(await balances.accounts_named(tx, ids))


async def _changed(tx: TenantTx, since: int, after: str, limit: int) -> States:
    return _by_id(await balances.accounts_changed(tx, since, after, limit))


def _by_id(rows: list[Row]) -> States:
    return [(row["account_id"], shown(row)) for row in rows]


TOPIC = StateTopic("balances", PROJECTION.name, _touches, _states, _changed)
