"""People with an address and a password, and the browsers that they sign in with."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, ClassVar
from uuid import uuid4

from felix_world import World
from pyotp import TOTP

from felix import bootstrap
from felix.adapters.passwords import Argon2Passwords
from felix.api import examples
from felix.api.rate_limits import RateLimits
from felix.application.performer import new_context
from felix.domain.identity.roles import PLATFORM, PLATFORM_ROLES, Role
from felix.domain.identity.user import RegisterUser
from felix.eventstore.sign_in import Purpose, hash_token, link_made, new_token

PASSWORD = "quiet otters juggle seven lamps"
#: Cheap enough that a test can sign in often; what is compared is the same.
CHEAP = {"time_cost": 1, "memory_cost_kib": 64}
_numbers = count(1)


@dataclass
class Browser:
    """Keeps cookies as a browser does, and says where a request comes from."""

    #: What a proxy in front of Felix says of where it is; nothing, where there is none.
    address: ClassVar[str] = ""
    world: World
    cookies: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: {"Sec-Fetch-Site": "same-origin"})

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """Send a write."""
        sent = self.sent(headers)
        if isinstance(body, bytes):
            return self._keep(self.world.client.post(path, content=body, headers=sent))
        return self._keep(self.world.client.post(path, json={} if body is None else body, headers=sent))

    def get(self, path: str, **headers: str) -> Any:
        """Read."""
        return self._keep(self.world.client.get(path, headers=self.sent(headers)))

    def done(self, path: str, body: Any = None) -> Any:
        """Send a write that has to be accepted, and give its body."""
        answered = self.post(path, body)
        assert answered.status_code in (200, 201, 202), (path, answered.status_code, answered.text)
        return answered.json()

    @property
    def token(self) -> str:
        """The session's token."""
        return self.cookies.get("__Host-felix_session", "")

    def copy(self) -> Browser:
        """Somebody who has got hold of the cookies."""
        return Browser(self.world, dict(self.cookies))

    def sent(self, headers: dict[str, str]) -> dict[str, str]:
        """The headers of a request."""
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        if self.address:
            sent.setdefault("X-Forwarded-For", self.address)
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return sent

    def _keep(self, answered: Any) -> Any:
        for line in answered.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            value = rest.split(";")[0].strip('"')
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        self.world.client.cookies.clear()
        return answered


@dataclass
class Person:
    """Somebody who can sign in."""

    world: World
    user_id: str
    email: str
    password: str = PASSWORD
    totp_secret: str = ""
    recovery_codes: list[str] = field(default_factory=list)

    def browser(self, **more: Any) -> Browser:
        """A browser in which they have signed in."""
        browser = Browser(self.world)
        browser.done("/v1/sign-in", {"email": self.email, "password": self.password, **more})
        return browser

    def code(self, ahead: int = 1) -> str:
        """What their app will show next: good as well, and not used when they enrolled a moment ago."""
        return TOTP(self.totp_secret).at(datetime.now(UTC), counter_offset=ahead)

    def enrol(self, browser: Browser) -> None:
        """Begin to use an app, in a browser in which they have stepped up."""
        begun = browser.done("/v1/me/totp")
        self.totp_secret = begun["secret"]
        confirmed = browser.done("/v1/me/totp/confirm", {"enrolment": begun["enrolment"], "totp": self.code(0)})
        self.recovery_codes = confirmed["recovery_codes"]

    def link(self, purpose: Purpose) -> str:
        """The token of a link, as a mail carries it."""
        token, at = new_token(), datetime.now(UTC)
        book = self.world.app.state.services.sign_in_book
        book.run(link_made(hash_token(token), purpose, self.user_id, at, at.replace(year=at.year + 1)))
        return token


def somebody(
    world: World, role: Role | None = "client_member", *, password: str | None = PASSWORD, hasher: Any = None
) -> Person:
    """A user whom the log knows, with a membership of the bakery or the platform."""
    services = world.app.state.services
    email = f"person-{next(_numbers)}-{secrets.token_hex(4)}@example.com"
    person = services.vault().enclose(email=email, name="Somebody")
    hashed = None if password is None else (hasher or Argon2Passwords(**CHEAP))._hasher.hash(password)
    context = new_context(
        PLATFORM,
        f"test:{uuid4()}",
        "founder:test",
        enclosed={
            "email_index": services.root_keys().index("email", email),
            "person": person,
            "password_hash": hashed,
        },
    )
    command = RegisterUser(email_commitment=person.commitments["email"], name_commitment=person.commitments["name"])
    user_id: str = services.performer.perform_blocking(command, context).result["user_id"]
    if role is not None:
        with bootstrap.connect_owner(world.endpoints) as owner:
            owner.execute(
                "insert into felix.memberships (tenant_id, user_id, role, granted_at) values (%s, %s, %s, now())",
                (PLATFORM if role in PLATFORM_ROLES else world.bakery.tenant_id, user_id, role),
            )
    return Person(world, user_id, email, password or "")


def unlimited(world: World) -> None:
    """Let tests ask as often as they like; how often one may ask is tested elsewhere."""
    world.app.state.services.rate_limits = RateLimits(
        reads_per_s=10**6, writes_per_s=10**6, client_times=2, strangers_per_minute=10**6
    )


def within_a_second(is_so: Any) -> bool:
    """Whether something becomes so within what revocation may take."""
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.02)
    return bool(is_so())


def true_example(world: World, name: str) -> tuple[dict[str, str], Browser | None]:
    """What makes the example of an endpoint of sign-in true: real values for its own, and the browser that sends it."""
    person = somebody(world, password=examples.SIGN_IN[0]["password"])
    real = {examples.SIGN_IN[0]["email"]: person.email}
    if name in ("redeem_magic_link", "redeem_password_reset"):
        token = person.link("magic_link" if name == "redeem_magic_link" else "password_reset")
        return real | {examples.REDEEM_MAGIC_LINK[0]["token"]: token}, None
    if name in ("sign_in", "send_magic_link", "send_password_reset"):
        return real, None
    browser, other = person.browser(), person.browser()
    real[examples.SESSION_ID] = next(s["session_id"] for s in other.get("/v1/sessions").json()["data"] if s["current"])
    if name.endswith(("second_factor", "recovery_codes")):
        browser.done("/v1/step-up", {"password": person.password})
    if name in ("remove_second_factor", "issue_recovery_codes"):
        person.enrol(browser)
        browser.done("/v1/step-up", {"password": person.password})
    if name == "confirm_second_factor":
        begun = browser.done("/v1/me/totp")
        person.totp_secret = begun["secret"]
        asked, _ = examples.CONFIRM_SECOND_FACTOR
        real |= {asked["enrolment"]: begun["enrolment"], asked["totp"]: person.code()}
    return real, browser
