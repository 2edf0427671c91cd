"""Changes on their way, in a world without a worker: their steps are taken when a test says so."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

from felix_world import Caller, World, new_key
from running_apps import begin_app

from felix import bootstrap
from felix.api import change_examples, examples
from felix.application.outcome import Outcome
from felix.application.performer import new_context
from felix.domain.base import Command

PROMPT = "Add a required due date to deals and show it in the list"
#: Understood, and not enough: it is asked back to which records.
VAGUE = "Add a due date"
OPERATION = {
    "op": "add_field",
    "entity": "deal",
    "field": "due_date",
    "definition": {"type": "date", "label": "Due date", "required": True},
}
#: No deal begins as a won one.
BROKEN = {
    "op": "add_example",
    "example": "impossible",
    "definition": {
        "title": "A deal begins as won",
        "when": [{"create": "roof", "entity": "deal", "values": {"title": "Roof"}}],
        "then": [{"record": "roof", "has": {"stage": "won"}}],
    },
}
#: What nothing uses any more is hidden, and then removed with its values.
PURGE = [
    {"op": "remove_example", "example": "winning"},
    {"op": "remove_automation", "automation": "thank"},
    {"op": "hide_field", "entity": "deal", "field": "email"},
    {"op": "purge_field", "entity": "deal", "field": "email"},
]
_apps = count(1)


@dataclass
class Shop:
    """An app of a client with tokens, and its people: who asks, who decides, and founders."""

    world: World
    tenant: Caller
    app: str = ""
    release: str = ""
    member: Caller = field(init=False)
    approver: Caller = field(init=False)
    founder: Caller = field(init=False)

    def __post_init__(self) -> None:
        self.app = self.app or f"shop-{next(_apps)}"
        self.release = begin_app(self.world, self.tenant, name=self.app)
        self.account_id = self.tenant.open_account(self.world.founder, 1_000_000)
        self.member, self.approver = (
            self.world.person(role, self.tenant) for role in ("client_member", "client_approver")
        )
        self.founder = self.world.person("founder", self.tenant, stepped_up=True)

    def ask(self, **body: Any) -> str:
        """Ask for a change; its steps are taken."""
        asked = {"app": self.app, "account_id": self.account_id} | (body or {"prompt": PROMPT})
        change_id: str = self.member.done("/v1/changes", asked)["change_id"]
        self.take_steps(change_id)
        return change_id

    def take_steps(self, change_id: str) -> None:
        """All steps that can be taken now; then the read model has seen them."""
        world, tenant_id = self.world, UUID(self.tenant.tenant_id)
        place = (world.app.state.services.partition_of(tenant_id), tenant_id)

        def perform(command: Command) -> Outcome:
            context = new_context(tenant_id, new_key(), "system:test")
            return world.performer.perform_blocking(command, context)

        partition_of = world.app.state.services.partition_of
        secrets = bootstrap.open_secrets(world.endpoints, world.performer, partition_of, world.settings)
        with (
            bootstrap.open_apps_at_work(world.endpoints, world.settings) as apps,
            closing(bootstrap.open_context_index(world.endpoints)) as passages,
            bootstrap.open_stepper(world.endpoints, world.settings, apps, passages, secrets) as stepper,
        ):
            while stepper.step(place, change_id, perform, datetime.now(UTC)).goes_on:
                pass
        self.seen(change_id)

    def seen(self, change_id: str) -> dict[str, Any]:
        """A change as it is now."""
        after = self.tenant.post(f"/v1/token-accounts/{self.account_id}/holds", {"amount_mtok": 1, "meter": "m"})
        answered = self.approver.get(f"/v1/changes/{change_id}", after)
        assert answered.status_code == 200, answered.text
        found: dict[str, Any] = answered.json()
        return found

    def version(self, change_id: str) -> int:
        return int(self.seen(change_id)["version"])

    def approve(self, change_id: str) -> None:
        found = self.seen(change_id)
        body = {"binding": found["approval"]["binding"], "expected_version": found["version"]}
        self.approver.done(f"/v1/changes/{change_id}/approve", body)
        self.seen(change_id)

    def deploy(self, change_id: str, **strategy: Any) -> None:
        self.approve(change_id)
        body = {"expected_version": self.version(change_id), "strategy": strategy}
        self.approver.done(f"/v1/changes/{change_id}/deploy", body)
        self.take_steps(change_id)

    def live(self) -> str:
        """A change that went live."""
        change_id = self.ask()
        self.deploy(change_id)
        return change_id

    def destroy(self) -> str:
        """A change that is live and has taken a field away, with the value that a record had of it."""
        self.deploy(self.ask(operations=[{"op": "mark_personal", "entity": "deal", "field": "email"}]))
        deal = {"values": {"title": "Bread", "email": "ada@example.com"}, "account_id": self.account_id}
        self.member.done(f"/v1/apps/{self.app}/entities/deal/records", deal)
        self.member.done(f"/v1/apps/{self.app}/entities/deal/records", {"values": {"title": "Cake"}})
        change_id = self.ask(operations=PURGE)
        for who in (self.world.person("client_approver", self.tenant, stepped_up=True), self.founder):
            found = self.seen(change_id)
            assert found["state"] == "awaiting_approval", (found["findings"], found["reason"])
            body = {"binding": found["approval"]["binding"], "expected_version": found["version"]}
            who.done(f"/v1/changes/{change_id}/approve", body)
        self.approver.done(f"/v1/changes/{change_id}/deploy", {"expected_version": self.version(change_id)})
        for _ in range(50):
            # The export waits for the read model of records.
            self.take_steps(change_id)
            if self.seen(change_id)["state"] != "queued":
                break
        return change_id

    def canary(self) -> str:
        """A change that some people have."""
        change_id = self.ask()
        self.deploy(change_id, kind="canary", steps=[5, 50], hold_s=3_600)
        return change_id


def staged(shop: Shop, name: str) -> tuple[dict[str, str], Caller, dict[str, Any]]:
    """What has to be so before the example of an operation is true: real ids, who asks, and what they have seen."""
    ids, seen = {change_examples.APP_NAME: shop.app, change_examples.RELEASE: shop.release}, dict[str, Any]()
    ids[examples.ACCOUNT_ID] = shop.account_id
    if name == "create_app":
        return {}, shop.founder, {"app": f"another-{shop.app}"}
    if name in ("list_apps", "show_app_environment", "request_change", "lift_quarantine"):
        return ids, shop.founder if name == "lift_quarantine" else shop.member, seen
    at = f"/v1/apps/{shop.app}/environments/production"
    if name in ("confirm_override", "close_review"):
        body = {"release": shop.release, "reason": "A drill.", "break_glass": name == "close_review"}
        proposed = shop.founder.done(f"{at}/lift-quarantine", body)
        ids[change_examples.OVERRIDE_ID] = proposed["override_id"]
        return ids, shop.world.person("founder", shop.tenant, stepped_up=True), seen
    if name == "show_change_export":
        change_id = shop.destroy()
    elif name == "answer_clarification":
        change_id = shop.ask(prompt=VAGUE)
    elif name == "override_policy":
        change_id = shop.ask(operations=[BROKEN])
    elif name == "raise_ceiling":
        change_id = shop.ask(prompt=PROMPT, ceiling_mtok=1)
    elif name in ("request_rollback", "force_rollback"):
        change_id = shop.live()
    elif name in ("abort_deploy", "pause_deploy", "resume_deploy", "force_unlock"):
        change_id = shop.canary()
        if name == "resume_deploy":
            shop.approver.done(f"/v1/changes/{change_id}/pause")
    else:
        change_id = shop.ask()
        if name in ("withdraw_approval", "deploy_change"):
            shop.approve(change_id)
    ids[change_examples.CHANGE_ID] = change_id
    found = shop.seen(change_id)
    if found["approval"]:
        ids[change_examples.BINDING] = found["approval"]["binding"]
    if "expected_version" in change_examples.WRITES.get(_command_of(name), ({},))[0]:
        seen["expected_version"] = found["version"]
    founders = name.startswith("force_") or name == "override_policy"
    members = name in ("answer_clarification", "revise_plan", "raise_ceiling", "cancel_change")
    return ids, shop.founder if founders else shop.member if members else shop.approver, seen


def _command_of(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
