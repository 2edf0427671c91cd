"""The OpenAPI document is valid, and what it says is what happens."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import jsonschema_rs
import pytest
from changing import Shop, staged
from felix_world import Caller, World
from invited import invite
from people_signing_in import true_example
from running_apps import begin_app
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from felix import bootstrap
from felix.api import examples, record_examples
from felix.api.app import create_app
from felix.cli.live import EventStream
from felix.eventstore.jobs import NewJob

DOCUMENT = create_app(lambda app: None).openapi()  # type: ignore[arg-type,return-value]
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


def test_the_document_is_valid_and_served(world: World) -> None:
    OPENAPI_31_VALIDATOR.validate(DOCUMENT)
    served = world.client.get("/openapi.json")
    assert served.status_code == 200
    assert served.json() == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_tells_all_that_a_caller_needs(name: str) -> None:
    method, path, operation = OPERATIONS[name]
    assert operation["summary"].endswith(".") and operation["tags"]
    declared = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
    assert declared == set(re.findall(r"\{(\w+)\}", path))
    assert len(declared) == len([p for p in operation.get("parameters", []) if p["in"] == "path"])
    successes = [status for status in operation["responses"] if status.startswith("2")]
    assert len(successes) == 1
    (content,) = operation["responses"][successes[0]]["content"].values()
    assert "example" in content
    if method == "post":
        body = operation["requestBody"]["content"]["application/json"]
        jsonschema_rs.validate(inlined(body["schema"]), body["example"])
    if path.startswith("/v1"):
        assert {"401", "503"} <= operation["responses"].keys()


def inlined(schema: Any) -> Any:
    return schema | {"components": DOCUMENT["components"]}


def test_every_schema_that_is_named_is_there() -> None:
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert named == DOCUMENT["components"]["schemas"].keys()


class Stage:
    """Puts real ids in the place of those of the examples, each operation on an account of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.founder, self.bakery = world.founder, world.bakery
        account = self.bakery.open_account(self.founder, 2_000_000)
        other = self.bakery.open_account()
        at = f"/v1/token-accounts/{account}"
        done = self.founder.done
        debit = {"meter": "llm.input_tokens", "amount_mtok": 7_212}
        self.at = at
        #: Who sends the example, where that is not the founder's key, and what of it can't be known before.
        self.asker: Caller | None = None
        self.seen: dict[str, Any] = {}
        self.ids = {
            examples.ACCOUNT_ID: account,
            examples.WRITES["TransferTokens"][0]["to_account_id"]: other,
            examples.LOT_ID: done(f"{at}/grants", {"amount_mtok": 9, "expires_at": "2027-01-01T00:00:00Z"})["lot_id"],
            examples.HOLD_ID: done(f"{at}/holds", {"amount_mtok": 50_000, "meter": "change.plan"})["hold_id"],
            examples.DEBIT_ID: done(f"{at}/debits", debit)["debit_id"],
            examples.CAP_ID: done(f"{at}/spend-caps", {"limit_mtok": 2_000_000, "window": "day"})["cap_id"],
            examples.JOB_ID: self.a_job(),
            examples.ADJUSTMENT_ID: done(f"{at}/adjustments", {"amount_mtok": 10**9, "reason": "x"})["adjustment_id"],
            examples.TENANTS["data"][0]["tenant_id"]: self.bakery.tenant_id,
            examples.EVENT["id"]: f"call-{account}",
            examples.KEY_ID: done("/v1/api-keys", examples.WRITES["CreateApiKey"][0])["key_id"],
            examples.IMPERSONATION_ID: done("/v1/impersonations", {"role": "client_owner", "reason": "x"})[
                "impersonation_id"
            ],
        }
        if "order-4711" not in _ASKED:
            _ASKED.add("order-4711")
            done(f"{at}/grants", {"amount_mtok": 5}, "order-4711")

    def a_job(self) -> str:
        """A job of the bakery that waits."""
        tenant_id = UUID(str(self.bakery.tenant_id))
        partition, due_at = self.world.app.state.services.partition_of(tenant_id), datetime.now(UTC)
        payload, cause = {"account_id": self.at}, uuid4()
        planned = NewJob(partition, tenant_id, "test.it", self.at, "policy:p", 3, due_at, payload, cause, cause)
        book = bootstrap.open_job_book(self.world.endpoints)
        book.add([planned])
        book.close()
        return str(planned.job_id)

    def prepare(self, name: str) -> None:
        """What has to be so before the example can be true."""
        lot = f"{self.at}/lots/{self.ids[examples.LOT_ID]}"
        why = {"reason": "an example"}
        if name == "unfreeze_token_account":
            self.founder.done(f"{self.at}/freeze", why)
        elif name == "unfreeze_lot":
            self.founder.done(f"{lot}/freeze", why)
        elif name in ("remove_secret", "rotate_tenant_key"):
            self.founder.done("/v1/secrets/github", {"value": "x"})
        elif name == "close_token_account":
            self.ids[examples.ACCOUNT_ID] = self.bakery.open_account()

    def prepare_people(self, name: str) -> None:
        """Somebody who is invited, or who has come in."""
        if name in ("accept_invitation", "withdraw_invitation", "list_invitations"):
            waiting = invite(self.world, self.bakery)
            self.ids[examples.INVITATION_ID] = waiting.invitation_id
            self.ids[examples.ACCEPT_INVITATION[0]["token"]] = waiting.token
        elif (
            name in ("change_role", "end_membership", "list_members", "list_users", "disable_user", "enable_user")
            or name == "erase_user"
        ):
            self.ids[examples.USER_ID] = invite(self.world, self.bakery).join().id
        elif name == "erase_personal_data":
            self.ids[examples.SUBJECT_ID] = invite(self.world, self.bakery).invitation_id

    def prepare_records(self, name: str) -> None:
        """An app that runs, with one record."""
        if name not in ("list_app_runs", "show_app", "show_report", "show_view") and not name.endswith(
            ("_record", "_records", "take_step")
        ):
            return
        if "bakery" not in _ASKED:
            _ASKED.add("bakery")
            begin_app(self.world, self.bakery)
        made = self.bakery.post("/v1/apps/bakery/entities/deal/records", {"values": {"title": "Bread", "value": 1}})
        self.ids[record_examples.RECORD_ID] = made.json()["record_id"]
        if name == "restore_record":
            self.bakery.send("DELETE", f"/v1/apps/bakery/entities/deal/records/{made.json()['record_id']}")

    def prepare_documents(self, name: str) -> None:
        """A document that was handed over, or a source."""
        if name in ("replace_document", "remove_document", "list_documents", "show_context", "refresh_source"):
            body, _ = examples.WRITES["ConnectSource" if name == "refresh_source" else "AddDocument"]
            path = "/v1/documents/connect" if name == "refresh_source" else "/v1/documents"
            self.ids[examples.DOCUMENT_ID] = self.founder.done(path, self.real(body))["document_id"]

    def prepare_changes(self, name: str) -> None:
        """An app of its own, and a change on its way."""
        if {"changes", "apps"} & set(OPERATIONS[name][2]["tags"]):
            ids, self.asker, self.seen = staged(Shop(self.world, self.bakery), name)
            self.ids |= ids

    def caller(self, name: str) -> Caller:
        if self.asker is not None:
            return self.asker
        if {"sign-in", "sessions", "credentials"} & set(OPERATIONS[name][2]["tags"]):
            real, browser = true_example(self.world, name)
            self.ids |= real
            return Caller(self.world.client, {} if browser is None else browser.sent({}))
        if name == "show_me":
            return invite(self.world, self.bakery).join()
        if name == "show_my_data":
            return invite(self.world, self.bakery).join()
        return self.world.second_founder() if name == "approve_adjustment" else self.founder

    def real(self, value: Any) -> Any:
        text = json.dumps(value)
        for example, real in self.ids.items():
            text = text.replace(example, real)
        return json.loads(text)

    def path(self, operation: dict[str, Any], path: str) -> str:
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", self.real(parameter["example"]))
        return path


_ASKED: set[str] = set()
#: Examples that are true under conditions of their own: the lot has to have run out first, a provider to be set up.
UNTRUE_NOW = {"expire_lot": 409, "start_oidc": 404, "finish_oidc": 404, "finish_oidc_with_second_factor": 404}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_example_is_answered_as_the_document_says(name: str, world: World) -> None:
    method, template, operation = OPERATIONS[name]
    stage = Stage(world)
    stage.prepare(name)
    stage.prepare_people(name)
    stage.prepare_records(name)
    stage.prepare_documents(name)
    stage.prepare_changes(name)
    caller = stage.caller(name)
    path = stage.path(operation, template)
    if name == "live":
        path += "?from=beginning&follow=false&topics=events,balances"
    if name == "show_context":
        path += "?q=returns"
    if name == "list_jobs":
        path += "?kind=test.it"
    if name == "list_invitations":
        path += "?status=sent"
    if method == "get":
        answered = caller.get(path, stage.founder.post(f"{stage.at}/holds", {"amount_mtok": 1, "meter": "m"}))
    else:
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example", {})
        answered = caller.send(method.upper(), path, stage.real(body) | _fresh(name) | stage.seen)
    (status,) = (status for status in operation["responses"] if status.startswith("2"))
    assert answered.status_code == UNTRUE_NOW.get(name, int(status)), answered.text
    if name in UNTRUE_NOW:
        return
    if name == "debit_usage_batch":
        assert answered.json()["accepted"] == 1, answered.text
    ((kind, told),) = operation["responses"][status]["content"].items()
    if kind == "text/event-stream":
        assert_like(messages(answered.text), messages(told["example"]), name)
        return
    if "schema" in told:
        jsonschema_rs.validate(inlined(told["schema"]), answered.json())
    assert_like(answered.json(), told["example"], name)


def messages(stream: str) -> dict[str, Any]:
    """The last message of each topic."""
    return {message.event: json.loads(message.data) for message in EventStream().read(stream.split("\n"))}


def _fresh(name: str) -> dict[str, Any]:
    """Where an example can be true only once."""
    if name == "onboard_tenant":
        return {"slug": f"bakery-{len(_ASKED)}"}
    return {}


def assert_like(answered: Any, example: Any, where: str) -> None:
    """Everything that the example shows is there, and is of its kind."""
    if isinstance(example, dict):
        missing = example.keys() - answered.keys() if not where.endswith(".TOK") else set()
        assert not missing, f"{where} answers without {missing}"
        for name in example.keys() & answered.keys():
            assert_like(answered[name], example[name], f"{where}.{name}")
    elif isinstance(example, list):
        assert isinstance(answered, list), where
        # Of things that are not alike, the one of which the most is known.
        for one in (
            sorted(answered, key=lambda each: len(each) if isinstance(each, dict) else 0)[-1:] if example else ()
        ):
            assert_like(one, example[0], f"{where}[]")
    elif example is not None and answered is not None:
        assert type(answered) is type(example), where
