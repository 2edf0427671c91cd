"""Examples for the OpenAPI document: what is asked, and what is answered. The tests send and compare them."""

from __future__ import annotations

import json
from typing import Any

ACCOUNT_ID = "acct_019a8f4e5c7b70008000000000000000"
LOT_ID = "lot_019a8f4e5c7b70008000000000000001"
HOLD_ID = "hold_019a8f4e5c7b70008000000000000002"
DEBIT_ID = "deb_019a8f4e5c7b700080000000000000030000000004"
CAP_ID = "cap_019a8f4e5c7b70008000000000000005"
ADJUSTMENT_ID = "adj_019a8f4e5c7b70008000000000000006"
DOCUMENT_ID = "doc_019a8f4e5c7b7000800000000000000e"
IMPERSONATION_ID = "imp_019a8f4e5c7b7000800000000000000b"
JOB_ID = "b1c3f7d2-5a0e-5b6f-9d3a-0c4e8f2a6b10"
INVITATION_ID = "inv_019a8f4e5c7b7000800000000000000c"
KEY_ID = "key_019a8f4e5c7b70008000000000000008"
SUBJECT_ID = "cust_019a8f4e5c7b7000800000000000000d"
TRANSFER_ID = "trf_019a8f4e5c7b70008000000000000007"
SESSION_ID = "sess_019a8f4e5c7b7000800000000000000d"
USER_ID = "usr_019a8f4e5c7b7000800000000000000a"

BALANCE = {"available_mtok": 950_000, "held_mtok": 50_000, "frozen_mtok": 0, "debt_mtok": 0}
CHANGED = {"account_id": ACCOUNT_ID, "balance": BALANCE}
REASON = {"reason": "Agreed with the client on the phone."}
_DEBIT = {
    "account_id": ACCOUNT_ID,
    "debit_id": DEBIT_ID,
    "amount_mtok": 7212,
    "lines": [
        {"meter": "llm.input_tokens", "quantity": 4808, "amount_mtok": 7212, "trace": "v1 per_unit 1500/1000 x4808"}
    ],
    "allocation": [{"lot_id": LOT_ID, "meter": "llm.input_tokens", "amount_mtok": 7212}],
    "debt_mtok": 0,
    "balance": BALANCE,
}

_KEY = {
    "key_id": KEY_ID,
    "label": "Order sync",
    "role": "service",
    "scopes": ["ledger.*", "metering.debit_usage_batch"],
    "created_at": "2026-01-31T12:00:00Z",
    "expires_at": "2046-12-31T23:59:59Z",
}

_TEXT = {
    "kind": "markdown",
    "text": "# Returns\n\nBread can be returned on the day it was bought. Cakes are made to order.\n",
}
_CONTENT = {
    "digest": "c5df15b1dc7d6a2ea7a3a45a9b0d7ba3e4a0e04ab3be1b5a7d9a9a4c1df4f3c1",
    "size_bytes": 87,
    "redactions": {},
    "left_out": [],
}

#: By command: the body that is sent, and what is answered.
WRITES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "OnboardTenant": (
        {
            "slug": "bakery",
            "name": "Bakery Blum",
            "owner_email": "blum@bakery.example",
            "account_name": "Main account",
            "welcome_mtok": 100_000,
            "modules": ["order_sync"],
        },
        {
            "tenant_id": "019a8f4e-5c7b-7000-8000-000000000000",
            "slug": "bakery",
            "name": "Bakery Blum",
            "partition": 2,
            "modules": ["order_sync"],
            "account_id": ACCOUNT_ID,
            "balance": BALANCE,
            "invitation_id": INVITATION_ID,
        },
    ),
    "WithdrawInvitation": (
        {"reason": "Sent to the wrong address."},
        {
            "invitation_id": INVITATION_ID,
            "role": "client_member",
            "status": "withdrawn",
            "expires_at": "2026-02-07T12:00:00+00:00",
        },
    ),
    "ChangeRole": (
        {"role": "client_approver", "reason": "Stands in for the owner."},
        {"user_id": USER_ID, "role": "client_approver", "expires_at": None},
    ),
    "EndMembership": (
        {"reason": "Has left the company."},
        {"user_id": USER_ID, "role": None, "expires_at": None},
    ),
    "DisableUser": ({"reason": "The telephone was stolen."}, {"user_id": USER_ID, "status": "disabled"}),
    "EnableUser": ({"reason": "It was found again."}, {"user_id": USER_ID, "status": "active"}),
    "OpenTokenAccount": (
        {"name": "Main account"},
        {"account_id": ACCOUNT_ID, "name": "Main account", "credit_limit_mtok": 0},
    ),
    "CloseTokenAccount": (REASON, CHANGED),
    "FreezeTokenAccount": (REASON, CHANGED),
    "UnfreezeTokenAccount": (REASON, CHANGED),
    "GrantTokens": (
        {"amount_mtok": 1_000_000, "kind": "purchased", "cost_minor": 2500, "currency": "EUR"},
        CHANGED | {"lot_id": LOT_ID},
    ),
    "BookExpiries": ({}, CHANGED),
    "ExpireLot": ({}, CHANGED),
    "ClawBackTokens": (REASON | {"amount_mtok": 5_000}, CHANGED),
    "VoidLot": (REASON, CHANGED),
    "ExtendLot": (REASON | {"expires_at": "2027-12-31T23:59:59Z"}, CHANGED),
    "FreezeLot": (REASON, CHANGED),
    "UnfreezeLot": (REASON, CHANGED),
    "HoldTokens": (
        {"amount_mtok": 50_000, "meter": "change.plan", "ttl_s": 900, "purpose": "Plan a change"},
        CHANGED | {"hold_id": HOLD_ID},
    ),
    "CaptureHold": ({"amount_mtok": 41_000}, CHANGED | {"hold_id": HOLD_ID}),
    "ReleaseHold": ({}, CHANGED | {"hold_id": HOLD_ID}),
    "ExtendHold": ({"ttl_s": 1800}, CHANGED | {"hold_id": HOLD_ID}),
    "DebitTokens": ({"meter": "llm.input_tokens", "quantity": 4808, "model": "gpt-4o"}, _DEBIT),
    "ReverseDebit": (REASON | {"amount_mtok": 7212}, CHANGED),
    "TransferTokens": (
        {"to_account_id": "acct_019a8f4e5c7b70008000000000000009", "amount_mtok": 10_000},
        {"transfer_id": TRANSFER_ID, "amount_mtok": 10_000, "balance": BALANCE},
    ),
    "SetCreditLimit": (REASON | {"credit_limit_mtok": 100_000}, CHANGED),
    "SetSpendCap": ({"limit_mtok": 500_000, "window": "month"}, CHANGED | {"cap_id": CAP_ID}),
    "RemoveSpendCap": ({}, CHANGED | {"cap_id": CAP_ID}),
    "ProposeAdjustment": (REASON | {"amount_mtok": 5_000}, CHANGED | {"adjustment_id": ADJUSTMENT_ID}),
    "ApproveAdjustment": ({}, CHANGED | {"adjustment_id": ADJUSTMENT_ID}),
    "RejectAdjustment": (REASON, CHANGED | {"adjustment_id": ADJUSTMENT_ID}),
    "SetSecret": (
        {"value": "ghp_example", "kind": "token", "overlap_s": 86_400},
        {"name": "github", "version": 1, "kind": "token"},
    ),
    "RemoveSecret": ({"reason": "The integration is gone."}, {"name": "github", "version": 1, "removed": True}),
    "AddDocument": (
        {"title": "Returns", "account_id": ACCOUNT_ID, **_TEXT},
        {"document_id": DOCUMENT_ID, **_CONTENT, "charged_mtok": 10, "added": True},
    ),
    "ReplaceDocument": (_TEXT, {"document_id": DOCUMENT_ID, **_CONTENT, "charged_mtok": 10}),
    "ConnectSource": (
        {
            "title": "Our shop's code",
            "account_id": ACCOUNT_ID,
            "source": {"kind": "repository", "repository": "bakery/shop", "branch": "main"},
        },
        {"document_id": DOCUMENT_ID, "title": "Our shop's code"},
    ),
    "RefreshSource": ({}, {"document_id": DOCUMENT_ID, "reading": 2}),
    "RemoveDocument": ({"reason": "It is out of date."}, {"document_id": DOCUMENT_ID, "removed": True}),
    "RotateTenantKey": ({"reason": "Yearly."}, {"key_version": 2}),
    "CreateApiKey": (
        {name: _KEY[name] for name in ("label", "scopes", "expires_at")},
        _KEY | {"key": "fx_live_" + "0" * 36},
    ),
    "RotateApiKey": (
        {"overlap_s": 3600},
        _KEY | {"key": "fx_live_" + "0" * 36, "rotated_from": KEY_ID, "overlap_ends_at": "2026-01-31T13:00:00Z"},
    ),
    "RevokeApiKey": ({"reason": "It was in a log."}, {"key_id": KEY_ID, "status": "revoked"}),
    "BeginImpersonation": (
        {"role": "client_owner", "reason": "They do not see their invoice.", "minutes": 15},
        {
            "impersonation_id": IMPERSONATION_ID,
            "role": "client_owner",
            "expires_at": "2026-01-31T12:15:00+00:00",
        },
    ),
    "EndImpersonation": ({}, {"impersonation_id": IMPERSONATION_ID, "role": "client_owner"}),
    "EraseUser": (
        {"reason": "They asked for it on 3 May."},
        {
            "user_id": USER_ID,
            "status": "erased",
            "erased": {
                "felix.vault": 2,
                "felix.sessions": 1,
                "felix.links": 1,
                "felix.passwords": 1,
                "felix.second_factors": 0,
                "felix.recovery_codes": 0,
                "felix.bound_identities": 0,
            },
        },
    ),
    "ErasePersonalData": (
        {"reason": "They asked for it on 3 May."},
        {"subject_id": SUBJECT_ID, "fields": ["email", "name"]},
    ),
    "DefineMeter": (
        {"name": "llm.input_tokens", "unit": "token", "description": "Tokens that were read"},
        {
            "name": "llm.input_tokens",
            "unit": "token",
            "description": "Tokens that were read",
            "aggregation": "sum",
            "implicit": False,
        },
    ),
    "PublishRateCard": (
        {
            "prices": [
                {"kind": "per_unit", "meter": "llm.input_tokens", "price_mtok": 1500, "per": 1000},
                {"kind": "per_unit", "meter": "llm.output_tokens", "price_mtok": 6000, "per": 1000},
            ]
        },
        {"rate_card_id": "default", "version": 1, "effective_from": "2026-01-31T12:00:00+00:00"},
    ),
}

EVENT = {
    "specversion": "1.0",
    "type": "felix.usage",
    "source": "/apps/assistant",
    "id": "call-81",
    "subject": ACCOUNT_ID,
    "data": {
        "quantities": {"llm.input_tokens": 4808, "llm.output_tokens": 10},
        "model": "gpt-4o",
        "app": "assistant",
        "person": "ada",
    },
}
USAGE_BATCH = {
    "accepted": 998,
    "charged_mtok": 7_312_000,
    "duplicates": [17],
    "refused": [
        {
            "index": 3,
            "code": "malformed_item",
            "pointer": "/events/3/data/quantity",
            "rule": "integer",
            "detail": "not a whole number",
        }
    ],
}
USAGE_BATCH_WRITE = ({"events": [EVENT]}, 200, USAGE_BATCH)
USAGE_BATCH_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["events"],
                "additionalProperties": False,
                "properties": {
                    "events": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 1000,
                        "description": "CloudEvents 1.0; each is read on its own.",
                        "items": {},
                    },
                    "rate_card_id": {"type": "string", "default": "default"},
                },
            },
            "example": {"events": [EVENT]},
        }
    },
}

QUOTE_ASKED = {"lines": [{"meter": "llm.input_tokens", "quantity": 4808, "model": "gpt-4o"}]}
QUOTE = {name: value for name, value in _DEBIT.items() if name != "debit_id"} | {"rate_card": "default/1"}

ACCOUNT = {
    "account_id": ACCOUNT_ID,
    "name": "Main account",
    "status": "open",
    "balance": BALANCE,
    "credit_limit_mtok": 0,
}
ACCOUNTS = {"data": [ACCOUNT], "next": None}
DOCUMENTS = {
    "data": [
        {
            "document_id": DOCUMENT_ID,
            "title": "Returns",
            "kind": "markdown",
            "account_id": ACCOUNT_ID,
            "source": None,
            "added_at": "2026-07-01T09:00:00Z",
            "added_by": "client_owner:usr_019a8f4e5c7b7000800000000000000a",
            **_CONTENT,
            "charged_mtok": 10,
            "indexed_at": "2026-07-01T09:00:00Z",
            "waits": False,
            "failure": None,
        }
    ],
    "next": None,
}
CONTEXT = {
    "digest": "0f5ad1b2f1d0b0a3c1f5bb6f8c5ad1a1e06f7b2d1e8c5a9b1d3f6c7e8a9b0c1d",
    "sources": [{"kind": "markdown", "name": "Returns", "digest": _CONTENT["digest"]}],
    "excluded": [],
    "redactions": {},
    "bytes": 87,
    "outline": "",
    "data": [{"source": "markdown:Returns", "heading": "Returns", "text": _TEXT["text"]}],
}
SECRETS = {
    "data": [
        {
            "name": "github",
            "version": 1,
            "kind": "token",
            "set_at": "2026-07-01T09:00:00Z",
            "set_by": "client_owner:usr_019a8f4e5c7b7000800000000000000a",
            "earlier_until": None,
            "uses": 0,
            "last_used_at": None,
            "last_used_by": None,
            "last_used_for": None,
        },
        {
            "name": "stripe.webhook",
            "version": 2,
            "kind": "signing_secret",
            "set_at": "2026-07-01T09:00:00Z",
            "set_by": "client_owner:usr_019a8f4e5c7b7000800000000000000a",
            "earlier_until": "2026-07-02T09:00:00Z",
            "uses": 12,
            "last_used_at": "2026-07-01T11:30:00Z",
            "last_used_by": "policy:payments_buy_tokens",
            "last_used_for": "webhook",
        },
    ],
    "next": None,
}
API_KEYS = {
    "data": [_KEY | {"status": "active", "scopes": None, "expires_at": None, "last_used_at": None, "revoked_at": None}],
    "next": None,
}
LOTS = {"data": [{"lot_id": LOT_ID, "kind": "purchased", "available_mtok": 950_000}]}
HOLDS = {"data": [{"hold_id": HOLD_ID, "amount_mtok": 50_000, "meter": "change.plan"}]}
TRANSACTIONS = {
    "data": [
        {
            "tenant_sequence": 4,
            "type": "ledger.tokens_granted",
            "amount_mtok": 1_000_000,
            "postings": [
                {"account": "issuance:purchased", "asset": "TOK", "amount": -1_000_000},
                {"account": f"lot:{LOT_ID}", "asset": "TOK", "amount": 1_000_000},
            ],
        }
    ],
    "next": 4,
}
STATEMENT = {"account_id": ACCOUNT_ID, "opening_mtok": 0, "closing_mtok": 950_000, "lines": [], "next": None}
BALANCE_HISTORY = {
    "account_id": ACCOUNT_ID,
    "data": [
        {
            "day": "2026-01-31",
            "events": 4,
            "balance_mtok": 1_000_000,
            "available_mtok": 950_000,
            "held_mtok": 50_000,
            "frozen_mtok": 0,
            "debt_mtok": 0,
            "granted_mtok": 1_000_000,
            "received_mtok": 0,
            "consumed_mtok": 0,
            "expired_mtok": 0,
            "revoked_mtok": 0,
            "sent_mtok": 0,
        }
    ],
}
TRIAL_BALANCE = {
    "assets": {"TOK": {"issuance:purchased": -1_000_000, "lot": 950_000, "held": 50_000}},
    "totals": {"TOK": 0},
}
USAGE = {"data": [{"meter": "llm.input_tokens", "quantity": 4808, "amount_mtok": 7212, "debits": 1}]}
METERS = {"data": [{"name": "llm.input_tokens", "unit": "token"}]}
RATE_CARD = {"rate_card_id": "default", "versions": [{"version": 1, "effective_from": "2026-01-31T12:00:00Z"}]}
LOG_EVENT = {
    "partition": 2,
    "tenant_sequence": 3,
    "stream": f"019a8f4e-5c7b-7000-8000-000000000000:token_account:{ACCOUNT_ID}",
    "version": 2,
    "type": "ledger.tokens_granted",
    "actor": "founder:key_0123456789abcdef",
    "command_key": "order-4711",
}
EVENTS = {"data": [LOG_EVENT], "next": 3}
STREAMS = {
    "data": [
        {
            "stream": LOG_EVENT["stream"],
            "kind": "token_account",
            "id": ACCOUNT_ID,
            "version": 2,
            "events": 2,
            "first_tenant_sequence": 3,
            "first_at": "2026-01-31T12:00:00Z",
            "last_tenant_sequence": 4,
            "last_at": "2026-01-31T12:00:01Z",
            "last_type": "ledger.tokens_granted",
        }
    ],
    "next": None,
}
ACCESS_LOG = {
    "data": [
        {
            "tenant_sequence": 118,
            "recorded_at": "2026-01-31T12:01:00+00:00",
            "kind": "read",
            "actor": "auditor:usr_019a8f4e5c7b7000800000000000000c",
            "on_behalf_of": None,
            "action": "ledger.read",
            "what": f"/v1/token-accounts/{ACCOUNT_ID}?as_of=2026-01-30T00:00:00Z",
            "rows": None,
            "impersonation_id": None,
            "correlation_id": "019a8f4e-5c7b-7000-8000-000000000000",
        }
    ],
    "next": 118,
}
IMPERSONATIONS = {
    "data": [
        {
            "impersonation_id": IMPERSONATION_ID,
            "actor": "founder:usr_019a8f4e5c7b7000800000000000000c",
            "role": "client_owner",
            "reason": "They do not see their invoice.",
            "began_at": "2026-01-31T12:00:00+00:00",
            "expires_at": "2026-01-31T12:15:00+00:00",
            "ended_at": None,
            "active": True,
            "text": "usr_019a8f4e5c7b7000800000000000000c, a founder, sees this account as its owner does, and can"
            " change nothing, until 2026-01-31 12:15 UTC: They do not see their invoice.",
        }
    ]
}
AUDIT = {
    "data": [
        {
            "partition": 2,
            "sequence": 7,
            "recorded_at": "2026-01-31T12:00:00Z",
            "actor": "founder:key_0123456789abcdef",
            "on_behalf_of": None,
            "type": "ledger.book_expiries",
            "command_key": "nightly-2026-01-31",
            "accepted": True,
            "code": None,
            "detail": None,
            "reason": None,
            "correlation_id": "01a2087f-ab38-70cb-bc6a-f9e6ddc70000",
            "causation_id": None,
            "first_tenant_sequence": None,
            "last_tenant_sequence": None,
        }
    ],
    "next": 7,
}
COMMAND_COUNTS = {"data": [{"day": "2026-01-31", "outcome": "accepted", "commands": 1204}]}
COMMAND = {
    "command_key": "order-4711",
    "type": "ledger.grant_tokens",
    "accepted": True,
    "actor": "founder:key_0123456789abcdef",
    "metadata": {"correlation_id": "01a2087f-ab38-70cb-bc6a-f9e6ddc70000"},
    "outcome": {"account_id": ACCOUNT_ID},
}
JOB = {
    "job_id": JOB_ID,
    "partition": 2,
    "tenant_id": "019a8f4e-5c7b-7000-8000-000000000000",
    "kind": "ledger.book_expiries",
    "state": "waiting",
    "due_at": "2026-01-31T12:15:00Z",
    "attempts": 0,
    "max_attempts": 8,
    "payload": {"account_id": ACCOUNT_ID},
    "result": None,
    "progress": None,
    "origin": "policy:deadlines_book_expiries",
    "correlation_id": "019a8f4e-5c7b-7000-8000-00000000000a",
    "causation_id": "019a8f4e-5c7b-7000-8000-00000000000b",
    "created_at": "2026-01-31T12:00:00Z",
    "finished_at": None,
}
JOBS = {"data": [JOB], "next": None}
SEND_INVITATION: tuple[dict[str, Any], dict[str, Any]] = (
    {"email": "ada@example.com", "role": "client_member"},
    {
        "invitation_id": INVITATION_ID,
        "role": "client_member",
        "status": "sent",
        "expires_at": "2026-02-07T12:00:00+00:00",
    },
)
ACCEPT_INVITATION: tuple[dict[str, Any], dict[str, Any]] = (
    {"token": "q3Zx8KcT5mVY2rJ9wLhB7nPf4sDgA6eUoXiM1yQtRkE", "name": "Ada", "password": "correct horse battery staple"},
    {
        "invitation_id": INVITATION_ID,
        "user_id": USER_ID,
        "tenant_id": "019a8f4e-5c7b-7000-8000-000000000000",
        "role": "client_member",
        "signed_in": True,
    },
)
INVITATIONS = {
    "data": [
        SEND_INVITATION[1]
        | {
            "email": "ada@example.com",
            "access_expires_at": None,
            "sent_at": "2026-01-31T12:00:00Z",
            "sent_by": f"client_owner:{USER_ID}",
            "ended_at": None,
            "user_id": None,
        }
    ],
    "next": None,
}
_PERSON: dict[str, Any] = {"user_id": USER_ID, "email": "ada@example.com", "name": "Ada"}
MEMBERS = {
    "data": [
        _PERSON
        | {
            "role": "client_member",
            "expires_at": None,
            "joined_at": "2026-01-31T12:00:00Z",
            "changed_at": "2026-01-31T12:00:00Z",
        }
    ],
    "next": None,
}
_TENANT_OF_USER: dict[str, Any] = {
    "tenant_id": "019a8f4e-5c7b-7000-8000-000000000000",
    "tenant": "bakery",
    "role": "client_member",
    "expires_at": None,
}
USERS = {
    "data": [_PERSON | {"status": "active", "registered_at": "2026-01-31T12:00:00Z", "memberships": [_TENANT_OF_USER]}],
    "next": None,
}
ME: dict[str, Any] = {
    "id": USER_ID,
    "kind": "person",
    "email": "ada@example.com",
    "name": "Ada",
    "method": "password",
    "second_factor": False,
    "expires_at": "2026-02-14T12:00:00Z",
    "tenants": [_TENANT_OF_USER],
}
TENANTS = {"data": [{"tenant_id": "019a8f4e-5c7b-7000-8000-000000000000", "slug": "bakery", "name": "Bakery Blum"}]}
LIVE = f"""retry: 1000
id: 2
event: ready
data: {{"position":"2","topics":["events","balances"]}}

id: 3/2
event: events
data: {json.dumps(LOG_EVENT, separators=(",", ":"))}

event: balances
data: {json.dumps(ACCOUNT, separators=(",", ":"))}

id: 3

"""

PROJECTION = {
    "projection": "balances",
    "feed": "events",
    "version": 1,
    "retold": 48_211,
    "total": 48_213,
    "lag_events": 2,
    "stopped": 1,
    "rebuild": None,
    "partitions": [{"partition": 0, "position": 12_044, "head": 12_046, "lag_events": 2}],
    "stopped_tenants": [
        {
            "partition": 0,
            "tenant_id": "0f6e2a52-6d5c-4a52-9d5e-3f0a4b0f9d11",
            "position": 11_002,
            "event_id": "1f1f9a6b-42c8-4c9e-8a55-6b7a4f2f6f10",
            "type": "ledger.tokens_lent",
            "error": "UnknownEventType",
            "message": "The log holds an event of type 'ledger.tokens_lent', unknown to this version of Felix.",
            "failures": 3,
            "first_at": "2026-07-01T09:00:00Z",
            "last_at": "2026-07-01T09:00:07Z",
            "retry_at": "2026-07-01T09:00:15Z",
        }
    ],
}
PROJECTION_REBUILDING = PROJECTION | {
    "rebuild": {
        "version": 1,
        "state": "requested",
        "requested_by": "founder:key_7d1f0c2a",
        "requested_at": "2026-07-01T09:00:00Z",
        "started_at": None,
        "finished_at": None,
        "detail": None,
        "differences": [],
        "retold": None,
        "total": 48_213,
        "eta_s": None,
    }
}
PROJECTIONS = {
    "data": [{name: value for name, value in PROJECTION.items() if name not in ("partitions", "stopped_tenants")}],
    "alarms": ["the rebuild of balances refused: The rebuilt tables differ from those that are read."],
}
MY_DATA = {
    "user_id": USER_ID,
    "status": "active",
    "registered_at": "2026-01-31T12:00:00+00:00",
    "memberships": [
        {
            "tenant": "bakery",
            "role": "client_owner",
            "granted_at": "2026-01-31T12:00:00+00:00",
            "expires_at": None,
        }
    ],
    "personal": {
        "email": {
            "value": "ada@example.com",
            "salt": "8f1d0c6c5f5d4c37a7b2f0f6f4d0a1b28f1d0c6c5f5d4c37a7b2f0f6f4d0a1b2",
            "commitment": "504822a492904000d647adb207ff99c4fd6558b01ea68c7dcb8f1cc5db555905",
        }
    },
    "credentials": {
        "password_set_at": "2026-01-31T12:00:00+00:00",
        "second_factor": False,
        "recovery_codes": 0,
    },
    "sessions": [
        {
            "session_id": "sess_019a8f4e5c7b7000800000000000000e",
            "method": "password",
            "second_factor": False,
            "began_at": "2026-01-31T12:00:00+00:00",
            "last_seen_at": "2026-01-31T12:30:00+00:00",
            "expires_at": "2026-02-14T12:00:00+00:00",
            "ended_at": None,
            "device": "Firefox on Linux",
        }
    ],
}

_SESSION = {"session_id": SESSION_ID, "user_id": USER_ID, "expires_at": "2026-02-14T12:00:00+00:00"}
_TOKEN = "q3Zx8KcT5mVY2rJ9wLhB7nPf4sDgA6eUoXiM1yQtRkE"
_PASSWORD = "correct horse battery staple"
_CODES = ["7k3m-9fxt-2qpa-v8hd"]
SESSIONS = {
    "data": [
        {
            "session_id": SESSION_ID,
            "method": "password",
            "second_factor": True,
            "began_at": "2026-01-31T12:00:00Z",
            "last_seen_at": "2026-01-31T12:04:00Z",
            "expires_at": "2026-02-14T12:00:00Z",
            "stepped_up_at": None,
            "device": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "current": True,
        }
    ]
}
#: By endpoint: the body that is sent, and what is answered.
SIGN_IN: tuple[dict[str, Any], dict[str, Any]] = (
    {"email": "ada@example.com", "password": _PASSWORD},
    _SESSION | {"method": "password", "second_factor": False},
)
REDEEM_MAGIC_LINK: tuple[dict[str, Any], dict[str, Any]] = (
    {"token": _TOKEN},
    _SESSION | {"method": "magic_link", "second_factor": False},
)
START_OIDC: tuple[dict[str, Any], dict[str, Any]] = (
    {},
    {"authorization_url": "https://accounts.example.com/authorize?response_type=code&client_id=felix"},
)
FINISH_OIDC = _SESSION | {"method": "oidc", "second_factor": False}
OIDC_SECOND_FACTOR: tuple[dict[str, Any], dict[str, Any]] = (
    {"totp": "492039"},
    _SESSION | {"method": "oidc", "second_factor": True},
)
SIGN_OUT: tuple[dict[str, Any], dict[str, Any]] = ({}, {"signed_out": True})
STEP_UP: tuple[dict[str, Any], dict[str, Any]] = (
    {"password": _PASSWORD},
    {"session_id": SESSION_ID, "stepped_up_at": "2026-01-31T12:04:00+00:00", "expires_at": "2026-02-14T12:00:00+00:00"},
)
END_SESSION: tuple[dict[str, Any], dict[str, Any]] = ({}, {"session_id": SESSION_ID, "ended": True})
END_OTHER_SESSIONS: tuple[dict[str, Any], dict[str, Any]] = ({}, {"ended": 2})
ASK_FOR_LINK: tuple[dict[str, Any], dict[str, Any]] = ({"email": "ada@example.com"}, {"accepted": True})
REDEEM_PASSWORD_RESET: tuple[dict[str, Any], dict[str, Any]] = (
    {"token": _TOKEN, "password": _PASSWORD},
    {"password_set": True},
)
CHANGE_PASSWORD: tuple[dict[str, Any], dict[str, Any]] = (
    {"current_password": _PASSWORD, "password": "seven green kettles under glass"},
    {"sessions_ended": 2},
)
BEGIN_SECOND_FACTOR: tuple[dict[str, Any], dict[str, Any]] = (
    {},
    {
        "secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
        "otpauth_uri": "otpauth://totp/Felix:ada%40example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Felix",
        "enrolment": "AZ3qk2Zr0xVt",
    },
)
CONFIRM_SECOND_FACTOR: tuple[dict[str, Any], dict[str, Any]] = (
    {"enrolment": "AZ3qk2Zr0xVt", "totp": "492039"},
    {"recovery_codes": _CODES, "sessions_ended": 2},
)
REMOVE_SECOND_FACTOR: tuple[dict[str, Any], dict[str, Any]] = ({}, {"removed": True})
ISSUE_RECOVERY_CODES: tuple[dict[str, Any], dict[str, Any]] = ({}, {"recovery_codes": _CODES})

_CRM: dict[str, Any] = {
    "id": "crm",
    "version": "1.0.0",
    "title": "Customers",
    "description": "Contacts, companies and deals on their way through a pipeline.",
    "versions": ["1.0.0"],
    "requires": {},
    "when_present": [],
    "capabilities": ["mail:send", "records:write:deal", "schedules:run"],
}
MODULES = {"data": [_CRM], "next": None}
MODULE: dict[str, Any] = _CRM | {
    "provides": {"entities": ["activity", "company", "contact", "deal"], "handlers": ["deal"]},
    "config_schema": {
        "type": "object",
        "properties": {
            "percent_lead": {
                "type": "integer",
                "title": "How likely a deal is as a lead",
                "default": 10,
                "minimum": 0,
                "maximum": 100,
            }
        },
        "additionalProperties": False,
    },
    "price_card": [{"meter": "apps.record_writes", "model": "deal", "kind": "per_unit", "price_mtok": 15}],
    "guardrails": [{"measure": "failed_automations", "at_most_permille": 20}],
    "migrations": [],
    "digest": "476da1c5828f89dca7e46054ed9775273957b589c7d750f33c124ee509443032",
}
