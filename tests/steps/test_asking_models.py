"""What it takes to ask a language model: a price, somebody's key, room in the day; and what is not asked twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from fake_models import KEY
from fake_openai import FakeOpenAI
from pydantic import SecretStr
from yard import PLACE, TENANT, TOKENS_MTOK, WORKER, Yard

from felix import bootstrap
from felix.api.change_views import waits_for
from felix.application.changes.steps.stepper import Stepped
from felix.application.changes.transcripts import TRANSCRIPTS_KEY, TranscriptForgotten, Transcripts
from felix.application.performer import new_context
from felix.application.secrets import TenantSecretStore, User, setting, with_root_keys
from felix.cli.doctoring import Examination
from felix.cli.doctoring.work import planner_model
from felix.domain.base import Command
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.identity.roles import PLATFORM
from felix.domain.ledger.token_account import TokenAccount
from felix.domain.metering.messages import PublishRateCard
from felix.domain.metering.rate_card import UnknownPrice
from felix.domain.secrets.tenant_secrets import (
    SECRETS_STREAM,
    NameIsFelixs,
    RemoveSecret,
    RotateTenantKey,
    SealSecretsAnew,
    SecretUsed,
    TenantSecrets,
)
from felix.eventstore.connections import connect
from felix.eventstore.recorded_plans import KEEP, RecordedPlans
from felix.eventstore.sealing import SealBroken

FOUNDER = "founder:usr_founds"
FREE_TEXT = "Customers tell us a day, and we forget it"
DUE = {"op": "add_field", "entity": "deal", "field": "due_on", "definition": {"type": "date", "label": "Due on"}}
PLAN = ("plan", {"rationale": "Adds a due date.", "operations": [DUE]})
FLAT_MTOK = 1_000
ONCE_MTOK = FLAT_MTOK + 9_000 * 1_500 // 1_000 + 200 * 6_000 // 1_000
KEY_NAME = "planner.openai-key"
USER = User("system:test")
_numbers = count(1)


@dataclass
class Desk:
    """A yard whose steps ask a model at a provider of the test's."""

    yard: Yard
    provider: FakeOpenAI
    secrets: TenantSecretStore

    @contextmanager
    def asking(self, **settings: Any) -> Iterator[Yard]:
        """The same yard with other settings."""
        yard = self.yard
        told = yard.settings.model_copy(
            update={"planner_model": FakeOpenAI.model, "planner_base_url": self.provider.base_url, **settings}
        )
        endpoints = bootstrap.Endpoints(yard.database, None, None)
        with ExitStack() as stack:
            desk = bootstrap.open_documents(endpoints, told)
            stack.callback(desk.index.close)
            opened = bootstrap.open_stepper(endpoints, told, yard.apps, desk.index, self.secrets)
            yield replace(yard, stepper=stack.enter_context(opened), settings=told)

    def begin(self) -> tuple[str, str]:
        """An app of its own and the account that pays; the provider plans whatever it is asked."""
        self.yard.at = datetime.now(UTC)
        self.provider.script[:] = [PLAN] * 9
        app, account_id = f"asking-{next(_numbers)}", self.yard.account()
        self.yard.found(app, account_id)
        return app, account_id

    @contextmanager
    def with_key(self, tenant_id: UUID, value: str) -> Iterator[None]:
        """Let somebody have a key for models for a while."""
        keys = bootstrap.root_keys(self.yard.settings)
        command, enclosed = setting(keys, tenant_id, {"name": KEY_NAME}, value)
        self.do(tenant_id, command, enclosed)
        try:
            yield
        finally:
            self.do(tenant_id, RemoveSecret(name=KEY_NAME))

    def do(self, tenant_id: UUID, command: Command, enclosed: dict[str, Any] | None = None) -> None:
        context = new_context(tenant_id, f"asking-{next(_numbers)}", FOUNDER, enclosed=enclosed)
        _ = self.yard.performer.perform_blocking(command, context).result


def ask(yard: Yard, app: str, account_id: str, words: str, **more: Any) -> str:
    """Ask for a change at a door that quotes the model."""
    return yard.ask(app, account_id, words, default_model=FakeOpenAI.model, **more)


def step_until(yard: Yard, change_id: str, *states: str) -> Change:
    """Take steps until the change is in one of these states."""
    for _ in range(12):
        if yard.change(change_id).state in states:
            return yard.change(change_id)
        step(yard, change_id)
    raise AssertionError(yard.change(change_id).state)


def step(yard: Yard, change_id: str) -> Stepped:
    return yard.stepper.step(PLACE, change_id, lambda command: yard.do(command, WORKER), yard.at)


def told(yard: Yard, change_id: str, event_class: type[Any]) -> list[dict[str, Any]]:
    events = yard.aggregates.events(PLACE, Change, change_id)
    return [dict(event.payload) for event in events if event.type == event_class.TOPIC]


@pytest.fixture(scope="module")
def desk(yard: Yard) -> Iterator[Desk]:
    """A provider, the client's prices, and a platform that can have secrets."""
    endpoints = bootstrap.Endpoints(yard.database, None, None)
    directory = bootstrap.open_directory(endpoints, partitions=yard.settings.partitions)
    secrets = bootstrap.open_secrets(endpoints, yard.performer, directory.partition_of, yard.settings)
    model = {"kind": "per_unit", "model": FakeOpenAI.model, "per": 1_000}
    prices = [
        model | {"meter": "llm.input_tokens", "price_mtok": 1_500},
        model | {"meter": "llm.output_tokens", "price_mtok": 6_000},
    ]
    card = PublishRateCard.model_validate({"rate_card_id": "default", "prices": prices})
    _ = yard.do(card, FOUNDER).result
    with FakeOpenAI().running() as provider:
        yield Desk(yard, provider, secrets)
    directory.close()


def test_a_model_without_a_price_is_refused_at_the_door_and_asked_by_no_worker(desk: Desk) -> None:
    app, account_id = desk.begin()
    unpriced = "openai:gpt-free"
    for chosen in ({"model": unpriced}, {"planner": "llm", "default_model": unpriced}):
        with pytest.raises(UnknownPrice) as refused:
            desk.yard.ask(app, account_id, **chosen)
        assert refused.value.facts["model"] == unpriced
    with desk.asking(planner_model=unpriced, planner_key=None) as yard:
        asked = yard.ask(app, account_id, FREE_TEXT, default_model=unpriced)
        assert step_until(yard, asked, "needs_input", "failed").state == "needs_input", "the grammar asks back"
        only_model = yard.ask(app, account_id, FREE_TEXT, planner="llm")
        change = step_until(yard, only_model, "failed")
    assert "no price" in told(yard, change.local_id, m.ChangeFailed)[0]["reason"]
    account = yard.aggregates.find(PLACE, TokenAccount, account_id)
    assert account is not None and not account.holds and account.available_mtok == TOKENS_MTOK - FLAT_MTOK
    assert not desk.provider.asked
    for model, can_be_asked in ((FakeOpenAI.model, True), (unpriced, False)):
        settings = yard.settings.model_copy(update={"planner_model": model})
        signs, checks = asyncio.run(bootstrap.look_around(settings))
        assert [check.ok for check in checks if check.name == "planner model"] == [can_be_asked]
        examination = Examination()
        vars(examination).update(settings=settings, signs=signs)
        (finding,) = planner_model(examination)
        assert finding.level == ("ok" if can_be_asked else "problem") and model in finding.case


def test_a_clients_own_key_goes_before_the_platforms_and_that_before_the_settings(desk: Desk) -> None:
    app, account_id = desk.begin()
    platforms, own = KEY + "-of-the-platform", KEY + "-of-the-client"
    desk.provider.keys |= {platforms, own}
    found: dict[str, tuple[str, int]] = {}
    with ExitStack() as kept, desk.asking(planner_key=SecretStr(KEY)) as yard:
        for number, (owner, value) in enumerate(((None, KEY), (PLATFORM, platforms), (TENANT, own))):
            if owner is not None:
                kept.enter_context(desk.with_key(owner, value))
            change = step_until(yard, ask(yard, app, account_id, f"{FREE_TEXT} {number}", planner="llm"), "planned")
            (started,) = told(yard, change.local_id, m.PlanStarted)
            found[started["key"]] = (desk.provider.asked[-1].bearer, change.spent_mtok)
    assert found == {"setting": (KEY, ONCE_MTOK), "platform": (platforms, ONCE_MTOK), "tenant": (own, FLAT_MTOK)}
    # What the client's own key was used for is counted, and costs none of its tokens; the quote knew it.
    (reserved,) = [each for each in told(yard, change.local_id, m.TokensReserved) if each["price_card"] == "own-key/0"]
    settled = told(yard, change.local_id, m.TokensSettled)
    assert reserved["amount_mtok"] == 0 and reserved["lines"][0][0] == "llm.input_tokens"
    assert [each[:3] for each in settled[0]["lines"]] == [["llm.input_tokens", 9_000, 0], ["llm.output_tokens", 200, 0]]
    assert not any("llm" in line[0] for line in told(yard, change.local_id, m.TokensQuoted)[0]["lines"])
    place = (desk.secrets.partition_of(PLATFORM), PLATFORM)
    for where in (PLACE, place):
        used = [
            each.payload
            for each in yard.aggregates.events(where, TenantSecrets, SECRETS_STREAM)
            if each.type == SecretUsed.TOPIC and each.payload["name"] == KEY_NAME
        ]
        assert [each["purpose"] for each in used] == ["changes.plan"] and used[0]["reference"].startswith("chg_")
    with connect(yard.database) as connection:
        logged = b"".join(state for (state,) in connection.execute("select state from felix.events").fetchall())
    assert b"-of-the-" not in logged
    # A provider that fails with the client's own key is nobody's loss but its own.
    desk.provider.faults[:] = [desk.provider.fails]
    with desk.with_key(TENANT, own), desk.asking() as yard:
        change = step_until(yard, ask(yard, app, account_id, f"{FREE_TEXT}!", planner="llm"), "planning")
        step(yard, change.local_id)
    assert told(yard, change.local_id, m.StepFailed)[0]["retried"]
    assert not told(yard, change.local_id, m.ProviderUsageUnmeasured)


def test_the_same_is_not_asked_twice_within_a_week(desk: Desk) -> None:
    app, account_id = desk.begin()
    with desk.asking(planner_key=SecretStr(KEY)) as yard:

        def plan(words: str = FREE_TEXT, **more: Any) -> tuple[int, bool, int]:
            asked = len(desk.provider.asked)
            change = step_until(yard, ask(yard, app, account_id, words, **more), "planned")
            (proposed,) = told(yard, change.local_id, m.PlanProposed)
            assert (proposed["planner"], proposed["model"]) == ("llm/1", FakeOpenAI.model)
            last.append(change.local_id)
            return len(desk.provider.asked) - asked, proposed["cached"], change.spent_mtok

        last: list[str] = []
        fresh, again = (1, False, ONCE_MTOK), (0, True, FLAT_MTOK)
        assert plan() == fresh
        assert plan() == again
        first, second = (told(yard, change_id, m.PlanProposed)[0] for change_id in last)
        assert first | {"cached": True} == second, "it is the plan that is in the log, transcript and all"
        assert plan(f"{FREE_TEXT}.") == fresh, "in other words"
        assert plan(retry_of=last[0]) == fresh, "whoever tries again wants another plan"
        other, _ = desk.begin()
        app, kept = other, app
        assert plan() == fresh, "of another app"
        app = kept
        yard.at += KEEP + timedelta(seconds=1)
        assert plan() == fresh, "later"
    with connect(yard.database) as connection:
        ((question,), *_) = connection.execute("select question from felix.recorded_plans").fetchall()
    plans = RecordedPlans(lambda: connect(yard.database))
    assert plans.find(PLACE, question, datetime.now(UTC)) is not None
    assert plans.find((PLACE[0], UUID(int=81)), question, datetime.now(UTC)) is None, "of another client"
    plans.close()


def test_what_a_client_spends_on_models_in_a_day_is_limited_and_goes_on_the_next(desk: Desk) -> None:
    app, account_id = desk.begin()
    desk.yard.at = (desk.yard.at + timedelta(days=30)).replace(hour=12)
    tomorrow = desk.yard.at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    with desk.asking(planner_key=SecretStr(KEY)) as yard:
        first = step_until(yard, ask(yard, app, account_id, f"{FREE_TEXT} one"), "planned")
        most_mtok = max(each["amount_mtok"] for each in told(yard, first.local_id, m.TokensReserved))
    with desk.asking(planner_key=SecretStr(KEY), planner_day_tokens=most_mtok // 1_000 + 1) as yard:
        second = ask(yard, app, account_id, f"{FREE_TEXT} two")
        change = step_until(yard, second, "blocked_funds")
        (lacked,) = told(yard, second, m.FundsInsufficient)
        assert lacked["why"] == "model_day_limit_reached"
        assert datetime.fromisoformat(lacked["opens_at"]) == tomorrow
        assert change.held_mtok == 0
        row = {"state": "blocked_funds", "reason": f"{lacked['why']} until {lacked['opens_at']}"}
        assert waits_for(row) == f"room below a limit, at {lacked['opens_at']}"
        assert step(yard, second).until == tomorrow, "it goes on by itself when there is room again"
        asked = len(desk.provider.asked)
        yard.at = tomorrow
        assert step_until(yard, second, "planned").spent_mtok == ONCE_MTOK and len(desk.provider.asked) == asked + 1


def test_a_provider_that_fails_is_asked_three_times_more_and_one_that_refuses_never(desk: Desk) -> None:
    app, account_id = desk.begin()
    with desk.asking(planner_key=SecretStr(KEY)) as yard:
        for fault, tries in ((desk.provider.breaks, 4), (desk.provider.is_spent, 1)):
            asked = len(desk.provider.asked)
            desk.provider.faults[:] = [fault] * tries
            change = step_until(yard, ask(yard, app, account_id, FREE_TEXT, planner="llm"), "failed")
            assert len(desk.provider.asked) == asked + tries == asked + len(told(yard, change.local_id, m.StepFailed))
            assert change.spent_mtok == 0 and not change.holds


def test_transcripts_are_sealed_with_a_key_of_the_tenant_and_gone_with_it(desk: Desk) -> None:
    yard = desk.yard
    objects, keys = bootstrap.open_objects(yard.settings), bootstrap.root_keys(yard.settings)
    transcripts = Transcripts(objects, desk.secrets, lambda: keys)
    digest = transcripts.keep(TENANT, b"what was said", USER)
    assert transcripts.read(TENANT, digest, USER) == b"what was said"
    sealed = objects.get(m.OBJECTS["transcript"], digest)
    assert b"what was said" not in sealed
    with pytest.raises(SealBroken):
        keys.unseal(sealed, m.OBJECTS["transcript"], str(TENANT))
    desk.do(TENANT, RotateTenantKey(), with_root_keys(keys))
    anew = desk.secrets.under_old_keys(TENANT, 2)
    desk.do(TENANT, SealSecretsAnew(key_version=2), anew)
    assert transcripts.read(TENANT, digest, USER) == b"what was said", "also after the tenant's key was replaced"
    with pytest.raises(TranscriptForgotten):
        transcripts.read(PLATFORM, digest, USER)
    first = objects.put(m.OBJECTS["transcript"], keys.seal(b"long ago", m.OBJECTS["transcript"], str(TENANT)))
    command, enclosed = setting(keys, TENANT, {"name": TRANSCRIPTS_KEY}, "of somebody")
    with pytest.raises(NameIsFelixs):
        desk.do(TENANT, command, enclosed)
    desk.do(TENANT, RemoveSecret(name=TRANSCRIPTS_KEY))
    with pytest.raises(TranscriptForgotten):
        transcripts.read(TENANT, digest, USER)
    other = transcripts.keep(TENANT, b"what was said then", USER)
    assert transcripts.read(TENANT, other, USER) == b"what was said then"
    with pytest.raises(TranscriptForgotten):
        transcripts.read(TENANT, digest, USER)
    assert transcripts.read(TENANT, first, USER) == b"long ago", "what the root key has sealed opens still"
