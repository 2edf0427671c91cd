"""Prints answers: tables for people, JSON for machines, never both."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: Whole numbers that name something and count nothing.
NAMES = frozenset(
    {"last_tenant_sequence", "pid", "position", "version", "partition", "priority", "sequence", "tenant_sequence"}
)
#: Wide enough that a table is not cut when it goes into a file or another program.
WIDTH_OF_PIPES = 240


def print_json(value: Any) -> None:
    """One JSON document; indented for people who look at it, in one line for programs."""
    import orjson

    option = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
    sys.stdout.write(orjson.dumps(value, default=str, option=option | orjson.OPT_NON_STR_KEYS).decode() + "\n")
    sys.stdout.flush()


def console(*, stderr: bool = False) -> Console:
    """Where people read; rich leaves colours out by itself for pipes and under NO_COLOR."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made.width = WIDTH_OF_PIPES
    return made


def print_table(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], *, empty: str, title: str | None = None
) -> None:
    """Rows under headings; ``columns`` maps keys to headings, keys in ``_mtok`` are shown as tokens."""
    from rich.table import Table
    from rich.text import Text

    found = list(rows)
    if not found:
        if empty:
            print(empty)
        return
    table = Table(
        box=None, title=title, title_justify="left", pad_edge=False, header_style="bold", padding=(0, 2, 0, 0)
    )
    for key, heading in columns.items():
        numeric = isinstance(next((row[key] for row in found if row.get(key) is not None), None), int)
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for row in found:
        table.add_row(*(Text(cell(key, row.get(key))) for key in columns))
    console().print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    labels = {name: name.removesuffix("_mtok").replace("_", " ") for name in facts}
    width = max(map(len, labels.values()), default=0)
    for name, value in facts.items():
        print(f"{labels[name]:<{width}}  {cell(name, value)}")


def cell(key: str, value: Any) -> str:
    """A value as people read it."""
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return tokens(value) if key.endswith("_mtok") else str(value) if key in NAMES else f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, str) and not key.endswith("_at"):
        return value
    if isinstance(value, str) and value[10:11] == "T":
        return value[:19].replace("T", " ")
    if isinstance(value, Sequence) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    if isinstance(value, (Mapping, Sequence)):
        import orjson

        return orjson.dumps(value, default=str).decode()
    return str(value)


def tokens(mtok: int) -> str:
    """Millitokens in tokens: ``-12,345.678``, without the zeros nobody needs."""
    whole, part = divmod(abs(mtok), 1000)
    shown = f"{whole:,}" + (f".{part:03}".rstrip("0") if part else "")
    return f"-{shown}" if mtok < 0 else shown
