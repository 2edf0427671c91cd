"""Changes over HTTP: asked for in words or in a form, looked at, agreed to, let go live, and taken back.

What people wrote comes from the vault, and what is large from object storage. Every command of a person says which
version of the change they saw; an agreement says the digest of what it is about.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self, get_args
from uuid import UUID

import orjson
from anyio import to_thread
from fastapi import APIRouter
from pydantic import JsonValue, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import Response

from felix.api import change_examples as examples
from felix.api import change_views, documents
from felix.api.auth import Principal
from felix.api.change_exports import exported
from felix.api.http import (
    MAX_PAGE,
    Services,
    allowed,
    answer,
    chosen,
    command_from,
    fresh,
    integer,
    missing,
    page,
    paged,
    perform,
    read_json,
    services,
)
from felix.api.ledger import performs, reads, writes
from felix.api.own_secrets import refuse_own_secrets
from felix.api.problems import invalid
from felix.api.serving import paying_account
from felix.api.sessions import has_proved, refuse_unproved
from felix.application.changes.asking import answering, asking
from felix.application.changes.exactly import keep_operations, read_operations, said
from felix.application.records import NoTokenAccount
from felix.domain.base import Command
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.changes.code_tree import slug_of
from felix.domain.changes.errors import NotConnected
from felix.domain.changes.risk import SERIOUS
from felix.domain.context.document import RepositoryName
from felix.domain.errors import NotFound
from felix.domain.values import AccountId, Amount, Name, Reason, Text
from felix.eventstore.vault import SEALED
from felix.projections import changes
from felix.projections.documents import connected
from felix.projections.history import aggregate_at
from felix.projections.tenant_tx import Row, TenantTx

router = APIRouter(tags=["changes"])
CHANGE = "/v1/changes/{change_id}"
Operations = list[dict[str, JsonValue]]
#: A bound of the cursor and no limit: of as many pages nobody has the records.
MAX_EXPORT_PAGES = 10**9


class NewChange(Command):
    """A change that somebody asks for, in words or exactly."""

    app: m.AppName | None = None
    repository: RepositoryName | None = None
    environment: m.Environment = "production"
    prompt: str | None = None
    operations: Operations | None = None
    account_id: AccountId | None = None
    channel: m.Channel = "api"
    planner: Name | None = None
    model: Name | None = None
    ceiling_mtok: Amount | None = None
    retry_of: m.ChangeId | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.app is None) == (self.repository is None):
            raise ValueError("a change is of an app, or of a repository")
        return self


class NewAnswer(m.SeenChange):
    """An answer to what a change asked."""

    answer: Text


class NewPlan(m.SeenChange):
    """Other operations for a change."""

    operations: Operations
    reason: Reason | None = None


async def request_change(request: Request) -> Response:
    """Ask for a change of an app, or of a repository that you have connected, in words or exactly.

    `prompt` says what should be different; `operations` say it exactly and need no planner; of a `repository` they are
    edits of its files. The answer quotes what it will probably cost, and what it costs at the most. It never costs more
    than `ceiling_mtok`, which is the high end of the quote unless you say another; nothing is held before its first
    step. Without `account_id` the client's oldest open account pays.
    """
    principal = await allowed(request, m.RequestChange.command_name)
    asked = command_from(NewChange, await read_json(request), {})
    assert isinstance(asked, NewChange)
    found, tenant_id, prompt = services(request), principal.tenant_id, asked.prompt
    fields = asked.model_dump(exclude={"prompt", "operations", "repository"}) | {"default_model": found.planner_model}
    if asked.repository is not None:
        async with found.reads.tenant(tenant_id, found.partition_of(tenant_id)) as tx:
            source = await connected(tx, asked.repository)
        if source is None:
            raise NotConnected(repository=asked.repository)
        fields |= {"app": slug_of(asked.repository), "source": source}
    written = {"prompt": prompt or "", "operations": json.dumps(asked.operations or [], ensure_ascii=False)}
    await _refuse_own_secrets(request, tenant_id, **written)
    if asked.operations is not None:
        operations = read_operations(asked.operations, of_files=asked.repository is not None)
        kept = await to_thread.run_sync(keep_operations, found.objects, operations)
        fields |= {"kind": "operations", "operations": kept}
        prompt = said(operations) if prompt is None else prompt
    if asked.account_id is None:
        fields["account_id"] = await paying_account(request, tenant_id)
        if fields["account_id"] is None:
            raise NoTokenAccount()
    try:
        command, enclosed = asking(found.root_keys(), found.vault(), tenant_id, fields, prompt)
    except ValidationError as error:
        raise invalid(error) from None
    return await perform(request, principal, command, 201, enclosed=enclosed)


async def answer_clarification(request: Request) -> Response:
    """Answer the questions of a change; it is planned anew with the answer."""
    principal = await allowed(request, m.AnswerClarification.command_name)
    asked = command_from(NewAnswer, await read_json(request), request.path_params)
    assert isinstance(asked, NewAnswer)
    found, tenant_id = services(request), principal.tenant_id
    async with found.reads.tenant(tenant_id, found.partition_of(tenant_id)) as tx:
        await refuse_own_secrets(tx, found.root_keys, answer=asked.answer)
        number = (await _one(tx, asked.change_id))["answers"] + 1
    fields = asked.model_dump(exclude={"answer"})
    command, enclosed = answering(found.root_keys(), found.vault(), tenant_id, fields, asked.answer, number)
    return await perform(request, principal, command, enclosed=enclosed)


async def revise_plan(request: Request) -> Response:
    """Put other operations in the place of those that were planned. Every approval begins anew."""
    principal = await allowed(request, m.RevisePlan.command_name)
    asked = command_from(NewPlan, await read_json(request), request.path_params)
    assert isinstance(asked, NewPlan)
    found, tenant_id = services(request), principal.tenant_id
    async with found.reads.tenant(tenant_id, found.partition_of(tenant_id)) as tx:
        await refuse_own_secrets(tx, found.root_keys, operations=json.dumps(asked.operations, ensure_ascii=False))
        repository = (await _one(tx, asked.change_id))["repository"]
    operations = read_operations(asked.operations, of_files=repository is not None)
    kept = await to_thread.run_sync(keep_operations, found.objects, operations)
    command = m.RevisePlan.model_validate(asked.model_dump(exclude={"operations"}) | {"operations": kept})
    return await perform(request, principal, command)


async def approve_change(request: Request) -> Response:
    """Agree to a change: to exactly what its binding is the digest of, and to nothing that comes after.

    A person who agrees to what is of high or destructive risk has proved a moment ago who they are.
    """
    principal = await allowed(request, m.ApproveChange.command_name)
    command = command_from(m.ApproveChange, await read_json(request), request.path_params)
    assert isinstance(command, m.ApproveChange)
    if principal.caller.method != "api_key":
        tenant_id = principal.tenant_id
        async with services(request).reads.tenant(tenant_id, services(request).partition_of(tenant_id)) as tx:
            # From the log itself: the read model may not know yet how the risk of a plan was judged.
            change = await aggregate_at(tx, Change, command.change_id)
        if change is not None and change.risk in SERIOUS:
            refuse_unproved(principal.caller, m.ApproveChange.command_name)
    return await perform(request, principal, command)


async def _refuse_own_secrets(request: Request, tenant_id: UUID, **texts: str) -> None:
    found = services(request)
    async with found.reads.tenant(tenant_id, found.partition_of(tenant_id)) as tx:
        await refuse_own_secrets(tx, found.root_keys, **texts)


def _asks(path: str, endpoint: Any, command: type[Command], asked: type[Command], status: int = 200) -> None:
    """Add an endpoint whose body is not the command itself."""
    sent, answered = examples.WRITES[command.__name__]
    in_path = frozenset({"change_id"}) if "{change_id}" in path else frozenset[str]()
    described = documents.write(asked, in_path, sent, status, answered)
    performs(path, endpoint, command.command_name, described, status=status, router=router)


_asks("/v1/changes", request_change, m.RequestChange, NewChange, 201)
_asks(f"{CHANGE}/answer", answer_clarification, m.AnswerClarification, NewAnswer)
_asks(f"{CHANGE}/revise", revise_plan, m.RevisePlan, NewPlan)
_asks(f"{CHANGE}/approve", approve_change, m.ApproveChange, m.ApproveChange)
for _word, _command in (
    ("raise-ceiling", m.RaiseCeiling),
    ("cancel", m.CancelChange),
    ("reject", m.RejectChange),
    ("withdraw", m.WithdrawApproval),
    ("deploy", m.DeployChange),
    ("abort", m.AbortDeploy),
    ("pause", m.PauseDeploy),
    ("resume", m.ResumeDeploy),
    ("rollback", m.RequestRollback),
    ("override", m.OverridePolicy),
):
    writes(f"{CHANGE}/{_word}", _command, example=examples.WRITES[_command.__name__], router=router)


@reads(
    "/v1/changes",
    examples.CHANGES,
    documents.query("cursor", "`next` of the page before.", type="string"),
    documents.PAGE[1],
    documents.query("state", "Only changes in this state.", type="string", enum=list(get_args(m.State))),
    documents.query("app", "Only changes of this app.", type="string"),
    documents.query("environment", "Only those of this environment.", type="string", enum=list(m.ENVIRONMENTS)),
    documents.query("mine", "Only those that you asked for.", type="string", enum=["true", "false"]),
    documents.query(
        "waiting_for_me",
        "Only those that you can do something about: approve, answer, revise, or, as a founder, override.",
        type="string",
        enum=["true", "false"],
    ),
    action="changes.read",
    router=router,
)
async def list_changes(request: Request) -> Response:
    """The tenant's changes, the newest first: what was asked, where each is, and what it has cost so far."""
    principal = await allowed(request, "changes.read")
    tenant_id, partition = principal.tenant_id, services(request).partition_of(principal.tenant_id)
    await fresh(request, tenant_id, partition, "changes")
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    mine, waiting = (chosen(request, name, "true", "false") == "true" for name in ("mine", "waiting_for_me"))
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        rows = await changes.changes(
            tx,
            request.query_params.get("cursor"),
            limit,
            state=chosen(request, "state", *get_args(m.State)),
            app=request.query_params.get("app"),
            environment=chosen(request, "environment", *m.ENVIRONMENTS),
            requester=principal.caller.id if mine else None,
            waiting_for=principal.actor if waiting else None,
            at=datetime.now(UTC),
        )
        wrote = await _wrote(services(request), tx, rows)
    shown = [change_views.shown(row, wrote.get(row["subject_id"], {})) for row in rows]
    return answer(paged(shown, limit, "change_id"))


@asynccontextmanager
async def _change(request: Request, action: str = "changes.read") -> AsyncIterator[tuple[Principal, TenantTx, Row]]:
    """Who asks, a transaction for questions, and the change that the path names. Raises ``NotFound``."""
    principal = await allowed(request, action)
    tenant_id, partition = principal.tenant_id, services(request).partition_of(principal.tenant_id)
    await fresh(request, tenant_id, partition, "changes")
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        yield principal, tx, await _one(tx, request.path_params["change_id"])


@reads(CHANGE, examples.CHANGE, action="changes.read", router=router, nullable=examples.AT_TIMES)
async def show_change(request: Request) -> Response:
    """One change: what was asked, where it is, whom it waits for, what it costs and has cost, who agreed."""
    async with _change(request) as (_, tx, row):
        wrote = await _wrote(services(request), tx, [row])
    return answer(change_views.shown(row, wrote.get(row["subject_id"], {})))


@reads(f"{CHANGE}/plan", examples.CHANGE_PLAN, action="changes.read", router=router, nullable=examples.AT_TIMES)
async def show_change_plan(request: Request) -> Response:
    """What was planned and by whom: the operations, a sentence for each, and what was asked back."""
    async with _change(request) as (_, _, row):
        found = services(request)

    def plan() -> dict[str, Any]:
        digest = row["operations"]
        stored = None if digest is None else found.objects.get(m.OBJECTS["operations"], digest)
        tree = None if row["repository"] else found.releases.tree(row["base_release"])
        return change_views.plan(row, stored, tree)

    return answer(await to_thread.run_sync(plan))


@reads(f"{CHANGE}/diff", examples.CHANGE_DIFF, action="changes.read", router=router, nullable=examples.AT_TIMES)
async def show_change_diff(request: Request) -> Response:
    """What would be different: for the people who use the app, and line by line; and what an approval agrees to.

    Felix works it out from the trees before and after, never from what was planned. `approval.binding` is the digest
    over all of it, which `approve` sends back: base, result, diff, release, checks, policy, price, quorum and expiry.
    With `needs_step_up` you may approve once you have proved anew who you are: `POST /v1/step-up`, then `approve`.
    """
    async with _change(request) as (principal, _, row):
        found = services(request)
    if row["diff"] is None:
        raise NotFound(f"The change {row['change_id']} has no diff.", id=row["change_id"], state=row["state"])
    content = await to_thread.run_sync(found.objects.get, m.OBJECTS["diff"], row["diff"])
    proved = has_proved(principal.caller)
    return answer(change_views.difference(row, orjson.loads(content), principal.actor, proved=proved))


@reads(f"{CHANGE}/timeline", examples.CHANGE_TIMELINE, *documents.PAGE, action="changes.read", router=router)
async def show_change_timeline(request: Request) -> Response:
    """Everything that happened to a change, in order: who did it, and what each step held, cost and gave back.

    `costs` has the sums of each step. The account's journal has the same amounts, with the change as their reference.
    """
    cursor, limit = page(request)
    async with _change(request) as (_, tx, row):
        steps = await changes.steps(tx, row["change_id"], cursor, limit)
        costs = await changes.costs(tx, row["change_id"])
    told = {"change_id": row["change_id"], "state": row["state"], "spent_mtok": row["spent_mtok"], "costs": costs}
    return answer(told | paged(steps, limit, "version"))


@reads(
    f"{CHANGE}/export",
    examples.CHANGE_EXPORT,
    documents.query("cursor", "`next` of the page before.", type="integer", minimum=0),
    action="changes.export",
    router=router,
)
async def show_change_export(request: Request) -> Response:
    """The records that a destructive change took something from, as they were when its turn came.

    Felix exports them by itself before it deploys such a change, and never deploys it without. What is personal is not
    in the export: it comes from the vault, and `erased` names what is not there any more.
    """
    number = integer(request, "cursor", 0, 0, MAX_EXPORT_PAGES)
    async with _change(request, "changes.export") as (_, tx, row):
        found = services(request)
        return answer(await exported(tx, row, number, found.objects, found.releases, found.vault))


async def _one(tx: TenantTx, change_id: str) -> Row:
    row = await changes.change_of(tx, change_id)
    if row is None:
        raise missing("change_id", change_id)
    return row


async def _wrote(found: Services, tx: TenantTx, rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """What people wrote about some changes, as far as it is still kept: by subject, and then by name."""
    subjects = sorted({row["subject_id"] for row in rows if row["prompt_chars"]})
    if not subjects:
        return {}
    return found.vault().open(await tx.fetch(SEALED, tx.partition, tx.tenant_id, subjects))
