"""A line of a log tells whose it is and no secret, wherever the secret hides."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from felix import trail
from felix.adapters.logs import MAX_TEXT_LENGTH, json_lines, redact
from felix.eventstore.api_keys import new_key

CANARY = "canary0123456789ABCDEF"
KEY = new_key()
LINES = json_lines("test")


def record(message: str, *arguments: object, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    """What ``log.error(message, *arguments, extra=extra)`` makes."""
    logger = logging.getLogger("felix.test")
    crash = None if error is None else (type(error), error, error.__traceback__)
    return logger.makeRecord(logger.name, logging.ERROR, "", 0, message, arguments, crash, extra=extra)


def line(made: logging.LogRecord) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(LINES.format(made))
    return told


def raised(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


class Form(BaseModel):
    """Something that is validated."""

    amount: int


def refused() -> ValidationError:
    try:
        Form.model_validate({"amount": CANARY})
    except ValidationError as error:
        return error
    raise AssertionError


@dataclass
class Connection:
    """Something that knows a secret."""

    phrase: str


LEAKS = {
    "a key in a message": record(f"asked with {KEY}"),
    "a key in an argument": record("asked with %s", KEY),
    "a key in a field": record("x", who=KEY),
    "a bearer in a field": record("x", header=f"Bearer {CANARY}"),
    "a password in a URL": record("x", url=f"postgresql://felix:{CANARY}@db/felix"),
    "a password in a conninfo": record("x", where=f"host=db password={CANARY} dbname=felix"),
    "a quoted password in a conninfo": record("x", where=f"host=db password='a {CANARY}' dbname=felix"),
    "a Stripe key": record("x", told=f"no such key: sk_live_{CANARY}"),
    "a webhook's secret": record("x", told=f"whsec_{CANARY}"),
    "a JSON Web Token": record("x", told=f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.{CANARY}"),
    "a private key": record(f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----"),
    "a typed secret": record("x", phrase=SecretStr(CANARY)),
    "a field that is named so": record("x", role_password=CANARY),
    "another field that is named so": record("x", api_key=CANARY),
    "a body": record("x", body={"phrase": CANARY}),
    "an object": record("x", connection=Connection(CANARY)),
    "an error": record("x", told=raised(f"can't reach redis://:{CANARY}@cache:6379")),
    "a list": record("x", tried=[f"Bearer {CANARY}"]),
}
TRACEBACKS = {
    "a URL": raised(f'missing "=" after "postgres//felix:{CANARY}@nowhere" in connection info string'),
    "a refused value": refused(),
    "a row": raised(f"DETAIL:  Failing row contains (1, {CANARY}, null)."),
    "a key's value": raised(f"DETAIL:  Key (slug)=({CANARY}) already exists."),
}


@pytest.mark.parametrize("where", LEAKS)
def test_a_secret_in_a_line_is_not_written(where: str) -> None:
    written = LINES.format(LEAKS[where])
    assert CANARY not in written and KEY not in written
    assert "secret]" in written or "[dict]" in written or "[Connection]" in written


@pytest.mark.parametrize("where", TRACEBACKS)
def test_a_secret_in_a_traceback_is_not_written(where: str) -> None:
    written = LINES.format(record("failed", error=TRACEBACKS[where]))
    assert "Traceback" in written and "[secret]" in written
    assert CANARY not in written


def test_without_redaction_the_same_lines_would_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: each of these secrets is in what reaches the last step."""
    monkeypatch.setattr("felix.adapters.logs.redact", lambda text: text)
    monkeypatch.setattr("felix.adapters.logs._plain", lambda name, value: str(value))
    for where, made in LEAKS.items():
        written = LINES.format(made)
        assert CANARY in written or KEY in written or where == "a typed secret", where
    for where, error in TRACEBACKS.items():
        assert CANARY in LINES.format(record("failed", error=error)), where


@pytest.mark.parametrize(
    "text",
    [
        "felix_projector is behind by 12 events in partition 3",
        "http://127.0.0.1:8080/v1/token-accounts/acct_0192 answered 402",
        "2026-01-01T00:00:00Z: tokens were debited, the key is order-4711",
        "basic facts, a bearer of news, and the password was forgotten",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_a_line_carries_the_ids_of_its_trail() -> None:
    with trail.about(request_id="r-1"):
        trail.note(tenant_id="t-1")
        with trail.about(job_id="j-1"):
            told = line(record("x"))
        after = line(record("x"))
    assert (told["request_id"], told["tenant_id"], told["job_id"]) == ("r-1", "t-1", "j-1")
    assert "job_id" not in after
    assert "request_id" not in line(record("x"))


def test_a_line_names_what_is_known_and_cuts_what_is_not() -> None:
    told = line(record("x" * 2_000, lag_events=3, share=0.5, missing=None, whole=2**70, note="y" * 2_000))
    assert (told["lag_events"], told["share"], told["missing"], told["whole"]) == (3, 0.5, None, str(2**70))
    assert len(told["event"]) == 2_000 and len(told["note"]) == MAX_TEXT_LENGTH + 1
    assert (told["level"], told["logger"], told["process"]) == ("error", "felix.test", "test")


def test_a_crash_is_a_line_too() -> None:
    script = (
        "import threading\nfrom felix.adapters.logs import log_json\nlog_json(process='test')\n"
        f"def fail(): raise RuntimeError('Bearer {CANARY}')\n"
        "thread = threading.Thread(target=fail, name='lane-3')\nthread.start()\nthread.join()\n"
        "import warnings\nwarnings.warn('old')\nfail()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    lines = [json.loads(each) for each in done.stderr.splitlines()]
    assert done.returncode == 1
    assert [each["level"] for each in lines] == ["critical", "warning", "critical"]
    assert lines[0]["thread_name"] == "lane-3" and "RuntimeError: Bearer [secret]" in lines[2]["exception"]
