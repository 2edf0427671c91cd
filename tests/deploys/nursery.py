"""A process that has imported everything and begins others by ``fork``: workers that are killed, or are paused.

``nursery.py DATABASE HOME``, the root key in ``FELIX_ROOT_KEY``. A line of JSON says what to do with a change, and a
line says what came of it. A worker counts the places that it passes and ends itself at the one it was told, by
``os._exit``: nothing is rolled back, flushed or said good-bye to.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from yard import OUTCOMES, open_yard

from felix.adapters.objects import Objects
from felix.adapters.repositories import AppRepository
from felix.application.performer import Performer
from felix.eventstore.pipeline import Pipeline
from felix.modules.library import library

KILLED = 9
#: Where nobody holds the partition: whoever is paused there keeps nobody else from going on.
FREE = ("perform", "put", "move")
#: Where something is written.
WRITES = ("commit", "put", "record", "move")


class Places:
    """The places that a worker passes, in order; at one of them ``at`` is called."""

    def __init__(self, chosen: int | None, at: Callable[[], None], kinds: tuple[str, ...]) -> None:
        self.passed: list[str] = []
        self._chosen, self._at, self._kinds = chosen, at, kinds

    def reaches(self, place: str) -> bool:
        """Count a place, and say whether it is the chosen one."""
        if not place.endswith(self._kinds):
            return False
        self.passed.append(place)
        return len(self.passed) == self._chosen

    def here(self, place: str) -> None:
        """Count a place, and do what is done there."""
        if self.reaches(place):
            self._at()

    def around(self, of: type, name: str, place: str) -> None:
        """Count the places before and after a method."""
        method = getattr(of, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self.here(f"before {place}")
            result = method(*arguments, **named)
            self.here(f"after {place}")
            return result

        setattr(of, name, counted)

    def in_commits(self) -> None:
        """Count the places before, inside and after every transaction that writes to the log."""
        run = Pipeline.run

        def counted(pipeline: Pipeline, steps: Sequence[Any]) -> Any:
            if steps[-1][0].name != b"commit":
                return run(pipeline, steps)
            self.here("before commit")
            if self.reaches("inside commit"):
                run(pipeline, steps[:-1])
                self._at()
            result = run(pipeline, steps)
            self.here("after commit")
            return result

        Pipeline.run = counted  # type: ignore[method-assign,assignment]


def kept_too_late() -> None:
    """The seeded bug: objects are kept after the event that speaks of them, not before."""
    put, run, waiting = Objects.put, Pipeline.run, list[tuple[Any, ...]]()

    def later(objects: Objects, kind: str, content: bytes) -> str:
        waiting.append((objects, kind, content))
        return sha256(content).hexdigest()

    def then(pipeline: Pipeline, steps: Sequence[Any]) -> Any:
        result = run(pipeline, steps)
        while steps[-1][0].name == b"commit" and waiting:
            put(*waiting.pop())
        return result

    Objects.put = later  # type: ignore[method-assign]
    Pipeline.run = then  # type: ignore[method-assign,assignment]


def worker(told: dict[str, Any], database: str, home: Path, places: Places) -> dict[str, Any]:
    """Take a change to its end, and say how."""
    places.around(Objects, "put", "put")
    places.around(AppRepository, "record", "record")
    places.around(AppRepository, "move", "move")
    places.around(Performer, "perform_blocking", "perform")
    places.in_commits()
    if told.get("bug"):
        kept_too_late()
    with open_yard(database, home, os.environ["FELIX_ROOT_KEY"]) as yard:
        change = yard.drive(told["change_id"], OUTCOMES[told["outcome"]][0])
        return {"state": change.state, "late": yard.late, "places": places.passed}


def begin(told: dict[str, Any], database: str, home: Path, places: Places) -> tuple[int, int]:
    """Fork a worker: its process, and the end of a pipe on which it says what came of it."""
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return process, reader
    try:
        said: dict[str, Any] = worker(told, database, home, places)
    except BaseException as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    os.write(writer, json.dumps(said).encode())
    os._exit(0)


def end(process: int, reader: int) -> dict[str, Any]:
    """What a worker said, and how it ended."""
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(process, 0)
    return {"exit": os.waitstatus_to_exitcode(status), **(json.loads(said) if said else {})}


def killed(told: dict[str, Any], database: str, home: Path) -> dict[str, Any]:
    """One worker, killed at a place or not at all."""
    return end(*begin(told, database, home, Places(told.get("place"), lambda: os._exit(KILLED), WRITES)))


def paused(told: dict[str, Any], database: str, home: Path) -> dict[str, Any]:
    """A worker that is paused at a place, another that takes the change to its end, and then the first goes on."""
    (stopped, stops), (goes, go) = os.pipe(), os.pipe()

    def wait() -> None:
        os.write(stops, b".")
        os.read(goes, 1)

    first = begin(told, database, home, Places(told["place"], wait, FREE))
    os.close(stops)
    os.read(stopped, 1)
    other = end(*begin(told, database, home, Places(None, wait, FREE)))
    os.write(go, b".")
    for descriptor in (stopped, goes, go):
        os.close(descriptor)
    return {"other": other, **end(*first)}


def main() -> None:
    """Do what is asked, line by line, until nobody asks any more."""
    database, home = sys.argv[1], Path(sys.argv[2])
    library()
    print("ready", flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        print(json.dumps((paused if told.get("pause") else killed)(told, database, home)), flush=True)


if __name__ == "__main__":
    main()
