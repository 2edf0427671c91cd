"""Asks every world the same and finds what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from os.path import commonprefix

from isolation.frozen import frozen
from isolation.generated import Requests
from isolation.worlds import WORLDS, Answer, Asked, World, opened

#: Requests between two looks at B's rows; then B goes on living, and read models are retold.
STRETCH = 40
#: Between two requests: quotas fill up again, and holds and lots run out on the way.
PAUSE = timedelta(seconds=1)
#: Differences of an operation that are kept whole; the rest is counted.
KEPT = 2


@dataclass
class Comparison:
    """What a run found."""

    worlds: int
    requests: int = 0
    #: By operation.
    differences: Counter[str] = field(default_factory=Counter)
    #: Tables in which rows of B were changed while A was asking.
    changed_rows: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def add(self, asked: Asked, answers: Mapping[str, Answer]) -> None:
        """Take in what the worlds answered to one request."""
        self.requests += 1
        self.asked[asked.operation] += 1
        first = next(iter(answers.values()))
        self.statuses[first.status] += 1
        if first.status < 300:
            self.accepted[asked.operation] += 1
        if len(set(answers.values())) > 1:
            self.differences[asked.operation] += 1
            if self.differences[asked.operation] <= KEPT:
                shown = {name: _shown(each) for name, each in answers.items()}
                start = max(0, len(commonprefix(list(shown.values()))) - 120)  # noqa: RUF071 of texts
                lines = [f"{name}: …{text[start : start + 400]}" for name, text in shown.items()]
                self.told.append("\n  ".join([f"{asked.operation} as {asked}", *lines]))

    def report(self) -> str:
        """What differed, for people."""
        return "\n".join([f"{dict(self.differences)} rows changed: {sorted(self.changed_rows)}", *self.told])


def _shown(answer: Answer) -> str:
    headers = " ".join(f"{name.decode()}={value.decode('latin-1')}" for name, value in answer.headers)
    return f"{answer.status} {headers} {answer.body.decode('utf-8', 'replace')}"


@asynccontextmanager
async def three_worlds(databases: Sequence[str], prepare: Sequence[str] = ()) -> AsyncIterator[list[World]]:
    """The worlds, each on one of the databases, with A and, where there is one, B in it."""
    with frozen() as (clock, chance):
        async with AsyncExitStack() as stack:
            worlds = []
            for (name, neighbour), database in zip(WORLDS.items(), databases, strict=True):
                world = await stack.enter_async_context(
                    opened(name, neighbour, database, clock, chance, prepare=prepare)
                )
                worlds.append(world)
            yield worlds


async def compare(worlds: Sequence[World], requests: Requests, count: int) -> Comparison:
    """Let A and B settle, and then A ask so many requests of every world."""
    found = Comparison(len(worlds))
    for world in worlds:
        await world.settle_b()
    told = [await world.settle_a() for world in worlds]
    assert all(each == told[0] for each in told), "A begins alike in every world"
    requests.of_a.gather(told[0])
    requests.of_b.gather(worlds[0].told_b)
    rows = {}
    for number in range(count):
        if number % STRETCH == 0:
            for world in worlds:
                found.changed_rows |= _changed(rows.get(world.name), world)
                await world.let_b_live()
                world.revive()
                world.retell()
                rows[world.name] = world.rows_of_b()
        elif number % 10 == 0:
            for world in worlds:
                world.retell()
        worlds[0].pass_time(PAUSE)
        asked = requests.next()
        if asked.operation == "live":
            # It waits for read models, by a clock that nobody can stop.
            for world in worlds:
                world.retell()
        answers = {}
        for world in worlds:
            sent = Asked(
                asked.operation, asked.role, asked.method, asked.path, asked.query,
                (*asked.headers, *world.cast[asked.role]), asked.body,
            )  # fmt: skip
            answers[world.name] = await world.ask(sent, f"request {number}")
        found.add(asked, answers)
        # What is refused repeats what was asked for, which need not be A's.
        if (first := next(iter(answers.values()))).status < 300:
            requests.of_a.gather(first.json())
    for world in worlds:
        found.changed_rows |= _changed(rows.get(world.name), world)
    return found


def _changed(before: Mapping[str, str] | None, world: World) -> set[str]:
    now = world.rows_of_b()
    return set() if before is None else {table for table, digest in now.items() if before.get(table) != digest}
