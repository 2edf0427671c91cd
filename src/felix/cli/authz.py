"""``felix authz``: who may do what."""

from __future__ import annotations

from cyclopts import App

from felix.cli.errors import UsageError
from felix.cli.options import Showing
from felix.cli.output import print_json, print_table
from felix.domain.identity.roles import ROLES, Role

app = App(name="authz", help="Show who may do what.")


@app.command
def show(*, role: Role | None = None, action: str | None = None, showing: Showing | None = None) -> None:
    """Show the table that every door asks: actions, and what each role needs for them.

    Parameters
    ----------
    role
        Only what this role may do.
    action
        Only this action, or a group such as ledger.* or *.read, as in the scopes of a key.
    """
    from felix.domain.identity.access import TABLE
    from felix.domain.identity.scopes import covers

    showing = showing or Showing()
    if action is not None and action.count(".") != 1:
        raise UsageError("An action looks like ledger.debit_tokens, a group of them like ledger.* or *.read.")
    found = [
        row for row in TABLE if (role is None or role in row.grants) and (action is None or covers(action, row.name))
    ]
    if not found:
        raise UsageError(f"There is no action {action}" + (f" for {role}." if role else "."))
    if showing.json:
        print_json(
            [
                {
                    "action": row.name,
                    "place": row.place,
                    "writes": row.writes,
                    "grants": {each: sorted(needed) for each, needed in row.grants.items() if role in (None, each)},
                }
                for row in found
            ]
        )
        return
    columns = ROLES if role is None else (role,)
    print_table(
        [{"action": row.name, "place": row.place} | {each: row.needs(each) for each in columns} for row in found],
        {"action": "action", "place": "where"} | {each: each.replace("_", " ") for each in columns},
        empty="",
    )
