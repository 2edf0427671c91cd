"""Behaviour: workflows, automations, schedules, templates, integrations, and the examples that say how it should be."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, JsonValue, StringConstraints, model_validator
from pydantic import Field as Bounds

from felix.domain.apps.base import AppRole, Condition, Label, Sentence, Spec, SpecName

Roles = Annotated[list[AppRole], Bounds(max_length=3)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone") from None
    return name


#: Five fields: minute, hour, day of the month, month, day of the week. What they mean is checked by who runs them.
Cron = Annotated[str, StringConstraints(pattern=r"^[0-9*,/A-Z-]+( [0-9*,/A-Z-]+){4}$", max_length=100)]
Zone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)]


class Transition(Spec):
    """A step of a workflow; nobody may take one that is not there."""

    action: SpecName
    label: Label
    from_: Annotated[list[SpecName], Bounds(min_length=1, max_length=50)] = Bounds(alias="from")
    to: SpecName
    roles: Roles = []
    #: Whether whoever made the record may take this step.
    by_maker: bool = True
    when: Condition | None = None


class Workflow(Spec):
    """How a record moves from state to state; the states are the options of a choice."""

    title: Label
    entity: SpecName
    field: SpecName
    initial: SpecName
    transitions: Annotated[list[Transition], Bounds(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _no_action_twice(self) -> Workflow:
        names = [transition.action for transition in self.transitions]
        if len(names) != len(set(names)):
            raise ValueError("an action is there twice")
        return self


class SendEmail(Spec):
    """Send a template to the address in a field of the record, or to everybody with a role."""

    do: Literal["send_email"]
    template: SpecName
    to_field: SpecName | None = None
    to_role: AppRole | None = None

    @model_validator(mode="after")
    def _one_recipient(self) -> SendEmail:
        if (self.to_field is None) == (self.to_role is None):
            raise ValueError("give to_field or to_role")
        return self


class SetField(Spec):
    """Give a field of the record a value."""

    do: Literal["set_field"]
    field: SpecName
    value: JsonValue


class CreateRecord(Spec):
    """Make a record of another kind; ``from_fields`` copies values from this one."""

    do: Literal["create_record"]
    entity: SpecName
    values: dict[SpecName, JsonValue] = {}
    from_fields: dict[SpecName, SpecName] = {}


class CallWebhook(Spec):
    """Tell another system: a POST of the record, without what is personal, to the ``url`` of an integration.

    The same is told again under the same ``Idempotency-Key`` when it is not certain that it arrived. With a secret,
    ``Felix-Signature: t=<time>,v1=<hex>`` is the HMAC-SHA256 of ``<time>.<body>``; the time is in the body as ``at``.
    """

    do: Literal["call_webhook"]
    integration: SpecName


Action = Annotated[SendEmail | SetField | CreateRecord | CallWebhook, Bounds(discriminator="do")]


class Trigger(Spec):
    """What sets an automation off. ``field`` narrows ``changed`` to one field."""

    event: Literal["created", "changed", "removed"]
    entity: SpecName
    field: SpecName | None = None

    @model_validator(mode="after")
    def _field_of_a_change(self) -> Trigger:
        if self.field is not None and self.event != "changed":
            raise ValueError("only a change can be narrowed to a field")
        return self


class Automation(Spec):
    """What happens by itself when records change."""

    title: Label
    enabled: bool = True
    on: Trigger
    when: Condition | None = None
    actions: Annotated[list[Action], Bounds(min_length=1, max_length=10)]


class RunReport(Spec):
    """Make a report and send it to everybody with a role."""

    run: Literal["report"]
    report: SpecName
    to_role: AppRole = "client_owner"


class RunModule(Spec):
    """Run a handler of a module; which ones there are its manifest says."""

    run: Literal["module"]
    module: SpecName
    handler: SpecName


class Schedule(Spec):
    """What happens at certain times. ``cron`` is read in the zone, so nine o'clock stays nine o'clock."""

    title: Label
    enabled: bool = True
    cron: Cron
    zone: Zone = "UTC"
    job: Annotated[RunReport | RunModule, Bounds(discriminator="run")]


class Template(Spec):
    """A mail; its text is in the ``.liquid`` file beside it. ``entity`` says whose fields it may name."""

    title: Label
    subject: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    entity: SpecName | None = None


class Integration(Spec):
    """A connection to another system. Secrets are named, and never here."""

    title: Label
    connector: SpecName
    enabled: bool = True
    secret_ref: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")] | None = None
    mapping: dict[SpecName, SpecName] = {}
    config: dict[SpecName, str | int | bool] = {}


class Watch(Spec):
    """How closely a release is watched while it is new. What is looser than the platform's own rules changes nothing.

    Of requests, writes and runs so many thousandths may go wrong; of what goes out and what is spent there may be so
    many hundredths of what is usual. ``critical`` guardrails end a deployment at their first failure.
    """

    look_every_s: Annotated[int, Bounds(ge=1, le=300)] | None = None
    at_most_permille: dict[
        Literal["failed_requests", "slow_requests", "rejected_writes", "failed_automations"],
        Annotated[int, Bounds(ge=0, le=1000)],
    ] = {}
    at_most_percent_of_usual: dict[Literal["outbound", "burned_mtok"], Annotated[int, Bounds(ge=100, le=300)]] = {}
    critical: Annotated[list[Literal["latency", "validation_rejects", "token_burn"]], Bounds(max_length=3)] = []

    @property
    def limits(self) -> dict[str, float]:
        """By what is measured: a part of 1, or how many times as much as usual."""
        shares = {measure: permille / 1000 for measure, permille in self.at_most_permille.items()}
        return shares | {measure: percent / 100 for measure, percent in self.at_most_percent_of_usual.items()}


class Policy(Spec):
    """What a client asks beyond the platform's rules; it can only tighten them."""

    approvals: dict[Literal["low", "medium", "high", "destructive"], Annotated[int, Bounds(ge=1, le=5)]] = {}
    max_change_mtok: Annotated[int, Bounds(gt=0)] | None = None
    deploy_window: Cron | None = None
    watch: Watch = Watch()


class GivenRecord(Spec):
    """A record that an example begins with, under a name of the example's own."""

    record: SpecName
    entity: SpecName
    values: dict[SpecName, JsonValue]


class Create(Spec):
    """Somebody makes a record."""

    create: SpecName
    entity: SpecName
    values: dict[SpecName, JsonValue]


class Change(Spec):
    """Somebody changes a record."""

    change: SpecName
    values: dict[SpecName, JsonValue]


class Take(Spec):
    """Somebody takes a step of a workflow."""

    take: SpecName
    record: SpecName


class Expectation(Spec):
    """What is then the case: values of a record, a refusal with this code, or a mail of this template."""

    record: SpecName | None = None
    has: dict[SpecName, JsonValue] = {}
    refused: str | None = None
    sent: SpecName | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Expectation:
        said: list[Any] = [thing for thing in (self.record, self.refused, self.sent) if thing is not None]
        if len(said) != 1 or (self.has and self.record is None):
            raise ValueError("say one thing: a record and what it has, a refusal, or a mail that was sent")
        return self


class Example(Spec):
    """One example of how the app behaves: checked before a deploy, and again while it is a canary."""

    title: Sentence
    given: Annotated[list[GivenRecord], Bounds(max_length=50)] = []
    when: Annotated[list[Create | Change | Take], Bounds(min_length=1, max_length=50)]
    then: Annotated[list[Expectation], Bounds(min_length=1, max_length=50)]
