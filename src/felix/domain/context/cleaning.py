"""What no planner is given: characters that people don't see, comments that no page shows, and secrets.

A text that looks harmless can carry orders to a language model between its letters. So whatever a reader would not see
is taken out before it is kept, and counted, so that people can see that there was something.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from felix.domain.changes.limits import SECRETS

Redaction = Literal["zero_width", "bidi", "tags", "variation_selectors", "controls", "comments", "secrets"]

#: Characters without a shape of their own. Joiners matter to some scripts and emoji; a planner reads those without too.
_HIDDEN: dict[Redaction, re.Pattern[str]] = {
    "tags": re.compile("[\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"),
    "variation_selectors": re.compile("[\ufe00-\ufe0f\u180b-\u180d\u180f\U000e0100-\U000e01ef]"),
    "bidi": re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"),
    "zero_width": re.compile(
        "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0]"
    ),
    "controls": re.compile(
        "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a]"
    ),
}
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
#: A comment that nobody ends hides the rest of the page. The other form is how Markdown is commented on.
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|^ {0,3}\[(?://|comment)\]:[^\n]*", re.DOTALL | re.MULTILINE)
#: What follows without a break may be part of a secret; of a private key the whole block is.
_BLOCK = r".*?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|\Z)"
_SECRETS = {
    kind: re.compile(
        pattern.pattern + (_BLOCK if kind == "a private key" else "") + "[A-Za-z0-9_-]*", pattern.flags | re.DOTALL
    )
    for kind, pattern in SECRETS.items()
}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A text as planners may see it, and how often something was taken out, by its kind."""

    text: str
    redactions: Mapping[str, int]


def clean(text: str) -> Cleaned:
    """Take out what is hidden or secret. Cleaning what is clean changes nothing."""
    found: Counter[str] = Counter()
    for kind, pattern in _HIDDEN.items():
        text, number = pattern.subn("", text)
        found[kind] += number
    text = unicodedata.normalize("NFC", _LINE_ENDS.sub("\n", text))
    # A space in the place of a comment keeps its two sides from becoming one; a line that began with one may turn out
    # to be one of the other form.
    number = 1
    while number:
        text, number = _COMMENT.subn(" ", text)
        found["comments"] += number
    for secret, pattern in _SECRETS.items():
        text, number = pattern.subn(f"[redacted: {secret}]", text)
        found["secrets"] += number
    return Cleaned(text, {kind: number for kind, number in sorted(found.items()) if number})


def added_up(redactions: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """What was taken out of several texts."""
    found: Counter[str] = Counter()
    for each in redactions:
        found.update(each)
    return dict(sorted(found.items()))
