"""An Anthropic of our own: messages with uses of tools, and what goes wrong in its words."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from fake_models import FakeModels
from local_server import Asked, Told

_TYPES = {
    "key": "authentication_error",
    "limit": "rate_limit_error",
    "credit": "invalid_request_error",
    "server": "api_error",
}


class FakeAnthropic(FakeModels):
    """``POST /v1/messages``. What it had read before it tells beside what it read, and not among it."""

    model = "anthropic:claude-sonnet-5-5"
    path = "/v1/messages"

    @property
    def base_url(self) -> str:
        return self.url

    def key_of(self, asked: Asked) -> str:
        return asked.bearer

    def completion(self, tool: str, arguments: str, *, cut_off: bool = False) -> dict[str, Any]:
        given: Any = {}
        with suppress(json.JSONDecodeError):
            given = json.loads(arguments)
        content = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": given}
        told: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5-5",
            "content": [content],
            "stop_reason": "max_tokens" if cut_off else "tool_use",
            "stop_sequence": None,
        }
        read, read_before, wrote = self.usage or (0, 0, 0)
        told["usage"] = {
            "input_tokens": read - read_before,
            "cache_read_input_tokens": read_before,
            "cache_creation_input_tokens": 0,
            "output_tokens": wrote,
        }
        return told if self.usage is not None else {name: value for name, value in told.items() if name != "usage"}

    def empty(self) -> dict[str, Any]:
        return self.completion("plan", "{}") | {"content": None}

    def error(self, status: int, kind: str, message: str) -> Told:
        # An empty account is a request that it rejects: it has no status of its own for that.
        status = 400 if kind == "credit" else status
        return Told(status, {"type": "error", "error": {"type": _TYPES[kind], "message": message}})
