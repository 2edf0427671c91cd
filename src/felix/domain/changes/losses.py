"""What records lose by a change: what has to be kept elsewhere before it goes live.

Worked out from the effects, like the risk. Nothing is lost of what is only hidden, or of what an app does.
"""

from __future__ import annotations

from collections.abc import Iterable

from felix.domain.changes.effects import Effect

_ENTITIES = "entities/"

#: Of each entity the fields that lose values, or whose values mean something else; None: all of it is lost.
Losses = dict[str, list[str] | None]


def losses(effects: Iterable[Effect]) -> Losses:
    """What records lose by effects that are destructive."""
    found: dict[str, set[str] | None] = {}
    for effect in effects:
        if effect.risk != "destructive" or not effect.path.startswith(_ENTITIES):
            continue
        entity = effect.path.removeprefix(_ENTITIES).removesuffix(".json")
        match effect.pointer.split("/"):
            case ["", "fields", field, *_]:
                fields = found.setdefault(entity, set())
                if fields is not None:
                    fields.add(field)
            case _:
                found[entity] = None
    return {entity: None if fields is None else sorted(fields) for entity, fields in sorted(found.items())}
