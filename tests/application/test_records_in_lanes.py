"""Records in the lane: what modules want written goes into the same append, and releases change under requests."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from offices import ACME, Office

from felix.application.performer import new_context
from felix.application.records import ReleaseNotInForce, Sealing, about, changing, creating
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.apps.references import check
from felix.domain.apps.shapes import CompiledApp, compile_app
from felix.domain.base import Command, stream_name
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.messages import CreateApp
from felix.domain.errors import FelixError, Refused
from felix.domain.ledger.messages import GrantTokens, OpenTokenAccount
from felix.domain.records.hooks import Consequence, Hook, Records, Values, Writing, derived_id
from felix.domain.records.messages import RemoveRecord
from felix.domain.records.record import Record
from felix.eventstore.sealing import RootKeys, new_root_key
from felix.eventstore.snapshots import fold
from felix.eventstore.vault import Vault

sys.path.append(str(Path(__file__).parents[1] / "domain" / "apps"))

from sample_app import TREE

KEYS = RootKeys([new_root_key()])
SEALING = Sealing(lambda: KEYS, lambda: Vault(KEYS))


class TooDear(Refused):
    """No deal may be worth so much."""


def expect(writing: Writing, records: Records, config: Values) -> Iterable[Consequence]:
    """Add up what the deals of a contact are worth, in the contact."""
    after = writing.after or {}
    if after.get("value", 0) > 1_000:
        raise TooDear(value=after["value"])
    if "contact" in after:
        sum_id = derived_id("sum", after["contact"])
        known = records.find("contact", sum_id) or {"worth": 0}
        before = (writing.before or {}).get("value", 0)
        worth = known["worth"] + after.get("value", 0) - before
        yield Consequence("contact", sum_id, {"name": "Sum", "worth": worth})
        yield Consequence("deal", writing.record_id, {"title": after["title"].upper()})


CONTACT = TREE.files["entities/contact.json"]
SUM = {"worth": {"type": "integer", "label": "Worth", "hidden": True}}
SUMMING = TREE.with_file("entities/contact.json", CONTACT | {"fields": CONTACT["fields"] | SUM})
APP = compile_app("a" * 64, check(SUMMING), [Hook("crm", "deal", expect, frozenset({"contact", "deal"}))])


class GoOn(Command):
    """Let another release run, as a deploy would."""

    command_name: ClassVar[str] = "test.go_on"
    release: str


@handles(GoOn)
def go_on(command: GoOn, unit: UnitOfWork) -> dict[str, Any]:
    """One deployment, from its lock to its end."""
    environment = unit.get(AppEnvironment, "bakery.production")
    environment.take_lock("chg_" + "0" * 32, command.release, "b" * 64, None, environment.stable)
    assert environment.lock is not None
    environment.promote(environment.lock)
    environment.trigger_event(
        environment.EnvironmentUnlocked,
        change_id=environment.lock["change_id"],
        deployment_id=environment.lock["deployment_id"],
    )
    return {}


class Shop:
    """An app that runs in an office, and somebody at the door."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.number = 0
        self.account = self.do(OpenTokenAccount(name="Main"))["account_id"]
        self.do(GrantTokens(account_id=self.account, amount_mtok=10_000))
        self.do(CreateApp(app="bakery", title="Bakery", release=APP.release, tree="b" * 64))

    def do(self, command: Command, enclosed: Any = None) -> dict[str, Any]:
        self.number += 1
        context = new_context(ACME, f"shop-{self.number}", "client_owner:usr_1", enclosed=enclosed)
        result: dict[str, Any] = self.office.performer.perform_blocking(command, context).result
        return result

    def place(self, entity: str, **more: Any) -> dict[str, Any]:
        return {"app": "bakery", "account_id": self.account, "entity": entity} | more

    def make(self, entity: str, values: dict[str, Any], app: CompiledApp = APP) -> str:
        made = self.do(*creating(SEALING, ACME, app, self.place(entity), values))
        return str(made["record_id"])

    def change(self, entity: str, record_id: str, values: dict[str, Any], app: CompiledApp = APP) -> dict[str, Any]:
        return self.do(*changing(SEALING, ACME, app, self.place(entity, record_id=record_id), values))

    def record(self, record_id: str) -> Record:
        """A record from all of its events."""
        stream = stream_name(ACME, Record.kind, record_id)
        found: Any = None
        for version, type_, event_id, recorded_at, state in self.office.rows(
            "select version, type, event_id, recorded_at, state from felix.events where stream = %s order by version",
            stream,
        ):
            found = fold(found, type_, state, stream, version, recorded_at, event_id)
        assert isinstance(found, Record)
        return found


@pytest.fixture
def shop(office: Office) -> Shop:
    return Shop(office)


def test_what_a_module_wants_is_written_with_the_record_or_nothing_is(shop: Shop) -> None:
    contact = shop.make("contact", {"name": "Ana"})
    total = derived_id("sum", contact)
    deal = shop.make("deal", {"title": "Bread", "value": 5, "contact": contact})
    assert shop.record(total).values == {"name": "Sum", "worth": 5}
    assert shop.record(deal).values["title"] == "BREAD"
    shop.change("deal", deal, {"value": 7})
    assert shop.record(total).values["worth"] == 7
    with pytest.raises(FelixError) as refused:
        shop.change("deal", deal, {"value": 1_001})
    assert refused.value.code == "too_dear"
    assert (shop.record(total).values["worth"], shop.record(deal).values["value"]) == (7, 7)


def test_fields_of_another_release_survive_a_change(shop: Shop) -> None:
    files = TREE.files["entities/deal.json"]
    more = files | {"fields": files["fields"] | {"note": {"type": "text", "label": "Note"}}}
    newer = compile_app("c" * 64, check(TREE.with_file("entities/deal.json", more)))
    shop.do(GoOn(release=newer.release))
    deal = shop.make("deal", {"title": "Bread", "note": "fresh"}, newer)
    shop.change("deal", deal, {"value": 5})
    assert shop.record(deal).values == {"title": "Bread", "note": "fresh", "stage": "open", "value": 5}


def test_a_request_that_was_under_way_during_a_deploy_is_valid_and_a_strange_one_is_not(shop: Shop) -> None:
    for number in range(9):
        shop.do(GoOn(release=f"{number:x}" * 64))
    deal = shop.make("deal", {"title": "Bread"})
    shop.do(GoOn(release="f" * 64))
    with pytest.raises(ReleaseNotInForce):
        shop.change("deal", deal, {"title": "Cake"})


def test_a_personal_value_leaves_the_vault_when_it_is_taken_away(shop: Shop) -> None:
    contact = shop.make("contact", {"name": "Ana", "email": "ana@example.org"})
    assert shop.record(contact).personal.keys() == {"email"}
    assert shop.office.rows("select count(*) from felix.vault") == [(1,)]
    shop.change("contact", contact, {"email": None})
    assert (shop.record(contact).personal, shop.office.rows("select field from felix.vault")) == ({}, [])


def test_a_removed_record_is_no_reference(shop: Shop) -> None:
    contact = shop.make("contact", {"name": "Ana"})
    shop.do(RemoveRecord.model_validate(shop.place("contact", record_id=contact, release=APP.release)), about(APP))
    with pytest.raises(FelixError) as refused:
        shop.make("deal", {"title": "Bread", "contact": contact})
    assert refused.value.code == "invalid_record"
    assert refused.value.facts["errors"][0]["pointer"] == "/values/contact"
