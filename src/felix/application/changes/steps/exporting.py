"""An export of what a destructive change would destroy, made by the step before its deployment.

Records go page by page into objects of their own, as JSON lines; a list of those is the export, and its digest is in
the log. What is personal stays in the vault, where it can be erased: the export has its commitments, and whoever may
download it gets what is still kept.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from felix.application.changes.steps.workbench import Look, Next, Rest
from felix.domain.apps.tree import canonical
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.changes.losses import Losses

#: Records of one object, which is also what a download answers at once.
PAGE = 500
#: The read model is behind by milliseconds; where it is by more, it is looked at again so much later.
LOOK_AGAIN = timedelta(seconds=1)


def export(look: Look, lost: Losses) -> Next:
    """Keep what records have, as they were when the change was queued or later; wait for the read model if need be."""
    bench, change = look.bench, look.change
    queued = bench.aggregates.events(look.place, Change, change.local_id)[-1]
    if not bench.shelf.has_retold(look.place, "records", queued.position):
        return Rest(look.at + LOOK_AGAIN)
    parts: list[dict[str, Any]] = []
    for entity, fields in lost.items():
        after = ""
        while page := bench.shelf.records(look.place, change.app, change.environment, entity, after, PAGE):
            after = page[-1]["record_id"]
            if kept := [line for row in page if (line := _line(entity, fields, row)) is not None]:
                content = b"".join(kept)
                digest = bench.objects.put(m.OBJECTS["export"], content)
                parts.append({"digest": digest, "records": len(kept), "size_bytes": len(content)})
    told = {
        "app": change.app,
        "environment": change.environment,
        "lost": lost,
        "parts": parts,
        "release": look.environment.stable,
    }
    return m.RecordExport(
        **look.step,
        export=bench.objects.put(m.OBJECTS["export"], canonical(told)),
        entities=list(lost),
        records=sum(part["records"] for part in parts),
        size_bytes=sum(part["size_bytes"] for part in parts),
    )


def _line(entity: str, fields: list[str] | None, row: dict[str, Any]) -> bytes | None:
    """A record as it is kept; None where it has nothing to lose."""
    values = (
        row["values"] if fields is None else {name: row["values"][name] for name in fields if name in row["values"]}
    )
    if fields is not None and not values:
        return None
    told = {"entity": entity, **row, "values": values}
    return json.dumps(told, ensure_ascii=False, sort_keys=True, default=_moment).encode() + b"\n"


def _moment(value: Any) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()
