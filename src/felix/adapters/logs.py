"""Writes the log of a process as one JSON object a line, whoever logs: structlog, the standard library, or a crash.

A line carries the ids of the trail it was written on (:mod:`felix.trail`). What is secret stays out of it in three
steps: values of secret types and of fields with a telling name are written as ``[secret]``; fields that are not known
by name are written as short text and never as an object, so nobody's body or settings get in by accident; and over
every text, messages and tracebacks too, goes a net for what looks like a secret.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from datetime import date
from types import TracebackType
from typing import Any
from uuid import UUID

import orjson
import structlog
from pydantic import SecretBytes, SecretStr
from structlog.types import EventDict

from felix import trail

SECRET = "[secret]"
MAX_TEXT_LENGTH = 500
MAX_LIST = 20
#: Fields whose texts are written whole. Those of every other one are kept too, as far as they are short.
KNOWN_FIELDS = frozenset(
    "event exception command command_key command_id correlation_id causation_id job_id kind method route code".split()  # noqa: SIM905
)
#: Fields whose texts Felix makes itself: nothing to look for.
_OWN_FIELDS = frozenset(("level", "logger", "at", "process", "request_id", "tenant_id", "projection"))
#: Whatever has one of these in its name is a secret, whatever its value.
_SECRET_NAME = re.compile(
    r"passw|secret|token$|_token|authorization|api_?key|credential|cookie|private_key|(?:database|redis)_url", re.I
)
_NET = re.compile(
    r"(?P<url>//[^\s:/@\"\\]*:)[^\s@\"]+(?=@)"  # a password in a URL
    r"|(?P<prefix>fx_(?:live|test)_|[srp]k_(?:live|test)_|whsec_|gh[pousr]_|github_pat_|xox[abprs]-|AKIA)[0-9A-Za-z_-]{6,}"
    r"|(?P<scheme>\b(?:Bearer|Basic)\s+)[0-9A-Za-z._~+/=-]{6,}"
    r"|(?P<jwt>\beyJ)[0-9A-Za-z_-]{6,}\.[0-9A-Za-z_-]+\.[0-9A-Za-z_-]*"
    r"|(?P<key>-----BEGIN [A-Z ]*PRIVATE KEY-----).+?(?:-----END|$)"
    # libpq's key words, and what Postgres and pydantic tell of the values that they refuse
    r"|(?P<word>\b(?i:password|passfile|sslpassword|secret|api_?key|access_token)\\*[\"']?\s*[=:]\s*)(?!\[secret\])"
    r"(?:\\*'[^']*'|\\*\"[^\"]*?\\*\"|[^\s,;&'\"\\)}]+)"
    r"|(?P<row>Failing row contains \(|Key \([^)]*\)=\()[^)]*"
    r"|(?P<input>\binput_value=).*?(?=, input_type=)",
    re.S,
)


def redact(text: str) -> str:
    """The text without what looks like a secret: keys, tokens, passwords, refused values."""
    return _NET.sub(lambda found: f"{found[str(found.lastgroup)]}{SECRET}", text)


def log_json(level: str = "INFO", *, process: str) -> None:
    """Send everything from ``level`` on to standard error as JSON lines that name the process, also why it crashed."""

    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(json_lines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _log_crash
    threading.excepthook = _log_thread_crash


def json_lines(process: str) -> logging.Formatter:
    """What makes a line of a record."""

    def add_process(_: object, __: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_process,
            plain_fields,
            structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event).decode()),
        ],
    )


def plain_fields(_: object, __: str, event: EventDict) -> EventDict:
    """What each field is written as: see the module's first lines."""
    return {name: _plain(name, value) for name, value in event.items()}


def _plain(name: str, value: Any) -> Any:
    if name in _OWN_FIELDS and isinstance(value, str):
        return value
    if isinstance(value, SecretStr | SecretBytes) or _SECRET_NAME.search(name):
        return SECRET
    if isinstance(value, bool | float | None) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    if isinstance(value, str | int | UUID | date | BaseException):
        text = redact(str(value))
        return text if name in KNOWN_FIELDS or len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]}…"
    if isinstance(value, list | tuple | set | frozenset) and len(value) <= MAX_LIST:
        return [_plain(name, one) for one in value]
    return f"[{type(value).__name__}]"


def _add_trail(_: object, __: str, event: EventDict) -> EventDict:
    for name, value in trail.ids().items():
        event.setdefault(name, value)
    return event


_SHARED: list[structlog.types.Processor] = [
    _add_trail,
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    structlog.processors.format_exc_info,
]


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("felix").critical("the process ends with an error", exc_info=(kind, error, trace))


def _log_thread_crash(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None:
        name = crash.thread.name if crash.thread else ""
        logging.getLogger("felix").critical(
            "a thread ends with an error",
            extra={"thread_name": name},
            exc_info=(crash.exc_type, crash.exc_value, crash.exc_traceback),
        )
