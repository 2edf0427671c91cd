"""What belongs to somebody else is answered like what does not exist: the same status, headers and body, as fast.

Every operation with an id in its path is asked twice, with an id of B's and with one of the same shape that nobody has,
by a machine, an owner and an auditor of A. The time is compared where somebody could measure it best: the median of
many reads, one of each in turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest
from faults.figures import DEEP, record
from isolation import leaks
from isolation.comparing import PAUSE
from isolation.frozen import frozen
from isolation.generated import Requests
from isolation.worlds import WORLDS, Answer, Asked, World, opened

from felix.api import app as api_app

PAIRS = 20 if DEEP else 3
#: Reads of each kind whose time is taken, and how far apart their medians may be on a machine that is busy.
TIMED = 1_000 if DEEP else 100
ATTEMPTS = 3
NOISE, NOISE_S = 0.15, 0.0004
_CORRELATION = b"01a2087f-ab38-70cb-bc6a-f9e6ddc70000"
READS = ("show_token_account", "list_transactions", "list_stream_events", "show_job")


async def _neighbours(world: World, requests: Requests) -> None:
    await world.settle_b()
    requests.of_a.gather(await world.settle_a())
    requests.of_b.gather(world.told_b)


def _document() -> Any:
    return api_app.create_app(lambda app: None).openapi()  # type: ignore[arg-type,return-value]


@pytest.mark.timeout(600)
def test_an_id_of_somebody_else_is_answered_like_one_that_nobody_has(databases: list[str]) -> None:
    """But for the id itself, which is repeated, not a byte differs."""
    requests, name = Requests(_document(), 1), next(iter(WORLDS))
    pairs, operations, different = 0, set[str](), list[str]()

    async def ask() -> None:
        nonlocal pairs
        with frozen() as (clock, chance):
            async with opened(name, WORLDS[name], databases[0], clock, chance) as world:
                await _neighbours(world, requests)
                before = world.rows_of_b()
                for operation_id, method, path, operation in requests.operations:
                    for number in range(PAIRS):
                        for role in ("service", "client_owner", "auditor"):
                            if (ids := requests.with_ids(operation, path)) is None:
                                continue
                            foreign, unknown, replaced = ids
                            key = f"{operation_id} {number} {role}"
                            asked = [
                                _asked(world, role, method, target, f"{key} {which}", requests.body(operation))
                                for which, target in (("1", foreign), ("2", unknown))
                            ]
                            answers = []
                            for each in asked:
                                clock.advance(PAUSE)
                                answers.append(await world.ask(each, f"{key} {len(answers)}"))
                            pairs += 1
                            operations.add(operation_id)
                            if _as_unknown(answers[0], replaced) != answers[1]:
                                different.append(f"{operation_id} as {role}: {answers}")
                assert world.rows_of_b() == before, "nothing of B's was changed"

    asyncio.run(ask())
    assert not different, "\n".join(different[:5])
    assert len(operations) > 20, operations
    record("foreign and unknown", pairs, operations=len(operations), differences=len(different))


@pytest.mark.timeout(600)
def test_it_takes_as_long(databases: list[str]) -> None:
    """The medians are within noise of each other; what is not is measured again, as noise does not stay."""
    found = asyncio.run(_medians(databases[0], READS))
    for operation, attempts in found.items():
        assert _alike(*attempts[-1]), (operation, attempts)
    worst = max(abs(foreign_s - unknown_s) for *_, (foreign_s, unknown_s) in found.values())
    rounds = sum(2 * TIMED * len(attempts) for attempts in found.values())
    record("time", rounds, operations=len(READS), medians_apart_us_at_most=round(worst * 1e6))


@pytest.mark.timeout(600)
def test_control_an_answer_that_takes_longer_for_what_is_somebody_elses_is_found(
    databases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that does more where somebody else has the id, and answers the same."""
    monkeypatch.setattr(api_app, "ROOMS", (*api_app.ROOMS, SimpleNamespace(router=leaks.slow)))
    attempts = asyncio.run(_medians(databases[0], ["slower_for_foreign"]))["slower_for_foreign"]
    assert len(attempts) == ATTEMPTS
    foreign_s, unknown_s = attempts[-1]
    assert not _alike(foreign_s, unknown_s)
    record("a slow answer", 2 * TIMED * ATTEMPTS, found=1, medians_apart_us=round((foreign_s - unknown_s) * 1e6))


def _alike(foreign_s: float, unknown_s: float) -> bool:
    return abs(foreign_s - unknown_s) < max(NOISE * unknown_s, NOISE_S)


async def _medians(database: str, chosen: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """By operation: the medians of foreign and unknown, and those of further attempts as long as they are apart."""
    requests, name = Requests(_document(), 2, only=chosen), next(iter(WORLDS))
    found: dict[str, list[tuple[float, float]]] = {}
    with frozen() as (clock, chance):
        async with opened(name, WORLDS[name], database, clock, chance) as world:
            await _neighbours(world, requests)
            for operation_id, method, path, operation in requests.operations:
                attempts = found[operation_id] = []
                while len(attempts) < ATTEMPTS and not (attempts and _alike(*attempts[-1])):
                    took: tuple[list[float], list[float]] = ([], [])
                    for number in range(TIMED):
                        ids = requests.with_ids(operation, path)
                        assert ids is not None, operation_id
                        # Who comes first may pay for something, or find something done: each does in turn.
                        for times, target in list(zip(took, ids[:2], strict=True))[:: -1 if number % 2 else 1]:
                            asked = _asked(world, "service", method, target, "", b"")
                            clock.advance(PAUSE)
                            began = perf_counter()
                            answer = await world.ask(asked, "")
                            times.append(perf_counter() - began)
                            assert answer.status == 404
                    attempts.append((median(took[0]), median(took[1])))
    return found


def _asked(world: World, role: str, method: str, path: str, key: str, body: bytes) -> Asked:
    headers = [*world.cast[role], (b"content-type", b"application/json"), (b"felix-correlation-id", _CORRELATION)]
    if key:
        headers.append((b"idempotency-key", key.encode()))
    return Asked("", role, method, path, b"", tuple(headers), body)


def _as_unknown(answer: Answer, replaced: Sequence[tuple[str, str]]) -> Answer:
    body = answer.body
    for foreign, unknown in replaced:
        body = body.replace(foreign.encode(), unknown.encode())
    return Answer(answer.status, answer.headers, body)
