"""Records as people see them: what is personal opened, what was erased said to be so, references under their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from felix.domain.apps.entities import Field
from felix.domain.apps.shapes import CompiledApp, Shape
from felix.eventstore.vault import Vault
from felix.projections.personal_data import sealed_of
from felix.projections.records import named
from felix.projections.tenant_tx import Row, TenantTx

#: What the vault keeps as JSON; all else is text there.
_NO_TEXT = frozenset({"integer", "decimal", "money", "boolean", "choices"})
_SHOWN = ("record_id", "version", "release", "maker", "created_at", "changed_at")


async def shown(
    tx: TenantTx,
    rows: Sequence[Row],
    app: CompiledApp,
    shape: Shape,
    vault: Callable[[], Vault],
    only: Collection[str] | None = None,
) -> list[dict[str, Any]]:
    """Rows with the fields that the release shows, or ``only`` some of them.

    ``erased`` names the fields whose value was there and is not any more. ``names`` says what referenced records are
    called. Raises ``SealBroken`` and ``CommitmentBroken``.
    """
    fields = {name: field for name, field in shape.shown.items() if only is None or name in only}
    opened = await _open(tx, rows, fields, vault)
    found = []
    for row in rows:
        values, erased = {}, []
        for name, field in fields.items():
            values[name] = row["values"].get(name)
            if isinstance(values[name], dict):
                kept = opened.get(row["record_id"], {}).get(name)
                values[name] = None if kept is None else as_value(kept, field)
                if kept is None:
                    erased.append(name)
        found.append({name: row[name] for name in _SHOWN} | {"values": values, "erased": erased})
    names = await _names(tx, found, app, fields, vault)
    for row in found:
        referred = (row["values"][name] for name, field in fields.items() if field.to is not None)
        row["names"] = {record_id: names[record_id] for record_id in referred if record_id in names}
    return found


async def opened(
    tx: TenantTx, records: Sequence[dict[str, Any]], app: CompiledApp, vault: Callable[[], Vault]
) -> list[dict[str, Any]]:
    """Records of whatever ``entity`` as they once were, with what is personal as far as it is still there.

    ``erased`` names the fields whose value is not. Raises ``SealBroken`` and ``CommitmentBroken``.
    """
    sealed = {name for each in records for name, value in each["values"].items() if isinstance(value, dict)}
    kept = await _open(tx, records, sealed, vault)
    found = []
    for each in records:
        fields, values = app.shapes[each["entity"]].entity.fields, dict(each["values"])
        erased = [name for name in values if name in sealed and isinstance(values[name], dict)]
        for name in erased:
            value = kept.get(each["record_id"], {}).get(name)
            values[name] = None if value is None else as_value(value, fields[name])
        found.append(each | {"values": values, "erased": [name for name in erased if values[name] is None]})
    return found


def as_value(kept: str, field: Field) -> Any:
    """A value as it was before the vault made a text of it."""
    return json.loads(kept) if field.type in _NO_TEXT else kept


async def _open(
    tx: TenantTx, rows: Sequence[Row], fields: Collection[str], vault: Callable[[], Vault]
) -> Mapping[str, Mapping[str, str]]:
    sealed = [row["record_id"] for row in rows if any(isinstance(row["values"].get(name), dict) for name in fields)]
    return vault().open(await sealed_of(tx, sealed)) if sealed else {}


async def _names(
    tx: TenantTx,
    rows: Sequence[Mapping[str, Any]],
    app: CompiledApp,
    fields: Mapping[str, Field],
    vault: Callable[[], Vault],
) -> dict[str, str]:
    """What the records are called that these refer to, as far as they are there and have a name."""
    referred = {row["values"][name] for row in rows for name, field in fields.items() if field.to is not None}
    referred.discard(None)
    if not referred:
        return {}
    found = await named(tx, sorted(referred))
    called = {each["record_id"]: app.shapes[each["entity"]].entity for each in found if each["entity"] in app.shapes}
    opened = await _open(tx, found, {entity.named_by for entity in called.values()}, vault)
    names = {}
    for each in found:
        if (entity := called.get(each["record_id"])) is not None:
            name = each["values"].get(entity.named_by)
            if isinstance(name, dict):
                name = opened.get(each["record_id"], {}).get(entity.named_by)
            if name is not None:
                names[each["record_id"]] = str(name)
    return names
