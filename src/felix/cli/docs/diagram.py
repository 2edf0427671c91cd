"""``docs/erd.md``: the tables as Mermaid diagrams, read from the catalogue of a migrated database.

The catalogue is the truth: migrations alter what earlier ones made, and projections make their tables themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from felix.cli.docs.catalogue import GENERATED
from felix.eventstore.catalogue import Table, read_tables
from felix.eventstore.connections import connect

PATH = "docs/erd.md"
_SCHEMAS = {
    "felix": "What is kept: facts, and what the processes have to remember. Nothing here can be made anew.",
    "read": "What can be made anew: the tables of the projections, folded from the events.",
}


def page(database_url: str) -> str:
    """The page of a migrated database."""
    lines = [
        "# Tables",
        "",
        GENERATED,
        "",
        "There are no foreign keys: rows of one transaction are written in one batch, a read model can be dropped at",
        "any time, and a cluster that distributes by `partition` could not check them. A line is drawn where a table",
        "carries the whole primary key of another one.",
    ]
    with connect(database_url) as connection:
        for schema, told in _SCHEMAS.items():
            tables = read_tables(connection, schema)
            lines += ["", f"## {schema}", "", told, "", "```mermaid", *_diagram(tables), "```"]
            lines += [f"\n`{table.name}`: {table.comment}" for table in tables if table.comment]
    return "\n".join(lines) + "\n"


def _diagram(tables: Sequence[Table]) -> list[str]:
    lines = ["erDiagram"]
    for table in tables:
        alone = {key[0] for key in table.others if len(key) == 1}
        lines.append(f"  {table.name} {{")
        for column in table.columns:
            marks = ["PK"] * (column.name in table.key) + ["UK"] * (column.name in alone)
            lines.append(f"    {column.type} {column.name} {', '.join(marks)}".rstrip())
        lines.append("  }")
    for table in tables:
        lines += [f"  {_line(parent, key, table)}" for parent, key in _parents(table, tables)]
    return lines


def _parents(table: Table, tables: Sequence[Table]) -> list[tuple[Table, tuple[str, ...]]]:
    """The tables whose whole key this one carries, with that key; not those that a nearer one carries in turn.

    Of two tables with the same key the first by name is the parent, or lines would go both ways.
    """
    carried = {column.name for column in table.columns}
    own = {frozenset(key) for key in (table.key, *table.others)}
    found = [
        (other, key)
        for other in tables
        for key in (other.key, *other.others)
        if other is not table and key and set(key) <= carried and (frozenset(key) not in own or other.name < table.name)
    ]
    return [(other, key) for other, key in found if not any(set(key) < set(nearer) for _, nearer in found)]


def _line(parent: Table, key: tuple[str, ...], child: Table) -> str:
    nullable = any(column.nullable for column in child.columns if column.name in key)
    single = any(set(own) <= set(key) for own in (child.key, *child.others) if own)
    ends = f"{'|o' if nullable else '||'}--{'o|' if single else 'o{'}"
    return f'{parent.name} {ends} {child.name} : "{", ".join(key)}"'
