"""What a destructive change destroyed, as one JSON line a record."""

from __future__ import annotations

import sys
from typing import Any

from felix.cli.one_change import LAST, Named, find
from felix.cli.options import Reading
from felix.cli.session import open_session


def export(change: Named = LAST, *, reading: Reading | None = None) -> None:
    """Write the records that a destructive change took something from, one JSON line each.

    Felix exports them by itself before it deploys such a change. What is personal comes from the vault, as far as it is
    still there.

    Example: felix changes export last > lost.jsonl
    """
    import orjson

    from felix import bootstrap
    from felix.api.change_exports import exported

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        row = find(session, place, change)
        kept = (bootstrap.open_objects(session.settings), bootstrap.open_releases(session.settings))
        vault = bootstrap.open_vault(session.settings)
        number: int | None = 0
        while number is not None:
            page: dict[str, Any] = session.ask(place, lambda tx, page=number: exported(tx, row, page, *kept, vault))  # type: ignore[misc]
            for record in page["data"]:
                sys.stdout.write(orjson.dumps(record).decode() + "\n")
            number = page["next"]
