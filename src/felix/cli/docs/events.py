"""``docs/events.md``: the catalogue of all stored events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from felix.cli.docs.catalogue import GENERATED, sentence, stored_events, told
from felix.cli.docs.causes import causes_of_events
from felix.domain.base import ENVELOPE_FIELDS, FelixCreated, FelixEvent
from felix.domain.ledger.postings import TOKEN, TOKEN_EVENTS, postings_of


def page() -> str:
    """The catalogue of all stored events."""
    events = stored_events()
    lines = [
        "# Events",
        "",
        GENERATED,
        "",
        "Everything that can have happened. Events are stored once and never changed; an old version is brought up to",
        "date when it is read. Beside its own fields every event has, in columns of the log: partition, position,",
        "tenant, tenant sequence, stream, version, event id, time of recording, command key, actor and metadata.",
        "",
        "Amounts end in `_mtok` (millitokens, 1 token = 1,000) or `_minor` (minor units of a currency); all are whole",
        "numbers. A slice is `[lot_id, meter, amount_mtok, cost_minor]`. Moments are UTC.",
        "",
        "| event | version | what it says |",
        "|---|---|---|",
    ]
    for name, cls in events.items():
        lines.append(f"| [`{name}`](#{name.replace('.', '').lower()}) | {cls.class_version} | {sentence(cls)} |")
    causes = causes_of_events()
    for name, cls in events.items():
        lines += ["", f"## {name}", "", *told(cls), "", f"Version {cls.class_version}."]
        if issubclass(cls, FelixCreated):
            lines[-1] += " The first event of its stream."
        if caused := causes.get(cls):
            lines += ["", "Caused by " + ", ".join(caused) + "."]
        lines += ["", *_fields(cls)]
        if name in TOKEN_EVENTS:
            lines += ["", "Postings: " + "; ".join(_postings(name, cls)) + "."]
    return "\n".join(lines) + "\n"


def _fields(cls: type[FelixEvent]) -> list[str]:
    schema = cls.model_json_schema()
    own = [name for name in cls.model_fields if name not in ENVELOPE_FIELDS and name != "originator_topic"]
    if not own:
        return ["It has no fields of its own."]
    rows = []
    for name in own:
        field = schema["properties"][name]
        rows.append(f"| `{name}` | {_type(field)} | {field.get('description') or _meaning(name)} |")
    return ["| field | type | meaning |", "|---|---|---|", *rows]


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if field.get("type") == "array":
        if "prefixItems" in field:
            return "[" + ", ".join(_type(item) for item in field["prefixItems"]) + "]"
        return f"list of {_type(field.get('items', {}))}"
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"map to {_type(inner)}" if isinstance(inner, dict) else "object"
    return "moment" if field.get("format") == "date-time" else str(field.get("type", "any"))


#: What a field's name says, most special first. What a field means for its event, the event's docstring says.
_MEANINGS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda name: name in ("allocation", "captured", "extra", "released", "frozen"), "slices of lots"),
    (lambda name: name == "currencies", "currency of each lot that cost money, by its id"),
    (lambda name: name == "currency", "ISO 4217"),
    (lambda name: name in ("lines", "lots", "prices"), "see above"),
    (lambda name: name in ("app", "model", "person"), "whose usage it was"),
    (lambda name: name == "quantity", "units of the meter"),
    (lambda name: name == "meter", "meter name"),
    (lambda name: name.endswith("_mtok"), "millitokens"),
    (lambda name: name.endswith("_minor"), "minor units of the currency"),
    (lambda name: name.endswith("_at") or name == "effective_from", "moment, UTC"),
    (lambda name: name.endswith("_s"), "seconds"),
    (lambda name: name.endswith("_version"), "version"),
    (lambda name: name.endswith("meters"), "meter names; none stands for every meter"),
    (lambda name: name in ("proposer", "approver", "rejecter"), "actor"),
    (lambda name: name == "reason", "why, in a person's words"),
    (lambda name: name in ("reference", "usage_id", "usage_source"), "the caller's own name for it"),
    (lambda name: name.endswith("_id"), "id"),
)


def _meaning(name: str) -> str:
    return next((meaning for is_it, meaning in _MEANINGS if is_it(name)), "")


def _postings(name: str, cls: type[FelixEvent]) -> list[str]:
    """Which accounts of the book can give (-) and receive (+), found by posting samples in which nothing is zero."""
    found: dict[tuple[str, str], set[str]] = {}
    for sign in (1, -1) if name == "ledger.adjustment_applied" else (1,):
        for account, asset, amount in postings_of(name, _sample(cls) | {"amount_mtok": sign * 1_000_000}):
            found.setdefault((asset, account), set()).add("+" if amount > 0 else "-")
    ordered = sorted(found.items(), key=lambda entry: (entry[0][0] != TOKEN, entry[0]))
    return [f"`{account}` {'/'.join(sorted(signs))}" for (_, account), signs in ordered]


def _sample(cls: type[FelixEvent]) -> dict[str, Any]:
    sample: dict[str, Any] = {}
    piece = ["{lot_id}", "{meter}", 100, 10]
    line = ["{meter}", 1, 100, ""] if cls.__name__ == "TokensDebited" else ["{meter}", 100]
    made = {"lot_id": "{lot_id}", "amount_mtok": 100, "debt_repaid_mtok": 10, "cost_minor": 10, "debt_cost_minor": 1}
    for name, field in cls.model_json_schema()["properties"].items():
        kind = field.get("type") or field["anyOf"][0].get("type")
        if name == "lines":
            sample[name] = [line]
        elif name == "lots":
            sample[name] = [made | {"currency": "money"}]
        elif name == "currencies":
            sample[name] = {"{lot_id}": "money"}
        elif kind == "array":
            sample[name] = [piece]
        else:
            sample[name] = {"integer": 100, "string": "money" if name == "currency" else f"{{{name}}}"}.get(kind)
    return sample
