"""A client's own secrets in a text: found by hashes of their values, for nothing that reads texts knows a value.

A value is looked for as it is and in its common spellings: as a JSON string, in base64 and percent-encoded. It is
looked for wherever a word begins, that is at a letter or a digit that follows neither, and at every other character
that is no white space; so what is written right behind another letter is not found, nor is a value that was encoded
together with something else. Values of fewer than :data:`MIN_CHARS` characters are not looked for at all: texts would
be full of them.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b, sha256
from urllib.parse import quote, quote_plus

from felix.domain.apps.places import ABSENT
from felix.domain.apps.tree import MAX_PROBLEMS, AppTree
from felix.domain.changes.limits import SecretInChange, texts_of

MIN_CHARS = 8
_HEAD_BYTES = 8
_BEGINNING = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]|[^\sA-Za-z0-9]")
_REDACTED = "[redacted: a secret of this client]"


@dataclass(frozen=True, slots=True)
class Mark:
    """What one spelling of a secret is found by: its beginning, how long it is, and the whole."""

    name: str
    head: bytes
    size_chars: int
    mark: bytes


@dataclass(frozen=True)
class KnownSecrets:
    """The secrets of one client, by their marks. ``key`` is the client's, and in no database."""

    key: bytes = field(repr=False)
    marks: Sequence[Mark] = ()

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where a value begins and ends in a text, and what its secret is called; in order, none inside another."""
        if not self.marks:
            return
        end, heads = 0, dict[str, bytes]()
        for beginning in _BEGINNING.finditer(text):
            start = beginning.start()
            if start < end:
                continue
            begins = text[start : start + MIN_CHARS]
            if (head := heads.get(begins)) is None:
                head = heads[begins] = _head(self.key, begins)
            for each in self._by_head.get(head, ()):
                if _mark(self.key, text[start : start + each.size_chars]) == each.mark:
                    end = start + each.size_chars
                    yield start, end, each.name
                    break

    def redact(self, text: str) -> tuple[str, int]:
        """A text without any of them, and how many there were."""
        pieces, done, number = [], 0, 0
        for start, end, _ in self.find(text):
            pieces += [text[done:start], _REDACTED]
            done, number = end, number + 1
        return ("".join((*pieces, text[done:])), number) if number else (text, 0)

    def named_in(self, text: str) -> str | None:
        """What the first secret is called that a text holds, if it holds one."""
        return next((name for _, _, name in self.find(text)), None)

    def check_trees(self, before: AppTree, after: AppTree) -> None:
        """Whether no text that was not there before holds a secret. Raises ``SecretInChange``, which repeats none."""
        if not self.marks:
            return
        found = []
        for path in sorted(after.files):
            content, was = after.files[path], before.files.get(path, ABSENT)
            if content == was:
                continue
            known = {text for _, text in texts_of("", was)}
            found += [
                {"pointer": f"{path}#{pointer}", "rule": "secret", "detail": f"this holds the secret {name}"}
                for pointer, text in texts_of("", content)
                if text not in known and (name := self.named_in(text)) is not None
            ]
        if found:
            raise SecretInChange(errors=found[:MAX_PROBLEMS])

    def check_files(self, before: Mapping[str, str | None], after: Mapping[str, str | None]) -> None:
        """The same for files of whatever kind: none holds a secret that was not in it before."""
        found = []
        for path, text in sorted(after.items()):
            held = {name for _, _, name in self.find(before.get(path) or "")}
            found += [
                {"pointer": path, "rule": "secret", "detail": f"this holds the secret {name}"}
                for name in sorted({name for _, _, name in self.find(text or "")} - held)
            ]
        if found:
            raise SecretInChange(errors=found[:MAX_PROBLEMS])

    @cached_property
    def _by_head(self) -> Mapping[bytes, Sequence[Mark]]:
        """The longest first: a value that begins with another one is found whole."""
        found = defaultdict[bytes, list[Mark]](list)
        for each in sorted(self.marks, key=lambda mark: -mark.size_chars):
            found[each.head].append(each)
        return found


NO_SECRETS = KnownSecrets(b"\0" * 32)


def marks_of(key: bytes, name: str, value: str) -> list[Mark]:
    """What a value is found by, in each of its spellings; nothing where it is too short to be looked for."""
    if len(value.strip()) < MIN_CHARS:
        return []
    return [Mark(name, _head(key, each[:MIN_CHARS]), len(each), _mark(key, each)) for each in sorted(_spellings(value))]


def _spellings(value: str) -> set[str]:
    plain = re.sub("\r\n?", "\n", value).strip()
    encoded = plain.encode()
    found = {plain, json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1], quote_plus(plain)}
    for percent in (quote(plain, safe=""), quote(plain)):
        found |= {percent, re.sub("%..", lambda code: code[0].lower(), percent)}
    for each in {encoded, value.encode()}:
        found |= {b64encode(each).decode().rstrip("="), urlsafe_b64encode(each).decode().rstrip("=")}
    return found


def _head(key: bytes, text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=_HEAD_BYTES).digest()


def _mark(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), sha256)
