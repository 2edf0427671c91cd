"""Workers are killed at every place of a change's life, and the next one goes on as if nothing had happened.

A change is taken from its request to its end by a worker in a process of its own: context, plan, diff, checks,
approval, a canary in two steps, promotion. It is killed by `os._exit` before, inside and after every transaction, every
object that is put, every commit and every move of a ref in the client's repository. Another worker goes on from the
log. Then everything is looked at: what runs, the lock, the pointer, the canary, what was held and paid, the objects and
commits that events name, and that the second worker itself came to the end.
"""

from __future__ import annotations

from itertools import count, pairwise

import pytest
from figures import DEEP, record
from invariants import violations
from yard import OUTCOMES, Ask, Yard

_numbers = count(1)
#: Places of the short profile, spread over all of them and begun elsewhere for each outcome.
EACH_SHORT = 37


def begin(yard: Yard, prefix: str) -> tuple[str, str]:
    """A change of an app of its own, paid from an account of its own; its id, and the release that runs."""
    app, account_id = f"{prefix}-{next(_numbers)}", yard.account()
    yard.found(app, account_id)
    change_id = yard.ask(app, account_id)
    return change_id, yard.change(change_id).base_release


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_worker_killed_anywhere_leaves_nothing_half_done(yard: Yard, nursery: Ask, outcome: str) -> None:
    _, state = OUTCOMES[outcome]
    change_id, first = begin(yard, outcome)
    whole = nursery({"change_id": change_id, "outcome": outcome})
    assert whole.get("state") == state, whole
    assert not list(violations(yard, change_id, first, state))
    places = whole["places"]
    chosen = range(1, len(places) + 1) if DEEP else range(1 + list(OUTCOMES).index(outcome), len(places), EACH_SHORT)
    found, kinds = [], set()
    for place in chosen:
        change_id, first = begin(yard, outcome)
        died = nursery({"change_id": change_id, "outcome": outcome, "place": place})
        assert died == {"exit": 9}, (places[place - 1], died)
        lives = nursery({"change_id": change_id, "outcome": outcome})
        told = [f"the next worker: {lives['error']}"] if "error" in lives else []
        found += [
            f"{places[place - 1]} ({place}): {each}" for each in (*told, *violations(yard, change_id, first, state))
        ]
        kinds.add(places[place - 1])
    record(
        outcome, len(chosen), kills=len(chosen), places=len(places), kinds_of_places=len(kinds), violations=len(found)
    )
    assert not found, found


def test_control_an_object_that_is_kept_too_late_is_found(yard: Yard, nursery: Ask) -> None:
    """The seeded bug: objects are kept after the event that names them instead of before, so that a worker that dies in
    between leaves an event that names nothing. What was kept before under the same digest is not missed."""
    change_id, _ = begin(yard, "control")
    places = nursery({"change_id": change_id, "outcome": "success", "bug": True})["places"]
    pairs = enumerate(pairwise(places), 1)
    between = [place for place, pair in pairs if pair == ("after commit", "before put")]
    chosen = between if DEEP else between[:2]
    caught = 0
    for place in chosen:
        change_id, first = begin(yard, "control")
        assert nursery({"change_id": change_id, "outcome": "success", "bug": True, "place": place}) == {"exit": 9}
        lives = nursery({"change_id": change_id, "outcome": "success"})
        caught += "error" in lives or bool(list(violations(yard, change_id, first, "deployed")))
    record("seeded bug", len(chosen), kills=len(chosen), caught=caught)
    assert caught > len(chosen) / 2
