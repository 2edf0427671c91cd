"""Errors on the wire: RFC 9457 problem details with a stable ``code``. The one table from errors to HTTP."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from felix.api.forgery import NotJson
from felix.api.rate_limits import RateLimitExceeded
from felix.application.lane import TooManyRequests
from felix.application.outcome import record_of
from felix.domain import errors
from felix.eventstore.mapper import canonical_json

MEDIA_TYPE = "application/problem+json"

#: The first class of an error's ancestry that is found here decides.
STATUS: dict[type[errors.FelixError], int] = {
    errors.PaymentRequired: 402,
    errors.Refused: 409,
    errors.NotFound: 404,
    errors.Forbidden: 403,
    errors.Unauthenticated: 401,
    errors.Invalid: 422,
    errors.Conflict: 409,
    errors.TooMuch: 413,
    errors.Unavailable: 503,
    errors.Corrupt: 500,
    errors.FelixError: 500,
}


class MissingIdempotencyKey(errors.Invalid):
    """Every write needs an Idempotency-Key header."""


class BodyTooLarge(errors.TooMuch):
    """The request body is larger than this endpoint takes."""


class MethodNotAllowed(errors.Refused):
    """This path does not take this method."""


class TooManyAttempts(errors.TooMuch):
    """This was wrong too often; wait for as long as Retry-After says, or ask for a link by mail."""


class TooManyStreams(errors.TooMuch):
    """This key or this client has as many live streams open as it may have."""


STATUS[MissingIdempotencyKey] = 400
STATUS[MethodNotAllowed] = 405
STATUS[TooManyRequests] = 429
STATUS[TooManyStreams] = 429
STATUS[RateLimitExceeded] = 429
STATUS[TooManyAttempts] = 429
STATUS[NotJson] = 415


def status_of(error: errors.FelixError) -> int:
    """The HTTP status of an error."""
    for cls in type(error).__mro__:
        if cls in STATUS:
            return STATUS[cls]
    return 500


def problem(error: errors.FelixError, headers: dict[str, str] | None = None) -> Response:
    """The response for an error. The same error gives the same bytes."""
    status = status_of(error)
    sent = dict(headers or {})
    if status in (503, 429) or isinstance(error, errors.Conflict):
        sent["Retry-After"] = str(error.facts.get("retry_after_s", 1))
    if status == 401:
        sent["WWW-Authenticate"] = "Bearer"
    return Response(canonical_json(document(error, status)), status, sent, MEDIA_TYPE)


def document(error: errors.FelixError, status: int | None = None) -> dict[str, Any]:
    """The body of a problem: the members of RFC 9457, the code, and the facts of the error beside them."""
    return {
        **record_of(error)["facts"],
        "type": f"urn:felix:problem:{error.code}",
        "title": type(error).sentence(),
        "status": status or status_of(error),
        "code": error.code,
        "detail": error.detail,
    }


def invalid(error: ValidationError, *, skip: frozenset[str] = frozenset()) -> errors.Invalid:
    """A validation error with a JSON pointer to each field. ``skip`` names fields that came from the path."""
    found = []
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        location = [str(part) for part in entry["loc"]]
        if location and location[0] in skip:
            continue
        pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in location)
        found.append({"pointer": pointer, "rule": entry["type"], "detail": entry["msg"]})
    return errors.Invalid("The request is not well formed.", errors=found)
