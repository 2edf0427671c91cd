"""What may happen to a tenant's secrets, without their values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from felix.domain.base import CommandContext, FelixEvent
from felix.domain.errors import NotFound
from felix.domain.secrets import tenant_secrets as m
from felix.domain.secrets.tenant_secrets import (
    EndSecretVersion,
    RemoveSecret,
    RotateTenantKey,
    SealSecretsAnew,
    SetSecret,
    TenantSecrets,
    UseSecret,
)

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
TENANT = UUID("0192f000-0000-7000-8000-000000000000")


def context(at: datetime = NOON) -> CommandContext:
    return CommandContext(TENANT, "key", UUID("0192f000-0000-7000-8000-0000000a0000"), "founder:a", at)


@pytest.fixture
def secrets() -> TenantSecrets:
    """A tenant without secrets."""
    return TenantSecrets.open(context())


def setting(name: str = "github", **fields: Any) -> SetSecret:
    return SetSecret(name=name, value_digest="0" * 64, **fields)


def later(secrets: TenantSecrets, **delta: float) -> TenantSecrets:
    return secrets.deciding(context(NOON + timedelta(**delta)))


def told(secrets: TenantSecrets) -> list[str]:
    events: Sequence[FelixEvent] = secrets.pending_events
    return [type(event).__name__ for event in events]


def test_a_secret_begins_with_version_one_and_counts_up(secrets: TenantSecrets) -> None:
    assert secrets.set(setting()) == (1, [])
    assert secrets.set(setting()) == (2, [1])
    assert told(secrets) == ["TenantKeyMade", "SecretSet", "SecretRotated"]


def test_versions_are_never_used_twice_even_after_a_removal(secrets: TenantSecrets) -> None:
    secrets.set(setting())
    assert secrets.remove(RemoveSecret(name="github")) == 1
    assert secrets.set(setting()) == (2, [])


def test_an_overlap_keeps_the_version_before_and_only_that(secrets: TenantSecrets) -> None:
    secrets.set(setting())
    assert secrets.set(setting(overlap_s=60)) == (2, [])
    assert secrets.use(UseSecret(name="github", purpose="test")) == [2]
    assert secrets.use(UseSecret(name="github", purpose="test", with_earlier=True)) == [2, 1]
    assert secrets.set(setting(overlap_s=60)) == (3, [1])
    assert secrets.use(UseSecret(name="github", purpose="test", with_earlier=True)) == [3, 2]


def test_after_its_overlap_a_version_is_handed_out_no_more(secrets: TenantSecrets) -> None:
    secrets.set(setting())
    secrets.set(setting(overlap_s=60))
    assert later(secrets, seconds=61).use(UseSecret(name="github", purpose="test", with_earlier=True)) == [2]


def test_a_version_ends_after_its_overlap_and_not_before(secrets: TenantSecrets) -> None:
    secrets.set(setting())
    secrets.set(setting(overlap_s=60))
    ending = EndSecretVersion(name="github", version=1)
    with pytest.raises(m.SecretStillValid):
        secrets.end(ending)
    assert later(secrets, seconds=60).end(ending) is True
    assert secrets.end(ending) is False, "once is enough"
    with pytest.raises(m.SecretStillValid):
        secrets.end(EndSecretVersion(name="github", version=2))


@pytest.mark.parametrize("name", ["github", "nothing"])
def test_what_is_not_there_can_be_neither_used_nor_removed(secrets: TenantSecrets, name: str) -> None:
    secrets.set(setting())
    secrets.remove(RemoveSecret(name="github"))
    with pytest.raises(NotFound):
        secrets.use(UseSecret(name=name, purpose="test"))
    with pytest.raises(NotFound):
        secrets.remove(RemoveSecret(name=name))


def test_a_tenant_has_only_so_many_secrets_at_a_time(secrets: TenantSecrets) -> None:
    for number in range(m.MAX_SECRETS):
        secrets.set(setting(f"s{number}"))
    with pytest.raises(m.TooManySecrets):
        secrets.set(setting("one-more"))
    secrets.remove(RemoveSecret(name="s0"))
    secrets.set(setting("one-more"))
    secrets.set(setting("s1"))
    with pytest.raises(m.TooManySecrets):
        secrets.set(setting("s0"))


def test_a_new_key_is_sealed_with_once(secrets: TenantSecrets) -> None:
    assert secrets.rotate_key(RotateTenantKey()) == 2
    secrets.seal_anew(SealSecretsAnew(key_version=2))
    secrets.seal_anew(SealSecretsAnew(key_version=2))
    assert told(secrets) == ["TenantKeyMade", "TenantKeyRotated", "SecretsSealedAnew"]


def test_a_key_that_was_replaced_meanwhile_is_not_sealed_with(secrets: TenantSecrets) -> None:
    secrets.rotate_key(RotateTenantKey())
    secrets.rotate_key(RotateTenantKey())
    with pytest.raises(m.TenantKeyNotReplaced):
        secrets.seal_anew(SealSecretsAnew(key_version=2))


def test_a_replay_and_a_snapshot_give_the_same_state(secrets: TenantSecrets) -> None:
    secrets.set(setting())
    secrets.set(setting(overlap_s=60))
    secrets.set(setting("stripe.webhook", kind="signing_secret"))
    secrets.remove(RemoveSecret(name="stripe.webhook", reason="gone"))
    replayed: Any = None
    for event in list(secrets.pending_events):
        replayed = event.mutate(replayed)
    assert replayed.snapshot() == secrets.snapshot()
    restored = TenantSecrets.restore(
        stream=secrets.id, version=secrets.version, created_on=NOON, modified_on=NOON, state=secrets.snapshot()
    )
    assert restored.snapshot() == secrets.snapshot()


@pytest.mark.parametrize(
    "name", ["", "GitHub", "a:b", "../x", "1a", "a..b", "a-", "a" * 65, "a b", "a\x00b", "\ud800", "ä"]
)
def test_a_name_that_could_be_taken_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        setting(name)


@pytest.mark.parametrize("overlap_s", [-1, m.MAX_OVERLAP_S + 1, 1.5, "60", True])
def test_an_overlap_is_whole_seconds_up_to_a_month(overlap_s: Any) -> None:
    with pytest.raises(ValidationError):
        setting(overlap_s=overlap_s)
