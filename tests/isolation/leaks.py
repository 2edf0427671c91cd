"""Seven leaks, as endpoints that a test adds to the application: what the comparison has to find.

Each is a mistake that has been made elsewhere. They ask as the founder does: what is bound to a tenant would not let
them.
"""

from __future__ import annotations

from typing import Any

import psycopg
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents
from felix.api.http import answer, guarded, place_of, services
from felix.domain.errors import NotFound, Refused
from felix.projections import balances

router = APIRouter()
#: How the leak that writes reaches the database; the test says where.
DATABASES: dict[int, str] = {}


class Taken(Refused):
    """Somebody has this."""


async def _everywhere(request: Request, query: Any, *parameters: Any) -> list[dict[str, Any]]:
    async with services(request).reads.founder() as tx:
        return await tx.fetch(query, *parameters)


async def leak_idor_get(request: Request) -> Response:
    """Finds an account by its id alone."""
    await place_of(request, "jobs.read")
    query = "select account_id, name, consumed_mtok from read.token_accounts where account_id = %s"
    if not (found := await _everywhere(request, query, request.path_params["account_id"])):
        raise NotFound()
    return answer(found[0])


async def leak_search_no_filter(request: Request) -> Response:
    """Searches the names of all accounts."""
    await place_of(request, "jobs.read")
    query = "select name from read.token_accounts where name like %s order by name limit 20"
    return answer({"data": await _everywhere(request, query, f"{request.query_params.get('q', '')}%")})


async def leak_unique_oracle(request: Request) -> Response:
    """Says whether an id is taken, whoever has it."""
    await place_of(request, "jobs.read")
    query = "select from felix.events where command_key = %s or stream like %s limit 1"
    if await _everywhere(request, query, (word := request.path_params["account_id"]), f"%:{word}"):
        raise Taken()
    return answer({"free": True})


async def leak_error_echo(request: Request) -> Response:
    """Refuses, and says in the refusal whose it is."""
    tenant_id, _ = await place_of(request, "jobs.read")
    account_id = request.path_params["account_id"]
    query = "select tenant_id from read.token_accounts where account_id = %s and tenant_id <> %s"
    whose = await _everywhere(request, query, account_id, tenant_id)
    raise NotFound(f"There is no account {account_id}." + "".join(f" It is {each['tenant_id']}'s." for each in whose))


async def leak_count_all(request: Request) -> Response:
    """Lists A's accounts, and counts everybody's."""
    await place_of(request, "jobs.read")
    return answer((await _everywhere(request, "select count(*) as total from read.token_accounts"))[0])


async def leak_cursor_cross(request: Request) -> Response:
    """Shows A's own events, and a cursor that counts the partition's."""
    tenant_id, partition = await place_of(request, "jobs.read")
    query = "select max(position) as next from felix.events where partition = %s and tenant_id = %s"
    return answer({"data": [], **(await _everywhere(request, query, partition, tenant_id))[0]})


async def leak_update_foreign(request: Request) -> Response:
    """Renames an account by its id alone, and answers always the same."""
    await place_of(request, "jobs.read")
    url = DATABASES[id(services(request))]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "update read.token_accounts set name = 'renamed' where account_id = %s",
            (request.path_params["account_id"],),
        )
    return answer({"done": True})


LEAKS = {
    "idor_get": (leak_idor_get, "/leaks/accounts/{account_id}"),
    "search_no_filter": (leak_search_no_filter, "/leaks/search"),
    "unique_oracle": (leak_unique_oracle, "/leaks/free/{account_id}"),
    "error_echo": (leak_error_echo, "/leaks/errors/{account_id}"),
    "count_all": (leak_count_all, "/leaks/count"),
    "cursor_cross": (leak_cursor_cross, "/leaks/page"),
    "update_foreign": (leak_update_foreign, "/leaks/renames/{account_id}"),
}
_WORDS = documents.query("q", "The beginning of a name.", type="string", enum=["", "B", "Bs 1"])
for _name, (_leak, _path) in LEAKS.items():
    router.add_api_route(
        _path,
        guarded(_leak),
        methods=["GET"],
        operation_id=_name,
        response_class=Response,
        openapi_extra=documents.does("jobs.read")
        | {"parameters": [_WORDS] if _path.endswith("search") else [], "responses": {}},
    )


async def slower_for_foreign(request: Request) -> Response:
    """Finds nothing, and takes longer where somebody else has it: what a look at the answers alone does not see."""
    tenant_id, partition = await place_of(request, "jobs.read")
    account_id = request.path_params["account_id"]
    async with services(request).reads.founder() as tx:
        for _ in await tx.fetch("select from read.token_accounts where account_id = %s", account_id):
            await tx.fetch("select count(*) from generate_series(1, 20000)")
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        await balances.account(tx, account_id)
    raise NotFound()


slow = APIRouter()
slow.add_api_route(
    "/leaks/slow/{account_id}",
    guarded(slower_for_foreign),
    methods=["GET"],
    operation_id="slower_for_foreign",
    response_class=Response,
    openapi_extra=documents.does("jobs.read") | {"parameters": [], "responses": {}},
)
