"""Generated pages say what the code says, and the written ones name things that are there."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest
from domain.apps.sample_app import TREE
from domain.changes.change_book import everything
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from felix import bootstrap
from felix.api.app import create_app
from felix.application.api_keys import enclosing
from felix.application.identity import Inviter
from felix.application.performer import new_context
from felix.application.records import Sealing, about, changing, creating
from felix.application.secrets import setting, with_root_keys
from felix.application.sign_in import Shown
from felix.cli import docs
from felix.cli.docs import catalogue, diagram, grants, schemas
from felix.domain.apps.references import check
from felix.domain.apps.runs import AppRuns
from felix.domain.apps.shapes import compile_app
from felix.domain.base import Command, FelixEvent
from felix.domain.changes.messages import CreateApp
from felix.domain.context import document as d
from felix.domain.context.reading import Reading
from felix.domain.errors import Invalid, error_classes
from felix.domain.identity.access_log import RecordRead
from felix.domain.identity.api_key import CreateApiKey, RevokeApiKey, RotateApiKey
from felix.domain.identity.bound_identity import BindIdentity
from felix.domain.identity.credentials import EnrolSecondFactor, RemoveSecondFactor, SetPassword
from felix.domain.identity.impersonation import BeginImpersonation, EndImpersonation
from felix.domain.identity.invitation import AcceptInvitation, ExpireInvitation, SendInvitation, WithdrawInvitation
from felix.domain.identity.membership import ChangeRole, EndMembership
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.session import BeginSession, EndSession, StepUpSession
from felix.domain.identity.user import DisableUser, EnableUser, EraseUser, RegisterUser
from felix.domain.ledger import messages as m
from felix.domain.ledger.postings import EVENTS_WITHOUT_POSTINGS, TOKEN_EVENTS
from felix.domain.metering.messages import DefineMeter, PublishRateCard
from felix.domain.privacy.erasure import ErasePersonalData
from felix.domain.records.messages import RemoveRecord, RestoreRecord, TakeStep
from felix.domain.secrets.tenant_secrets import (
    EndSecretVersion,
    RemoveSecret,
    RotateTenantKey,
    SealSecretsAnew,
    UseSecret,
)
from felix.domain.tenancy.tenant import OnboardTenant
from felix.eventstore.api_keys import new_key
from felix.eventstore.connections import connect
from felix.eventstore.context_index import ContextIndex
from felix.eventstore.mapper import RecordedEvent, encode_state, stored_name
from felix.eventstore.reader import read_partition
from felix.eventstore.sealing import RootKeys, new_root_key
from felix.eventstore.sign_in import new_token
from felix.eventstore.vault import Vault

ROOT = Path(__file__).resolve().parents[2]
PAGES = docs.generate()
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives", "Enforced by"]


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == PAGES[name], "run `felix docs write`"


def test_a_page_that_differs_or_is_missing_is_found(tmp_path: Path) -> None:
    assert docs.outdated(tmp_path, PAGES) == list(PAGES)
    for name, text in PAGES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert docs.outdated(tmp_path, PAGES) == []
    (tmp_path / "docs/errors.md").write_text("nothing")
    assert docs.outdated(tmp_path, PAGES) == ["docs/errors.md"]


def test_every_event_of_the_ledger_is_in_the_catalogue_with_what_causes_it() -> None:
    page = PAGES["docs/events.md"]
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.S | re.M))
    assert sections.keys() >= TOKEN_EVENTS | EVENTS_WITHOUT_POSTINGS
    for name, section in sections.items():
        assert "Caused by " in section, name
        assert ("Postings: " in section) == (name in TOKEN_EVENTS), name
        assert f"`{name}`" in page


def test_the_causes_are_those_that_the_code_has() -> None:
    """A sample by hand, since the page is read from the code by a program."""
    sections = dict(re.findall(r"^## (\S+)\n.*?^Caused by (.*?)$", PAGES["docs/events.md"], re.S | re.M))
    assert sections["ledger.tokens_sent"] == "`ledger.transfer_tokens`."
    debits = set(sections["ledger.tokens_debited"].rstrip(".").split(", "))
    assert debits >= {"`documents.add_document`", "`ledger.debit_tokens`", "`metering.debit_usage_batch`"}
    assert sections["ledger.hold_expired"] == "any command on an account where something has run out."
    assert sections["metering.rate_card_created"] == "`metering.publish_rate_card`."


def test_every_error_is_on_the_page() -> None:
    page = PAGES["docs/errors.md"]
    for code, cls in error_classes().items():
        if cls.__module__.split(".")[0] == "felix" and cls.__module__.split(".")[1] in catalogue.ROOMS:
            assert f"`{code}`" in page


# The diagram of the tables.

#: Mermaid's erDiagram, as far as it is used: https://mermaid.js.org/syntax/entityRelationshipDiagram.html
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_ENTITY = re.compile(rf"  {_NAME} {{")
_ATTRIBUTE = re.compile(rf"    [A-Za-z_][A-Za-z0-9_\[\]()]* {_NAME}( (PK|UK|FK)(, (PK|UK|FK))*)?")
_RELATION = re.compile(rf'  ({_NAME}) (\|\||\|o|}}\||}}o)--(\|\||o\||\|{{|o{{) ({_NAME}) : "[^"]+"')


def wrong_lines(mermaid: str) -> list[str]:
    """The lines of a diagram that Mermaid would not draw."""
    lines = mermaid.splitlines()
    wrong = [] if lines[:1] == ["erDiagram"] else lines[:1]
    inside, entities = False, set()
    for line in lines[1:]:
        if inside:
            if line != "  }" and not _ATTRIBUTE.fullmatch(line):
                wrong.append(line)
            inside = line != "  }"
        elif _ENTITY.fullmatch(line):
            entities.add(line.split()[0])
            inside = True
        elif not (related := _RELATION.fullmatch(line)) or not {related[1], related[4]} <= entities:
            wrong.append(line)
    return wrong + ["an entity is not closed"] * inside


def diagrams(page: str) -> list[str]:
    return re.findall(r"^```mermaid\n(.*?)^```$", page, re.S | re.M)


def test_the_diagram_is_that_of_a_migrated_database(database: str) -> None:
    page = diagram.page(database)
    assert (ROOT / diagram.PATH).read_text() == page, "run `felix docs write`"
    with psycopg.connect(database) as connection:
        for schema, drawn in zip(("felix", "read"), diagrams(page), strict=True):
            tables = connection.execute("select tablename from pg_tables where schemaname = %s", (schema,)).fetchall()
            assert sorted(name for (name,) in tables) == re.findall(r"^  (\w+) \{$", drawn, re.M)
    assert 'commands ||--o{ events : "partition, tenant_id, command_key"' in page
    assert 'token_accounts ||--o{ token_lots : "partition, tenant_id, account_id"' in page


def test_the_grants_are_those_of_a_migrated_database(database: str) -> None:
    assert (ROOT / grants.PATH).read_text() == grants.page(database), "run `felix docs write`"


def test_the_diagrams_are_mermaid() -> None:
    drawn = diagrams((ROOT / diagram.PATH).read_text())
    assert len(drawn) == 2
    for one in drawn:
        assert wrong_lines(one) == []


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("  api_keys {", "  api-keys; {"),
        ("    timestamptz created_at", "    timestamp with time zone created_at"),
        ('  tenants |o--o{ api_keys : "tenant_id"', '  tenants |o--o{ nobody : "tenant_id"'),
        ('  tenants |o--o{ api_keys : "tenant_id"', "  tenants -> api_keys"),
    ],
)
def test_what_is_not_mermaid_is_found(line: str, broken: str) -> None:
    drawn = diagrams((ROOT / diagram.PATH).read_text())[0]
    assert line in drawn
    assert wrong_lines(drawn.replace(line, broken, 1))


# The schemas of the events.


FORMATS = FormatChecker(["uuid"])


@FORMATS.checks("date-time", raises=ValueError)
def is_moment(value: object) -> bool:
    """A moment with its zone; jsonschema itself knows the format with another package only."""
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def validator(name: str) -> Draft202012Validator:
    schema = json.loads(PAGES[name])
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FORMATS)


ENVELOPE = validator("docs/schemas/event.json")
STATES = {name: validator(schemas.path_of(cls)) for name, cls in catalogue.stored_events().items()}


def shown(event: RecordedEvent) -> dict[str, Any]:
    """An event as a reader gets it."""
    return json.loads(json.dumps(event.as_dict() | {"recorded_at": event.recorded_at.isoformat()}))


@pytest.fixture
def history(database: str) -> list[dict[str, Any]]:
    """A little of everything that can happen to a client and its people, as it is read from the log."""
    endpoints = bootstrap.Endpoints(database, None, None)
    directory = bootstrap.open_directory(endpoints, partitions=4)
    tenant_id = uuid4()
    performer = bootstrap.open_performer(endpoints, directory.partition_of)
    start = datetime.now(UTC)

    def do(
        command: Command, after_s: float = 0, actor: str = "founder:a", tenant: UUID = tenant_id, **enclosed: Any
    ) -> dict[str, Any]:
        context = new_context(tenant, uuid4().hex, actor, enclosed=enclosed)
        context.at = start + timedelta(seconds=after_s)
        done: dict[str, Any] = performer.perform_blocking(command, context).result
        return done

    try:
        directory.pin(tenant_id, "acme", "Acme", partition=0)
        do(OnboardTenant(slug="acme", name="Acme"))
        tell_a_life(do)
        tell_of_people(do, tenant_id)
        tell_of_secrets(do, tenant_id)
        tell_of_documents(do, bootstrap.open_context_index(endpoints), tenant_id)
        tell_of_records(do, tenant_id)
    finally:
        performer.close()
        directory.close()
    with connect(endpoints.as_role("felix_founder")) as connection:
        recorded = list(read_partition(connection, 0, 0))
    return [shown(event) for event in (*recorded, *everything().book.recorded(), *runs_of_an_app(tenant_id))]


def runs_of_an_app(tenant_id: UUID) -> list[RecordedEvent]:
    """What an app does by itself, for better and for worse."""
    context = new_context(tenant_id, "runs", "policy:automations_fire")
    runs, cause, release = AppRuns.of(context, "bakery", "production"), ("rec_" + "1" * 32, 2), "a" * 64
    how = {"effects": ["eff_" + "2" * 32], "charged_mtok": 20}
    runs.ran("greet", cause, release, records=[], deployment_id=None, **how)
    runs.failed("greet", cause, release, Invalid("There is no address."))
    runs.schedule_ran("weekly", datetime.now(UTC), release, **how)
    runs.schedule_failed("weekly", datetime.now(UTC), release, Invalid("There is no report."))
    runs.sent("eff_" + "2" * 32, "email", release)
    runs.not_sent("eff_" + "3" * 32, "webhook", release, "invalid", "The address is not allowed.")
    return [
        RecordedEvent(
            0, number, tenant_id, number, event.originator_id, event.originator_version, stored_name(type(event)),
            event.event_id, event.timestamp, "runs", context.actor, {}, encode_state(event),
        )
        for number, event in enumerate(cast("list[FelixEvent]", runs.pending_events), 1)
    ]  # fmt: skip


def tell_of_secrets(do: Any, tenant_id: UUID) -> None:
    """Secrets that are set, rotated with their key, used and removed."""
    keys = RootKeys([new_root_key()])
    for overlap_s in (0, 60):
        command, enclosed = setting(keys, tenant_id, {"name": "github", "overlap_s": overlap_s}, "a-token")
        do(command, **enclosed)
    do(UseSecret(name="github", purpose="deploy"))
    do(EndSecretVersion(name="github", version=1), after_s=61)
    version = do(RotateTenantKey(), **with_root_keys(keys))["key_version"]
    do(SealSecretsAnew(key_version=version), **with_root_keys(keys), **{"secret.kept": []})
    do(RemoveSecret(name="github"))


def tell_of_documents(do: Any, index: ContextIndex, tenant_id: UUID) -> None:
    """A document that is added and removed, and a source that could not be read."""
    account = do(m.OpenTokenAccount(name="reading"))["account_id"]
    do(m.GrantTokens(account_id=account, amount_mtok=10_000))
    read = Reading.of([("", "We open at seven.<!-- unseen -->")], [("logo.png", "no text")])
    index.stage((0, tenant_id), read.digest, 1, read.size_bytes, [("", "We open at seven.")])
    index.close()
    added = d.AddDocument(title="Hours", kind="markdown", account_id=account, content=d.Content.of(read))
    do(d.RemoveDocument(document_id=do(added)["document_id"], reason="an example"))
    source = d.DatabaseSource(kind="database", secret="shop.database")
    shop = do(d.ConnectSource(title="Shop", account_id=account, source=source))["document_id"]
    do(d.RecordFailedReading(document_id=shop, code="not_found", detail="There is no secret shop.database."))


def tell_of_records(do: Any, tenant_id: UUID) -> None:
    """A record of an app that is made, changed, moved on, removed and restored."""
    keys = RootKeys([new_root_key()])
    account, app = do(m.OpenTokenAccount(name="records"))["account_id"], compile_app("a" * 64, check(TREE))
    do(m.GrantTokens(account_id=account, amount_mtok=10_000))
    do(CreateApp(app="bakery", title="Bakery", release=app.release, tree="b" * 64))
    sealing, place = Sealing(lambda: keys, lambda: Vault(keys)), {"app": "bakery", "account_id": account}
    ana = {"name": "Ana", "email": "ana@example.org"}
    command, enclosed = creating(sealing, tenant_id, app, place | {"entity": "contact"}, ana)
    place |= {"entity": "deal", "record_id": do(command, **enclosed)["record_id"]}
    deal = {name: value for name, value in place.items() if name != "record_id"}
    command, enclosed = creating(sealing, tenant_id, app, deal, {"title": "Bread", "contact": place["record_id"]})
    place["record_id"] = do(command, **enclosed)["record_id"]
    change, enclosed = changing(sealing, tenant_id, app, place, {"value": 5})
    do(change, **enclosed)
    for model, more in ((TakeStep, {"action": "win"}), (RemoveRecord, {}), (RestoreRecord, {})):
        do(model.model_validate(place | more | {"release": app.release}), **about(app))


def tell_of_people(do: Any, tenant_id: UUID) -> None:
    """Somebody who is invited, comes, is made something else, kept out, goes, comes again and is erased."""
    keys = RootKeys([new_root_key()])
    vault, why = Vault(keys), {"reason": "an example"}

    def invite(role: str, email: str = "ada@example.com") -> str:
        made = Inviter(vault, keys, "https://felix.example").address(tenant_id, "us", uuid4().hex, email)
        sent = {"role": role, "invitation_id": made.invitation_id, "email_commitment": made.email_commitment}
        invitation_id: str = do(SendInvitation.model_validate(sent), **made.enclosed)["invitation_id"]
        return invitation_id

    person = vault.enclose(email="ada@example.com", name="Ada")
    committed = {f"{name}_commitment": commitment for name, commitment in person.commitments.items()}
    beside = {"person": person, "email_index": keys.index("email", "ada@example.com")}
    user = {"user_id": do(RegisterUser.model_validate(committed), tenant=PLATFORM, **beside)["user_id"]}
    do(AcceptInvitation(invitation_id=invite("client_member"), **user))
    do(BindIdentity(**user, issuer="https://accounts.example.com"), tenant=PLATFORM, subject_index=bytes(32))
    tell_of_signing_in(do, user["user_id"])
    do(ChangeRole(**user, role="client_approver"))
    do(EndMembership(**user, **why))
    do(AcceptInvitation(invitation_id=invite("client_member"), **user))
    do(WithdrawInvitation(invitation_id=invite("client_owner", "ben@example.com"), **why))
    do(ExpireInvitation(invitation_id=invite("client_owner", "eve@example.com")), after_s=8 * 24 * 3600)
    for command in (DisableUser, EnableUser, EraseUser):
        do(command(**user, **why), tenant=PLATFORM)
    do(ErasePersonalData(subject_id=invite("client_member", "zoe@example.com"), **why))


def tell_of_signing_in(do: Any, user_id: str) -> None:
    """Somebody who signs in, sets a password and an app, uses a recovery code, and goes."""
    password, code = Shown(password_hash="$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA"), b"c" * 32

    def act(command: Command, shown: Shown) -> dict[str, Any]:
        done: dict[str, Any] = do(command, tenant=PLATFORM, **shown.with_token(new_token()).enclosed())
        return done

    begin = BeginSession(user_id=user_id, method="magic_link")
    session_id = act(begin, Shown())["session_id"]
    act(StepUpSession(session_id=session_id, proof="password"), Shown())
    app = Shown(sealed_secret=b"sealed", step=1, code_hashes=(code,))
    act(EnrolSecondFactor(user_id=user_id, session_id=session_id), app)
    act(SetPassword(user_id=user_id, origin="user", session_id=session_id), password)
    act(begin, Shown(recovery_code=code))
    act(RemoveSecondFactor(user_id=user_id, remover="user"), Shown())
    act(EndSession(session_id=session_id, user_id=user_id, ending="signed_out"), Shown())


def tell_a_life(do: Any) -> None:
    """Commands that between them cause nearly every event."""
    price = {"kind": "per_unit", "meter": "llm.input_tokens", "price_mtok": 1500, "per": 1000}
    do(DefineMeter(name="llm.input_tokens", unit="token", description="read"))
    do(PublishRateCard.model_validate({"rate_card_id": "default", "prices": [price]}))
    one = do(m.OpenTokenAccount(name="main"))["account_id"]
    two = do(m.OpenTokenAccount(name="other", credit_limit_mtok=50))["account_id"]
    why = {"account_id": one, "reason": "an example"}
    lot = do(m.GrantTokens(account_id=one, amount_mtok=10_000, cost_minor=100, currency="EUR"))["lot_id"]
    brief = do(m.GrantTokens(account_id=one, amount_mtok=5_000, expires_at=datetime.now(UTC) + timedelta(hours=1)))
    debit = do(m.DebitTokens(account_id=one, meter="llm.input_tokens", quantity=400))["debit_id"]
    do(m.ReverseDebit(**why, debit_id=debit, amount_mtok=100))
    captured, released = (do(m.HoldTokens(account_id=one, amount_mtok=50, meter="x"))["hold_id"] for _ in range(2))
    do(m.ExtendHold(account_id=one, hold_id=captured, ttl_s=3600))
    do(m.CaptureHold(account_id=one, hold_id=captured, amount_mtok=20))
    do(m.ReleaseHold(account_id=one, hold_id=released))
    do(m.HoldTokens(account_id=one, amount_mtok=50, meter="x", ttl_s=60))
    do(m.ExtendLot(**why, lot_id=brief["lot_id"], expires_at=datetime.now(UTC) + timedelta(hours=2)))
    do(m.BookExpiries(account_id=one), after_s=3 * 3600)
    do(m.FreezeLot(**why, lot_id=lot))
    do(m.UnfreezeLot(**why, lot_id=lot))
    do(m.TransferTokens(account_id=one, to_account_id=two, amount_mtok=30))
    do(m.DebitTokens(account_id=two, meter="x", amount_mtok=60))
    do(m.TransferTokens(account_id=one, to_account_id=two, amount_mtok=100))
    do(m.SetCreditLimit(**why, credit_limit_mtok=5))
    cap = do(m.SetSpendCap(account_id=one, limit_mtok=1, window="day", hard=False))["cap_id"]
    do(m.DebitTokens(account_id=one, meter="x", amount_mtok=10))
    do(m.RemoveSpendCap(account_id=one, cap_id=cap))
    approved, rejected = (do(m.ProposeAdjustment(**why, amount_mtok=10**9))["adjustment_id"] for _ in range(2))
    do(m.ApproveAdjustment(account_id=one, adjustment_id=approved), actor="founder:b")
    do(m.RejectAdjustment(**why, adjustment_id=rejected), actor="founder:b")
    do(m.ClawBackTokens(**why, lot_id=lot, amount_mtok=20))
    do(m.VoidLot(**why, lot_id=lot))
    do(m.FreezeTokenAccount(**why))
    do(m.UnfreezeTokenAccount(**why))
    do(m.CloseTokenAccount(account_id=do(m.OpenTokenAccount(name="third"))["account_id"], reason="done"))
    key = do(CreateApiKey(label="shop", scopes=["*.read"]), **enclosing(new_key()))["key_id"]
    do(RotateApiKey(key_id=key), **enclosing(new_key()))
    do(RevokeApiKey(key_id=key))
    staff = {"caller_id": "usr_" + "1" * 32, "credential_id": "sess_" + "2" * 32}
    seen_with = do(BeginImpersonation(**staff, role="client_owner", reason="They asked."))["impersonation_id"]
    do(RecordRead(reader_id=staff["caller_id"], action="log.read", what="/v1/events", impersonation_id=seen_with))
    do(EndImpersonation(impersonation_id=seen_with))


def test_real_events_are_what_their_schemas_say(history: list[dict[str, Any]]) -> None:
    for event in history:
        ENVELOPE.validate(event)
        STATES[event["type"]].validate(event["state"])
    unseen = STATES.keys() - {event["type"] for event in history}
    assert len(unseen) <= 3, unseen


def test_what_is_not_such_an_event_is_refused(history: list[dict[str, Any]]) -> None:
    granted = next(event for event in history if event["type"] == "ledger.tokens_granted")
    state, check = granted["state"], STATES["ledger.tokens_granted"]
    for broken in (
        {name: value for name, value in state.items() if name != "lot_id"},
        state | {"amount_mtok": "10"},
        state | {"colour": "green"},
        state | {"expires_at": "next week"},
    ):
        with pytest.raises(ValidationError):
            check.validate(broken)
    for broken in (granted | {"position": 0}, granted | {"type": "ledger.tokens_vanished"}, granted | {"actor": ""}):
        with pytest.raises(ValidationError):
            ENVELOPE.validate(broken)


def test_a_schema_that_is_not_generated_is_that_of_an_older_version() -> None:
    current = {cls.TOPIC: cls.class_version for cls in catalogue.stored_events().values()}
    for path in (ROOT / schemas.FOLDER / "events").iterdir():
        name, version = re.fullmatch(r"(.+)\.v(\d+)\.json", path.name).groups()  # type: ignore[union-attr]
        assert int(version) <= current[name], path.name
    for name, version in current.items():
        for older in range(1, version):
            assert (ROOT / schemas.FOLDER / "events" / f"{name}.v{older}.json").exists(), (name, older)


# The API.


def test_every_endpoint_is_told_with_an_answer() -> None:
    page = PAGES["docs/api.md"]
    sections = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", page, re.S | re.M))
    document = create_app(lambda app: None).openapi()  # type: ignore[arg-type,return-value]
    told = {
        operation["operationId"]: (f"`{method.upper()} {path}`", operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert sections.keys() == told.keys()
    for name, (line, operation) in told.items():
        section = sections[name]
        assert line in section and operation["summary"].splitlines()[0].replace("``", "`") in section
        assert "Answered with 2" in section, name
        assert ("Asked (" in section) == ("requestBody" in operation), name
        assert all(f"`{each['name']}`" in page for each in operation.get("parameters", [])), name
    for block in re.findall(r"^```json\n(.*?)^```$", page, re.S | re.M):
        json.loads(block)


# Decisions, and what names them.


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_is_one_page_of_the_same_five_parts(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS
    assert len(text.splitlines()) <= 70
    for path in re.findall(r"`((?:src|tests|migrations|docs)/[^`:*]+)`", text):
        assert (ROOT / path).exists(), path


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.stem[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_migrations_name_decisions_that_exist() -> None:
    for migration in (ROOT / "migrations").glob("*.sql"):
        for path in re.findall(r"docs/decisions/\S+\.md", migration.read_text()):
            assert (ROOT / path).exists(), path
