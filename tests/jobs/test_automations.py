"""What apps do by themselves: automations after an event, once, in one append, and held while a release is tried."""

from __future__ import annotations

import email
import hmac
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from app_shop import APP, Client, Shop, open_shop

from felix.adapters.webhooks import WebhookRefused
from felix.application.jobs.apps import KEEP_SETTLED, schedule_job
from felix.application.secrets import setting
from felix.application.sign_in import Mailer
from felix.domain.apps.founding import new_app
from felix.domain.apps.messages import SettleEffect
from felix.domain.errors import FelixError
from felix.modules.library import library

sys.path.append(str(Path(__file__).parents[1] / "domain" / "apps"))

from sample_app import FILES

_numbers = count(1)
#: A deal that is won makes a contact, and whoever is made a contact or a VIP is greeted.
CASCADE = FILES | {
    "automations/thank.json": FILES["automations/thank.json"] | {"enabled": False},
    "automations/follow_up.json": {
        "title": "Keep in touch", "on": {"event": "changed", "entity": "deal", "field": "stage"},
        "when": {"field": "stage", "is": "equal", "value": "won"},
        "actions": [{"do": "create_record", "entity": "contact", "from_fields": {"name": "title"}}],
    },
    "automations/greet.json": {
        "title": "Greet", "on": {"event": "created", "entity": "contact"},
        "when": {"field": "email", "is": "is_empty"},
        "actions": [{"do": "set_field", "field": "vip", "value": True}],
    },
    "automations/write.json": {
        "title": "Write", "on": {"event": "changed", "entity": "contact", "field": "vip"},
        "when": {"field": "email", "is": "is_filled"},
        "actions": [{"do": "send_email", "template": "hello", "to_field": "email"}],
    },
    "templates/hello.json": {"title": "Hello", "subject": "Hello {{ contact.name }}", "entity": "contact"},
    "templates/hello.liquid": "Hello, {{ contact.email }}!",
    "tests/winning.json": FILES["tests/winning.json"] | {"then": [{"record": "ours", "has": {"stage": "won"}}]},
}  # fmt: skip
HOOKED = FILES | {
    "integrations/hook.json": {
        "title": "Hook", "connector": "webhook", "secret_ref": "hook", "config": {"url": "https://example.com/hook"},
    },
    "automations/tell.json": {
        "title": "Tell", "on": {"event": "created", "entity": "contact"},
        "actions": [{"do": "call_webhook", "integration": "hook"}],
    },
}  # fmt: skip
LOUDER = FILES | {"templates/thanks.liquid": "THANK YOU for {{ deal.title }}"}


@pytest.fixture(scope="module")
def shop(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    name = f"felix_shop_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template} strategy file_copy")
    url = psycopg.conninfo.make_conninfo(postgres_url, dbname=name)
    with open_shop(url, tmp_path_factory.mktemp("shop")) as opened:
        yield opened
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


def won_deal(client: Client, **options: Any) -> str:
    deal = client.create("deal", {"title": "Bread & Co", "email": "ada@example.com"}, **options)
    client.take("deal", deal, "win", **options)
    return deal


def test_an_automation_mails_once_and_says_so(shop: Shop) -> None:
    client = shop.client(FILES)
    deal = won_deal(client)
    shop.settle()
    ((kind, ran),) = client.events("automation.ran", "automation.failed")
    assert kind == "automation.ran", ran
    assert (ran["automation"], ran["cause"], ran["version"], ran["charged_mtok"]) == ("thank", deal, 2, 20)
    assert client.effects() == [("email", "sent")]
    (mail,) = shop.mails(deal)
    assert "Bread & Co" in mail and f"Message-ID: <{ran['effects'][0]}@" in mail
    ((_, sent),) = client.events("effect.sent")
    assert sent["effect_id"] == ran["effects"][0]


# --- what becomes of an event -------------------------------------------------------------------------------


def test_nothing_is_written_where_no_automation_is_set_off(shop: Shop) -> None:
    client = shop.client(FILES)
    deal = client.create("deal", {"title": "Bread"})
    client.take("deal", deal, "lose")
    shop.settle()
    assert client.events("automation.ran", "automation.failed") == [] and client.effects() == []


def test_an_event_that_is_delivered_twice_is_answered_once(shop: Shop) -> None:
    client = shop.client(FILES)
    won_deal(client)
    shop.settle()
    shop.run(
        "update felix.jobs set state = 'waiting', finished_at = null where tenant_id = %s and kind like 'apps.%%'"
        " and state = 'done'", client.tenant_id,
    )  # fmt: skip
    shop.settle()
    assert len(client.events("automation.ran")) == 1 and client.effects() == [("email", "sent")]


def test_automations_write_records_as_people_do_and_each_other_follow(shop: Shop) -> None:
    client = shop.client(CASCADE)
    deal = won_deal(client)
    shop.settle()
    runs = client.events("automation.ran", "automation.failed")
    assert [(told["automation"], kind) for kind, told in runs] == [
        ("follow_up", "automation.ran"), ("greet", "automation.ran"),
    ], runs  # fmt: skip
    (made,) = runs[0][1]["records"]
    created = client.events("record.created")[-1][1]
    assert created["values"]["name"] == "Bread & Co" and created["entity"] == "contact"
    changed = client.events("record.changed")[-1][1]
    assert changed["values"] == {"vip": True} and runs[1][1]["records"] == [made]
    assert deal != made


def test_what_is_personal_stays_in_the_vault_until_the_mail_goes(shop: Shop) -> None:
    client = shop.client(CASCADE)
    contact = client.create("contact", {"name": "Ada", "email": "ada@lovelace.example"})
    client.change("contact", contact, {"vip": True})
    shop.settle()
    (mail,) = shop.mails(contact)
    assert "To: ada@lovelace.example" in mail and "ada@lovelace.example!" in mail
    ((told,),) = shop.rows("select told::text from felix.effects where tenant_id = %s", client.tenant_id)
    assert "lovelace" not in told


def test_whom_nobody_knows_any_more_gets_nothing(shop: Shop) -> None:
    client = shop.client(CASCADE)
    contact = client.create("contact", {"name": "Ada", "email": "ada@lovelace.example"})
    client.change("contact", contact, {"vip": True})
    shop.run("delete from felix.vault where subject_id = %s", contact)
    shop.settle()
    assert client.effects() == [("email", "failed")] and shop.mails(contact) == []
    ((_, failed),) = client.events("effect.failed")
    assert failed["failure"] in ("nobody_to_write_to", "template_broken")


def test_a_role_is_everybody_who_has_it(shop: Shop) -> None:
    thank = FILES["automations/thank.json"]
    to_role = thank | {"actions": [{"do": "send_email", "template": "thanks", "to_role": "client_approver"}]}
    client = shop.client(FILES | {"automations/thank.json": to_role})
    people = [client.member("client_approver", f"{name}@example.com") for name in ("ada", "bob")]
    client.member("client_member", "eve@example.com")
    won_deal(client)
    shop.settle()
    assert client.effects() == [("email", "sent")] * 2
    assert [len(shop.mails(person)) for person in people] == [1, 1]


def test_without_tokens_nothing_happens_and_the_history_says_why(shop: Shop) -> None:
    client = shop.client(CASCADE, tokens_mtok=30)  # a record and a step, and half an automation
    won_deal(client)
    shop.settle()
    runs = client.events("automation.ran", "automation.failed")
    assert {(kind, told["failure"]) for kind, told in runs} == {("automation.failed", "insufficient_tokens")}
    assert [told["entity"] for _, told in client.events("record.created")] == ["deal"]
    client.top_up(1_000)
    won_deal(client)
    shop.settle()
    assert client.events("automation.ran"), "with tokens it does"


def test_an_automation_that_sets_itself_off_stops_there(shop: Shop) -> None:
    again = {
        "title": "Again", "on": {"event": "created", "entity": "deal"},
        "actions": [{"do": "create_record", "entity": "deal", "from_fields": {"title": "title"}}],
    }  # fmt: skip
    client = shop.client(FILES | {"automations/again.json": again})
    client.create("deal", {"title": "Bread"})
    shop.settle()
    runs = client.events("automation.ran", "automation.failed")
    assert [(kind, told.get("failure")) for kind, told in runs] == [
        ("automation.ran", None), ("automation.failed", "automation_loop"),
    ]  # fmt: skip
    assert len(client.events("record.created")) == 2


def test_what_a_module_writes_along_sets_off_more(shop: Shop) -> None:
    """An order makes a stock move, that makes the item run low, and whoever owns the company is told."""
    order = {
        "title": "Order", "plural": "Orders", "named_by": "title",
        "fields": {
            "title": {"type": "text", "label": "Title", "required": True},
            "item": {"type": "reference", "label": "Item", "to": "item"},
            "location": {"type": "reference", "label": "Location", "to": "location"},
            "number": {"type": "integer", "label": "Number"},
        },
    }  # fmt: skip
    take_out = {
        "title": "Take out of stock", "on": {"event": "created", "entity": "order"},
        "actions": [{
            "do": "create_record", "entity": "stock_move", "values": {"kind": "out"},
            "from_fields": {"item": "item", "location": "location", "quantity": "number", "reference": "title"},
        }],
    }  # fmt: skip
    stocked = new_app(APP, "The bakery", ["inventory"], library()).files
    client = shop.client({**stocked, "entities/order.json": order, "automations/take_out.json": take_out})
    owner = client.member("client_owner", "owner@example.com")
    place = client.create("location", {"name": "Shelf"})
    bread = client.create("item", {"name": "Bread", "sku": "B-1", "reorder_level": 5})
    there = {"item": bread, "location": place}
    client.create("stock_move", {"kind": "in", "quantity": 10, "reference": "first", **there})
    shop.settle()
    assert shop.mails(owner) == [], "there is enough"
    client.create("order", {"title": "Order 1", "number": 7, **there})
    shop.settle()
    runs = client.events("automation.ran", "automation.failed")
    assert [(told["automation"], kind) for kind, told in runs] == [
        ("take_out", "automation.ran"), ("low_stock", "automation.ran"),
    ], runs  # fmt: skip
    assert len(shop.mails(owner)) == 1
    client.create("order", {"title": "Order 2", "number": 7, **there})
    shop.settle()
    (kind, told) = client.events("automation.ran", "automation.failed")[-1]
    assert (kind, told["failure"]) == ("automation.failed", "insufficient_stock"), "the module says no"


# --- while a release is tried -------------------------------------------------------------------------------


def test_what_a_candidate_sends_waits_and_goes_out_when_it_is_promoted(shop: Shop) -> None:
    client = shop.client(FILES)
    candidate = client.deploy("canary", LOUDER)
    deal = won_deal(client, release=candidate)
    by_stable = won_deal(client)
    shop.settle()
    assert sorted(client.effects()) == [("email", "held"), ("email", "sent")]
    assert shop.mails(deal) == [] and len(shop.mails(by_stable)) == 1
    client.deploy("promote")
    shop.settle()
    assert client.effects() == [("email", "sent")] * 2
    assert "THANK YOU" in shop.mails(deal)[0]


def test_what_a_candidate_sends_is_dropped_when_it_is_rolled_back(shop: Shop) -> None:
    client = shop.client(FILES)
    candidate = client.deploy("canary", LOUDER)
    deal = won_deal(client, release=candidate)
    shop.settle()
    assert client.effects() == [("email", "held")]
    client.deploy("roll back")
    shop.settle()
    assert client.effects() == [("email", "dropped")] and shop.mails(deal) == []
    late = client.create("deal", {"title": "Late", "email": "ada@example.com"})
    client.take("deal", late, "win")
    shop.settle()
    assert len(shop.mails(late)) == 1, "and what runs sends as before"


def test_an_event_of_a_candidate_that_is_gone_is_answered_by_what_runs(shop: Shop) -> None:
    client = shop.client(FILES)
    candidate = client.deploy("canary", LOUDER)
    deal = won_deal(client, release=candidate)
    client.deploy("roll back")
    shop.settle()
    assert client.effects() == [("email", "sent")] and "thank you" in shop.mails(deal)[0]


# --- sending ------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The worker is gone."""


class DiesAfterSending:
    """Hands the mail over and dies before anybody hears of it."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    def send(self, *told: Any, **more: Any) -> None:
        self._mailer.send(*told, **more)
        raise Killed


def test_who_dies_between_sending_and_saying_so_sends_again_under_the_same_key(shop: Shop) -> None:
    """At least once to the outside, under one key; once in the books."""
    client = shop.client(FILES)
    deal = won_deal(client)
    apps = shop.upkeep.apps
    shop.upkeep.apps = replace(apps, mailer=DiesAfterSending(apps.mailer))
    try:
        with pytest.raises(Killed):
            shop.settle()
    finally:
        shop.upkeep.apps = apps
    assert client.effects() == [("email", "due")] and client.events("effect.sent") == []
    shop.run("update felix.jobs set claimed_until = now() - interval '1 s' where state = 'running'")
    shop.book.lapse()
    shop.settle()
    first, second = shop.mails(deal)
    assert client.effects() == [("email", "sent")] and len(client.events("effect.sent")) == 1
    keys = {line for mail in (first, second) for line in mail.splitlines() if line.startswith("Message-ID")}
    assert len(keys) == 1


class Called:
    """Another system that takes what it is told, or does not."""

    def __init__(self, refusal: FelixError | None = None) -> None:
        self.calls: list[tuple[str, bytes, dict[str, str]]] = []
        self._refusal = refusal

    def call(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.calls.append((url, body, dict(headers)))
        if self._refusal is not None:
            raise self._refusal


@pytest.mark.parametrize("refusal", [None, WebhookRefused(status=410)])
def test_another_system_is_told_under_a_signature(shop: Shop, refusal: FelixError | None) -> None:
    client = shop.client(HOOKED)
    setting_of = setting(shop.sealing.root_keys(), client.tenant_id, {"name": "hook", "overlap_s": 0}, "s3cret")
    assert client.perform(*setting_of).accepted
    apps, called = shop.upkeep.apps, Called(refusal)
    shop.upkeep.apps = replace(apps, webhooks=called)
    try:
        contact = client.create("contact", {"name": "Ada", "email": "ada@lovelace.example"})
        shop.settle()
    finally:
        shop.upkeep.apps = apps
    ((url, body, headers),) = called.calls
    told = json.loads(body)
    assert url == "https://example.com/hook" and b"lovelace" not in body
    assert (told["event"], told["record_id"], told["values"]) == ("created", contact, {"name": "Ada", "vip": False})
    signed = hmac.new(b"s3cret", f"{told['at']}.".encode() + body, sha256).hexdigest()
    assert headers["Felix-Signature"] == f"t={told['at']},v1={signed}" and headers["Idempotency-Key"] == told["id"]
    assert client.effects() == [("webhook", "failed" if refusal else "sent")]
    assert [failed["failure"] for _, failed in client.events("effect.failed")] == ["webhook_refused"] * bool(refusal)


def test_an_effect_is_settled_once(shop: Shop) -> None:
    client = shop.client(FILES)
    won_deal(client)
    shop.settle()
    ((_, sent),) = client.events("effect.sent")
    settle = SettleEffect(app=APP, environment="production", effect_id=sent["effect_id"], failure="other")
    assert client.perform(settle).result == {"sent": True}
    assert client.effects() == [("email", "sent")] and client.events("effect.failed") == []


def test_what_went_out_long_ago_is_forgotten_and_what_waits_is_not(shop: Shop) -> None:
    client = shop.client(FILES)
    won_deal(client)
    shop.settle()
    candidate = client.deploy("canary", LOUDER)
    won_deal(client, release=candidate)
    shop.settle()
    shop.run("update felix.effects set made_at = now() - interval '1 year'")
    assert shop.upkeep.apps.effects.purge(KEEP_SETTLED) == 0, "it went out just now"
    shop.run("update felix.effects set settled_at = made_at where settled_at is not null")
    assert shop.upkeep.apps.effects.purge(KEEP_SETTLED) > 0
    assert client.effects() == [("email", "held")] and len(client.events("effect.sent")) == 1


# --- schedules ----------------------------------------------------------------------------------------------


def timers(shop: Shop, client: Client) -> list[tuple[str, str]]:
    """Schedule and state of every timer of a client."""
    return shop.rows(
        "select payload ->> 'schedule', state from felix.jobs where tenant_id = %s and kind = 'apps.run_schedule'"
        " order by due_at", client.tenant_id,
    )  # fmt: skip


def come(shop: Shop, client: Client) -> None:
    """Let a timer be due that was set for a time of the schedule as it was, long ago."""
    at = datetime(2026, 1, 1, 7, tzinfo=UTC)
    shop.book.add([schedule_job(client.place, APP, "production", "monthly", at)])


def test_a_schedule_makes_its_report_and_sets_its_next_timer(shop: Shop) -> None:
    client = shop.client(FILES)
    owner = client.member("client_owner", "owner@example.com")
    deal = client.create("deal", {"title": "=Bread", "value": 1250, "closes_on": "2026-01-05"})
    client.take("deal", deal, "win")
    shop.settle()
    assert timers(shop, client) == [("monthly", "waiting")]
    come(shop, client)
    shop.settle()
    assert timers(shop, client) == [("monthly", "done"), ("monthly", "waiting")]
    ((_, ran),) = client.events("automation.schedule_ran")
    assert ran["charged_mtok"] == 20 and len(ran["effects"]) == 1
    (mail,) = shop.mails(owner)
    attached = email.message_from_string(mail)
    (table,) = [part for part in attached.walk() if part.get_content_type() == "text/csv"]
    assert b"2026-01-01,1,12.50" in bytes(table.get_payload(decode=True))


def test_a_deploy_that_changes_a_schedule_changes_what_comes_next(shop: Shop) -> None:
    client = shop.client(FILES)
    client.member("client_owner", "owner@example.com")
    shop.settle()
    other = FILES | {"schedules/monthly.json": FILES["schedules/monthly.json"] | {"cron": "30 8 2 * *"}}
    client.deploy("canary", other)
    shop.settle()
    assert len(timers(shop, client)) == 1, "a candidate sets none"
    client.deploy("promote")
    shop.settle()
    assert timers(shop, client) == [("monthly", "waiting")] * 2
    come(shop, client)
    shop.settle()
    assert timers(shop, client)[0] == ("monthly", "done")
    assert client.events("automation.schedule_ran") == [], "eight o'clock is none of its times any more"


def test_a_schedule_that_is_disabled_stops(shop: Shop) -> None:
    client = shop.client(FILES)
    shop.settle()
    off = FILES | {"schedules/monthly.json": FILES["schedules/monthly.json"] | {"enabled": False}}
    client.deploy("canary", off)
    client.deploy("promote")
    shop.settle()
    come(shop, client)
    shop.settle()
    assert timers(shop, client) == [("monthly", "done"), ("monthly", "waiting")]
    assert client.events("automation.schedule_ran") == []
