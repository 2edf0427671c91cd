"""Every endpoint, asked by everybody. What should happen is computed from the table of actions, here and not there.

Endpoints are found from the routes of the application: a new one is tested by existing. What a request asks for does
not exist, and its body is empty, so that whoever may come in changes nothing: only how far they get is compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from felix_world import Caller, World, new_key

from felix import bootstrap
from felix.api import api_keys, auth, http, projections, tenancy
from felix.api.documents import IN_PATH
from felix.api.problems import MEDIA_TYPE
from felix.cli.docs.catalogue import classes
from felix.domain.base import Command
from felix.domain.identity.access import ACTIONS
from felix.domain.identity.roles import HUMAN_ROLES, PLATFORM, PLATFORM_ROLES, Role
from felix.domain.identity.scopes import actions_within
from felix.eventstore.api_keys import new_key as new_api_key

IN = "comes in"
UNKNOWN = "401"
PAST = datetime.now(UTC) - timedelta(days=1)
#: Streams end by themselves, so that the test does not wait for their end.
QUERY = {"/v1/live": "?follow=false"}


@dataclass(frozen=True)
class Endpoint:
    """One method of one path, with ids of nothing in the place of parameters."""

    method: str
    template: str
    action: str

    @property
    def path(self) -> str:
        return re.sub(r"\{(\w+)(:path)?\}", lambda name: NOTHING[name[1]], self.template) + QUERY.get(self.template, "")

    @property
    def name(self) -> str:
        return f"{self.method} {self.template}"


#: For each parameter what its pattern allows and nobody has.
NOTHING = {name: re.sub(r"(?<=_)[0-9a-f]{32,42}$", lambda id_: "0" * len(id_[0]), IN_PATH[name][1]) for name in IN_PATH}
NOTHING |= {"job_id": "00000000-0000-0000-0000-000000000000", "stream": "x", "command_key": "x"}


def endpoints_of(world: World) -> list[Endpoint]:
    return [
        Endpoint(method, route.path, (route.openapi_extra or {})["x-felix-action"])
        for route in (context.original_route for context in iter_route_contexts(world.app.routes))
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


@dataclass(frozen=True)
class Asker:
    """Somebody, and what the test knows of them. ``prepare`` makes one for every endpoint, or the same for all."""

    name: str
    prepare: Callable[[World, int], list[Caller]]
    role: Role | None = None
    machine: bool = False
    scopes: frozenset[str] | None = None
    stepped_up: bool = True
    second_factor: bool = True
    member: bool = True
    #: As whom a founder looks at the client.
    eyes: Role | None = None

    def expected(self, action: str) -> str:
        """How far they should get, told from the table alone."""
        row = ACTIONS[action]
        if row.place == "door":
            return IN
        if self.role is None:
            return UNKNOWN
        needed = row.grants.get(self.role)
        of_platform = self.role in PLATFORM_ROLES and self.member
        if row.place == "own":
            if self.machine and "service" not in row.grants:
                return "403 forbidden"
            return "403 step_up_needed" if "stepped_up" in (needed or ()) and not self.stepped_up else IN
        if self.eyes is not None and action != "access.end_impersonation":
            if row.writes:
                return "403 read_only_impersonation"
            if row.place == "platform":
                return "403 not_impersonating"
            return IN if self.eyes in row.grants else "403 forbidden"
        if not self.member or needed is None or (row.place == "platform" and not of_platform):
            return "403 forbidden"
        if of_platform and not self.machine and not self.second_factor:
            return "403 second_factor_missing"
        if self.scopes is not None and action not in actions_within(self.scopes):
            return "403 out_of_scope"
        if "stepped_up" in needed and not self.machine and not self.stepped_up:
            return "403 step_up_needed"
        return IN


def people(role: Role, **how: Any) -> Callable[[World, int], list[Caller]]:
    """A person for every endpoint: some endpoints end the session they are asked with."""
    return lambda world, number: world.people(number, role, **how)


def impersonating(role: Role) -> Callable[[World, int], list[Caller]]:
    """A founder for every endpoint who looks at the bakery as one of its people does."""

    def prepare(world: World, number: int) -> list[Caller]:
        founders = world.people(number, "founder", stepped_up=True)
        asked = {"role": role, "reason": "a test"}
        begun = [founder.done("/v1/impersonations", asked)["impersonation_id"] for founder in founders]
        return [
            replace(founder, headers=founder.headers | {"Felix-Impersonation": impersonation_id})
            for founder, impersonation_id in zip(founders, begun, strict=True)
        ]

    return prepare


def key(role: Role, scopes: list[str] | None = None) -> Callable[[World, int], list[Caller]]:
    """One key for all endpoints."""

    def prepare(world: World, number: int) -> list[Caller]:
        founder = world.founder
        if role != "service":
            founder = replace(founder, headers=founder.headers | {"Felix-Tenant": str(PLATFORM)})
        made = founder.done("/v1/api-keys", {"label": role, "role": role} | ({"scopes": scopes} if scopes else {}))
        headers = {"Authorization": f"Bearer {made['key']}"}
        if role != "service":
            headers["Felix-Tenant"] = world.bakery.tenant_id
        return [Caller(world.client, headers, world.bakery.tenant_id, made["key_id"])] * number

    return prepare


def ended_key(sql: str) -> Callable[[World, int], list[Caller]]:
    """A key that was good for everything."""

    def prepare(world: World, number: int) -> list[Caller]:
        callers = key("founder")(world, number)
        with bootstrap.connect_owner(world.endpoints) as owner:
            owner.execute(f"update felix.api_keys set {sql} where key_id = %s", (callers[0].id,))
        return callers

    return prepare


def with_headers(**headers: str) -> Callable[[World, int], list[Caller]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda world, number: (
        [Caller(world.client, {"Felix-Tenant": world.bakery.tenant_id, "Sec-Fetch-Site": "same-origin"} | named)]
        * number
    )


SCOPES = ["*.read", "ledger.debit_tokens", "metering.*"]
KNOWN = [
    *(Asker(f"{role}", people(role, stepped_up=True), role) for role in sorted(HUMAN_ROLES)),
    *(Asker(f"{role}, not stepped up", people(role), role, stepped_up=False) for role in ("founder", "client_owner")),
    Asker("a founder without a second factor", people("founder", second_factor=False, stepped_up=True), "founder",
          second_factor=False),
    *(Asker(f"a key of a {role}", key(role), role, machine=True)
      for role in ("founder", "founder_readonly", "service")),
    *(Asker(f"a key of a {role} with scopes", key(role, SCOPES), role, machine=True, scopes=frozenset(SCOPES))
      for role in ("founder", "service")),
    Asker("a member whose time is over", people("client_owner", member_until=PAST, stepped_up=True), "client_owner",
          member=False),
    *(Asker(f"a founder with the eyes of a {role}", impersonating(role), "founder", eyes=role)
      for role in ("client_owner", "client_member")),
    Asker("a founder whose time is over", people("founder", member_until=PAST, stepped_up=True), "founder",
          member=False),
]  # fmt: skip
STRANGERS = [
    Asker("nobody", with_headers()),
    Asker("no key", with_headers(Authorization="Bearer")),
    Asker("another scheme", with_headers(Authorization="Basic Zng6eA==")),
    Asker("a key with a wrong checksum", with_headers(Authorization="Bearer fx_live_" + "a" * 36)),
    Asker("a key that never was", with_headers(Authorization=f"Bearer {new_api_key()}")),
    Asker("an attempt at SQL", with_headers(Authorization="Bearer fx_live_' or true--")),
    Asker("a key of 9,000 characters", with_headers(Authorization="Bearer fx_live_" + "a" * 9_000)),
    Asker("a session that never was", with_headers(Cookie="__Host-felix_session=" + "a" * 43)),
    Asker("a malformed session", with_headers(Cookie="__Host-felix_session=%00'")),
    Asker("an expired key", ended_key("expires_at = now()")),
    Asker("a revoked key", ended_key("revoked_at = now()")),
    Asker("a session that was ended", people("founder", session_ended=True, stepped_up=True)),
    Asker("a session that ran out", people("founder", session_until=PAST, stepped_up=True)),
    Asker("a disabled user", people("founder", status="disabled", stepped_up=True)),
]


def send(caller: Caller, endpoint: Endpoint) -> Any:
    headers = caller.headers | {"Idempotency-Key": new_key()}
    body = {} if endpoint.method == "GET" else {"json": {}}
    return caller.client.request(endpoint.method, endpoint.path, headers=headers, **body)


#: What is refused of an empty proof to somebody who has come in, and what a machine hears that does what people do.
MEANS = {"credentials_refused": IN, "unauthenticated": UNKNOWN, "people_only": "403 forbidden"}


def outcome(answered: Any) -> str:
    if answered.status_code in (401, 403):
        code = answered.json()["code"]
        return MEANS.get(code, f"403 {code}")
    # Not to be ready is an answer, and no problem.
    failed = answered.status_code >= 500 and answered.headers["content-type"] == MEDIA_TYPE
    return f"{answered.status_code} {answered.text}" if failed else IN


def differences(world: World, asker: Asker, endpoints: list[Endpoint]) -> list[str]:
    """Where somebody gets further, or less far, than the table says."""
    callers = asker.prepare(world, len(endpoints))
    found = []
    for caller, endpoint in zip(callers, endpoints, strict=True):
        answered = send(caller, endpoint)
        expected, happened = asker.expected(endpoint.action), outcome(answered)
        if expected != happened:
            found.append(f"{asker.name}: {endpoint.name} ({endpoint.action}) is {happened}, not {expected}")
        elif happened == UNKNOWN and answered.content != world.client.get("/v1/meters").content:
            found.append(f"{asker.name}: {endpoint.name} says more than 401: {answered.text}")
    return found


@pytest.mark.parametrize("asker", KNOWN, ids=lambda asker: asker.name)
def test_everybody_gets_as_far_as_the_table_says(asker: Asker, world: World) -> None:
    endpoints = endpoints_of(world)
    assert len(endpoints) > 60
    assert differences(world, asker, endpoints) == []


@pytest.mark.parametrize("asker", STRANGERS, ids=lambda asker: asker.name)
def test_without_valid_credentials_every_endpoint_says_401_and_no_more(asker: Asker, world: World) -> None:
    assert differences(world, asker, endpoints_of(world)) == []


def test_the_table_tells_everybody_apart() -> None:
    told = {asker.name: tuple(map(asker.expected, ACTIONS)) for asker in KNOWN}
    # An approver has nothing to approve yet, and whose time is over is nobody any more.
    assert len(set(told.values())) >= len(told) - 2
    assert {"403 forbidden", "403 out_of_scope", "403 step_up_needed", IN} < {
        each for row in told.values() for each in row
    }


# --- clients that are not the caller's ----------------------------------------------------------------------


ELSEWHERE = {
    "a person": Asker("a person", people("client_owner", stepped_up=True), "client_owner"),
    "a key": Asker("a key", key("service"), "service", machine=True),
}


def tells_apart(world: World, asker: Asker, endpoints: list[Endpoint]) -> list[str]:
    """Where a client that is not the caller's is answered unlike one that never was, or the caller's own like one."""
    slugs = {row["tenant_id"]: row["slug"] for row in world.founder.seen("/v1/tenants")["data"]}
    names = ("nobody", slugs[world.garage.tenant_id], world.garage.tenant_id, "felix-platform", str(PLATFORM))
    found = []
    for caller, endpoint in zip(asker.prepare(world, len(endpoints)), endpoints, strict=True):
        told = set()
        for name in names:
            answered = send(replace(caller, headers=caller.headers | {"Felix-Tenant": name}), endpoint)
            told.add((answered.status_code, answered.content.replace(name.encode(), b"NAME")))
        own = send(replace(caller, headers=caller.headers | {"Felix-Tenant": world.bakery.tenant_id}), endpoint)
        if [status for status, _ in told] != [404] or outcome(own) != asker.expected(endpoint.action):
            found.append(f"{asker.name}: {endpoint.name} says {told}, and of their own {outcome(own)}")
    return found


@pytest.mark.parametrize("who", ELSEWHERE)
def test_a_client_that_is_not_the_callers_looks_like_one_that_never_was(who: str, world: World) -> None:
    endpoints = [each for each in endpoints_of(world) if ACTIONS[each.action].place == "tenant"]
    assert len(endpoints) > 40
    assert tells_apart(world, ELSEWHERE[who], endpoints) == []


# --- one action each ----------------------------------------------------------------------------------------


def commands() -> list[type[Command]]:
    return [cls for cls in classes(Command, "domain", "application", "api") if cls.command_name]


def test_every_command_that_has_a_door_has_its_action(world: World) -> None:
    """Every endpoint names an action of the table, or there is no start; a command without a door nobody gives."""
    named = [cls.command_name for cls in commands()]
    assert len(named) == len(set(named)) > 30
    asked = {endpoint.action for endpoint in endpoints_of(world)}
    assert asked <= ACTIONS.keys()
    writes = {name for name, action in ACTIONS.items() if action.writes and action.grants}
    assert (writes & set(named)) - asked == set(), "what somebody may do has a door"


def test_every_action_is_a_command_or_has_a_door(world: World) -> None:
    doors = {endpoint.action for endpoint in endpoints_of(world)}
    assert ACTIONS.keys() - doors - {cls.command_name for cls in commands()} == set()


def test_what_somebody_may_do_has_a_door_unless_only_felix_does_it(world: World) -> None:
    doors = {endpoint.action for endpoint in endpoints_of(world)}
    assert {name for name, row in ACTIONS.items() if row.grants} - doors == set()


def test_an_action_has_two_parts() -> None:
    assert [name for name in ACTIONS if not re.fullmatch(r"[a-z_]+\.[a-z_]+", name)] == []


def test_the_document_names_the_action_of_every_endpoint_and_what_is_the_founders(world: World) -> None:
    for path, operations in world.app.openapi()["paths"].items():
        for method, operation in operations.items():
            row = ACTIONS[operation["x-felix-action"]]
            if "Founder only." in operation.get("description", ""):
                assert row.grants.keys() <= PLATFORM_ROLES, (method, path)


# --- the test itself ----------------------------------------------------------------------------------------


async def _asks_nobody(request: Any, action: str) -> auth.Principal:
    access = auth.Access(PLATFORM, "founder")
    return auth.Principal(auth.Caller("usr_" + "0" * 32, "", "password", (access,)), "founder", PLATFORM)


async def _asks_for_less(request: Any, action: str) -> auth.Principal:
    return await http.allowed(request, "ledger.read")


async def _asks_for_more(request: Any, action: str) -> auth.Principal:
    return await http.allowed(request, "tenancy.onboard_tenant")


def _permits_all(caller: Any, access: Any, action: str, at: datetime) -> None: ...


def _asks_no_proof(permit: Callable[..., None]) -> Callable[..., None]:
    def lenient(caller: auth.Caller, access: auth.Access, action: str, at: datetime) -> None:
        permit(replace(caller, stepped_up_at=at), access, action, at)

    return lenient


#: What is broken, and who notices.
HOLES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = {
    "an endpoint asks nobody": (
        lambda patch: patch.setattr(tenancy, "allowed", _asks_nobody), "GET /v1/tenants", "nobody"),
    "an endpoint lets strangers past": (
        lambda patch: patch.setattr(projections, "allowed", _asks_nobody), "GET /v1/projections", "a revoked key"),
    "an endpoint asks for another action": (
        lambda patch: patch.setattr(api_keys, "allowed", _asks_for_less), "POST /v1/api-keys", "client_member"),
    "an endpoint asks for too much": (
        lambda patch: patch.setattr(tenancy, "allowed", _asks_for_more), "GET /v1/tenants", "founder_readonly"),
    "the table is not asked": (
        lambda patch: patch.setattr(auth, "permit", _permits_all), "POST /v1/token-accounts", "auditor"),
    "scopes are not looked at": (
        lambda patch: patch.setattr(auth, "actions_within", lambda scopes: ACTIONS.keys()),
        "POST /v1/token-accounts", "a key of a service with scopes"),
    "nobody has to step up": (
        lambda patch: patch.setattr(auth, "permit", _asks_no_proof(auth.permit)),
        "POST /v1/token-accounts/{account_id}/grants", "founder, not stepped up"),
    "keys live for ever": (
        lambda patch: patch.setattr(auth.Caller, "is_valid_at", lambda self, at: True),
        "GET /v1/meters", "an expired key"),
    "memberships last for ever": (
        lambda patch: patch.setattr(auth.Access, "is_valid_at", lambda self, at: True),
        "GET /v1/meters", "a member whose time is over"),
}  # fmt: skip


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_is_found(hole: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    make, name, noticed_by = HOLES[hole]
    (endpoint,) = (each for each in endpoints_of(world) if each.name == name)
    (asker,) = (each for each in KNOWN + STRANGERS if each.name == noticed_by)
    assert differences(world, asker, [endpoint]) == []
    make(monkeypatch)
    assert len(differences(world, asker, [endpoint])) == 1, hole


async def _believes_every_name(self: auth.Authenticator, caller: auth.Caller, named: str | None) -> UUID:
    return await self._any_tenant(named or "")


def test_an_endpoint_that_tells_clients_apart_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (endpoint,) = (each for each in endpoints_of(world) if each.name == "GET /v1/meters")
    monkeypatch.setattr(auth.Authenticator, "tenant_id", _believes_every_name)
    assert all(len(tells_apart(world, asker, [endpoint])) == 1 for asker in ELSEWHERE.values())


def test_an_endpoint_without_an_action_is_found(world: World) -> None:
    async def forgotten(request: Any) -> Any: ...

    routes = list(world.app.router.routes)
    world.app.add_api_route("/v1/forgotten", forgotten)
    try:
        with pytest.raises(KeyError):
            endpoints_of(world)
    finally:
        world.app.router.routes[:] = routes
