"""What somebody agrees to, on a terminal: effects first, as those count, then the lines, the price and the digest.

Texts of an app may hold what a terminal would obey, and so hide what is agreed to: it is shown instead.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from felix.cli.errors import UsageError
from felix.cli.options import Writing
from felix.cli.output import console, print_facts
from felix.cli.session import Session
from felix.domain.changes.risk import SERIOUS
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.projections.tenant_tx import Row

_COLOURS = {"low": "green", "medium": "yellow", "high": "red", "destructive": "bold red"}


def difference(session: Session, row: Row) -> dict[str, Any]:
    """What somebody agrees to. Raises NotFound where there is no diff yet."""
    import orjson

    from felix import bootstrap
    from felix.api import change_views
    from felix.domain.changes.messages import OBJECTS

    if row["diff"] is None:
        waits = change_views.waits_for(row)
        raise NotFound(
            f"The change {row['change_id']} has no diff: it is {row['state'].replace('_', ' ')}"
            + (f" and waits for {waits}." if waits else ".")
        )
    content = bootstrap.open_objects(session.settings).get(OBJECTS["diff"], row["diff"])
    # Whoever can open the database here has nobody to prove anything to; people at the other doors have.
    return change_views.difference(row, orjson.loads(content), "founder:cli", proved=True)


def print_diff(found: dict[str, Any], *, lines: bool = True) -> None:
    """Effects first, as that is what people agree to; then the lines."""
    from rich.text import Text

    page = console()
    for effect in found["effects"]:
        page.print(
            Text(f"{effect['risk']:<12}", _COLOURS[effect["risk"]]) + Text(visible(effect["sentence"]), "default")
        )
    if lines:
        page.print()
        for line in found["lines"].removesuffix("\n").split("\n"):
            page.print(Text(visible(line), _colour_of(line)), soft_wrap=True)
    price, approval = found["price"], found["approval"]
    page.print()
    facts = {
        "risk": found["risk"],
        "files": f"{len(found['files'])} different, {found['unchanged']['files']} as they were",
        "spent_mtok": price["spent_mtok"],
        "to_deploy_mtok": price["deploy_mtok"],
        "at_the_most_mtok": price["ceiling_mtok"],
        "approvals": f"{len(approval['approvers'])} of {approval['quorum']}" if approval["binding"] else None,
        "before_approving": _before_approving(found),
        "binding": approval["binding"],
    }
    print_facts({name: value for name, value in facts.items() if value is not None})


def _before_approving(found: dict[str, Any]) -> str | None:
    """What whoever agrees at another door does first."""
    if found["state"] != "awaiting_approval" or found["risk"] not in SERIOUS:
        return None
    return "over HTTP, prove anew who you are (POST /v1/step-up); here nothing"


def visible(text: str) -> str:
    """A text with what is not seen written out: escape sequences, what turns the direction of writing, and the like."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)


def _colour_of(line: str) -> str:
    if line.startswith(("+++", "---")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "default")


def confirm(found: dict[str, Any], writing: Writing) -> None:
    """Show what is agreed to, and ask. Raises UsageError where nobody could answer, or the answer is no."""
    if not sys.stdin.isatty() or writing.json:
        raise UsageError(
            "Nobody can be asked here: say --yes and --binding DIGEST.", hint="felix changes diff shows the digest."
        )
    print_diff(found, lines=False)
    if input("\nAgree to exactly this? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was agreed to.")
