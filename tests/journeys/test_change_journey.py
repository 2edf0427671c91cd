"""An app is changed by writing: asked, priced, shown, agreed to by somebody else, live, used, and taken back."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest
from running_felix import RunningFelix, eventually, post

from felix.cli.live import EventStream

TENANT, APP = "acme", "shop"
PROMPT = "Add a required due date to deals and show it in the list"
PASSWORD = "a long horse, a battery and 7 staples"
DEALS = f"/v1/apps/{APP}/entities/deal/records"
#: Nobody's app would do this: a deal that begins as one that is won.
BROKEN = {
    "op": "add_example",
    "example": "impossible",
    "definition": {
        "title": "A deal begins as won",
        "when": [{"create": "roof", "entity": "deal", "values": {"title": "Roof"}}],
        "then": [{"record": "roof", "has": {"stage": "won"}}],
    },
}


@dataclass
class Person:
    """A member of the client who is signed in."""

    url: str
    headers: dict[str, str]

    def get(self, path: str, status: int = 200) -> Any:
        """Read what has to be there."""
        with self.browser() as browser:
            answered = browser.get(path)
        assert answered.status_code == status, (path, answered.status_code, answered.text)
        return answered.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        """Send a write that is answered so."""
        with self.browser() as browser:
            answered = browser.post(path, json=body or {}, headers={"Idempotency-Key": uuid4().hex})
        assert answered.status_code == status, (path, answered.status_code, answered.text)
        return answered.json()

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=20, trust_env=False)


@dataclass
class Watching:
    """Somebody who follows all changes over the live stream, from now on."""

    person: Person
    told: list[dict[str, Any]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    ready: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        with (
            suppress(httpx.HTTPError),
            self.person.browser() as browser,
            browser.stream("GET", "/v1/live", params={"topics": "changes"}) as answer,
        ):
            for message in EventStream().read(answer.iter_lines()):
                self.ready.set()
                if message.event == "changes":
                    self.told.append(json.loads(message.data))
                if self.ended.is_set():
                    return

    def states(self, change_id: str) -> list[str]:
        """The states in which a change was seen, each once."""
        return list(dict.fromkeys(told["state"] for told in self.told if told["change_id"] == change_id))


def join(felix: RunningFelix, founder: httpx.Client, email: str, role: str) -> Person:
    """Be invited, follow the link of the mail, and be signed in."""
    invited = post(founder, "/v1/invitations", {"email": email, "role": role}, TENANT)
    assert invited.status_code == 201, invited.text
    mails = felix.data_dir / "mail" / invited.json()["invitation_id"]
    eventually(lambda: any(mails.glob("*.eml")), told=lambda: f"no mail in {mails}")
    link = re.search(rb"#([A-Za-z0-9_-]{43})", next(mails.glob("*.eml")).read_bytes())
    assert link is not None
    asked = {"token": link[1].decode(), "name": email.partition("@")[0].title(), "password": PASSWORD}
    with httpx.Client(base_url=felix.url, timeout=20, trust_env=False) as browser:
        accepted = browser.post("/v1/invitations/accept", json=asked, headers={"Sec-Fetch-Site": "same-origin"})
    assert accepted.status_code == 201, accepted.text
    cookie = accepted.headers["set-cookie"].partition(";")[0]
    return Person(felix.url, {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"})


@dataclass
class Office:
    """A client with an app, whose owner asks and whose approver agrees, while somebody watches."""

    felix: RunningFelix
    owner: Person
    approver: Person
    watching: Watching

    def change(self, change_id: str) -> Any:
        return self.owner.get(f"/v1/changes/{change_id}")

    def reaches(self, change_id: str, *states: str) -> Any:
        """Wait until a change is in one of these states; how it is then."""
        with suppress(AssertionError):
            eventually(lambda: self._state(change_id) in states, 30)
        found = self.change(change_id)
        assert found["state"] in states, json.dumps(self.owner.get(f"/v1/changes/{change_id}/timeline"), indent=1)[
            -6000:
        ]
        return found

    def _state(self, change_id: str) -> str | None:
        with suppress(AssertionError):
            return str(self.change(change_id)["state"])
        return None

    def ask(self, **body: Any) -> str:
        asked = self.owner.post("/v1/changes", {"app": APP, **body}, 201)
        assert 0 < asked["quote"]["low_mtok"] <= asked["quote"]["high_mtok"] == asked["ceiling_mtok"]
        change_id: str = asked["change_id"]
        return change_id

    def agree(self, change_id: str) -> Any:
        """Approve exactly what is shown."""
        shown = self.approver.get(f"/v1/changes/{change_id}/diff")
        assert shown["you_may_approve"], shown["why_not"]
        body = {"binding": shown["approval"]["binding"], "expected_version": shown["version"]}
        return self.approver.post(f"/v1/changes/{change_id}/approve", body)

    def deploy(self, change_id: str, **strategy: Any) -> None:
        body = {"expected_version": self.change(change_id)["version"], "strategy": strategy}
        self.approver.post(f"/v1/changes/{change_id}/deploy", body)


@pytest.fixture(scope="module")
def office(running: RunningFelix) -> Iterator[Office]:
    with running.founder() as founder:
        client = {"slug": TENANT, "name": "Acme", "account_name": "main", "welcome_mtok": 10_000_000}
        assert post(founder, "/v1/tenants", client).status_code == 201
        owner, approver = (
            join(running, founder, f"{role}@acme.example", role) for role in ("client_owner", "client_approver")
        )
    owner.post("/v1/apps", {"app": APP, "title": "Shop", "modules": ["crm"]}, 201)
    watching = Watching(owner)
    threading.Thread(target=watching.follow, daemon=True).start()
    assert watching.ready.wait(20)
    yield Office(running, owner, approver, watching)
    watching.ended.set()


def test_a_sentence_becomes_a_field_that_people_use(office: Office) -> None:
    change_id = office.ask(prompt=PROMPT)
    found = office.reaches(change_id, "awaiting_approval")
    assert found["prompt"] == PROMPT and found["planner"].startswith("grammar") and found["risk"] == "medium"
    assert found["waits_for"] == "1 approval"

    planned = office.owner.get(f"/v1/changes/{change_id}/plan")
    assert [each["op"] for each in planned["operations"]] == ["add_field", "add_form_field", "add_view_column"]
    assert "Due date" in planned["sentences"][0]

    shown = office.owner.get(f"/v1/changes/{change_id}/diff")
    assert any("Due date" in effect["sentence"] for effect in shown["effects"])
    assert "+++ b/entities/deal.json" in shown["lines"]
    assert shown["price"]["spent_mtok"] + shown["price"]["deploy_mtok"] <= shown["price"]["ceiling_mtok"]
    assert (shown["you_may_approve"], shown["why_not"]) == (False, "own_change")

    seen = {"binding": shown["approval"]["binding"], "expected_version": shown["version"]}
    approve = f"/v1/changes/{change_id}/approve"
    assert office.owner.post(approve, seen, 403)["code"] == "own_change"
    assert office.approver.post(approve, seen | {"binding": "0" * 64}, 409)["code"] == "other_binding"
    assert office.agree(change_id)["state"] == "approved"
    assert office.approver.post(approve, seen, 409)["code"] == "change_moved_on"

    office.deploy(change_id)
    office.reaches(change_id, "deployed")
    eventually(
        lambda: "deployed" in office.watching.states(change_id), told=lambda: str(office.watching.states(change_id))
    )
    assert office.watching.states(change_id).index("awaiting_approval") < office.watching.states(change_id).index(
        "deployed"
    )

    refused = office.owner.post(DEALS, {"values": {"title": "Roof", "amount": 120_000}}, 422)
    assert "due_date" in json.dumps(refused["errors"])
    made = office.owner.post(DEALS, {"values": {"title": "Roof", "amount": 120_000, "due_date": "2026-12-24"}}, 201)
    eventually(lambda: any(row["record_id"] == made["record_id"] for row in office.owner.get(DEALS)["data"]))
    columns = json.dumps(office.owner.get(f"/v1/apps/{APP}/views/deals"))
    assert "due_date" in columns and "2026-12-24" in columns


def test_a_change_whose_example_fails_takes_itself_back(office: Office) -> None:
    before = office.owner.get(f"/v1/apps/{APP}/environments/production")["stable"]
    change_id = office.ask(operations=[BROKEN])
    found = office.reaches(change_id, "policy_violated")
    assert found["waits_for"] == "a founder's override" and "impossible" in found["findings"][0]["detail"]

    office.felix.felix("changes", "override", change_id, "--reason", "A drill.", "--break-glass", "--tenant", TENANT)
    office.reaches(change_id, "awaiting_approval")
    office.agree(change_id)
    office.deploy(change_id, kind="canary", steps=[50], hold_s=60)
    found = office.reaches(change_id, "rolled_back")

    assert found["deployment"]["guardrail"] == "examples"
    environment = office.owner.get(f"/v1/apps/{APP}/environments/production")
    assert environment["stable"] == before and environment["candidate"] is None and environment["deploying"] is None
    assert environment["quarantined"] == [found["release"]]
    assert [each["status"] for each in environment["overrides"]] == ["to_review"]
    made = office.owner.post(DEALS, {"values": {"title": "Door", "due_date": "2026-12-31"}}, 201)
    assert made["release"] == before, "nobody lost a minute of work"


def test_the_ledger_says_what_each_step_cost(office: Office) -> None:
    for row in office.owner.get("/v1/changes")["data"]:
        told = office.owner.get(f"/v1/changes/{row['change_id']}/timeline")
        costs = {each["step"]: each for each in told["costs"]}
        assert costs.keys() >= {"diff", "check", "deploy"}
        assert sum(each["settled_mtok"] for each in costs.values()) == row["price"]["spent_mtok"] > 0
        assert row["price"]["held_mtok"] == 0, "what was set aside was paid or given back"
        (account,) = office.owner.get("/v1/token-accounts")["data"]
        path = f"/v1/token-accounts/{account['account_id']}/transactions?limit=1000"
        journal = [each for each in office.owner.get(path)["data"] if each["reference"] == row["change_id"]]
        assert len(journal) == len([step for step in told["data"] if step["settled_mtok"]])
    assert account["balance"]["held_mtok"] == 0
    assert office.felix.told("verify", "ledger")["consistent"]


def test_what_is_live_is_taken_back_from_the_command_line(office: Office) -> None:
    (broken, done) = office.owner.get("/v1/changes")["data"]
    assert (broken["state"], done["state"]) == ("rolled_back", "deployed")
    said = office.felix.felix("changes", "diff", done["change_id"], "--tenant", TENANT).stdout
    assert "+++ b/entities/deal.json" in said and done["approval"]["binding"] in said
    watched = office.felix.felix("changes", "watch", broken["change_id"], "--tenant", TENANT, check=False)
    assert (watched.returncode, watched.stdout.startswith("rolled back")) == (3, True)
    back = office.felix.told("changes", "rollback", done["change_id"], "--reason", "A drill.", "--tenant", TENANT)
    office.reaches(back["result"]["change_id"], "deployed")
    office.owner.post(DEALS, {"values": {"title": "Gate"}}, 201)
    assert "due_date" not in json.dumps(office.owner.get(f"/v1/apps/{APP}/views/deals")["columns"])
