"""A worker is paused in the middle of a step, another takes the change to its end, and then the first one goes on.

It is paused where it has just decided what to do, before and after it has put an object, moved a ref, or heard what
became of a command, for as long as the other one needs for everything that was left. Nothing that it does then may have
an effect: the version that it saw is long over. Afterwards everything is looked at as after a kill, and the late worker
has to know that it was late.
"""

from __future__ import annotations

import pytest
from figures import DEEP, record
from invariants import violations
from test_kills import begin
from yard import OUTCOMES, Ask, Yard

#: How many places of each outcome.
PLACES = 12 if DEEP else 1


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_worker_that_wakes_up_late_changes_nothing(yard: Yard, nursery: Ask, outcome: str) -> None:
    _, state = OUTCOMES[outcome]
    late, found = 0, []
    # A change passes some fifty such places; these are spread over them, the last ones where it goes live.
    chosen = [4 + (number * 47) // PLACES for number in range(PLACES)] if DEEP else [35]
    for place in chosen:
        change_id, first = begin(yard, f"late-{outcome}")
        ran = nursery({"change_id": change_id, "outcome": outcome, "place": place, "pause": True})
        found += [f"{place}: {worker['error']}" for worker in (ran, ran["other"]) if "error" in worker]
        found += [f"{place}: {each}" for each in violations(yard, change_id, first, state)]
        late += bool(ran.get("late"))
    record(outcome, len(chosen), zombies=len(chosen), told_that_they_were_late=late, violations=len(found))
    assert not found, found
    assert late, "nobody was late"
