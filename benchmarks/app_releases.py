"""What a release costs: compiling one of 60 entities with 20 fields each, once, and checking a record of it.

A release is read from its bundle and checked file by file, then compiled. A record has a value in every field; it is
checked 2,000 times in a row, in one thread, as the door does before a command.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.report import Row
from benchmarks.server import Bench
from felix.domain.apps.references import check
from felix.domain.apps.release import Release, unbundle
from felix.domain.apps.shapes import compile_app
from felix.domain.apps.tree import AppTree

ENTITIES = 60
#: Each is in an entity twice, which makes twenty fields.
_FIELDS: tuple[tuple[dict[str, Any], Any], ...] = (
    ({"type": "text", "max_length": 200}, "Bread for the fair"),
    ({"type": "long_text"}, "A longer text that says a little more about it. " * 5),
    ({"type": "integer", "minimum": 0}, 42),
    ({"type": "money", "currency": "EUR"}, 12_500),
    ({"type": "boolean"}, True),
    ({"type": "date"}, "2026-01-31"),
    ({"type": "moment"}, "2026-01-31T12:00:00+01:00"),
    ({"type": "choice", "options": [{"value": f"o{n}", "label": f"Option {n}"} for n in range(8)]}, "o3"),
    ({"type": "email"}, "blum@bakery.example"),
    ({"type": "reference", "to": "entity_0"}, "rec_" + "0" * 32),
)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    named = [(f"field_{number}", *_FIELDS[number % len(_FIELDS)]) for number in range(2 * len(_FIELDS))]
    entity = {
        "title": "Entity", "plural": "Entities", "named_by": "field_0",
        "fields": {name: field | {"label": name} for name, field, _ in named},
    }  # fmt: skip
    app = {"spec_version": 1, "app": "shop", "title": "Shop"}
    entities = bench.amount(ENTITIES, 3)
    tree = AppTree({"app.json": app} | {f"entities/entity_{n}.json": entity for n in range(entities)})
    release, values = Release.of(tree), {name: value for name, _, value in named}
    shape = compile_app(release.digest, check(tree)).shapes["entity_0"]
    checks = bench.amount(2_000, 10)

    def read() -> None:
        check(unbundle(release.content, release.digest))

    def compile_it() -> None:
        compile_app(release.digest, parsed)

    def check_records() -> None:
        for _ in range(checks):
            shape.whole(values)

    parsed = check(tree)
    return [
        Row("compile of 60 entities of 20 fields", "ms", _ms(bench, compile_it), at_most=150),
        Row("reading and checking the same release before", "ms", _ms(bench, read)),
        Row(
            "check of a record of 20 fields",
            "µs",
            [1_000 * ms / checks for ms in _ms(bench, check_records)],
            at_most=50,
        ),
    ]


def _ms(bench: Bench, work: Callable[[], None]) -> list[float]:
    took = []
    for _ in range(bench.rounds):
        began = time.perf_counter()
        work()
        took.append(1_000 * (time.perf_counter() - began))
    return took
