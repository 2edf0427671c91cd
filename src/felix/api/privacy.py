"""Personal data over HTTP: what is known about oneself, and the erasure of somebody for good."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import answer, services
from felix.api.ledger import reads, writes
from felix.api.sessions import myself
from felix.domain.errors import NotFound
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import EraseUser
from felix.domain.privacy.erasure import ErasePersonalData
from felix.projections.personal_data import known_of_user

router = APIRouter(tags=["privacy"])

writes("/v1/users/{user_id}/erase", EraseUser, router=router)
writes("/v1/subjects/{subject_id}/erase", ErasePersonalData, router=router)


@reads(
    "/v1/me/data",
    examples.MY_DATA,
    action="my_data.read",
    router=router,
    problems=(403, 404),
    min_position=documents.NEVER_BEHIND,
)
async def show_my_data(request: Request) -> Response:
    """Everything that Felix keeps about you.

    Each value comes with its salt and with the commitment that the log has in its place: whoever is given value and
    salt can check them (`felix privacy check`). What you did is in the audit log of each client, under your `user_id`.
    """
    caller = await myself(request, "my_data.read")
    found = services(request)
    known = await known_of_user(found.reads, found.partition_of(PLATFORM), found.vault(), caller.id)
    if known is None:
        raise NotFound("Nothing is known about you.")
    return answer(known)
