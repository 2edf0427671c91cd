"""What staff read is written down in the client's log before they get it; what can't be written down they don't get.

Which reads these are the table of actions says (``watched``), and whose, ``Principal.is_watched``: auditors, founders
with sessions or keys, and whoever looks with a client's eyes. A request is one entry, under a key made from its id.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from felix.api.auth import Principal
from felix.application.performer import Performer, new_context
from felix.domain.errors import Unavailable
from felix.domain.identity.access import ACTIONS
from felix.domain.identity.access_log import MAX_WHAT, RecordRead

_MARK = "felix.watched"
#: Members of a query whose values are places, moments and words of ours; of all others only the name is written down.
PLAIN = frozenset(
    {"after", "as_of", "at_position", "by", "cursor", "follow", "from", "kind", "limit", "order", "outcome", "since"}
    | {"state", "to", "topics", "type", "until"}
)


def watch(request: Request, principal: Principal, action: str) -> None:
    """Remember that what this request is answered with has to be written down, if it has to."""
    if ACTIONS[action].watched and principal.is_watched:
        request.scope[_MARK] = (principal, action)


def is_watched(request: Request) -> bool:
    """Whether something has to be written down before the answer."""
    return _MARK in request.scope


async def write_down(request: Request, performer: Performer, correlation_id: Any, rows: int | None) -> None:
    """Write down what was read, once. Raises ``Unavailable`` and whatever else keeps it from being written."""
    principal, action = request.scope.pop(_MARK)
    own = principal.impersonation
    command = RecordRead(
        reader_id=principal.caller.id,
        action=action,
        what=what_is_read(request),
        rows=rows,
        impersonation_id=None if own is None else own.id,
    )
    for is_last in (False, True):
        context = new_context(
            principal.tenant_id,
            f"read:{request.scope['felix.request_id']}",
            principal.actor,
            correlation_id=correlation_id,
            on_behalf_of=principal.on_behalf_of,
        )
        try:
            outcome = await performer.perform(command, context)
            break
        except Unavailable:
            # It may be written down all the same: then the same key says so.
            if is_last:
                raise
    outcome.result  # noqa: B018 raises what refused it


def what_is_read(request: Request) -> str:
    """The path, and the query without values that may be somebody's name."""
    asked = [
        f"{name}={value}" if name in PLAIN else name for name, value in sorted(set(request.query_params.multi_items()))
    ]
    path = str(request.scope["path"]) + ("?" + "&".join(asked) if asked else "")
    return path.encode(errors="replace").decode()[:MAX_WHAT]
