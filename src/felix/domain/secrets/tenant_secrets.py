"""What a tenant's secrets are called, which version is in force, and who used them for what; never what they are.

Values travel enclosed beside their command and end up sealed in a table of their own. They are sealed with a key of
the tenant, which can be replaced: what was sealed with the one before is then sealed anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from eventsourcing.domain import event
from pydantic import Field, StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.errors import NotFound, Refused
from felix.domain.values import Moment, Reason, Reference

#: The only stream of its kind: ``<tenant>:secrets:secrets``.
SECRETS_STREAM = "secrets"
#: All of a tenant's secrets are sealed anew in one transaction.
MAX_SECRETS = 200
#: A month is time enough to tell every system of a new secret.
MAX_OVERLAP_S = 31 * 24 * 3600
#: What the names of secrets begin with that nobody gave to Felix.
OWN_PREFIX = "felix."
NAME_PATTERN = r"^[a-z][a-z0-9]*([._-][a-z0-9]+)*$"

SecretName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=64)]
Kind = Literal["token", "password", "private_key", "signing_secret", "other"]
Purpose = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=64)]


class TooManySecrets(Refused):
    """The tenant has as many secrets as it can have."""


class SecretStillValid(Refused):
    """This version is in force, or its overlap has not ended."""


class NameIsFelixs(Refused):
    """Names that begin with felix. are those of secrets that Felix makes itself."""


class TenantKeyNotReplaced(Refused):
    """The tenant's key is another one by now."""


# --- commands -----------------------------------------------------------------------------------------------


class SetSecret(Command):
    """Set a secret, or its next version. The value is sealed, and never shown again.

    With ``overlap_s`` the version before stays usable for so long, for systems that learn of the new one one after the
    other. ``value_digest`` is an HMAC of the value under the root key: it tells two requests under one key apart, and
    nothing to anybody else.
    """

    command_name: ClassVar[str] = "secrets.set_secret"
    name: SecretName
    kind: Kind = "token"
    overlap_s: Annotated[int, Field(ge=0, le=MAX_OVERLAP_S)] = 0
    value_digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class MakeSecret(Command):
    """Make a secret that nobody knows, of random bytes; nothing where there is one. Its name begins with ``felix.``."""

    command_name: ClassVar[str] = "secrets.make_secret"
    name: SecretName


class RemoveSecret(Command):
    """Delete every version of a secret."""

    command_name: ClassVar[str] = "secrets.remove_secret"
    name: SecretName
    reason: Reason | None = None


class UseSecret(Command):
    """Note that a secret is about to be used: without the note nobody gets it.

    ``with_earlier`` asks for versions in their overlap too, for checking what others have signed. ``reference`` is the
    job or the command that the secret is needed for.
    """

    command_name: ClassVar[str] = "secrets.use_secret"
    name: SecretName
    purpose: Purpose
    reference: Reference | None = None
    with_earlier: bool = False


class EndSecretVersion(Command):
    """Delete a version whose overlap has ended."""

    command_name: ClassVar[str] = "secrets.end_secret_version"
    name: SecretName
    version: Annotated[int, Field(gt=0)]


class RotateTenantKey(Command):
    """Give the tenant a new key; every secret is then sealed with it."""

    command_name: ClassVar[str] = "secrets.rotate_tenant_key"
    reason: Reason | None = None


class SealSecretsAnew(Command):
    """Put the values that were sealed with the tenant's new key into the place of the old ones, and forget old keys."""

    command_name: ClassVar[str] = "secrets.seal_secrets_anew"
    key_version: Annotated[int, Field(gt=0)]


# --- events -------------------------------------------------------------------------------------------------


class TenantKeyMade(FelixCreated):
    """The tenant got the key that its secrets are sealed with."""

    TOPIC: ClassVar[str] = "secrets.tenant_key_made"
    key_version: int


class SecretSet(FelixEvent):
    """A secret was set that there was not before."""

    TOPIC: ClassVar[str] = "secrets.secret_set"
    name: str
    version: int
    kind: Kind


class SecretRotated(FelixEvent):
    """A secret got its next version. The one before stays usable until ``earlier_until``, or is gone."""

    TOPIC: ClassVar[str] = "secrets.secret_rotated"
    name: str
    version: int
    kind: Kind
    earlier_until: Moment | None


class SecretVersionEnded(FelixEvent):
    """The overlap of an earlier version ended, and it was deleted."""

    TOPIC: ClassVar[str] = "secrets.secret_version_ended"
    name: str
    version: int


class SecretRemoved(FelixEvent):
    """Every version of a secret was deleted."""

    TOPIC: ClassVar[str] = "secrets.secret_removed"
    name: str
    version: int
    reason: str | None


class SecretUsed(FelixEvent):
    """A secret was handed to the adapter that needs it. ``versions`` begin with the one in force."""

    TOPIC: ClassVar[str] = "secrets.secret_used"
    name: str
    versions: list[int]
    purpose: str
    reference: str | None


class TenantKeyRotated(FelixEvent):
    """The tenant got a new key; what the one before has sealed opens still."""

    TOPIC: ClassVar[str] = "secrets.tenant_key_rotated"
    key_version: int
    reason: str | None


class SecretsSealedAnew(FelixEvent):
    """Every secret of the tenant is sealed with its new key, and the keys before were deleted."""

    TOPIC: ClassVar[str] = "secrets.secrets_sealed_anew"
    key_version: int


# --- the aggregate ------------------------------------------------------------------------------------------


class TenantSecrets(FelixAggregate):
    """A tenant's secrets by name, and the version of the key that they are sealed with.

    Versions count up for ever, also after a secret was removed: a sealed value is bound to its tenant, name and
    version, and an old one must not open in the place of a new one.
    """

    TOPIC = "secrets.tenant_secrets"
    kind = "secrets"
    Event = FelixEvent
    TenantKeyMade = TenantKeyMade
    SecretSet = SecretSet
    SecretRotated = SecretRotated
    SecretVersionEnded = SecretVersionEnded
    SecretRemoved = SecretRemoved
    SecretUsed = SecretUsed
    TenantKeyRotated = TenantKeyRotated
    SecretsSealedAnew = SecretsSealedAnew

    @classmethod
    def open(cls, context: CommandContext) -> TenantSecrets:
        """Begin with the tenant's first key."""
        return cls.begin(context, SECRETS_STREAM, key_version=1)

    @event(TenantKeyMade)
    def __init__(self, key_version: int) -> None:
        self.key_version = key_version
        self.sealing_anew = False
        #: By name: ``version``, whether it is ``there``, and until when ``earlier`` versions are, by version as text.
        self.secrets: dict[str, dict[str, Any]] = {}

    def set(self, command: SetSecret) -> tuple[int, list[int]]:
        """The number of the new version, and those that are over with it. Raises :class:`NameIsFelixs`."""
        if command.name.startswith(OWN_PREFIX):
            raise NameIsFelixs(name=command.name)
        known = self.secrets.get(command.name)
        there = known is not None and known["there"]
        if not there and sum(secret["there"] for secret in self.secrets.values()) >= MAX_SECRETS:
            raise TooManySecrets(limit=MAX_SECRETS)
        version = 1 if known is None else known["version"] + 1
        if known is None or not there:
            self._set(name=command.name, version=version, kind=command.kind)
            return version, []
        until = self.deciding_at + timedelta(seconds=command.overlap_s) if command.overlap_s else None
        over = [int(earlier) for earlier in known["earlier"]]
        if until is None:
            over.append(version - 1)
        self._rotated(name=command.name, version=version, kind=command.kind, earlier_until=until)
        return version, over

    def make(self, command: MakeSecret) -> int | None:
        """The number of the version that is made; None where there is one already. Raises :class:`NameIsFelixs`."""
        if not command.name.startswith(OWN_PREFIX):
            raise NameIsFelixs(name=command.name)
        if self.has(command.name):
            return None
        version: int = self.secrets.get(command.name, {"version": 0})["version"] + 1
        self._set(name=command.name, version=version, kind="other")
        return version

    def has(self, name: str) -> bool:
        """Whether there is such a secret now."""
        return bool(self.secrets.get(name, {}).get("there"))

    def remove(self, command: RemoveSecret) -> int:
        """The version that was in force. Raises ``NotFound``."""
        version: int = self._there(command.name)["version"]
        self._removed(name=command.name, version=version, reason=command.reason)
        return version

    def use(self, command: UseSecret) -> list[int]:
        """The versions that may be handed out, the one in force first. Raises ``NotFound``."""
        secret = self._there(command.name)
        versions: list[int] = [secret["version"]]
        if command.with_earlier:
            now = self.deciding_at
            versions += [
                int(version) for version, until in secret["earlier"].items() if datetime.fromisoformat(until) > now
            ]
        self._used(name=command.name, versions=versions, purpose=command.purpose, reference=command.reference)
        return versions

    def end(self, command: EndSecretVersion) -> bool:
        """Whether the version ends now; False when it is gone already. Raises :class:`SecretStillValid`."""
        known = self.secrets.get(command.name)
        until = None if known is None else known["earlier"].get(str(command.version))
        if known is None or until is None:
            if known is not None and known["there"] and known["version"] == command.version:
                raise SecretStillValid(name=command.name, version=command.version)
            return False
        if datetime.fromisoformat(until) > self.deciding_at:
            raise SecretStillValid(name=command.name, version=command.version, until=until)
        self._ended(name=command.name, version=command.version)
        return True

    def rotate_key(self, command: RotateTenantKey) -> int:
        """The version of the new key."""
        self._key_rotated(key_version=self.key_version + 1, reason=command.reason)
        return self.key_version

    def seal_anew(self, command: SealSecretsAnew) -> None:
        """Once for each key. Raises :class:`TenantKeyNotReplaced` when the key was replaced again meanwhile."""
        if command.key_version != self.key_version:
            raise TenantKeyNotReplaced(key_version=self.key_version)
        if self.sealing_anew:
            self._sealed_anew(key_version=command.key_version)

    def _there(self, name: str) -> dict[str, Any]:
        secret = self.secrets.get(name)
        if secret is None or not secret["there"]:
            raise NotFound(f"There is no secret {name}.", id=name)
        return secret

    @event(SecretSet)
    def _set(self, name: str, version: int, kind: Kind) -> None:
        self.secrets[name] = {"version": version, "there": True, "earlier": {}}

    @event(SecretRotated)
    def _rotated(self, name: str, version: int, kind: Kind, earlier_until: datetime | None) -> None:
        earlier = {} if earlier_until is None else {str(version - 1): earlier_until.isoformat()}
        self.secrets[name] = {"version": version, "there": True, "earlier": earlier}

    @event(SecretVersionEnded)
    def _ended(self, name: str, version: int) -> None:
        secret = self.secrets[name]
        earlier = {kept: until for kept, until in secret["earlier"].items() if kept != str(version)}
        self.secrets[name] = secret | {"earlier": earlier}

    @event(SecretRemoved)
    def _removed(self, name: str, version: int, reason: str | None) -> None:
        self.secrets[name] = {"version": version, "there": False, "earlier": {}}

    @event(SecretUsed)
    def _used(self, name: str, versions: list[int], purpose: str, reference: str | None) -> None:
        """Nothing that is decided depends on it."""

    @event(TenantKeyRotated)
    def _key_rotated(self, key_version: int, reason: str | None) -> None:
        self.key_version = key_version
        self.sealing_anew = True

    @event(SecretsSealedAnew)
    def _sealed_anew(self, key_version: int) -> None:
        self.sealing_anew = False

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Take a copy: secrets that are set later must not show up in the snapshot."""
        return state | {"secrets": dict(state["secrets"])}
