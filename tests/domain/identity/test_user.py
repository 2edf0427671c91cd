"""Users come back from being disabled, and never from being erased."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people_stories import ADA, COMMITMENT, a_user, context, from_snapshot, happened, replayed

from felix.domain.errors import FelixError
from felix.domain.identity.user import (
    DisableUser,
    EnableUser,
    EraseUser,
    OwnAccount,
    RegisterUser,
    User,
    UserIsErased,
)

DISABLE = DisableUser(user_id=ADA, reason="lost telephone")
ENABLE = EnableUser(user_id=ADA, reason="found again")
ERASE = EraseUser(user_id=ADA, reason="asked for it")


def test_a_user_is_known_by_commitments_and_gets_an_id_unless_one_is_given() -> None:
    assert a_user().local_id == ADA
    made = User.register(context(), RegisterUser(email_commitment=COMMITMENT))
    assert made.local_id.startswith("usr_") and made.local_id != ADA
    assert made.describe() == {"user_id": made.local_id, "status": "active"}


def test_a_user_is_disabled_once_and_comes_back_once() -> None:
    user = a_user()
    assert not user.enable(ENABLE)
    assert user.disable(DISABLE) and not user.disable(DISABLE)
    assert user.enable(ENABLE) and not user.enable(ENABLE)
    assert happened(user) == ["user_registered", "user_disabled", "user_enabled"]


def test_nobody_shuts_themselves_out() -> None:
    user = a_user().deciding(context(actor=f"founder:{ADA}"))
    with pytest.raises(OwnAccount):
        user.disable(DISABLE)


@pytest.mark.parametrize("disabled", [False, True])
def test_who_is_erased_is_gone_for_good(disabled: bool) -> None:
    user = a_user()
    if disabled:
        user.disable(DISABLE)
    assert user.erase(ERASE) and not user.erase(ERASE)
    for ask in (lambda: user.disable(DISABLE), lambda: user.enable(ENABLE)):
        with pytest.raises(UserIsErased):
            ask()


def test_the_same_asked_again_is_the_same_request_whatever_the_salt() -> None:
    first, second = (
        RegisterUser(user_id=ADA, email_commitment=salted * 64, name_commitment=salted * 64).fingerprint_fields()
        for salted in "ab"
    )
    assert first == second == {"user_id": ADA}


@given(st.lists(st.sampled_from([DISABLE, ENABLE, ERASE]), max_size=10))
def test_any_command_may_be_retried_and_replay_is_the_state(commands: list[Any]) -> None:
    user = a_user()

    def ask(command: Any) -> Any:
        decide = {DisableUser: user.disable, EnableUser: user.enable, EraseUser: user.erase}
        try:
            return decide[type(command)](command)
        except FelixError as refusal:
            return refusal.code

    for command in commands:
        first = ask(command)
        before = len(happened(user))
        assert ask(command) in (first, False)
        assert len(happened(user)) == before
    assert replayed(user).snapshot() == user.snapshot() == from_snapshot(user).snapshot()
