"""``felix usage``: what clients used, from files and in sums."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from felix.cli.options import Reading, Showing, day_of
from felix.cli.output import print_json, print_table
from felix.cli.session import open_session

app = App(name="usage", help="Import usage from a file, and show what was used.")


@app.command(name="import")
def import_file(
    file: Path,
    *,
    map: Annotated[list[str], Parameter(negative="")],
    tenant: Annotated[list[str] | None, Parameter(negative="")] = None,
    account: Annotated[list[str] | None, Parameter(negative="")] = None,
    set: Annotated[list[str] | None, Parameter(negative="")] = None,
    id: str | None = None,
    source: str | None = None,
    format: Literal["csv", "jsonl"] | None = None,
    delimiter: str | None = None,
    rate_card: str = "default",
    errors: Path | None = None,
    again: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    actor: str = "founder:cli",
    showing: Showing | None = None,
) -> int:
    """Import usage from a CSV or JSON Lines file: every row is priced and debited once, however often it is imported.

    An import that was broken off goes on where it stopped when the same command is given again. The exit code is 0
    when every row was accepted (now or before), 3 when some were refused.

    Example: felix usage import trace.csv --tenant acme --map time=TIMESTAMP --map llm.input_tokens=ContextTokens
    --map llm.output_tokens=GeneratedTokens --set model=gpt-4o

    Parameters
    ----------
    file
        The file. Rows of usage, with a header if it is CSV.
    map
        TARGET=COLUMN, several times. Targets: time, account, model, app, person, reference; every other is a meter.
    tenant
        Whose usage it is. With several, and with several accounts, rows take turns.
    account
        Token account (id, or its name with every one of the clients). Default: the only account of each client.
    set
        TARGET=VALUE for every row, several times, such as model=gpt-4o.
    id
        Column with an id of its own for every row. Default: the row's number in this very file.
    source
        What the ids belong to. Default: the content of the file.
    format
        Default: by the file's name.
    delimiter
        Between the cells of a CSV file. Default: comma, or tab for .tsv.
    rate_card
        The rate card that prices it.
    errors
        Write every refused row there, one JSON document a line.
    again
        Begin from the first row under new keys: what was refused gets another chance, what was accepted stays once.
    dry_run
        Read the file and say what would be sent, and send nothing.
    actor
        Who the log says did this.
    """
    from felix.cli.importing import Import, print_summary
    from felix.cli.usage_file import UsageFile, UsageMapping

    showing = showing or Showing()
    mapping = UsageMapping.of_options(map, set or [], id_column=id, source=source)
    with open_session() as session:
        work = Import(session, mapping, tenants=tenant or [], accounts=account or [], rate_card=rate_card, actor=actor)
        work.open_file(
            lambda accounts, start_after: UsageFile(
                file, mapping, accounts=accounts, file_format=format, start_after=start_after, delimiter=delimiter
            ),
            again=again,
        )
        summary = work.look_through() if dry_run else work.run(errors_to=errors, quiet=showing.json)
    if showing.json:
        print_json(summary.document())
    else:
        print_summary(summary)
    return 3 if summary.refused else 0


Dimension = Literal["day", "account_id", "meter", "app", "model", "person"]


@app.command
def show(
    *,
    by: Annotated[list[Dimension] | None, Parameter(negative="")] = None,
    since: str | None = None,
    until: str | None = None,
    account: str | None = None,
    reading: Reading | None = None,
) -> None:
    """Show what a client used and what it cost.

    Parameters
    ----------
    by
        What to group by; may be given several times. Default: meter.
    since
        First day, such as 2026-01-31. Default: 30 days ago.
    until
        Last day. Default: today.
    account
        Only this token account: id or name.
    """
    from felix.projections.usage import usage

    reading = reading or Reading()
    today = datetime.now(UTC).date()
    first, last = day_of(since, today - timedelta(days=30)), day_of(until, today)
    grouped: list[str] = [*by] if by else ["meter"]
    with open_session() as session:
        place = session.tenant(reading.tenant)
        account_id = session.account_id(place, account) if account else None
        rows = session.ask(place, lambda tx: usage(tx, first, last, grouped, account_id))
    if reading.json:
        print_json(rows)
        return
    headings = {name: name.removesuffix("_id") for name in grouped}
    headings |= {"quantity": "quantity", "amount_mtok": "tokens", "debits": "debits"}
    print_table(rows, headings, empty=f"Nothing was used from {first} to {last}.")
