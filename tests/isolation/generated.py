"""Requests as A, made from the OpenAPI document: whatever it offers, with what A has, what B has, and what nobody has.

What A and B were answered is gathered into one pool of words. Where the document says what a word looks like, one that
does is taken, A's or B's; so every id that A could ever have seen of B is tried in every place where it fits.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from isolation.worlds import Asked

#: How often each of A's people and machines asks. An expired session and a revoked key are no longer anybody's.
ROLES = {
    "service": 8,
    "client_owner": 7,
    "client_member": 3,
    "auditor": 4,
    "expired": 1,
    "revoked key": 1,
    "nobody": 1,
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MOMENTS = ("2031-03-05T06:07:08Z", "2031-03-05T06:20:00+00:00", "2000-01-01T00:00:00Z", "2032-01-01T00:00:00Z", "soon")
#: Words that fit wherever nothing is said of what fits.
ANYTHING = ("", "a", "tenant-a", "tenant-b", "bea@b.example", "client_owner@a.example", "%", "ledger.*", "balances")
#: What is in a path and no id, and leads to what somebody else may have.
GIVEN = ("stream", "command_key")
_ID = re.compile(r"[0-9a-f]{12}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[a-z]+")
_POSITIONS = frozenset({"next", "sequence", "tenant_sequence", "last_tenant_sequence", "first_tenant_sequence"})


@dataclass
class Pool:
    """What somebody was ever told, sorted by what it looks like."""

    patterns: list[re.Pattern[str]]
    words: dict[str, None] = field(default_factory=dict)
    fitting: dict[str, list[str]] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    emails: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def gather(self, told: Any, name: str = "") -> None:
        """Take in an answer."""
        if isinstance(told, dict):
            for key, value in told.items():
                self.gather(value, key)
        elif isinstance(told, list | tuple):
            for value in told:
                self.gather(value, name)
        elif isinstance(told, bool) or told is None:
            return
        elif isinstance(told, int):
            if name in _POSITIONS:
                self.numbers.append(told)
        elif isinstance(told, str) and told not in self.words and len(told) < 200:
            self.words[told] = None
            if name == "command_key":
                self.keys.append(told)
            if _EMAIL.fullmatch(told):
                self.emails.append(told)
            for pattern in self.patterns:
                if pattern.search(told):
                    self.fitting.setdefault(pattern.pattern, []).append(told)


class Requests:
    """The same requests for the same seed, one after the other."""

    def __init__(
        self, document: Mapping[str, Any], seed: int, *, only: Iterable[str] = (), often: Mapping[str, int] = {}
    ) -> None:
        """``only`` names the operations that are asked for, all where it is empty; ``often`` how much more than once
        some are, while the others are asked for once."""
        self._schemas = document["components"]["schemas"]
        chosen = frozenset(only)
        self.operations = [
            (operation["operationId"], method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if not chosen or operation["operationId"] in chosen
        ]
        patterns = sorted(set(_patterns(document)))
        self.of_a, self.of_b = (Pool([re.compile(pattern) for pattern in patterns]) for _ in range(2))
        self._random = random.Random(seed)
        self._number = 0
        self._often = often
        self._due: list[tuple[str, str, str, Any]] = []

    def next(self) -> Asked:
        """One more request. Every operation comes as often as any other, unless it was to come more often."""
        if not self._due:
            self._due = [each for each in self.operations for _ in range(self._often.get(each[0], 1))]
            self._random.shuffle(self._due)
        name, method, template, operation = self._due.pop()
        self._number += 1
        (role,) = self._random.choices(list(ROLES), list(ROLES.values()))
        path, query, headers = template, [], []
        for parameter in operation.get("parameters", []):
            value = self._parameter(name, parameter)
            if value is None:
                continue
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", value)
            elif parameter["in"] == "query":
                query.append((parameter["name"], value))
            else:
                headers.append((parameter["name"].lower().encode(), value.encode("latin-1", "replace")))
        body = b""
        if (described := operation.get("requestBody")) is not None:
            kind, content = next(iter(described["content"].items()))
            headers.append((b"content-type", kind.encode()))
            body = self._body(content)
        encoded = urlencode(query, quote_via=quote).encode()
        return Asked(name, role, method, path, encoded, tuple(headers), body)

    def with_ids(self, operation: Mapping[str, Any], path: str) -> tuple[str, str, list[tuple[str, str]]] | None:
        """A path with ids of B's, the same with ids that nobody has, and the pairs; None where B has none."""
        foreign_path, unknown_path, pairs = path, path, []
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                # What a tenant may call as it likes is nobody else's.
                if "0-9a-f" not in parameter["schema"]["pattern"] and parameter["name"] not in GIVEN:
                    return None
                theirs = self.of_b.fitting.get(parameter["schema"]["pattern"], [])
                known = [word for word in theirs if _ID.search(word)]
                if not known:
                    return None
                foreign = self._random.choice(known)
                unknown = self._like(foreign)
                mark = "{" + parameter["name"] + "}"
                foreign_path, unknown_path = foreign_path.replace(mark, foreign), unknown_path.replace(mark, unknown)
                pairs.append((foreign, unknown))
        return (foreign_path, unknown_path, pairs) if pairs else None

    def body(self, operation: Mapping[str, Any]) -> bytes:
        """The example of an operation, where it has a body."""
        for content in operation.get("requestBody", {}).get("content", {}).values():
            return json.dumps(content.get("example", {})).encode()
        return b""

    def _parameter(self, operation: str, parameter: Mapping[str, Any]) -> str | None:
        name, schema, draw = parameter["name"], parameter.get("schema", {}), self._random
        if name == "follow":
            return "false"
        if name == "Idempotency-Key":
            return self._key()
        if name == "Felix-Tenant" or (operation == "live" and name == "tenant"):
            own, theirs = self._one(self.of_a, ".", "tenant-a"), self._one(self.of_b, ".", "tenant-b")
            return draw.choice([None] * 40 + ["tenant-a", "tenant-b", own, theirs, "nobody", self._like("tenant-b")])
        if parameter["in"] != "path" and draw.random() < (0.93 if parameter["in"] == "header" else 0.7):
            return None
        if name == "cursor" and schema.get("type") == "integer":
            return str(draw.choice([0, 1, *self.of_a.numbers[-50:], *self.of_b.numbers[-50:], 10**12]))
        if name in ("Felix-Min-Position", "Last-Event-ID", "last_event_id", "at_position"):
            sequence = draw.choice([0, 1, 3, *self.of_a.numbers[-20:], *self.of_b.numbers[-20:], 10**9])
            whose = draw.choice(["tenant", "tenant", "bare"]) if name != "Last-Event-ID" else "bare"
            pool = draw.choice([self.of_a, self.of_a, self.of_b])
            uuid = next((word for word in pool.words if re.fullmatch(r"[0-9a-f-]{36}", word)), "")
            return f"{uuid}:{sequence}" if whose == "tenant" else str(sequence)
        made = self._value(schema, name, parameter.get("example"))
        return made if isinstance(made, str) else json.dumps(made)

    def _key(self) -> str:
        """A key of its own, mostly; sometimes one that A has used, or B."""
        luck = self._random.random()
        if luck < 0.08 and self.of_b.keys:
            return self._random.choice(self.of_b.keys)
        if luck < 0.16:
            return f"request-{self._random.randint(max(1, self._number - 300), self._number)}"
        return f"request-{self._number}"

    def _body(self, content: Mapping[str, Any]) -> bytes:
        example = content.get("example")
        if example is not None and self._random.random() < 0.85:
            made = self._changed(example)
        else:
            made = self._value(content.get("schema", {}), "", None)
        if self._random.random() < 0.04:
            made = self._random.choice([None, [], "x", {"x": 1}])
        return json.dumps(made).encode()

    def _changed(self, example: Any, name: str = "") -> Any:
        """The example, with ids that are somebody's, and other figures now and then."""
        draw = self._random
        if isinstance(example, dict):
            return {key: self._changed(value, key) for key, value in example.items()}
        if isinstance(example, list):
            return [self._changed(value, name) for value in example]
        if isinstance(example, bool) or example is None:
            return example
        if isinstance(example, int):
            return draw.choice([example, example, 1, 5, 100, 10**12])
        if isinstance(example, str):
            if _EMAIL.fullmatch(example) or "email" in name:
                return self._email()
            for pattern in self.of_a.patterns:
                if "{32}" in pattern.pattern and pattern.search(example):
                    return self._fitting(pattern.pattern, example)
            if name in ("id", "name", "slug", "label"):
                return draw.choice([example, f"{example}-{self._number}", "tenant-b", self._one(self.of_b, ".", "b")])
        return example

    def _value(self, schema: Mapping[str, Any], name: str, example: Any) -> Any:
        """Something that a schema allows, more or less."""
        draw = self._random
        if "$ref" in schema:
            return self._value(self._schemas.get(schema["$ref"].rpartition("/")[2], {}), name, example)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self._value(draw.choice(schema[choice]), name, example)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return draw.choice([*schema["enum"], "nothing of the kind"] if draw.random() < 0.1 else schema["enum"])
        kind = schema.get("type", "string")
        match kind[0] if isinstance(kind, list) else kind:
            case "integer" | "number":
                least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
                return draw.choice([least, least + 1, 5, 100, 10_000, schema.get("maximum", 10**9)])
            case "boolean":
                return draw.choice([True, False])
            case "null":
                return None
            case "array":
                return [self._value(schema.get("items", {}), name, None) for _ in range(draw.randint(0, 2))]
            case "object":
                required = schema.get("required", ())
                return {
                    key: self._value(value, key, None)
                    for key, value in schema.get("properties", {}).items()
                    if key in required or draw.random() < 0.3
                }
        if "email" in name or schema.get("format") == "email":
            return self._email()
        if schema.get("format") == "uuid":
            return self._fitting(r"^[0-9a-f]{8}-", str(example or "01a2087f-ab38-70cb-bc6a-f9e6ddc70000"))
        if schema.get("format") == "date-time" or name in ("since", "until", "from", "to", "as_of", "expires_at"):
            return draw.choice(MOMENTS)
        if "pattern" in schema:
            return self._fitting(schema["pattern"], str(example) if example else "")
        return draw.choice([*ANYTHING, self._one(self.of_a, ".", "a"), self._one(self.of_b, ".", "b")])

    def _email(self) -> str:
        return self._random.choice([*self.of_a.emails, *self.of_b.emails, f"new-{self._number}@c.example"])

    def _fitting(self, pattern: str, example: str) -> str:
        """A word that fits: mostly one of A's and rather a new one, else one of B's, else one that nobody has."""
        luck = self._random.random()
        if luck < 0.5:
            return self._one(self.of_a, pattern, example)
        if luck < 0.87:
            return self._one(self.of_b, pattern, example)
        return self._like(example or self._one(self.of_b, pattern, "nobody"))

    def _one(self, pool: Pool, pattern: str, otherwise: str) -> str:
        found = pool.fitting.get(pattern) if pattern != "." else list(pool.words)[-200:]
        if found is None:
            found = [word for word in pool.words if re.search(pattern, word)]
        if not found:
            return otherwise or "nothing"
        return self._random.choice(found[-25:] if self._random.random() < 0.5 else found)

    def _like(self, word: str) -> str:
        """Another word of the same shape."""
        head, tail = (word[:-8], word[-8:]) if len(word) > 12 else ("", word)
        return head + "".join(
            self._random.choice("0123456789abcdef" if each in "0123456789abcdef" and head else LETTERS)
            if each.isalnum()
            else each
            for each in tail
        )


def _patterns(node: Any) -> Iterable[str]:
    """Every pattern that the document says a word has."""
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        for value in node.values():
            yield from _patterns(value)
    elif isinstance(node, list):
        for value in node:
            yield from _patterns(value)
