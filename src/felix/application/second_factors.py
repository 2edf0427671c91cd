"""Second factors: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for the day that it is lost."""

from __future__ import annotations

import base64
import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import compare_digest

from pyotp import TOTP

from felix.domain.errors import Invalid
from felix.domain.identity.credentials import RECOVERY_CODES
from felix.eventstore.sealing import RootKeys, SealBroken

ISSUER = "Felix"
#: As RFC 4226, section 4, recommends it.
SECRET_BYTES = 20
#: Clocks of telephones drift: a code of the step before and of the one after is good too (RFC 6238, section 5.2).
DRIFT_STEPS = 1
#: How long a secret that was shown can be confirmed.
ENROLMENT_LASTS = timedelta(minutes=15)
_CODE = re.compile(r"[0-9]{6}", re.ASCII)
#: Crockford's alphabet: no letter that is taken for a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_CODE_LENGTH, _GROUP = 16, 4


class EnrolmentNotValid(Invalid):
    """This enrolment was not begun by you, or too long ago; begin again."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A secret that is shown once. ``enrolment`` is the same, sealed, and comes back with the code that proves it."""

    secret: str = field(repr=False)
    otpauth_uri: str = field(repr=False)
    enrolment: str = field(repr=False)


def begin_enrolment(root_keys: RootKeys, user_id: str, account: str, at: datetime) -> Enrolment:
    """Make a secret. Nothing is kept until it is confirmed. ``account`` is what the app shows beside the codes."""
    secret = base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()
    told = json.dumps({"secret": secret, "until": (at + ENROLMENT_LASTS).isoformat()})
    sealed = root_keys.seal(told.encode(), "enrolment", user_id)
    uri = TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)
    return Enrolment(secret, uri, base64.urlsafe_b64encode(sealed).decode())


def confirm_enrolment(
    root_keys: RootKeys, user_id: str, enrolment: str, code: str, at: datetime
) -> tuple[bytes, int] | None:
    """The sealed secret and the time step of the code that proves it; None for a wrong code.

    Raises :class:`EnrolmentNotValid`.
    """
    try:
        told = json.loads(root_keys.unseal(base64.urlsafe_b64decode(enrolment), "enrolment", user_id))
    except (SealBroken, ValueError):
        raise EnrolmentNotValid() from None
    if at >= datetime.fromisoformat(told["until"]):
        raise EnrolmentNotValid()
    step = _step_of(told["secret"], code, at)
    return None if step is None else (root_keys.seal(told["secret"].encode(), *place_of_secret(user_id)), step)


def place_of_secret(user_id: str) -> tuple[str, ...]:
    """What a sealed secret is bound to."""
    return ("second factor", user_id)


def step_of(root_keys: RootKeys, user_id: str, sealed_secret: bytes, code: str, at: datetime) -> int | None:
    """The time step that a code is of; None for a wrong one."""
    return _step_of(root_keys.unseal(sealed_secret, *place_of_secret(user_id)).decode(), code, at)


def _step_of(secret: str, code: str, at: datetime) -> int | None:
    if _CODE.fullmatch(code) is None:
        return None
    totp = TOTP(secret)
    now = totp.timecode(at)
    # Each is compared, so that the time tells nothing of which it is.
    found = [step for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1) if _is(totp, step, code)]
    return found[-1] if found else None


def _is(totp: TOTP, step: int, code: str) -> bool:
    return compare_digest(totp.generate_otp(step), code)


def new_recovery_codes(root_keys: RootKeys, user_id: str) -> tuple[list[str], tuple[bytes, ...]]:
    """Codes of 80 bits to be shown once, and what is kept of them."""
    codes = ["".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH)) for _ in range(RECOVERY_CODES)]
    shown = ["-".join(code[at : at + _GROUP] for at in range(0, _CODE_LENGTH, _GROUP)) for code in codes]
    return shown, tuple(recovery_code_hash(root_keys, user_id, code) for code in codes)


def recovery_code_hash(root_keys: RootKeys, user_id: str, code: str) -> bytes:
    """What a code is found by, however it was typed in."""
    plain = "".join(code.split()).replace("-", "").lower()
    return root_keys.index("recovery code", f"{user_id}:{plain}")
