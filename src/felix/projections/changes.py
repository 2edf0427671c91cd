"""Changes: one row a change, as far as it has come, and every step that it took, with who took it and what it cost.

What people wrote is in the vault, under the change's ``subject_id``, and never here; what is large is in object
storage, by the digests that are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from felix.domain.changes.approvals import person_of, role_of
from felix.domain.changes.messages import TERMINAL
from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection, change
from felix.projections.tenant_tx import Row, TenantTx

_WHERE: Final[LiteralString] = " where partition = %s and tenant_id = %s and change_id = %s"
_BEGIN: Final[LiteralString] = """
    insert into changes (partition, tenant_id, change_id, requested_at, changed_at, authors, app, environment, kind,
      channel, requester, account_id, subject_id, planner, model, operations, prompt_chars, base_release, base_tree,
      retry_of, rollback_of, reason, release)
    values (%s, %s, %s, %s, %s, array[%s], %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_REQUESTED: Final[tuple[str, ...]] = (
    "app", "environment", "kind", "channel", "requester", "account_id", "subject_id", "planner", "model", "operations",
    "prompt_chars", "base_release", "base_tree", "retry_of", "rollback_of", "reason", "release",
)  # fmt: skip
_STEP: Final[LiteralString] = """
    insert into change_steps (partition, tenant_id, change_id, version, tenant_sequence, happened, state, step, actor,
      happened_at, held_mtok, settled_mtok, released_mtok, absorbed_mtok, told)
    select partition, tenant_id, change_id, %s, %s, %s, state, %s, %s, %s, %s, %s, %s, %s, %s
    from changes where partition = %s and tenant_id = %s and change_id = %s
"""
#: The state that an event leads to, where it always leads to the same.
STATES: dict[str, str] = {
    "change_requested": "requested",
    "funds_insufficient": "blocked_funds",
    "context_ingestion_started": "ingesting",
    "context_ingested": "ingested",
    "plan_started": "planning",
    "clarification_asked": "needs_input",
    "plan_proposed": "planned",
    "plan_revised": "planned",
    "diff_computed": "diffed",
    "checks_started": "checking",
    "checks_passed": "checked",
    "checks_failed": "checks_failed",
    "policy_violated": "policy_violated",
    "policy_overridden": "checked",
    "approval_requested": "awaiting_approval",
    "change_approved": "approved",
    "deploy_queued": "queued",
    "deploy_started": "deploying",
    "canary_started": "canary",
    "deploy_promoted": "baking",
    "deploy_succeeded": "deployed",
    "rollback_started": "rolling_back",
    "rollback_blocked": "attention",
    "change_failed": "failed",
    "change_cancelled": "cancelled",
    "change_rejected": "rejected",
    "change_expired": "expired",
    "change_superseded": "superseded",
    "change_rebased": "diffed",
    "conflict_found": "needs_input",
}
#: The columns that an event says anew; its members are called like them.
_SAID: dict[str, tuple[str, ...]] = {
    "repository_chosen": ("repository",),
    "tokens_quoted": ("low_mtok", "high_mtok", "ceiling_mtok"),
    "ceiling_raised": ("ceiling_mtok",),
    "context_ingested": ("context",),
    "plan_started": ("planner", "model"),
    "plan_proposed": ("operations", "planner", "model", "rationale", "transcript"),
    "plan_revised": ("operations",),
    "approval_requested": (
        "binding", "deploy_mtok", "eligible_roles", "policy", "quorum", "roles", "self_allowed"
    ),
    "deploy_queued": ("strategy",),
    "deploy_started": ("deployment_id", "previous_release", "release"),
    "canary_started": ("weight",),
    "guardrails_measured": ("measurements",),
    "deploy_promoted": ("bakes_until",),
    "rollback_started": ("reason", "guardrail"),
    **dict.fromkeys(
        ("diff_computed", "change_rebased"),
        ("base_tree", "result_tree", "diff", "release", "effects", "effects_count", "risk"),
    ),
    **dict.fromkeys(("checks_passed", "checks_failed", "policy_violated"), ("checks", "findings")),
    **dict.fromkeys(
        ("rollback_blocked", "change_failed", "change_cancelled", "change_rejected", "change_superseded",
         "step_failed", "canary_paused"),
        ("reason",),
    ),
}  # fmt: skip
#: Of one state only: gone with it.
_OF_STATE = ("expires_at", "questions", "conflicts")
#: After these, what was checked and agreed to is not what the change is any more.
_FORGETTING = ("clarification_answered", "plan_revised", "diff_computed", "change_rebased", "conflict_found")
#: Enough people in enough roles agree, without one of them: the parameter, twice.
_STILL_APPROVED: Final[LiteralString] = (
    "cardinality(array_remove(approvers, %s)) >= quorum and (select count(distinct split_part(a, ':', 1))"
    " from unnest(array_remove(approvers, %s)) a) >= roles"
)
_PLANNED_AGAIN: Final[LiteralString] = (
    "case when conflicts is not null or context is null then 'requested' else 'ingested' end"
)
_TRIED_AGAIN: Final[LiteralString] = (
    "case state when 'ingesting' then 'requested' when 'planning' then 'ingested' when 'checking' then 'diffed'"
    " else state end"
)
_RESUMED_UNTIL: Final[LiteralString] = (
    "case resumes_at when 'awaiting_approval' then approval_ends_at when 'approved' then starts_until end"
)
_JSON = frozenset({"questions", "conflicts", "effects", "findings", "strategy", "measurements"})
#: What is in the change itself, or too much for a line of its history.
_NOT_TOLD = frozenset({"effects", "places", "sources", "excluded", "subject_id", "prompt_commitment"})


class Changes(Projection):
    """One row a change, and one an event of it."""

    name = "changes"
    version = 2
    reads = frozenset(f"changes.{name}" for name in STATES) | frozenset(
        f"changes.{name}"
        for name in (
            "tokens_quoted", "ceiling_raised", "funds_returned", "tokens_reserved", "tokens_settled",
            "provider_usage_unmeasured", "clarification_answered", "approval_granted", "approval_carried",
            "approval_withdrawn", "guardrails_measured", "canary_paused", "canary_resumed", "deploy_rolled_back",
            "losses_exported", "effects_released", "effects_dropped", "step_failed", "cancellation_asked",
            "stale_base_detected", "repository_chosen", "pull_request_recorded",
        )
    )  # fmt: skip
    tables = ("changes", "change_steps")
    ddl = """
        create table changes (
          partition int not null,
          tenant_id uuid not null,
          change_id text collate "C" not null,
          app text not null,
          environment text not null,
          kind text not null,
          channel text not null,
          state text not null default 'requested',
          resumes_at text,
          requester text not null,
          account_id text not null,
          subject_id text not null,
          prompt_chars int not null,
          answers int not null default 0,
          planner text,
          model text,
          retry_of text,
          rollback_of text,
          context text,
          operations text,
          rationale text,
          transcript text,
          base_release text not null,
          base_tree text not null,
          result_tree text,
          diff text,
          release text,
          effects jsonb not null default '[]',
          effects_count int not null default 0,
          risk text,
          checks text,
          findings jsonb not null default '[]',
          questions jsonb,
          conflicts jsonb,
          low_mtok bigint not null default 0,
          high_mtok bigint not null default 0,
          ceiling_mtok bigint not null default 0,
          deploy_mtok bigint,
          held_mtok bigint not null default 0 check (held_mtok >= 0),
          spent_mtok bigint not null default 0 check (spent_mtok >= 0),
          absorbed_mtok bigint not null default 0 check (absorbed_mtok >= 0),
          binding text,
          policy text,
          quorum int not null default 0,
          roles int not null default 0,
          eligible_roles text[] not null default '{}',
          self_allowed boolean not null default false,
          authors text[] not null,
          approvers text[] not null default '{}',
          strategy jsonb,
          export jsonb,
          deployment_id text,
          previous_release text,
          weight int,
          paused boolean not null default false,
          measurements jsonb not null default '[]',
          guardrail text,
          bakes_until timestamptz,
          repository text,
          pull_request jsonb,
          revert jsonb,
          reason text,
          expires_at timestamptz,
          approval_ends_at timestamptz,
          starts_until timestamptz,
          requested_at timestamptz not null,
          changed_at timestamptz not null,
          ended_at timestamptz,
          version bigint not null default 1,
          tenant_sequence bigint not null default 0,
          constraint changes_pkey primary key (partition, tenant_id, change_id)
        ) with (fillfactor = 70);
        create index changes_sequence_idx on changes (partition, tenant_id, tenant_sequence);
        create index changes_open_idx on changes (partition, tenant_id, state, change_id) where ended_at is null;
        create table change_steps (
          partition int not null,
          tenant_id uuid not null,
          change_id text collate "C" not null,
          version bigint not null,
          tenant_sequence bigint not null,
          happened text not null,
          state text not null,
          step text,
          actor text not null,
          happened_at timestamptz not null,
          held_mtok bigint not null,
          settled_mtok bigint not null,
          released_mtok bigint not null,
          absorbed_mtok bigint not null,
          told jsonb not null,
          constraint change_steps_pkey primary key (partition, tenant_id, change_id, version)
        );
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        for event in events:
            of = (event.partition, event.tenant_id, event.local_id)
            if event.type == "changes.change_requested":
                at, told = event.recorded_at, event.payload
                said = (told[member] for member in _REQUESTED)
                change(connection, _BEGIN, (*of, at, at, person_of(told["requester"]), *said), 1)
            settings = {
                column: to if isinstance(to, _As) else _As("%s", (to,)) for column, to in _settings(event).items()
            }
            query = ", ".join(f"{column} = {to.sql}" for column, to in settings.items())
            values = (value for to in settings.values() for value in to.values)
            change(connection, f"update changes set {query}{_WHERE}", (*values, *of), 1)  # noqa: S608 constants
            change(connection, _STEP, (*_step(event), *of), 1)


PROJECTION = Changes()


class _As(NamedTuple):
    """What a column becomes, where that is not just a value."""

    sql: LiteralString
    values: tuple[Any, ...] = ()


def _settings(event: RecordedEvent) -> dict[str, Any]:
    """What an event changes in the row of its change, by column."""
    told, name = event.payload, event.type.partition(".")[2]
    found: dict[str, Any] = {
        "version": event.version, "tenant_sequence": event.tenant_sequence, "changed_at": event.recorded_at
    }  # fmt: skip
    if (state := STATES.get(name)) is not None:
        found["state"] = state
        found |= {column: _value(column, told.get(column)) for column in _OF_STATE}
        if state in TERMINAL:
            found |= {"ended_at": event.recorded_at, "resumes_at": None, "paused": False}
    if name in _FORGETTING:
        found |= dict.fromkeys(("checks", "policy", "binding", "approval_ends_at", "starts_until"))
        found |= {"findings": Jsonb([]), "approvers": []}
    found |= {column: _value(column, told[column]) for column in _SAID.get(name, ())}
    match name:
        case "pull_request_recorded":
            shown = {part: told[part] for part in ("number", "url", "branch", "commit", "merged")}
            found["revert" if told["reverts"] else "pull_request"] = Jsonb(shown)
        case "funds_insufficient":
            opens_at = told["opens_at"]
            why = told["why"] if opens_at is None else f"{told['why']} until {opens_at}"
            found |= {"resumes_at": told["resumes_at"], "reason": why}
        case "funds_returned":
            found |= {"state": _As("resumes_at"), "expires_at": _As(_RESUMED_UNTIL), "resumes_at": None, "reason": None}
        case "tokens_reserved":
            found["held_mtok"] = _As("held_mtok + %s", (told["amount_mtok"],))
        case "tokens_settled":
            released_mtok = told["settled_mtok"] + told["released_mtok"]
            found["held_mtok"] = _As("held_mtok - %s", (released_mtok,))
            found["spent_mtok"] = _As("spent_mtok + %s", (told["settled_mtok"],))
            found["absorbed_mtok"] = _As("absorbed_mtok + %s", (told["absorbed_mtok"],))
        case "clarification_answered":
            found |= dict.fromkeys(_OF_STATE) | {"state": _As(_PLANNED_AGAIN), "authors": _and(told["answered_by"])}
            found["answers"] = _As("answers + 1")
        case "plan_revised":
            found["authors"] = _and(told["revised_by"])
        case "checks_passed" | "policy_overridden":
            # That is how long the checks are good for, and not the state.
            found["expires_at"] = None
        case "approval_requested":
            found |= {"approvers": [], "approval_ends_at": told["expires_at"]}
        case "approval_granted" | "approval_carried":
            found["approvers"] = _As("array_append(approvers, %s)", (told["approver"],))
        case "approval_withdrawn":
            who = (told["approver"],)
            found["approvers"] = _As("array_remove(approvers, %s)", who)
            found["state"] = _As(f"case when {_STILL_APPROVED} then state else 'awaiting_approval' end", who * 2)
            found["expires_at"] = _As(f"case when {_STILL_APPROVED} then expires_at else approval_ends_at end", who * 2)
        case "change_approved":
            found["starts_until"] = told["expires_at"]
        case "deploy_queued":
            found |= {"expires_at": _As("starts_until"), "export": None}
        case "losses_exported":
            kept = {name: told[name] for name in ("entities", "records", "size_bytes")}
            found["export"] = Jsonb(kept | {"digest": told["export"]})
        case "canary_started":
            # What nobody sees but by its name waits for somebody.
            found["paused"] = told["weight"] == 0
        case "canary_paused" | "canary_resumed":
            found["paused"] = name == "canary_paused"
        case "deploy_promoted" | "rollback_started":
            found |= {"paused": False, "weight": None}
        case "deploy_rolled_back":
            # A change that asked for nothing but going back has done what it was asked.
            over = "case kind when 'rollback' then 'deployed' else 'rolled_back' end"
            found |= {"state": _As(over), "ended_at": event.recorded_at, "resumes_at": None}
        case "step_failed" if told["retried"]:
            found["state"] = _As(_TRIED_AGAIN)
    return found


def _and(author: str) -> _As:
    """Whoever has a hand in a change does not decide about it."""
    person = person_of(author)
    return _As("array_append(array_remove(authors, %s), %s)", (person, person))


def _value(column: str, value: Any) -> Any:
    return Jsonb(value) if column in _JSON and value is not None else value


def _step(event: RecordedEvent) -> tuple[Any, ...]:
    """The line of an event in the history of its change."""
    told, name = event.payload, event.type.partition(".")[2]
    held_mtok = told["amount_mtok"] if name == "tokens_reserved" else 0
    paid = ("settled_mtok", "released_mtok", "absorbed_mtok")
    amounts = [told[member] if name == "tokens_settled" else 0 for member in paid]
    kept = Jsonb({member: value for member, value in told.items() if member not in _NOT_TOLD})
    who = (event.actor, event.recorded_at)
    return (event.version, event.tenant_sequence, name, told.get("step"), *who, held_mtok, *amounts, kept)


_CHANGE: Final[LiteralString] = (
    "select change_id, app, environment, kind, channel, state, resumes_at, requester, account_id, subject_id,"
    " prompt_chars, answers, planner, model, retry_of, rollback_of, context, operations, rationale, transcript,"
    " base_release, base_tree, result_tree, diff, release, effects, effects_count, risk, checks, findings,"
    " questions, conflicts, low_mtok, high_mtok, ceiling_mtok, deploy_mtok, held_mtok, spent_mtok, absorbed_mtok,"
    " binding, policy, quorum, roles, eligible_roles, self_allowed, authors, approvers, strategy, export,"
    " deployment_id,"
    " previous_release, weight, paused, measurements, guardrail, bakes_until, repository, pull_request, revert,"
    " reason, expires_at, requested_at,"
    " changed_at, ended_at, version, tenant_sequence"
    " from read.changes where partition = %s and tenant_id = %s"
)
#: What waits for a person: an approval that they may give, a question about what they asked for, an override.
_WAITING: Final[LiteralString] = (
    "ended_at is null and (expires_at is null or expires_at > %s) and"
    " (state = 'awaiting_approval' and %s in ('client_approver', 'client_owner', 'founder')"
    " and (self_allowed or not %s = any(authors))"
    " and not exists (select from unnest(approvers) a where split_part(a, ':', 2) = %s)"
    " or state in ('needs_input', 'blocked_funds', 'checks_failed') and split_part(requester, ':', 2) = %s"
    " or state in ('policy_violated', 'attention') and %s = 'founder')"
)


async def changes(
    tx: TenantTx,
    before: str | None = None,
    limit: int = 100,
    *,
    state: str | None = None,
    app: str | None = None,
    environment: str | None = None,
    requester: str | None = None,
    waiting_for: str | None = None,
    at: datetime | None = None,
) -> list[Row]:
    """The tenant's changes, the newest first; ``before`` is the id at which the page before ended.

    ``requester`` is a person's id. ``waiting_for`` is an actor: what they can do something about at a moment.
    """
    given: dict[str, tuple[Any, ...]] = {
        "change_id < %s": (before,),
        "state = %s": (state,),
        "app = %s": (app,),
        "environment = %s": (environment,),
        "split_part(requester, ':', 2) = %s": (requester,),
    }
    given = {condition: values for condition, values in given.items() if values != (None,)}
    if waiting_for is not None:
        role, person = role_of(waiting_for), person_of(waiting_for)
        given[_WAITING] = (at, role, person, person, person, role)
    query = " and ".join([_CHANGE, *given]) + " order by change_id desc limit %s"
    values = [value for each in given.values() for value in each]
    return await tx.fetch(query, tx.partition, tx.tenant_id, *values, limit)


async def change_of(tx: TenantTx, change_id: str) -> Row | None:
    """One change."""
    return await tx.fetch_one(_CHANGE + " and change_id = %s", tx.partition, tx.tenant_id, change_id)


async def changes_named(tx: TenantTx, change_ids: Sequence[str]) -> list[Row]:
    """Some changes."""
    return await tx.fetch(
        _CHANGE + " and change_id = any(%s) order by change_id", tx.partition, tx.tenant_id, list(change_ids)
    )


async def changes_since(tx: TenantTx, since: int, after: str, limit: int) -> list[Row]:
    """Changes that went on after a ``tenant_sequence``, by id from ``after`` on."""
    return await tx.fetch(
        _CHANGE + " and tenant_sequence > %s and change_id > %s order by change_id limit %s",
        tx.partition, tx.tenant_id, since, after, limit,
    )  # fmt: skip


async def steps(tx: TenantTx, change_id: str, after: int = 0, limit: int = 100) -> list[Row]:
    """What happened to a change, in order, beginning behind the version ``after``."""
    return await tx.fetch(
        "select version, happened, state, step, actor, happened_at, held_mtok, settled_mtok, released_mtok,"
        " absorbed_mtok, told from read.change_steps where partition = %s and tenant_id = %s and change_id = %s"
        " and version > %s order by version limit %s",
        tx.partition, tx.tenant_id, change_id, after, limit,
    )  # fmt: skip


async def costs(tx: TenantTx, change_id: str) -> list[Row]:
    """What each step of a change was paid with, in the order in which they were paid."""
    return await tx.fetch(
        "select step, sum(held_mtok)::bigint as held_mtok, sum(settled_mtok)::bigint as settled_mtok,"
        " sum(released_mtok)::bigint as released_mtok, sum(absorbed_mtok)::bigint as absorbed_mtok"
        " from read.change_steps where partition = %s and tenant_id = %s and change_id = %s"
        " and happened in ('tokens_reserved', 'tokens_settled') group by step order by min(version)",
        tx.partition, tx.tenant_id, change_id,
    )  # fmt: skip
