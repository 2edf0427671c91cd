"""What the OpenAPI document says of an endpoint: schemas from the commands, examples that are really answered."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

from felix.api import change_examples, examples, record_examples
from felix.domain.base import Command
from felix.domain.identity.access import ACTIONS

_PROBLEMS = {
    400: "The Idempotency-Key header is missing or not usable.",
    401: "A valid API key is needed.",
    402: "More tokens are needed, or a spend cap is reached.",
    403: "You may not do this.",
    404: "There is no such thing, or it is not yours.",
    409: "Not allowed in this state, or the same key is still running.",
    413: "The request is too large.",
    415: "The body is not JSON, or does not say so.",
    422: "The request is not well formed, or the key was used for another request.",
    429: "More requests came than are taken, or too many commands are waiting.",
    503: "Felix can't answer right now; try again with the same key.",
}

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem details. Further members are the facts of the error.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:felix:problem:insufficient_tokens"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "examples": ["insufficient_tokens"]},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string"},
                    "rule": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}

KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Chosen by you, stored before you send. The same key gives the same answer, for ever.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "order-4711",
}
TENANT = {
    "name": "Felix-Tenant",
    "in": "header",
    "required": False,
    "description": "For founder keys: the short name or id of the tenant that the request is about.",
    "schema": {"type": "string"},
}
CORRELATION = {
    "name": "Felix-Correlation-Id",
    "in": "header",
    "required": False,
    "description": "What the command, its events and all that follows is found by; default: the request's id.",
    "schema": {"type": "string", "format": "uuid"},
}
IMPERSONATION = {
    "name": "Felix-Impersonation",
    "in": "header",
    "required": False,
    "description": "For founders: the id of an impersonation that you began, to see what the client's people see.",
    "schema": {"type": "string", "pattern": "^imp_[0-9a-f]{32}$"},
}
MIN_POSITION: dict[str, Any] = {
    "name": "Felix-Min-Position",
    "in": "header",
    "required": False,
    "description": "Wait until the read model has seen this position (the Felix-Position of a write).",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9]{1,18}$"},
}
#: Of answers that come from the log itself.
NEVER_BEHIND = MIN_POSITION | {
    "description": "Accepted and not needed: the log itself answers, which is never behind a write."
}
#: Of answers that come from the feed of commands, which has places of its own.
WITHIN_MOMENTS = MIN_POSITION | {
    "description": "Accepted and not waited for: a position counts events. This follows the commands within moments."
}
#: Of every answer to somebody known (draft-ietf-httpapi-ratelimit-headers-11).
RATE_LIMIT: dict[str, Any] = {
    "RateLimit-Policy": {
        "description": "How many requests of this kind are taken: `q` in `w` seconds of you, and of your whole client.",
        "schema": {"type": "string"},
        "example": '"reads";q=2000;w=1, "client-reads";q=4000;w=1',
    },
    "RateLimit": {
        "description": "How many of them are left, and in how many seconds there will be more.",
        "schema": {"type": "string"},
        "example": '"reads";r=1999;t=1, "client-reads";r=3999;t=1',
    },
}
#: What stands in paths, by the name in the braces.
IN_PATH: dict[str, tuple[str, str]] = {
    "account_id": ("^acct_[0-9a-f]{32}$", examples.ACCOUNT_ID),
    "invitation_id": ("^inv_[0-9a-f]{32}$", examples.INVITATION_ID),
    "session_id": ("^sess_[0-9a-f]{32}$", examples.SESSION_ID),
    "lot_id": ("^lot_[0-9a-f]{32}$", examples.LOT_ID),
    "hold_id": ("^hold_[0-9a-f]{32}$", examples.HOLD_ID),
    "debit_id": ("^deb_[0-9a-f]{42}$", examples.DEBIT_ID),
    "cap_id": ("^cap_[0-9a-f]{32}$", examples.CAP_ID),
    "job_id": ("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", examples.JOB_ID),
    "adjustment_id": ("^adj_[0-9a-f]{32}$", examples.ADJUSTMENT_ID),
    "impersonation_id": ("^imp_[0-9a-f]{32}$", examples.IMPERSONATION_ID),
    "change_id": ("^chg_[0-9a-f]{32}$", change_examples.CHANGE_ID),
    "override_id": ("^ovr_[0-9a-f]{32}$", change_examples.OVERRIDE_ID),
    "environment": ("^(production|sandbox)$", "production"),
    "document_id": ("^doc_[0-9a-f]{32}$", examples.DOCUMENT_ID),
    "app": ("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", record_examples.APP_NAME),
    "entity": ("^[a-z][a-z0-9_]{0,62}$", "deal"),
    "view": ("^[a-z][a-z0-9_]{0,62}$", "deals"),
    "report": ("^[a-z][a-z0-9_]{0,62}$", "won_deals"),
    "record_id": ("^rec_[0-9a-f]{32}$", record_examples.RECORD_ID),
    "module": ("^[a-z][a-z0-9_]{0,40}$", "crm"),
    "user_id": ("^usr_[0-9a-f]{32}$", examples.USER_ID),
    "subject_id": ("^[a-z]{2,12}_[0-9A-Za-z-]{1,100}$", examples.SUBJECT_ID),
    "rate_card_id": ("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "default"),
    "key_id": ("^key_([0-9a-f]{16}|[0-9a-f]{32})$", examples.KEY_ID),
    "secret_name": ("^[a-z][a-z0-9]*([._-][a-z0-9]+)*$", "github"),
    "projection": ("^[a-z][a-z0-9_]{0,62}$", "balances"),
    "stream": ("^[!-~]+$", str(examples.LOG_EVENT["stream"])),
    "command_key": ("^[!-~]{1,255}$", "order-4711"),
}
PAGE = [
    {
        "name": "cursor",
        "in": "query",
        "description": "`next` of the page before.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    },
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
]


def in_path(path: str) -> list[dict[str, Any]]:
    """The parameters of a path such as ``/v1/token-accounts/{account_id}``."""
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": IN_PATH[name][0]},
            "example": IN_PATH[name][1],
        }
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def query(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """An optional query parameter."""
    return {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}}


AS_OF = query(
    "as_of",
    "A moment (RFC 3339). One that has passed is answered as it was answered then, one to come with what will have run"
    " out by then.",
    type="string",
)


def responses(
    status: int, example: Any, *problems: int, write: bool = False, nullable: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The responses of an endpoint: its answer, and the problems it can have."""
    headers: dict[str, Any] = dict(RATE_LIMIT)
    if write:
        headers |= {
            "Felix-Position": {
                "description": "`<tenant>:<tenant_sequence>` of the last event of this command.",
                "schema": {"type": "string"},
            },
            "Felix-Correlation-Id": {
                "description": "What this command was recorded with: its events, and what followed, are found by it.",
                "schema": {"type": "string"},
            },
            "Idempotent-Replayed": {
                "description": "`true` when this key was answered before.",
                "schema": {"type": "string"},
            },
        }
    documented: dict[str, Any] = {
        str(status): {
            "description": "Done." if write else "Found.",
            "headers": headers,
            "content": {"application/json": {"schema": schema_of(example, nullable), "example": example}},
        }
    }
    for problem in sorted({401, 429, 503, *problems}):
        documented[str(problem)] = {
            "description": _PROBLEMS[problem],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return documented


def does(action: str) -> dict[str, Any]:
    """The member of an operation that names its action; every endpoint has exactly one, of the table of actions."""
    return {"x-felix-action": ACTIONS[action].name}


def write(command: type[Command], path: frozenset[str], example: Any, status: int, answer: Any) -> dict[str, Any]:
    """``openapi_extra`` of an endpoint that performs a command; ``path`` names the fields that the path gives."""
    schema = body_schema(command, path)
    return {
        "parameters": [KEY, TENANT, CORRELATION],
        "requestBody": {
            "required": bool(schema.get("required")),
            "content": {"application/json": {"schema": schema, "example": example}},
        },
        "responses": responses(status, answer, 400, 402, 403, 404, 409, 413, 422, 429, write=True),
    }


def read(
    answer: Any,
    *parameters: dict[str, Any],
    problems: tuple[int, ...] = (403, 404, 422),
    min_position: dict[str, Any] = MIN_POSITION,
    nullable: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """``openapi_extra`` of an endpoint that answers from a read model; ``nullable`` names what may be null in it."""
    return {
        "parameters": [TENANT, IMPERSONATION, min_position, *parameters],
        "responses": responses(200, answer, *problems, nullable=nullable),
    }


def stream(example: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    """``openapi_extra`` of an endpoint that answers with server-sent events."""
    documented = responses(200, example, 403, 404, 422, 429)
    documented["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
    last_event_id = {
        "name": "Last-Event-ID",
        "in": "header",
        "required": False,
        "description": "The id of the last message that was received: the stream goes on after it.",
        "schema": {"type": "string", "pattern": "^[0-9:,/]*$"},
    }
    return {"parameters": [TENANT, last_event_id, *parameters], "responses": documented}


def body_schema(command: type[BaseModel], path: frozenset[str]) -> dict[str, Any]:
    """A command's JSON Schema without the fields that the path gives."""
    schema = command.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("title", None)
    for name in path:
        schema["properties"].pop(name, None)
    schema["required"] = [name for name in schema.get("required", []) if name not in path]
    if not schema["required"]:
        del schema["required"]
    return schema


def schema_of(example: Any, nullable: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The schema that an example shows: its members and their types, and which of them may be null."""
    match example:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array", "items": schema_of(example[0], nullable) if example else {}}
        case dict():
            properties = {name: schema_of(value, nullable) for name, value in example.items()}
            for name in nullable & {name for name, schema in properties.items() if "type" in schema}:
                properties[name]["type"] = [properties[name]["type"], "null"]
            if "next" in properties:
                properties["next"] = {
                    "type": ["integer", "string", "null"],
                    "description": "`cursor` of the next page.",
                }
            return {"type": "object", "properties": properties}
        case _:
            return {}
