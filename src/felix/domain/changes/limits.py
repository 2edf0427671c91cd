"""What no change may have: more than can be read, or a secret.

Checked before anything is parsed, planned or shown. A secret that is found is never repeated: the refusal names the
file, the place in it and the kind of secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from felix.domain.apps.places import ABSENT, pointer_of
from felix.domain.apps.tree import MAX_DEPTH, MAX_FILE_BYTES, MAX_PROBLEMS, AppTree
from felix.domain.errors import Invalid, TooMuch

MAX_DIFF_BYTES = 512 * 1024
MAX_CHANGED_FILES = 200
MAX_OPERATIONS = 2_000
#: A list of operations as JSON; each of them could write a whole file.
MAX_OPERATIONS_BYTES = 2 * 2**20

#: What secrets look like, by the name that a refusal gives them. Each is anchored at what can't be part of a word.
SECRETS: dict[str, re.Pattern[str]] = {
    name: re.compile(rf"(?<![A-Za-z0-9_-]){pattern}", re.ASCII)
    for name, pattern in {
        "a Stripe key": r"[rs]k_(?:live|test)_[A-Za-z0-9]{8,}",
        "a webhook secret": r"whsec_[A-Za-z0-9+/=]{8,}",
        "an Anthropic key": r"sk-ant-[A-Za-z0-9_-]{8,}",
        "an OpenAI key": r"sk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,}",
        "a GitHub token": r"(?:github_pat_[A-Za-z0-9_]{20,}|gh[pousr]_[A-Za-z0-9]{20,})",
        "a WhatsApp token": r"EAA[A-Za-z0-9]{20,}",
        "an AWS key": r"(?:AKIA|ASIA)[A-Z0-9]{16}",
        "a Google key": r"AIza[A-Za-z0-9_-]{35}",
        "a Slack token": r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
        "a Shopify token": r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}",
        "a Felix key": r"fx_(?:live|test)_[A-Za-z0-9_]{8,}",
        "a JSON Web Token": r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        "a private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----",
        "a URL with a password": r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"']{1,100}:[^\s/@\"']{3,200}@",
    }.items()
}


class ChangeTooLarge(TooMuch):
    """The change is larger than anybody could read; ask for it in parts."""


class SecretInChange(Invalid):
    """The change would write a secret into the app; keep it in the secrets, and name it."""


def check_size(size_bytes: int) -> None:
    """Whether a list of operations as JSON is small enough to be parsed. Raises :class:`ChangeTooLarge`."""
    _at_most("bytes of operations", size_bytes, MAX_OPERATIONS_BYTES)


def check_operations(operations: Any) -> None:
    """Whether a list of operations, parsed and not yet understood, is small and flat enough to be looked at.

    Raises :class:`ChangeTooLarge`.
    """
    _at_most("operations", len(operations) if isinstance(operations, list) else 0, MAX_OPERATIONS)
    # The list and the operation are two levels above the deepest file that it could write.
    level, depth = [operations], 0
    while level:
        level = [inner for outer in level for inner in _inner(outer)]
        depth += 1
        _at_most("levels", depth, MAX_DEPTH + 3)


def check_trees(before: AppTree, after: AppTree) -> None:
    """Whether what a change writes is within the limits and without secrets.

    Raises :class:`ChangeTooLarge`, :class:`SecretInChange`.
    """
    changed = [
        path
        for path in sorted({*before.files, *after.files})
        if (path in before.files) != (path in after.files) or before.bytes_of(path) != after.bytes_of(path)
    ]
    _at_most("files", len(changed), MAX_CHANGED_FILES)
    for path in changed:
        if path in after.files:
            _at_most("bytes of a file", len(after.bytes_of(path)), MAX_FILE_BYTES, path=path)
    check_secrets(before, after, changed)


def check_secrets(before: AppTree, after: AppTree, paths: Sequence[str]) -> None:
    """Whether no text that was not there before looks like a secret. Raises :class:`SecretInChange`."""
    found = []
    for path in paths:
        known = {text for _, text in texts_of("", before.files.get(path, ABSENT))}
        for pointer, text in texts_of("", after.files.get(path, ABSENT)):
            if text not in known and (kind := secret_in(text)) is not None:
                found.append({"pointer": f"{path}#{pointer}", "rule": "secret", "detail": f"this looks like {kind}"})
    if found:
        raise SecretInChange(errors=found[:MAX_PROBLEMS])


def secret_in(text: str) -> str | None:
    """What kind of secret a text holds, if it looks as if it held one."""
    return next((name for name, pattern in SECRETS.items() if pattern.search(text)), None)


def check_diff(size_bytes: int) -> None:
    """Whether a line diff can be read. Raises :class:`ChangeTooLarge`."""
    _at_most("bytes of a diff", size_bytes, MAX_DIFF_BYTES)


def _at_most(what: str, found: int, limit: int, **facts: str) -> None:
    if found > limit:
        raise ChangeTooLarge(f"The change has more than {limit} {what}.", what=what, limit=limit, **facts)


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def texts_of(pointer: str, content: Any) -> Iterator[tuple[str, str]]:
    """Every text of a file with its place: names of members too, for a secret can hide in those."""
    if isinstance(content, str):
        yield pointer, content
    elif isinstance(content, dict):
        for name, value in content.items():
            yield f"{pointer}/-", name
            yield from texts_of(pointer + (pointer_of((name,)) if secret_in(name) is None else "/-"), value)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from texts_of(f"{pointer}/{number}", value)
