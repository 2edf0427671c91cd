"""``felix migrate``: bring the database up to date."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from felix.cli.options import Showing
from felix.cli.output import print_json
from felix.settings import Settings


def migrate(
    *,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    showing: Showing | None = None,
) -> None:
    """Bring the database and the read models up to date.

    `felix up` does so by itself. Run this before starting new processes on a database of your own.

    Parameters
    ----------
    dry_run
        Only say what would be applied.
    """
    from felix import bootstrap
    from felix.eventstore.migrations import pending

    showing = showing or Showing()
    settings = Settings()
    endpoints = bootstrap.Endpoints.locate(settings)
    if dry_run:
        migrations = pending(endpoints.database_url)
    else:
        migrations = bootstrap.bring_up_to_date(endpoints, partitions=settings.partitions)
    names = [f"{migration.version:04}_{migration.name}" for migration in migrations]
    if showing.json:
        print_json({"dry_run": dry_run, "migrations": names})
        return
    for name in names:
        print(("would apply " if dry_run else "applied ") + name)
    if not names:
        print("Everything is up to date.")
