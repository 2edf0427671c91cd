"""What a person signs in with, as the log tells it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people_stories import ADA, NOW, context

from felix.domain.errors import FelixError
from felix.domain.identity.credentials import (
    RECOVERY_CODES,
    Credentials,
    NoSecondFactor,
    SecondFactorRequired,
)
from felix.domain.identity.roles import PLATFORM


def credentials() -> Credentials:
    """Ada's, who has none yet."""
    return Credentials.open(context(PLATFORM), ADA)


def told(of: Credentials) -> list[str]:
    """What has happened since they began."""
    return [type(event).__name__ for event in of.pending_events[1:]]


@pytest.mark.parametrize("origin", ["user", "reset", "invitation"])
def test_a_password_is_set_and_the_log_does_not_know_it(origin: Any) -> None:
    of = credentials()
    of.set_password(origin)
    assert of.has_password and told(of) == ["PasswordSet"]
    assert of.pending_events[-1].model_fields_set - set(Credentials.Event.model_fields) == {"origin"}


def test_who_enrols_gets_recovery_codes() -> None:
    of = credentials()
    of.enrol()
    assert (of.has_second_factor, of.recovery_codes) == (True, RECOVERY_CODES)
    assert told(of) == ["SecondFactorEnrolled", "RecoveryCodesIssued"]


def test_codes_are_used_up_and_issued_anew() -> None:
    of = credentials()
    of.enrol()
    of.use_code()
    assert of.recovery_codes == RECOVERY_CODES - 1
    of.issue_codes()
    assert of.recovery_codes == RECOVERY_CODES


def test_without_a_second_factor_there_is_nothing_to_remove_and_nothing_to_stand_in_for() -> None:
    of = credentials()
    with pytest.raises(NoSecondFactor):
        of.remove("user", of_platform=False)
    with pytest.raises(NoSecondFactor):
        of.issue_codes()
    assert told(of) == []


def test_people_of_the_platform_keep_theirs_unless_it_is_lost() -> None:
    of = credentials()
    of.enrol()
    with pytest.raises(SecondFactorRequired):
        of.remove("user", of_platform=True)
    of.remove("operator", of_platform=True)
    assert (of.has_second_factor, of.recovery_codes) == (False, 0)


def test_everybody_else_may_do_without() -> None:
    of = credentials()
    of.enrol()
    of.remove("user", of_platform=False)
    assert told(of)[-1] == "SecondFactorRemoved"


DEEDS = st.sampled_from(["password", "enrol", "remove", "codes"])


@given(st.lists(DEEDS, max_size=20))
def test_whatever_was_done_a_snapshot_is_the_same(deeds: list[str]) -> None:
    of = credentials()
    for deed in deeds:
        try:
            {
                "password": lambda: of.set_password("user"),
                "enrol": of.enrol,
                "remove": lambda: of.remove("user", of_platform=False),
                "codes": of.issue_codes,
            }[deed]()
        except FelixError:
            continue
    again = Credentials.restore(
        stream=of.id, version=of.version, created_on=NOW, modified_on=of.modified_on, state=of.snapshot()
    )
    assert again.snapshot() == of.snapshot()
    assert of.recovery_codes == 0 or of.has_second_factor
