"""What providers of language models of our own have in common: a script of answers, and everything that can go wrong.

Each provider says in its own words what a completion is and what an error; the faults are the same for all.
"""

from __future__ import annotations

import json
from typing import Any

from local_server import Asked, LocalServer, Told

KEY = "sk-test-key-of-the-fake"


class FakeModels(LocalServer):
    """Answers with the calls of ``script``, one a request, and with the usage that it says.

    ``usage`` is the tokens that it read, those of them that it had read before, and those that it wrote; None is a
    provider that does not say. ``model`` is asked at ``path``.
    """

    model: str
    path: str

    def __init__(self) -> None:
        super().__init__()
        self.script: list[tuple[str, Any]] = []
        self.usage: tuple[int, int, int] | None = (9_000, 0, 200)
        self.keys = {KEY}

    def answer(self, asked: Asked) -> Told:
        if self.key_of(asked) not in self.keys:
            return self.refuses(asked)
        assert asked.path == self.path
        tool, arguments = self.script.pop(0)
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        return Told(200, self.completion(tool, text))

    # --- in the provider's words ---

    @property
    def base_url(self) -> str:
        """What a client of this provider is told."""
        raise NotImplementedError

    def key_of(self, asked: Asked) -> str:
        """The key that a request comes with."""
        raise NotImplementedError

    def completion(self, tool: str, arguments: str, *, cut_off: bool = False) -> dict[str, Any]:
        """An answer that calls one tool, or that ends in the middle of that."""
        raise NotImplementedError

    def empty(self) -> dict[str, Any]:
        """An answer that says nothing."""
        raise NotImplementedError

    def error(self, status: int, kind: str, message: str) -> Told:
        """An error; ``kind`` is one of ``key``, ``limit``, ``credit`` and ``server``."""
        raise NotImplementedError

    # --- faults ---

    def refuses(self, asked: Asked) -> Told:
        """A key that it does not take; real ones are told back in part."""
        return self.error(401, "key", f"Incorrect API key provided: {self.key_of(asked)}")

    def limits(self, asked: Asked) -> Told:
        """Too many requests."""
        told = self.error(429, "limit", "Rate limit reached for requests")
        told.headers["Retry-After"] = "17"
        return told

    def is_spent(self, asked: Asked) -> Told:
        """The account at the provider is empty."""
        return self.error(429, "credit", "You exceeded your current quota")

    def breaks(self, asked: Asked) -> Told:
        """A server error."""
        return self.error(500, "server", "The server had an error")

    def cuts_off(self, asked: Asked) -> Told:
        """An answer that ends in the middle, at the most tokens that it may have."""
        return Told(200, self.completion("plan", '{"rationale": "Adds a', cut_off=True))

    def says_nothing(self, asked: Asked) -> Told:
        """An answer without anything in it."""
        return Told(200, self.empty())
