"""A GitHub of our own: Apps, installations and their tokens, as strict as the real one where it matters.

It checks signatures and times of App JWTs, refuses scopes that an installation does not have, gives tokens that end,
and lets them do what they are for and nothing else. Routes are a table; more of GitHub is more rows.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from local_server import Asked, LocalServer, Told

LEVELS = {"read": 1, "write": 2, "admin": 3}
TOKEN_LASTS = timedelta(hours=1)


def new_private_key(bits: int = 2048) -> str:
    """A key as GitHub lets an App's owner download it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


@dataclass
class Installation:
    """An App in an account: the repositories and permissions that its owner gave it."""

    number: int
    account: str
    repositories: list[str]
    permissions: dict[str, str]
    suspended: bool = False


@dataclass
class Token:
    """What was given out."""

    text: str
    installation: Installation
    repositories: list[str]
    permissions: dict[str, str]
    expires_at: datetime


@dataclass(frozen=True)
class Refused(Exception):
    """What GitHub answers instead."""

    status: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)


Answering = Callable[["FakeGitHub", Asked, re.Match[str]], Any]
ROUTES: list[tuple[str, re.Pattern[str], Answering]] = []


def route(method: str, path: str) -> Callable[[Answering], Answering]:
    """Add a row: ``{name}`` is one part of the path."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def add(answering: Answering) -> Answering:
        ROUTES.append((method, pattern, answering))
        return answering

    return add


class FakeGitHub(LocalServer):
    """One App on one GitHub."""

    def __init__(self, private_key: str, app_id: str = "4711") -> None:
        super().__init__()
        self.app_id = app_id
        loaded = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).prepare_key(private_key)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        self.public_key = loaded.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.installations: dict[int, Installation] = {}
        self.tokens: dict[str, Token] = {}
        #: What is done to an answer with a token before it goes out.
        self.spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda told: told

    def install(
        self, account: str, *repositories: str, permissions: dict[str, str] | None = None, number: int = 81
    ) -> Installation:
        """Install the App in an account."""
        granted = permissions or {"metadata": "read", "contents": "write", "pull_requests": "write", "checks": "write"}
        installed = Installation(number, account, [f"{account}/{name}" for name in repositories], granted)
        self.installations[number] = installed
        return installed

    def answer(self, asked: Asked) -> Told:
        try:
            for method, pattern, answering in ROUTES:
                if method == asked.method and (match := pattern.fullmatch(asked.path)):
                    told = answering(self, asked, match)
                    return told if isinstance(told, Told) else Told(200, told)
            raise Refused(404, "Not Found")
        except Refused as refused:
            return Told(refused.status, {"message": refused.message}, refused.headers)

    def check_app(self, asked: Asked) -> None:
        """The App itself asks. Raises :class:`Refused`."""
        try:
            header = jwt.get_unverified_header(asked.bearer)
            claims = jwt.decode(
                asked.bearer, self.public_key, algorithms=["RS256"],
                options={"verify_exp": False, "verify_iat": False, "require": ["iat", "exp", "iss"]},
            )  # fmt: skip
        except jwt.PyJWTError:
            raise Refused(401, "A JSON web token could not be decoded") from None
        now = self.clock().timestamp()
        if header["alg"] != "RS256" or str(claims["iss"]) != self.app_id:
            raise Refused(401, "Integration not found")
        if claims["exp"] <= now:
            raise Refused(401, "'Expiration time' claim ('exp') must be a numeric value in the future")
        if claims["exp"] > now + 600:
            raise Refused(401, "'Expiration time' claim ('exp') is too far in the future")
        if claims["iat"] > now:
            raise Refused(401, "'Issued at' claim ('iat') must be in the past")

    def check_token(self, asked: Asked, repository: str, permission: str, level: str = "read") -> Token:
        """A token asks for something of a repository. Raises :class:`Refused`."""
        token = self.tokens.get(asked.bearer)
        if token is None or token.expires_at <= self.clock():
            raise Refused(401, "Bad credentials")
        if repository not in token.repositories:
            raise Refused(404, "Not Found")
        if LEVELS.get(token.permissions.get(permission, ""), 0) < LEVELS[level]:
            raise Refused(403, "Resource not accessible by integration")
        return token

    # --- faults ---

    def primary_limit(self, asked: Asked) -> Told:
        """The hourly limit is used up."""
        reset = int(self.clock().timestamp()) + 120
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)}
        return Told(403, {"message": "API rate limit exceeded"}, headers)

    def secondary_limit(self, asked: Asked) -> Told:
        """Too many requests at once."""
        return Told(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "7"})

    def untold_limit(self, asked: Asked) -> Told:
        """The same without saying for how long."""
        return Told(429, {"message": "Slow down"})


@contextmanager
def running_github(private_key: str) -> Iterator[FakeGitHub]:
    """A GitHub that listens."""
    with FakeGitHub(private_key).running() as github:
        yield github


@route("GET", "/repos/{owner}/{repo}/installation")
def show_installation(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """Where the App is installed."""
    github.check_app(asked)
    wanted = f"{match['owner']}/{match['repo']}"
    for installed in github.installations.values():
        if wanted in installed.repositories:
            return {"id": installed.number, "account": {"login": installed.account}}
    raise Refused(404, "Not Found")


@route("POST", "/app/installations/{number}/access_tokens")
def create_token(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A token, limited to what is asked for."""
    github.check_app(asked)
    installed = github.installations.get(int(match["number"]))
    if installed is None:
        raise Refused(404, "Not Found")
    if installed.suspended:
        raise Refused(403, "This installation has been suspended")
    body = asked.json if asked.body else {}
    names = [f"{installed.account}/{name}" for name in body.get("repositories", [])] or installed.repositories
    if not set(names) <= set(installed.repositories):
        raise Refused(422, "There is at least one repository that does not exist or is not accessible")
    permissions = body.get("permissions") or installed.permissions
    for name, level in permissions.items():
        if LEVELS[level] > LEVELS.get(installed.permissions.get(name, ""), 0):
            raise Refused(422, "The permissions requested are not granted to this installation.")
    permissions = {"metadata": "read", **permissions}
    token = Token(f"ghs_{secrets.token_hex(18)}", installed, names, permissions, github.clock() + TOKEN_LASTS)
    github.tokens[token.text] = token
    told = {
        "token": token.text,
        "expires_at": token.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "permissions": permissions,
        "repositories": [{"full_name": name, "name": name.partition("/")[2]} for name in names],
    }
    return Told(201, github.spoil(told))


@route("GET", "/repos/{owner}/{repo}")
def show_repository(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A repository, for tokens that may see it."""
    name = f"{match['owner']}/{match['repo']}"
    github.check_token(asked, name, "metadata")
    return {"full_name": name, "default_branch": "main"}
