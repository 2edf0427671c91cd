"""Requests that another site made a browser send are refused (OWASP ASVS 5.0, 3.5.1 to 3.5.3).

A browser sends a cookie along whatever page asks for the request, and says truthfully who asked: ``Sec-Fetch-Site``
(Fetch Metadata), and where a browser is too old for it, ``Origin``. So there is no token to keep. An ``Authorization``
header no other site can set, and whoever sends one needs no such check.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from felix.domain.errors import Forbidden, Invalid

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE = frozenset({"same-origin", "none"})


class CrossSiteRequest(Forbidden):
    """This request does not come from a page of Felix, or nothing says that it does."""


class NotJson(Invalid):
    """The body of a request is JSON, and says so in its Content-Type."""


def refuse_forgery(request: Request, *, browser: bool = True) -> None:
    """Raise :class:`CrossSiteRequest` or :class:`NotJson` for a request that another site may have made.

    ``browser`` says that only a browser can have sent it, because it carries a cookie; without that a request that says
    nothing of where it comes from is a program's.
    """
    if request.method in SAFE_METHODS:
        return
    sites = request.headers.getlist("sec-fetch-site")
    origins = request.headers.getlist("origin")
    if sites:
        own = set(sites) <= _OWN_SITE
    elif origins:
        own = all(_is_own(origin, request.headers.get("host", "")) for origin in origins)
    else:
        own = not browser
    if not own:
        raise CrossSiteRequest()
    refuse_other_than_json(request)


def refuse_other_than_json(request: Request) -> None:
    """A form can't send JSON. Raises :class:`NotJson`; a request without a body needs no type."""
    kind = request.headers.get("content-type")
    if kind is None:
        empty = request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
        if empty:
            return
    elif kind.partition(";")[0].strip().lower() == "application/json":
        return
    raise NotJson()


def _is_own(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()
