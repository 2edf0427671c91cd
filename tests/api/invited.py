"""People who come to be as they really do: by an invitation, whose link the test hands over."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID

from felix_world import Caller, World, new_key

from felix.application.performer import new_context
from felix.domain.identity.invitation import SendInvitation
from felix.domain.identity.roles import PLATFORM

PASSWORD = "a lighthouse keeps seven promises"
_people = count(1)


def new_address() -> str:
    """An address that nobody has."""
    return f"person-{next(_people)}@example.com"


@dataclass(frozen=True)
class Invited:
    """Somebody who has a link."""

    world: World
    tenant_id: UUID
    invitation_id: str
    email: str
    token: str

    def accept(self, **body: Any) -> Any:
        """Use the link; by default as somebody new."""
        asked = {"token": self.token, "name": "Ada", "password": PASSWORD} | body
        answered = self.world.client.post(
            "/v1/invitations/accept", json={name: value for name, value in asked.items() if value is not None}
        )
        # All people of a test share a client, which would go on as whoever came in last.
        self.world.client.cookies.clear()
        return answered

    def join(self, **body: Any) -> Caller:
        """Use the link and be signed in."""
        return self.caller(self.accept(**body))

    def caller(self, answered: Any) -> Caller:
        """Whoever was signed in with this answer."""
        assert answered.status_code == 201, answered.text
        cookie = answered.headers["set-cookie"].split(";")[0]
        headers = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
        if self.tenant_id == PLATFORM:
            headers["Felix-Tenant"] = "felix-platform"
        return Caller(self.world.client, headers, str(self.tenant_id), answered.json()["user_id"])


def invite(
    world: World, tenant: Caller | None, role: Any = "client_member", email: str | None = None, **fields: Any
) -> Invited:
    """Invite somebody to a client, or without one to the platform."""
    tenant_id = UUID(tenant.tenant_id) if tenant else PLATFORM
    address, key = email or new_address(), new_key()
    prepared = world.app.state.services.inviter().address(tenant_id, "us", key, address)
    command = SendInvitation(
        role=role, invitation_id=prepared.invitation_id, email_commitment=prepared.email_commitment, **fields
    )
    context = new_context(tenant_id, key, "founder:test", enclosed=prepared.enclosed)
    world.performer.perform_blocking(command, context).result  # noqa: B018 raises what refused it
    return Invited(world, tenant_id, prepared.invitation_id, address, prepared.url.partition("#")[2])
