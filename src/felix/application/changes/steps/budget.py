"""What a planner may spend on a change: held in the change's own stream, request by request.

A worker that is late is fenced by the stream's version, so it asks no model anything that nobody has held tokens for.
"""

from __future__ import annotations

from typing import Any

from felix.application.changes.planners import PlannerIdentity, Usage
from felix.application.changes.steps.workbench import Perform
from felix.domain.changes import messages as m
from felix.domain.changes.bills import CACHED_INPUT, INPUT, OUTPUT
from felix.domain.changes.change import Change
from felix.domain.changes.errors import ChangeMovedOn
from felix.domain.errors import PaymentRequired, Refused


class RequestNotPaid(PaymentRequired):
    """The account has too few tokens for the next request to the model, or the change may not cost as much."""


class PlanningOver(Refused):
    """Nobody waits for this plan any more."""


class ChangeBudget:
    """The :class:`~felix.application.changes.planners.Budget` of one run of a planner."""

    def __init__(self, change: Change, perform: Perform, day_limit_mtok: int | None = None) -> None:
        """``day_limit_mtok`` is what all changes of the client may spend on models in a day."""
        self._change_id = change.local_id
        self._day_limit_mtok = day_limit_mtok
        self._perform = perform
        self._askers: dict[str, PlannerIdentity] = {}
        #: That of the change after what was held and settled.
        self.version = change.version
        # Ids go up: the first hold is that of planning itself, and the others are of requests of a worker that died.
        for left in sorted(hold_id for hold_id, hold in change.holds.items() if hold["step"] == "plan")[1:]:
            self.release(left, "the worker died", unmeasured=True)

    def hold(self, by: PlannerIdentity, worst: Usage) -> str:
        """Set aside what a request costs at the most. Raises :class:`RequestNotPaid`, :class:`PlanningOver`."""
        told = self._do(
            m.HoldForRequest(**self._step(), lines=_lines(by.model, worst), day_limit_mtok=self._day_limit_mtok)
        )
        hold: str | None = told["hold_id"]
        if hold is None:
            raise RequestNotPaid() if told["state"] == "blocked_funds" else PlanningOver()
        self._askers[hold] = by
        return hold

    def settle(self, hold: str, used: Usage) -> None:
        """Pay for what the request used. Raises :class:`PlanningOver` where somebody has cancelled meanwhile."""
        lines = _lines(self._askers[hold].model, used)
        told = self._end(hold, lines=lines, estimated=used.estimated)
        if told["state"] != "planning":
            raise PlanningOver()

    def release(self, hold: str, why: str, *, unmeasured: bool) -> None:
        """Give everything back; what the provider may have used is the loss of whose key it was asked with."""
        asker = self._askers.get(hold)
        own_key = asker is not None and asker.key == "tenant"
        self._end(hold, unmeasured=int(unmeasured and not own_key))

    def _end(self, hold: str, **how: Any) -> dict[str, Any]:
        try:
            return self._do(m.SettleRequest(**self._step(), hold_id=hold, **how))
        except ChangeMovedOn as moved:
            # Somebody asks to cancel while the model answers. What it used is known, and the hold is still this run's:
            # had another worker taken over, it would be gone.
            self.version = moved.facts["version"]
            return self._do(m.SettleRequest(**self._step(), hold_id=hold, **how))

    def _step(self) -> dict[str, Any]:
        return {"change_id": self._change_id, "expected_version": self.version}

    def _do(self, command: m.HoldForRequest | m.SettleRequest) -> dict[str, Any]:
        told = self._perform(command).result
        self.version = told["version"]
        return told


def _lines(model: str | None, usage: Usage) -> list[m.Line]:
    return [
        m.Line(meter=INPUT, quantity=usage.input_tokens - usage.cached_input_tokens, model=model),
        m.Line(meter=CACHED_INPUT, quantity=usage.cached_input_tokens, model=model),
        m.Line(meter=OUTPUT, quantity=usage.output_tokens, model=model),
    ]
