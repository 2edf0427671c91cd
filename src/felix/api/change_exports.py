"""What a destructive change destroyed, as it was kept before: a page is one object of the export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from anyio import to_thread

from felix.application.apps.releases import Releases, ReleaseStore
from felix.domain.changes.messages import OBJECTS
from felix.domain.errors import NotFound
from felix.eventstore.vault import Vault
from felix.projections.record_rows import opened
from felix.projections.tenant_tx import Row, TenantTx


async def exported(
    tx: TenantTx, row: Row, number: int, objects: ReleaseStore, releases: Releases, vault: Callable[[], Vault]
) -> dict[str, Any]:
    """Records of the export of a change, from page ``number`` on; the first is 0.

    What is personal of them comes from the vault, as far as it is still there. Raises ``NotFound``, ``ObjectDamaged``
    and ``Unavailable``.
    """
    if row["export"] is None:
        raise NotFound(f"The change {row['change_id']} has no export.", id=row["change_id"], state=row["state"])

    def read() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        told = orjson.loads(objects.get(OBJECTS["export"], row["export"]["digest"]))
        parts = told["parts"][number : number + 1]
        content = objects.get(OBJECTS["export"], parts[0]["digest"]) if parts else b""
        return told, [orjson.loads(line) for line in content.splitlines()]

    told, lines = await to_thread.run_sync(read)
    app = await to_thread.run_sync(releases.app, told["release"])
    following = number + 1 if number + 1 < len(told["parts"]) else None
    return {
        "change_id": row["change_id"],
        "export": row["export"],
        "data": await opened(tx, lines, app, vault),
        "next": following,
    }
