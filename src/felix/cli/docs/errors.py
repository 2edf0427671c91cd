"""``docs/errors.md``: the tree of errors, with what each is on the wire."""

from __future__ import annotations

from felix.api.problems import STATUS, status_of
from felix.cli.docs.catalogue import GENERATED, ROOMS, classes
from felix.domain.errors import FelixError


def page() -> str:
    """The tree of errors, with what each is on the wire."""
    known = set(classes(FelixError, *ROOMS))
    lines = [
        "# Errors",
        "",
        GENERATED,
        "",
        "Errors are sorted by what the caller does next. Over HTTP an error is an RFC 9457 problem: `type` is",
        "`urn:felix:problem:<code>`, `title` the sentence below, and the facts of the error are further members.",
        "2xx answers and refusals (402, 403, 404, 409, 413 and 422 of a command that was decided) are remembered under",
        "the command's key; 401, 429, 5xx and requests that were never decided are not.",
        "",
        "| error | code | HTTP | what is the case |",
        "|---|---|---|---|",
    ]

    def tell(cls: type[FelixError], depth: int) -> None:
        name = "&nbsp;" * 4 * depth + ("└ " if depth else "") + cls.__name__
        lines.append(f"| {name} | `{cls.code}` | {status_of(cls.__new__(cls))} | {cls.sentence()} |")
        below = [child for child in cls.__subclasses__() if child in known]
        for child in sorted(below, key=lambda child: (_place(child), child.__name__)):
            tell(child, depth + 1)

    tell(FelixError, 0)
    return "\n".join(lines) + "\n"


def _place(cls: type[FelixError]) -> int:
    """Where a kind of error stands in the table of statuses; the others come after it, by name."""
    return list(STATUS).index(cls) if cls in STATUS else len(STATUS)
