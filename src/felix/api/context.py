"""Documents over HTTP: handed over as they are, or named for Felix to read; and what a planner is told of them."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.auth import Principal
from felix.api.http import (
    MAX_PAGE,
    Endpoint,
    allowed,
    answer,
    chosen,
    command_from,
    fresh,
    guarded,
    idempotency_key,
    integer,
    missing,
    paged,
    perform,
    place_of,
    read_json,
    services,
)
from felix.api.ledger import performs, reads, writes
from felix.api.problems import BodyTooLarge, invalid
from felix.api.serving import paying_account
from felix.application.context import LOOKED_AT, Context, assemble
from felix.application.records import NoTokenAccount
from felix.domain.base import Command
from felix.domain.context.document import (
    AddDocument,
    ConnectSource,
    Content,
    RefreshSource,
    RemoveDocument,
    ReplaceDocument,
    Title,
)
from felix.domain.context.reading import MAX_TEXT_BYTES, MAX_UPLOAD_BYTES, UploadKind
from felix.domain.errors import Invalid
from felix.domain.values import AccountId, Text
from felix.eventstore.app_pointers import POINTER
from felix.eventstore.context_index import FIND, MAX_WORDS_CHARS, Found
from felix.projections import documents as kept

router = APIRouter(tags=["documents"])

DOCUMENT = "/v1/documents/{document_id}"
#: What a body is by its Content-Type; the type is believed as far as the bytes bear it out.
KINDS: dict[str, UploadKind] = {"text/markdown": "markdown", "text/plain": "text", "application/pdf": "pdf"}
_ENVIRONMENTS = ("production", "sandbox")
#: Of a body that is JSON: a text with every character escaped.
_MAX_JSON_BYTES = 6 * MAX_TEXT_BYTES
_ADDED_BY_QUERY = (
    documents.query("title", "What it is called, where the body is the document itself.", type="string"),
    documents.query("account_id", "The token account that pays, where the body is the document itself.", type="string"),
)


class ContentTypeNotKnown(Invalid):
    """A document is text/markdown, text/plain, application/pdf, or JSON with its text in it."""


class WrittenText(BaseModel):
    """A text that is handed over in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    kind: UploadKind = "markdown"
    text: Text


class NewText(WrittenText):
    """A text, what it is called, and who pays."""

    title: Title
    account_id: AccountId | None = None


async def add_document(request: Request) -> Response:
    """Let planners read a document.

    The body is the document itself, Markdown, text or PDF by its `Content-Type`, with `title` and `account_id` in the
    query; or JSON with all three. What people would not see and what looks like a secret is taken out and counted. The
    account, or without one the client's oldest open account, pays for what is indexed; a text that was indexed before
    costs nothing, and one that is there already is answered with `added: false`.
    """
    principal = await allowed(request, AddDocument.command_name)
    told, kind, content = await _handed_over(request, NewText, ("title", "account_id"))
    if told["account_id"] is None:
        told["account_id"] = await paying_account(request, principal.tenant_id)
        if told["account_id"] is None:
            raise NoTokenAccount()
    fields = told | {"kind": kind, "content": (await _prepared(request, principal, kind, content)).model_dump()}
    return await perform(request, principal, command_from(AddDocument, fields, {}), 201)


async def replace_document(request: Request) -> Response:
    """Put another text into the place of a document's; the body is as when it was added."""
    principal = await allowed(request, ReplaceDocument.command_name)
    told, kind, content = await _handed_over(request, WrittenText, ())
    fields = told | {"kind": kind, "content": (await _prepared(request, principal, kind, content)).model_dump()}
    return await perform(request, principal, command_from(ReplaceDocument, fields, request.path_params))


async def remove_document(request: Request) -> Response:
    """Take a document from planners, and forget its text."""
    principal = await allowed(request, RemoveDocument.command_name)
    said = {name: value for name, value in request.query_params.items() if name == "reason"}
    return await perform(request, principal, command_from(RemoveDocument, said, request.path_params))


async def _handed_over(
    request: Request, model: type[WrittenText], named: tuple[str, ...]
) -> tuple[dict[str, Any], UploadKind, bytes]:
    """What is told beside the document, what kind it is, and its bytes."""
    idempotency_key(request)
    type_ = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if type_ == "application/json":
        body = await read_json(request, _MAX_JSON_BYTES)
        if isinstance(body, dict) and body.get("kind") == "pdf":
            raise ContentTypeNotKnown("A PDF is sent as it is, with Content-Type: application/pdf.")
        try:
            given = model.model_validate(body)
        except ValidationError as error:
            raise invalid(error) from None
        return {name: getattr(given, name) for name in named}, given.kind, given.text.encode()
    if type_ not in KINDS:
        raise ContentTypeNotKnown(content_type=type_[:100], known=sorted(KINDS))
    query = request.query_params
    if unsaid := [name for name in named if name not in query and model.model_fields[name].is_required()]:
        raise Invalid(
            "The query does not say everything.",
            errors=[{"pointer": f"?{name}", "rule": "missing", "detail": "is missing"} for name in unsaid],
        )
    return {name: query.get(name) for name in named}, KINDS[type_], await _raw_body(request)


async def _raw_body(request: Request) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_UPLOAD_BYTES:
            raise BodyTooLarge(limit_bytes=MAX_UPLOAD_BYTES)
    return bytes(content)


async def _prepared(request: Request, principal: Principal, kind: UploadKind, content: bytes) -> Content:
    found = services(request)
    place = found.partition_of(principal.tenant_id), principal.tenant_id

    def prepare() -> Content:
        return found.documents.prepare(place, found.documents.read(kind, content))

    return await to_thread.run_sync(prepare)


def _uploads(
    path: str, endpoint: Endpoint, command: type[Command], model: type[BaseModel], status: int, *query: dict[str, Any]
) -> None:
    """An upload is described by its JSON form, and beside it by the types of which it can be the body itself."""
    asked, answered = examples.WRITES[command.__name__]
    described = documents.write(command, frozenset({"document_id"}), asked, status, answered)
    content = described["requestBody"]["content"]
    content["application/json"]["schema"] = documents.body_schema(model, frozenset())
    described["requestBody"]["required"] = True
    for type_ in KINDS:
        content[type_] = {"schema": {"type": "string", "maxLength": MAX_UPLOAD_BYTES}}
    described["parameters"] = [*described["parameters"], *query]
    performs(path, endpoint, command.command_name, described, status=status, router=router)


_uploads("/v1/documents", add_document, AddDocument, NewText, 201, *_ADDED_BY_QUERY)
writes("/v1/documents/connect", ConnectSource, status=201, router=router)
_uploads(DOCUMENT, replace_document, ReplaceDocument, WrittenText, 200)
writes(f"{DOCUMENT}/refresh", RefreshSource, router=router)
_REMOVED = documents.write(
    RemoveDocument, frozenset({"document_id"}), {}, 200, examples.WRITES[RemoveDocument.__name__][1]
)
del _REMOVED["requestBody"]
_REMOVED["parameters"] = [*_REMOVED["parameters"], documents.query("reason", "Why, for the log.", type="string")]
router.add_api_route(
    DOCUMENT,
    guarded(remove_document),
    methods=["DELETE"],
    operation_id=remove_document.__name__,
    summary=str(remove_document.__doc__),
    description=str(remove_document.__doc__),
    response_class=Response,
    openapi_extra=documents.does(RemoveDocument.command_name) | _REMOVED,
)


@reads(
    "/v1/documents",
    examples.DOCUMENTS,
    documents.query("cursor", "`next` of the page before.", type="string"),
    documents.PAGE[1],
    action="documents.read",
    router=router,
)
async def list_documents(request: Request) -> Response:
    """What planners may read of the tenant: digests, sizes, what was taken out, and how the last reading went."""
    tenant_id, partition = await place_of(request, "documents.read")
    await fresh(request, tenant_id, partition, "documents")
    cursor = request.query_params.get("cursor", "")
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        return answer(paged(await kept.documents(tx, cursor, limit), limit, "document_id"))


@reads(
    "/v1/context",
    examples.CONTEXT,
    documents.query("q", "A prompt, or some words of one.", type="string", maxLength=MAX_WORDS_CHARS),
    documents.query("app", "The app that the prompt is about; without one there is no outline.", type="string"),
    documents.query(
        "environment", "Where the app runs.", type="string", enum=["production", "sandbox"], default="production"
    ),
    action="documents.read",
    router=router,
    min_position=documents.NEVER_BEHIND,
)
async def show_context(request: Request) -> Response:
    """What a planner would be told beside a prompt: the app in outline, and the passages that have any of its words.

    They are material for the planner, cleaned and fenced, and never instructions to it.
    """
    tenant_id, partition = await place_of(request, "documents.read")
    words = request.query_params.get("q", "")
    if len(words) > MAX_WORDS_CHARS:
        detail = f"at most {MAX_WORDS_CHARS} characters"
        raise Invalid("q is too long.", errors=[{"pointer": "?q", "rule": "too_long", "detail": detail}])
    app, environment = request.query_params.get("app", ""), chosen(request, "environment", *_ENVIRONMENTS)
    pointer = None
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        if (
            app
            and (pointer := await tx.fetch_one(POINTER, partition, tenant_id, app, environment or "production")) is None
        ):
            raise missing("app", app)
        rows = await tx.fetch(FIND, words, partition, tenant_id, LOOKED_AT)
    releases = services(request).releases
    tree = None if pointer is None else await to_thread.run_sync(releases.tree, pointer["stable"])
    return answer(shown(assemble(words, [Found.of(row) for row in rows], app, tree)))


def shown(context: Context) -> dict[str, Any]:
    """A context for people."""
    return {
        "digest": context.digest,
        **context.described(),
        "outline": context.outline,
        "data": [{"source": each.source, "heading": each.heading, "text": each.text} for each in context.passages],
    }
