"""At every door: nobody writes one of the client's own secrets into what is kept, sent to a model or shown."""

from __future__ import annotations

from collections.abc import Callable

from felix.domain.changes.errors import SecretInPrompt
from felix.eventstore.sealing import RootKeys
from felix.eventstore.tenant_secrets import MARKS, known_secrets
from felix.projections.tenant_tx import TenantTx


async def refuse_own_secrets(tx: TenantTx, root_keys: Callable[[], RootKeys], **texts: str) -> None:
    """Whether texts, by the names of their members, hold none. Raises ``SecretInPrompt``, which repeats nothing."""
    rows = await tx.fetch(MARKS, tx.partition, tx.tenant_id)
    known = known_secrets(root_keys, tx.tenant_id, rows)
    for member, text in texts.items():
        if (name := known.named_in(text)) is not None:
            raise SecretInPrompt(
                errors=[{"pointer": f"/{member}", "rule": "secret", "detail": f"holds the secret {name}"}]
            )
