"""Records over HTTP: made, changed, moved through workflows, removed, restored; one for one, and in lists.

What may be in them the active release of the app says. What is personal in them goes to the vault on the way in and
comes back from it on the way out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents
from felix.api import record_examples as examples
from felix.api.http import JSON, Endpoint, answer, decide, guarded, read_json, respond, services
from felix.api.problems import invalid
from felix.api.record_pages import ORDER, PAGE, SEARCH, WHERE, filter_of, next_of, orders_of, page_of
from felix.api.serving import RELEASE_HEADER, Served, paying_account, served
from felix.application.records import Sealing, about, changing, creating
from felix.domain.apps.measured import Measure
from felix.domain.apps.shapes import RECORD_ID, InvalidRecord
from felix.domain.apps.transitions import open_steps
from felix.domain.base import Command
from felix.domain.errors import Invalid
from felix.domain.records.messages import (
    ChangeRecord,
    CreateRecord,
    RecordCommand,
    RemoveRecord,
    RestoreRecord,
    TakeStep,
)
from felix.domain.records.record import not_there
from felix.projections import record_rows, records

router = APIRouter(tags=["records"])

RECORDS = "/v1/apps/{app}/entities/{entity}/records"
RECORD = f"{RECORDS}/{{record_id}}"
ENVIRONMENT = documents.query(
    "environment", "Where the app runs.", type="string", enum=["production", "sandbox"], default="production"
)
RELEASE = documents.query(
    "release", "Answer as this release would, which ran here or is about to: a preview.", type="string"
)
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the record that you have seen: `expected_version` in another place.",
    "schema": {"type": "string", "pattern": '^"[0-9]{1,18}"$'},
}
_ETAG = re.compile(r'(?:W/)?"([1-9][0-9]{0,17})"', re.ASCII)
#: What the door finds out, and nobody says.
_OF_THE_DOOR = frozenset({"app", "environment", "entity", "release", "record_id", "personal"})
_SAYS: dict[str, dict[str, Any]] = {
    "values": {
        "type": "object",
        "description": "Values by field, as the active release of the app describes them. Null takes one away.",
    }
}
_ANSWERED_BY = {
    RELEASE_HEADER: {"description": "The digest of the release that has answered.", "schema": {"type": "string"}}
}


# --- reading ------------------------------------------------------------------------------------------------


def reads(
    path: str, example: Any, *parameters: Mapping[str, Any], router: APIRouter = router
) -> Callable[[Endpoint], Endpoint]:
    """Add an endpoint that a release of an app answers; its docstring is its description."""

    def add(endpoint: Endpoint) -> Endpoint:
        asked = [ENVIRONMENT, RELEASE, *map(dict, parameters)]
        described = documents.does("records.read") | documents.read(example, *asked)
        _route(path, endpoint, "GET", 200, described, router)
        return endpoint

    return add


def _route(
    path: str, endpoint: Endpoint, method: str, status: int, described: dict[str, Any], router: APIRouter
) -> None:
    told = (endpoint.__doc__ or "").strip()
    described["responses"][str(status)]["headers"] |= _ANSWERED_BY
    router.add_api_route(
        path,
        guarded(endpoint),
        methods=[method],
        status_code=status,
        name=endpoint.__name__,
        operation_id=endpoint.__name__,
        summary=told.splitlines()[0],
        description=told,
        response_class=Response,
        openapi_extra=described,
    )


@reads(RECORDS, examples.RECORDS, WHERE, SEARCH, ORDER, *PAGE)
@served("records.read")
async def list_records(request: Request, serving: Served) -> Response:
    """The records of an entity, with all their fields: those that fit, in an order, a page at a time.

    `names` says what the records are called that references lead to; `erased` names fields whose personal value is
    gone for good.
    """
    shape = serving.shape(request.path_params["entity"])
    fitting, orders = filter_of(request, shape), orders_of(request, shape)
    after, limit = page_of(request, orders)
    found = services(request)
    async with found.reads.tenant(serving.tenant_id, serving.partition) as tx:
        rows = await records.records(tx, serving.place(shape.name), fitting, orders, after, limit)
        shown = await record_rows.shown(tx, rows, serving.app, shape, found.vault)
    return answer({"data": shown, "next": next_of(rows, limit)})


@reads(RECORD, examples.RECORD)
@served("records.read")
async def show_record(request: Request, serving: Served) -> Response:
    """One record with all its fields, and the steps that you can take with it now."""
    shape = serving.shape(request.path_params["entity"])
    record_id = request.path_params["record_id"]
    found = services(request)
    async with found.reads.tenant(serving.tenant_id, serving.partition) as tx:
        row = await records.record(tx, serving.place(shape.name), record_id)
        if row is None:
            raise not_there(record_id)
        (shown,) = await record_rows.shown(tx, [row], serving.app, shape, found.vault)
    is_maker = row["maker"] == serving.principal.caller.id
    steps = open_steps(serving.app, shape.name, row["values"], role=serving.role, is_maker=is_maker)
    return answer(shown | {"steps": steps}, headers={"ETag": f'"{row["version"]}"'})


# --- writing ------------------------------------------------------------------------------------------------


def _writes(
    path: str, endpoint: Endpoint, command_class: type[Command], method: str = "POST", *, status: int = 200
) -> None:
    """Add an endpoint that performs a command about a record."""
    asked, answered = examples.WRITES[command_class.__name__]
    by_the_door = _OF_THE_DOOR & command_class.model_fields.keys()
    described = documents.write(command_class, by_the_door, asked, status, answered)
    described["parameters"] = [*described["parameters"], ENVIRONMENT]
    if "expected_version" in command_class.model_fields:
        described["parameters"].append(IF_MATCH)
    if method == "DELETE":
        del described["requestBody"]
        described["parameters"].append(documents.query("account_id", "Who pays.", type="string"))
    else:
        body = described["requestBody"]["content"][JSON]["schema"]
        body["properties"] |= {name: said for name, said in _SAYS.items() if name in body["properties"]}
    _route(path, endpoint, method, status, documents.does(command_class.command_name) | described, router)


@served(CreateRecord.command_name, writes=True)
async def create_record(request: Request, serving: Served) -> Response:
    """Make a record.

    The values are checked against the active release of the app; what is missing gets its default, and a workflow
    begins at its beginning. The write is paid for by `account_id`, or else by the client's oldest open account.
    """
    return await _with_values(request, serving, CreateRecord, creating, 201)


@served(ChangeRecord.command_name, writes=True)
async def change_record(request: Request, serving: Served) -> Response:
    """Change some values of a record.

    Those that are not given stay as they are, and null takes one away. With `expected_version`, or `If-Match`, nothing
    is changed that somebody else has changed meanwhile.
    """
    return await _with_values(request, serving, ChangeRecord, changing)


@served(TakeStep.command_name, writes=True)
async def take_step(request: Request, serving: Served) -> Response:
    """Take a record a step further in its workflow."""
    return await _simply(request, serving, TakeStep)


@served(RemoveRecord.command_name, writes=True)
async def remove_record(request: Request, serving: Served) -> Response:
    """Remove a record.

    It can be restored. What is personal in it stays in the vault until it is erased.
    """
    return await _simply(request, serving, RemoveRecord)


@served(RestoreRecord.command_name, writes=True)
async def restore_record(request: Request, serving: Served) -> Response:
    """Bring a removed record back as it was."""
    return await _simply(request, serving, RestoreRecord)


_writes(RECORDS, create_record, CreateRecord, status=201)
_writes(RECORD, change_record, ChangeRecord, "PATCH")
_writes(RECORD, remove_record, RemoveRecord, "DELETE")
_writes(f"{RECORD}/transitions", take_step, TakeStep)
_writes(f"{RECORD}/restore", restore_record, RestoreRecord)


async def _with_values(
    request: Request,
    serving: Served,
    command_class: type[RecordCommand],
    make: Callable[..., tuple[RecordCommand, dict[str, Any]]],
    status: int = 200,
) -> Response:
    fields, values = await _asked(request, serving, command_class)
    found = services(request)
    try:
        command, enclosed = make(Sealing(found.root_keys, found.vault), serving.tenant_id, serving.app, fields, values)
    except InvalidRecord as error:
        wrong = [entry | {"pointer": f"/values{entry['pointer']}"} for entry in error.facts["errors"]]
        raise InvalidRecord(entity=fields["entity"], errors=wrong) from None
    except ValidationError as error:
        raise invalid(error, skip=_OF_THE_DOOR) from None
    return await _perform(request, serving, command, enclosed, status)


async def _simply(request: Request, serving: Served, command_class: type[RecordCommand]) -> Response:
    fields, _ = await _asked(request, serving, command_class)
    try:
        command = command_class.model_validate(fields | {"release": serving.app.release})
    except ValidationError as error:
        raise invalid(error, skip=_OF_THE_DOOR) from None
    return await _perform(request, serving, command, about(serving.app))


async def _asked(
    request: Request, serving: Served, command_class: type[RecordCommand]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a command, and the values that it brings. Raises ``Invalid``, and ``NotFound`` for the path."""
    if request.method == "DELETE":
        body: Any = {name: value for name, value in request.query_params.items() if name == "account_id"}
    else:
        body = await read_json(request)
    if not isinstance(body, dict):
        raise _malformed("", "object", "is not a JSON object")
    known = command_class.model_fields.keys() - _OF_THE_DOOR
    if unknown := body.keys() - known:
        raise _malformed(f"/{min(unknown)}", "extra_forbidden", f"fields are {', '.join(sorted(known))}")
    values = body.pop("values", {})
    if not isinstance(values, dict):
        raise _malformed("/values", "object", "is not a JSON object")
    fields: dict[str, Any] = body | {
        "app": serving.name,
        "environment": serving.environment,
        "entity": request.path_params["entity"],
    }
    serving.shape(fields["entity"])
    if fields.get("account_id") is None:
        fields["account_id"] = await paying_account(request, serving.tenant_id)
    if "record_id" in command_class.model_fields:
        record_id = request.path_params["record_id"]
        if RECORD_ID.fullmatch(record_id) is None:
            raise not_there(record_id)
        fields["record_id"] = record_id
    if (seen := request.headers.get("if-match")) is not None and "expected_version" in known:
        if (matched := _ETAG.fullmatch(seen.strip())) is None:
            raise _malformed("If-Match", "etag", "is no ETag of a record")
        fields["expected_version"] = int(matched[1])
    return fields, values


def _malformed(pointer: str, rule: str, detail: str) -> Invalid:
    return Invalid("The request is not well formed.", errors=[{"pointer": pointer, "rule": rule, "detail": detail}])


async def _perform(
    request: Request, serving: Served, command: RecordCommand, enclosed: Mapping[str, Any], status: int = 200
) -> Response:
    """Perform it, and count what came of it."""
    outcome = await decide(request, serving.principal, command, enclosed=enclosed)
    count = services(request).measurements.count
    if not outcome.accepted:
        if isinstance(outcome.refusal, Invalid):
            count(serving.running, "rejected_writes")
    elif not outcome.replayed:
        measured: list[tuple[Measure, int]] = [("writes", 1), ("burned_mtok", outcome.result["charged_mtok"])]
        for measure, number in measured:
            count(serving.running, measure, number)
    return respond(outcome, status)
