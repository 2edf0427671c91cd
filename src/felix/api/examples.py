"""Examples for the OpenAPI document: what is asked, and what is answered. The tests send and compare them."""

from __future__ import annotations

from typing import Any

ACCOUNT_ID = "acct_019a8f4e5c7b70008000000000000000"
LOT_ID = "lot_019a8f4e5c7b70008000000000000001"
HOLD_ID = "hold_019a8f4e5c7b70008000000000000002"
DEBIT_ID = "deb_019a8f4e5c7b700080000000000000030000000004"
CAP_ID = "cap_019a8f4e5c7b70008000000000000005"
ADJUSTMENT_ID = "adj_019a8f4e5c7b70008000000000000006"
TRANSFER_ID = "trf_019a8f4e5c7b70008000000000000007"

BALANCE = {"available_mtok": 950_000, "held_mtok": 50_000, "frozen_mtok": 0, "debt_mtok": 0}
_CHANGED = {"account_id": ACCOUNT_ID, "balance": BALANCE}
_REASON = {"reason": "Agreed with the client on the phone."}
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

#: By command: the body that is sent, and what is answered.
WRITES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "OnboardTenant": (
        {"slug": "bakery", "name": "Bakery Blum"},
        {
            "tenant_id": "019a8f4e-5c7b-7000-8000-000000000000",
            "slug": "bakery",
            "name": "Bakery Blum",
            "partition": 2,
        },
    ),
    "OpenTokenAccount": (
        {"name": "Main account"},
        {"account_id": ACCOUNT_ID, "name": "Main account", "credit_limit_mtok": 0},
    ),
    "CloseTokenAccount": (_REASON, _CHANGED),
    "FreezeTokenAccount": (_REASON, _CHANGED),
    "UnfreezeTokenAccount": (_REASON, _CHANGED),
    "GrantTokens": (
        {"amount_mtok": 1_000_000, "kind": "purchased", "cost_minor": 2500, "currency": "EUR"},
        _CHANGED | {"lot_id": LOT_ID},
    ),
    "BookExpiries": ({}, _CHANGED),
    "ExpireLot": ({}, _CHANGED),
    "ClawBackTokens": (_REASON | {"amount_mtok": 5_000}, _CHANGED),
    "VoidLot": (_REASON, _CHANGED),
    "ExtendLot": (_REASON | {"expires_at": "2027-12-31T23:59:59Z"}, _CHANGED),
    "FreezeLot": (_REASON, _CHANGED),
    "UnfreezeLot": (_REASON, _CHANGED),
    "HoldTokens": (
        {"amount_mtok": 50_000, "meter": "change.plan", "ttl_s": 900, "purpose": "Plan a change"},
        _CHANGED | {"hold_id": HOLD_ID},
    ),
    "CaptureHold": ({"amount_mtok": 41_000}, _CHANGED | {"hold_id": HOLD_ID}),
    "ReleaseHold": ({}, _CHANGED | {"hold_id": HOLD_ID}),
    "ExtendHold": ({"ttl_s": 1800}, _CHANGED | {"hold_id": HOLD_ID}),
    "DebitTokens": ({"meter": "llm.input_tokens", "quantity": 4808, "model": "gpt-4o"}, _DEBIT),
    "ReverseDebit": (_REASON | {"amount_mtok": 7212}, _CHANGED),
    "TransferTokens": (
        {"to_account_id": "acct_019a8f4e5c7b70008000000000000009", "amount_mtok": 10_000},
        {"transfer_id": TRANSFER_ID, "amount_mtok": 10_000, "balance": BALANCE},
    ),
    "SetCreditLimit": (_REASON | {"credit_limit_mtok": 100_000}, _CHANGED),
    "SetSpendCap": ({"limit_mtok": 500_000, "window": "month"}, _CHANGED | {"cap_id": CAP_ID}),
    "RemoveSpendCap": ({}, _CHANGED | {"cap_id": CAP_ID}),
    "ProposeAdjustment": (_REASON | {"amount_mtok": 5_000}, _CHANGED | {"adjustment_id": ADJUSTMENT_ID}),
    "ApproveAdjustment": ({}, _CHANGED | {"adjustment_id": ADJUSTMENT_ID}),
    "RejectAdjustment": (_REASON, _CHANGED | {"adjustment_id": ADJUSTMENT_ID}),
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
LOTS = {"data": [{"lot_id": LOT_ID, "kind": "purchased", "available_mtok": 950_000}]}
HOLDS = {"data": [{"hold_id": HOLD_ID, "amount_mtok": 50_000, "meter": "change.plan"}]}
TRANSACTIONS = {
    "data": [
        {
            "position": 4,
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
TRIAL_BALANCE = {
    "assets": {"TOK": {"issuance:purchased": -1_000_000, "lot": 950_000, "held": 50_000}},
    "totals": {"TOK": 0},
}
USAGE = {"data": [{"meter": "llm.input_tokens", "quantity": 4808, "amount_mtok": 7212, "debits": 1}]}
METERS = {"data": [{"name": "llm.input_tokens", "unit": "token"}]}
RATE_CARD = {"rate_card_id": "default", "versions": [{"version": 1, "effective_from": "2026-01-31T12:00:00Z"}]}
LOG_EVENT = {
    "partition": 2,
    "position": 4,
    "tenant_sequence": 3,
    "stream": f"019a8f4e-5c7b-7000-8000-000000000000:token_account:{ACCOUNT_ID}",
    "version": 2,
    "type": "ledger.tokens_granted",
    "actor": "founder:key_0123456789abcdef",
    "command_key": "order-4711",
}
EVENTS = {"data": [LOG_EVENT], "next": 3}
COMMAND = {
    "command_key": "order-4711",
    "type": "ledger.grant_tokens",
    "accepted": True,
    "actor": "founder:key_0123456789abcdef",
    "outcome": {"account_id": ACCOUNT_ID},
}
TENANTS = {"data": [{"tenant_id": "019a8f4e-5c7b-7000-8000-000000000000", "slug": "bakery", "name": "Bakery Blum"}]}
