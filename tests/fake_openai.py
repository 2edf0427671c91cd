"""An OpenAI of our own: chat completions with tool calls, and everything that can go wrong with them."""

from __future__ import annotations

import json
from typing import Any

from local_server import Asked, LocalServer, Told

KEY = "sk-test-key-of-the-fake"


class FakeOpenAI(LocalServer):
    """Answers with the calls of ``script``, one a request, and with the usage that it says."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[tuple[str, Any]] = []
        self.usage: dict[str, int] | None = {"prompt_tokens": 9_000, "completion_tokens": 200, "total_tokens": 9_200}

    def answer(self, asked: Asked) -> Told:
        if asked.bearer != KEY:
            return self.refuses(asked)
        assert asked.path == "/v1/chat/completions"
        tool, arguments = self.script.pop(0)
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        return Told(200, self.completion(tool, text, "tool_calls"))

    def completion(self, tool: str, arguments: str, finished: str) -> dict[str, Any]:
        """A completion that calls one tool."""
        call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        told = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_780_000_000,
            "model": "gpt-5",
            "choices": [{"index": 0, "message": message, "finish_reason": finished}],
        }
        return told if self.usage is None else told | {"usage": self.usage}

    # --- faults ---

    def refuses(self, asked: Asked) -> Told:
        """A key that it does not take; real ones are told back in part."""
        return _error(401, f"Incorrect API key provided: {asked.bearer}", "invalid_api_key")

    def limits(self, asked: Asked) -> Told:
        """Too many requests."""
        told = _error(429, "Rate limit reached for requests", "rate_limit_exceeded")
        told.headers["Retry-After"] = "17"
        return told

    def is_spent(self, asked: Asked) -> Told:
        """The account at the provider is empty."""
        return _error(429, "You exceeded your current quota", "insufficient_quota")

    def breaks(self, asked: Asked) -> Told:
        """A server error."""
        return _error(500, "The server had an error", "server_error")

    def cuts_off(self, asked: Asked) -> Told:
        """An answer that ends in the middle, at the most tokens that it may have."""
        return Told(200, self.completion("plan", '{"rationale": "Adds a', "length"))

    def says_nothing(self, asked: Asked) -> Told:
        """A completion without a choice."""
        return Told(200, self.completion("plan", "{}", "stop") | {"choices": []})


def _error(status: int, message: str, code: str) -> Told:
    return Told(status, {"error": {"message": message, "type": code, "code": code, "param": None}})
