"""Meters are defined by hand or by a price, and keep their unit."""

from __future__ import annotations

import pytest
from rate_card_stories import NOW, a_catalogue, replayed

from felix.domain.metering import catalogue
from felix.domain.metering.catalogue import MeterCatalogue, MeterUnitFixed, TooManyMeters
from felix.domain.metering.messages import DefineMeter

INPUT = DefineMeter(name="llm.input_tokens", unit="token", description="Read by a model")
DEFINED = {"unit": "token", "description": "Read by a model", "aggregation": "sum", "implicit": False}


def test_a_meter_is_defined() -> None:
    meters = a_catalogue()
    assert meters.define(INPUT) == {"name": "llm.input_tokens", **DEFINED}
    assert meters.meters == {"llm.input_tokens": DEFINED}


def test_the_same_definition_again_changes_nothing() -> None:
    meters = a_catalogue()
    assert meters.define(INPUT) == meters.define(INPUT)
    assert len(meters.pending_events) == 2


def test_a_meter_may_be_described_anew() -> None:
    meters = a_catalogue()
    meters.define(INPUT)
    meters.define(INPUT.model_copy(update={"description": "Prompt"}))
    assert meters.meters["llm.input_tokens"]["description"] == "Prompt"


def test_another_unit_for_a_defined_meter_is_refused() -> None:
    meters = a_catalogue()
    meters.define(INPUT)
    with pytest.raises(MeterUnitFixed):
        meters.define(INPUT.model_copy(update={"unit": "byte"}))
    assert replayed(meters).meters == {"llm.input_tokens": DEFINED}


def test_a_price_defines_the_meters_that_nobody_has() -> None:
    meters = a_catalogue()
    meters.define(INPUT)
    assert meters.define_priced(["module.run", "llm.input_tokens", "change.plan", "module.run"]) == [
        "change.plan",
        "module.run",
    ]
    assert meters.define_priced(["module.run"]) == []
    assert meters.meters["module.run"] == {"unit": "unit", "description": "", "aggregation": "sum", "implicit": True}
    assert meters.meters["llm.input_tokens"] == DEFINED


def test_a_meter_that_a_price_defined_gets_its_real_unit_once() -> None:
    meters = a_catalogue()
    meters.define_priced(["llm.input_tokens"])
    meters.define(INPUT)
    assert meters.meters["llm.input_tokens"] == DEFINED
    with pytest.raises(MeterUnitFixed):
        meters.define(INPUT.model_copy(update={"unit": "byte"}))


def test_a_tenant_has_only_so_many_meters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_METERS", 1)
    meters = a_catalogue()
    meters.define(INPUT)
    with pytest.raises(TooManyMeters):
        meters.define(DefineMeter(name="module.run", unit="run"))
    with pytest.raises(TooManyMeters):
        meters.define_priced(["module.run"])
    meters.define(INPUT.model_copy(update={"description": "Prompt"}))


def test_a_snapshot_stays_as_it_was_taken() -> None:
    meters = a_catalogue()
    meters.define(INPUT)
    restored = MeterCatalogue.restore(
        stream=meters.id, version=meters.version, created_on=NOW, modified_on=NOW, state=meters.snapshot()
    )
    assert restored.snapshot() == replayed(meters).snapshot() == meters.snapshot()
    meters.define_priced(["module.run"])
    assert restored.meters == {"llm.input_tokens": DEFINED}
