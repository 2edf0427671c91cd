"""``docs/database-access.md``: the database roles and everything they are granted, read from a migrated database."""

from __future__ import annotations

from itertools import groupby

from felix.cli.docs.catalogue import GENERATED
from felix.eventstore.connections import connect
from felix.eventstore.grants import read_functions, read_grants, read_isolation, read_roles

PATH = "docs/database-access.md"
_TOLD = {
    "felix_backup": "copies the files of the server, for `felix backup`",
    "felix_founder": "reads every tenant, for the founder's questions and the verifier",
    "felix_owner": "owns everything; migrations take it on, and no process signs in as it",
    "felix_projector": "folds events into read models and does jobs, for the worker",
    "felix_reader": "answers questions about one bound tenant, for the API",
    "felix_sealer": "will seal the log",
    "felix_writer": "appends to the log, for the lanes",
}


def page(database_url: str) -> str:
    """The page of a migrated database."""
    with connect(database_url) as connection:
        roles, grants = read_roles(connection), read_grants(connection)
        tables = {table.name: table for table in read_isolation(connection)}
        definers = [function for function in read_functions(connection) if function.definer]
    lines = [
        "# Who may do what in the database",
        "",
        GENERATED,
        "",
        "A test compares this page with a migrated database: a grant that is not here fails it.",
        "",
        "| role | what it is for | beyond its grants |",
        "|---|---|---|",
    ]
    for role in roles:
        beyond = [*role.powers, *(f"may take on {name}" for name in role.member_of)]
        lines.append(f"| `{role.name}` | {_TOLD[role.name]} | {', '.join(beyond) or '–'} |")
    for role_name, granted in groupby(grants, lambda grant: grant.role):
        lines += ["", f"## {role_name}", "", "| on | may |", "|---|---|"]
        for grant in granted:
            lines.append(f"| `{grant.schema}.{grant.target}` | {grant.privileges} |")
    lines += [
        "",
        "## Row-level security",
        "",
        "Forced on each of these, so that it holds for the owner too.",
        "",
        "| table | policies |",
        "|---|---|",
    ]
    for table in tables.values():
        if table.forced:
            lines.append(f"| `{table.name}` | {'; '.join(f'`{policy}`' for policy in table.policies) or 'none'} |")
    lines += ["", "## Functions that run with their owner's rights", "", "| function | `search_path` |", "|---|---|"]
    lines += [f"| `{function.name}` | `{function.search_path.partition('=')[2]}` |" for function in definers]
    return "\n".join(lines) + "\n"
