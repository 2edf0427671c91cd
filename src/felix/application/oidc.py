"""Signing in with an OpenID provider: what a door needs of one, and the handler that binds a user to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.errors import NotFound, Unauthenticated
from felix.domain.identity.bound_identity import BindIdentity, BoundIdentity
from felix.domain.identity.credentials import CredentialsRefused
from felix.domain.identity.user import User
from felix.eventstore import bound_identities as kept
from felix.eventstore.sealing import RootKeys


class OidcNotSetUp(NotFound):
    """Nobody signs in with a provider here: FELIX_OIDC_ISSUER is not set."""


class OidcRefused(Unauthenticated):
    """Signing in with the provider did not work out; begin again."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a browser takes to the provider, and what it has to come back with. Secret but for its address."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the provider says somebody is. Its text shows nothing of it."""

    issuer: str
    subject: str = field(repr=False)
    #: As the provider has verified it.
    email: str = field(repr=False)
    name: str | None = field(repr=False)

    def index(self, root_keys: RootKeys) -> bytes:
        """What the identity is found by."""
        return root_keys.index("identity", f"{len(self.issuer)}/{self.issuer}/{self.subject}")


class SignInProvider(Protocol):
    """An OpenID provider, as a door sees it. Both calls may take seconds."""

    def challenge(self) -> Challenge:
        """Begin. Raises ``Unavailable``."""

    def redeem(self, code: str, verifier: str, nonce: str) -> Identity:
        """Who came back with a code. Raises :class:`OidcRefused`, whatever is wrong with what the provider says, and
        ``Unavailable`` where it says nothing."""


@handles(BindIdentity)
def bind_identity(command: BindIdentity, unit: UnitOfWork) -> dict[str, Any]:
    """Once: another user's identity, or another identity of a bound user, is refused.

    An address that the provider gives to somebody else so opens no account of who had it before.
    """
    user = unit.find(User, command.user_id)
    if user is None or user.status != "active":
        raise CredentialsRefused()
    subject_index: bytes = unit.context.enclosed["subject_index"]
    known = unit.ask_beside(kept.bound(command.issuer, subject_index, command.user_id))
    if known and known != [(command.user_id, True)]:
        raise CredentialsRefused()
    if not known:
        unit.add(BoundIdentity.bind(unit.context, command))
        unit.beside(kept.keep(command.issuer, subject_index, command.user_id, unit.context.at))
    return {"user_id": command.user_id, "issuer": command.issuer}
