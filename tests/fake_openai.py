"""An OpenAI of our own: chat completions with tool calls, and what goes wrong in its words."""

from __future__ import annotations

from typing import Any

from fake_models import FakeModels
from local_server import Asked, Told

_CODES = {
    "key": "invalid_api_key",
    "limit": "rate_limit_exceeded",
    "credit": "insufficient_quota",
    "server": "server_error",
}


class FakeOpenAI(FakeModels):
    """``POST /v1/chat/completions``."""

    model = "openai:gpt-5"
    path = "/v1/chat/completions"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def key_of(self, asked: Asked) -> str:
        return asked.bearer

    def completion(self, tool: str, arguments: str, *, cut_off: bool = False) -> dict[str, Any]:
        call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        told: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_780_000_000,
            "model": "gpt-5",
            "choices": [{"index": 0, "message": message, "finish_reason": "length" if cut_off else "tool_calls"}],
        }
        if self.usage is not None:
            read, read_before, wrote = self.usage
            told["usage"] = {
                "prompt_tokens": read,
                "completion_tokens": wrote,
                "total_tokens": read + wrote,
                "prompt_tokens_details": {"cached_tokens": read_before},
            }
        return told

    def empty(self) -> dict[str, Any]:
        return self.completion("plan", "{}") | {"choices": []}

    def error(self, status: int, kind: str, message: str) -> Told:
        code = _CODES[kind]
        return Told(status, {"error": {"message": message, "type": code, "code": code, "param": None}})
