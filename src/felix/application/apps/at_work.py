"""What a worker needs to run apps: the release that is in force, who pays, and how things go out."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

from felix.application.apps.measurements import Measurements
from felix.application.apps.releases import Releases
from felix.application.apps.templates import render_mail
from felix.application.reports import report_of, tabulate
from felix.application.secrets import Secrets, User
from felix.application.sign_in import Attachment, Mailer
from felix.domain.apps.measured import Running
from felix.domain.apps.shapes import CompiledApp
from felix.domain.apps.surfaces import Report
from felix.domain.errors import Refused
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.app_pointers import AppPointer
from felix.eventstore.effects import Effect, EffectBook
from felix.eventstore.mapper import canonical_json

Place = tuple[int, UUID]


class Webhooks(Protocol):
    """Tells other systems."""

    def call(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """POST a JSON document. Raises ``Unavailable``, and what else is a ``FelixError`` for good."""


class WebhookGone(Refused):
    """The app has no such webhook any more."""


class NobodyToWriteTo(Refused):
    """There is no address any more that this could be sent to."""


class Shelf(Protocol):
    """What is asked of the read models."""

    def pointer(self, place: Place, app: str, environment: str) -> AppPointer | None:
        """What of an app runs where."""

    def payer(self, place: Place) -> str | None:
        """Which account pays; None where the client has none."""

    def figures(self, place: Place, app: str, environment: str, report: Report) -> Sequence[Mapping[str, Any]]:
        """The rows of a report."""

    def has_retold(self, place: Place, projection: str, position: int) -> bool:
        """Whether a read model has what the log has up to a position."""

    def records(
        self, place: Place, app: str, environment: str, entity: str, after: str, limit: int
    ) -> Sequence[dict[str, Any]]:
        """Records of an entity by their ids, from behind ``after`` on, those that were removed too."""


@dataclass(frozen=True, slots=True)
class AppsAtWork:
    """Everything that jobs of apps ask for. Safe from any thread."""

    releases: Releases
    shelf: Shelf
    effects: EffectBook
    mailer: Mailer
    webhooks: Webhooks
    measurements: Measurements
    #: What the vault has of a subject of a tenant.
    personal: Callable[[Place, str], Mapping[str, str]]
    #: The partition of a tenant: that of the platform, which users belong to.
    partition_of: Callable[[UUID], int]

    def in_force(self, place: Place, app: str, environment: str, release: str | None) -> CompiledApp | None:
        """A release if it is in force, else the stable one; None where the app does not run there."""
        pointer = self.shelf.pointer(place, app, environment)
        if pointer is None:
            return None
        return self.releases.app(release if release == pointer.candidate and release else pointer.stable)

    def payer(self, place: Place) -> str | None:
        """Which account pays for what an app does by itself."""
        return self.shelf.payer(place)

    def send(self, place: Place, effect: Effect, secrets: Secrets, user: User) -> None:
        """Send an effect, in the name of a job. Raises ``Unavailable``, and for good what else is a ``FelixError``.

        It goes out under a key of its own, always the same, by which a server or a person knows it for what was there
        before.
        """
        if effect.kind == "report":
            self._send_report(place, effect)
        elif effect.kind == "webhook":
            self._call_webhook(place, effect, secrets, user)
        else:
            self._send_mail(place, effect)

    def count_runs(self, place: Place, app: str, environment: str, release: str, told: Mapping[str, Any]) -> None:
        """Let the guardrails know what an event led to."""
        running = Running(*place, app, environment, release)
        for measure, number in (
            ("automations", told["runs"] + told["failed"]),
            ("failed_automations", told["failed"]),
            ("outbound", told.get("outbound", 0)),
        ):
            if number:
                self.measurements.count(running, measure, number)  # type: ignore[arg-type]

    def _send_mail(self, place: Place, effect: Effect) -> None:
        told, app = effect.told, self.releases.app(effect.release)
        entity, record_id, to = told["entity"], told["record_id"], told["to"]
        values, personal = dict(told["values"]), app.shapes[entity].personal
        if personal:
            kept = self.personal(place, record_id)
            values |= {name: value for name, value in kept.items() if name in personal}
        mail = render_mail(app, told["template"], entity, values)
        if "user" in to:
            self._post(self._address_of(to["user"]), to["user"], effect, mail.subject, mail.text, mail.html)
        else:
            self._post(values.get(to["field"]), record_id, effect, mail.subject, mail.text, mail.html)

    def _call_webhook(self, place: Place, effect: Effect, secrets: Secrets, user: User) -> None:
        """The signature is an HMAC-SHA256 over time and body, so that nobody can send the same again much later."""
        told = dict(effect.told)
        integration = self.releases.app(effect.release).app.integrations.get(told.pop("integration"))
        if integration is None or not integration.enabled:
            raise WebhookGone()
        at = effect.made_at.isoformat()
        body = canonical_json(
            {"id": effect.effect_id.hex, "app": effect.app, "environment": effect.environment, "at": at} | told
        )
        headers = {"Idempotency-Key": effect.effect_id.hex}
        if integration.secret_ref is not None:
            with secrets.use(place[1], integration.secret_ref, purpose="apps.webhook", user=user) as secret:
                signed = hmac.new(secret.encode(), f"{at}.".encode() + body, sha256).hexdigest()
            headers["Felix-Signature"] = f"t={at},v1={signed}"
        self.webhooks.call(str(integration.config["url"]), body, headers)

    def _send_report(self, place: Place, effect: Effect) -> None:
        told, app = effect.told, self.releases.app(effect.release)
        report = report_of(app, told["report"])
        table = tabulate(app, report, self.shelf.figures(place, effect.app, effect.environment, report))
        text = f"{report.title}\n\n{len(table.rows)} rows, made at {told['at']}. The table is attached.\n"
        attached = Attachment(f"{told['report']}.csv", "text/csv", table.csv().encode())
        user_id = told["to"]["user"]
        self._post(self._address_of(user_id), user_id, effect, report.title, text, None, attached)

    def _post(
        self,
        to: str | None,
        about: str,
        effect: Effect,
        subject: str,
        text: str,
        page: str | None,
        attached: Attachment | None = None,
    ) -> None:
        if not to:
            raise NobodyToWriteTo(id=about)
        self.mailer.send(to, subject, text, about=about, key=effect.effect_id.hex, page=page, attached=attached)

    def _address_of(self, user_id: str) -> str | None:
        """A user's address; none of whoever was erased."""
        return self.personal((self.partition_of(PLATFORM), PLATFORM), user_id).get("email")
