"""GitHub as an App sees it: tokens of an installation, each for the repositories and permissions that one job names.

The App signs a JWT with its private key and gets for it a token that lives an hour (docs.github.com, "Generating an
installation access token"). Tokens are kept in memory only. What GitHub answers is checked against what was asked: a
token that can do more is thrown away.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import jwt

from felix.adapters.outbound import MAX_REDIRECTS, Answer, AnswerNotReadable, NotReachable, Outbound, check_address
from felix.application.secrets import User
from felix.domain.errors import Forbidden, Invalid, NotFound, Unavailable

PUBLIC_API = "https://api.github.com"
#: GitHub refuses a JWT from the future, and clocks differ; and one that is valid for more than ten minutes.
JWT_BACKDATED_S, JWT_LASTS_S = 60, 9 * 60
#: A token is not handed out in its last minutes: whoever gets it wants to work with it.
TOKEN_MARGIN = timedelta(minutes=5)
#: What GitHub takes in one request.
MAX_REPOSITORIES = 500
#: The listing of a repository has about 250 bytes a file.
MAX_ANSWER_BYTES = 8 * 2**20
#: What to wait where GitHub limits us without saying for how long; its documentation asks for a minute at least.
UNTOLD_WAIT_S = 60
MAX_WAIT_S = 3600

#: What a job may ask for. Never ``workflows``, ``administration`` or ``secrets``: with them a change could give itself
#: more than it was approved for.
Permission = Literal["checks", "contents", "deployments", "metadata", "pull_requests"]
Level = Literal["read", "write"]
_LEVELS = {"read": 1, "write": 2}
_REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}", re.ASCII)


class GitHubLimited(Unavailable):
    """GitHub asks us to wait before the next request."""


class GitHubRefusesApp(Forbidden):
    """GitHub does not know the App by this id and key, or this machine's clock is wrong."""


class GitHubForbids(Forbidden):
    """GitHub does not let the App do this; its installation may be suspended."""


class NotInstalled(NotFound):
    """The App is not installed there, or not for this repository."""


class ScopeNotGranted(Invalid):
    """The installation does not have these repositories or permissions; its owner has to grant them first."""


class ScopeNotPossible(Invalid):
    """A token is for at least one repository, written owner/name and all of one owner, and for known permissions."""


class TokenTooWide(AnswerNotReadable):
    """GitHub gave a token that can do more than was asked for; it was thrown away."""


class TokenRefused(Unavailable):
    """GitHub does not take the token any more; the next one is a new one."""


class PermissionMissing(Forbidden):
    """GitHub does not let the App do this in the repository; its owner has to grant the permission first."""


class AppKeyNotUsable(Invalid):
    """The secret is not the private key of a GitHub App: an RSA key in PEM."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token is for. Raises :class:`ScopeNotPossible`."""

    repositories: frozenset[str]
    permissions: frozenset[tuple[Permission, Level]]

    @classmethod
    def of(cls, repositories: Iterable[str], permissions: Mapping[Permission, Level]) -> Scope:
        """As it is written down: ``Scope.of(["acme/shop"], {"contents": "write"})``."""
        return cls(frozenset(repositories), frozenset(permissions.items()))

    def __post_init__(self) -> None:
        named = self.repositories
        if not named or len(named) > MAX_REPOSITORIES or not all(_REPOSITORY.fullmatch(name) for name in named):
            raise ScopeNotPossible()
        if len({name.partition("/")[0].lower() for name in named}) > 1:
            raise ScopeNotPossible()
        known, levels = get_args(Permission), get_args(Level)
        names = [name for name, _ in self.permissions]
        if not names or len(set(names)) != len(names):
            raise ScopeNotPossible()
        if not all(name in known and level in levels for name, level in self.permissions):
            raise ScopeNotPossible(permissions=sorted(names))

    @property
    def account(self) -> str:
        """Whose repositories they are."""
        return next(iter(self.repositories)).partition("/")[0].lower()

    @property
    def names(self) -> list[str]:
        """The repositories without their owner."""
        return sorted(name.partition("/")[2] for name in self.repositories)


@dataclass(frozen=True, slots=True)
class InstallationToken:
    """A token and until when it can be used. Its text does not show it."""

    token: str = field(repr=False)
    expires_at: datetime
    scope: Scope


class GitHubApp:
    """One App. Safe from any thread."""

    def __init__(
        self,
        app_id: str,
        private_key: Callable[[User], AbstractContextManager[str]],
        *,
        api_url: str = PUBLIC_API,
        outbound: Outbound | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``private_key`` opens the secret for one signature; that somebody has used it is recorded each time."""
        self._app_id = app_id
        self._private_key = private_key
        self._api = str(check_address(api_url)).rstrip("/")
        self._outbound = outbound or Outbound("GitHub", max_answer_bytes=MAX_ANSWER_BYTES)
        self._clock = clock
        self._kept: dict[tuple[int, Scope], InstallationToken] = {}
        self._locks: dict[tuple[int, Scope], threading.Lock] = {}
        self._guard = threading.Lock()
        #: Until when nobody is asked: for the App itself under nothing, for an installation under its account.
        self._waits: dict[str, float] = {}

    def installation_of(self, repository: str, user: User) -> int:
        """The installation that a repository belongs to. Raises :class:`NotInstalled` and :class:`ScopeNotPossible`."""
        if not _REPOSITORY.fullmatch(repository):
            raise ScopeNotPossible(repository=repository[:150])
        found = self._ask(user, "GET", f"/repos/{repository}/installation").document().get("id")
        if type(found) is not int or found <= 0:
            raise AnswerNotReadable("GitHub answers with an installation that has no number.")
        return found

    def token(self, installation: int, scope: Scope, user: User) -> InstallationToken:
        """A token for exactly this, new or kept, that is valid for some minutes at least. ``user`` is who needs it.

        Raises :class:`NotInstalled`, :class:`ScopeNotGranted`, :class:`GitHubForbids`, :class:`GitHubRefusesApp`,
        :class:`GitHubLimited`, :class:`TokenTooWide`, and what :class:`~felix.adapters.outbound.Outbound` raises.
        """
        key = (installation, scope)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        # Who comes second waits for the token that the first one is given.
        with lock:
            kept = self._kept.get(key)
            if kept is None or kept.expires_at - TOKEN_MARGIN <= self._clock():
                kept = self._new_token(installation, scope, user)
                with self._guard:
                    self._forget_expired()
                    self._kept[key] = kept
            return kept

    def ask(self, token: InstallationToken, method: str, path: str, json: Any = None) -> Answer:
        """Ask with a token; an answer of whatever status but for those that every caller would have to know.

        Raises :class:`TokenRefused`, :class:`PermissionMissing`, :class:`GitHubLimited`, and what
        :class:`~felix.adapters.outbound.Outbound` raises.
        """
        account = token.scope.account
        self._wait_as_told(account)
        answer = self._send(f"token {token.token}", method, path, json)
        if answer.status == 401:
            self.forget(token)
            raise TokenRefused(github_says=message_of(answer))
        if self._limits(answer) or answer.status >= 500:
            raise self._refusal(answer, account)
        if answer.status == 403:
            # GitHub names in a header what would have been enough.
            needed = re.sub(r"[^a-z_=;, ]", "", answer.headers.get("x-accepted-github-permissions", ""))[:200]
            raise PermissionMissing(needed=needed, github_says=message_of(answer))
        return answer

    def forget(self, token: InstallationToken) -> None:
        """Get a new one next time, for example because GitHub refused this one."""
        with self._guard:
            for key in [key for key, kept in self._kept.items() if kept is token]:
                del self._kept[key]

    def close(self) -> None:
        """Forget every token and give the connections back."""
        with self._guard:
            self._kept.clear()
        self._outbound.close()

    def _new_token(self, installation: int, scope: Scope, user: User) -> InstallationToken:
        asked = {"repositories": scope.names, "permissions": dict(sorted(scope.permissions))}
        told = self._ask(user, "POST", f"/app/installations/{installation}/access_tokens", asked).document()
        token, expires_at = told.get("token"), _moment(told.get("expires_at"))
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not 20 <= len(token) <= 1024:
            raise AnswerNotReadable("GitHub answers without a token.")
        if expires_at <= self._clock():
            raise AnswerNotReadable("GitHub gave a token that has expired; compare this machine's clock.")
        self._refuse_more_than(scope, told)
        return InstallationToken(token, expires_at, scope)

    def _refuse_more_than(self, scope: Scope, told: Mapping[str, Any]) -> None:
        granted = told.get("permissions")
        listed = told.get("repositories")
        if not isinstance(granted, dict) or not isinstance(listed, list):
            raise AnswerNotReadable("GitHub does not say what its token is for.")
        # Every token may read metadata, asked for or not.
        allowed = {"metadata": 1} | {name: _LEVELS[level] for name, level in scope.permissions}
        for name, level in granted.items():
            if _LEVELS.get(str(level), 9) > allowed.get(name, 0):
                raise TokenTooWide(permission=str(name)[:50])
        wanted = {name.lower() for name in scope.repositories}
        names = {str(each.get("full_name")).lower() for each in listed if isinstance(each, dict)}
        if len(names) != len(listed) or not names <= wanted:
            raise TokenTooWide()
        if names != wanted:
            raise ScopeNotGranted(repositories=sorted(wanted - names))

    def _ask(self, user: User, method: str, path: str, json: Any = None) -> Answer:
        self._wait_as_told()
        with self._private_key(user) as private_key:
            signed = self._sign(private_key)
        answer = self._send(f"Bearer {signed}", method, path, json)
        if 200 <= answer.status < 300:
            return answer
        raise self._refusal(answer)

    def _send(self, authorization: str, method: str, path: str, json: Any) -> Answer:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": authorization,
            "User-Agent": "felix",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        redirects = MAX_REDIRECTS if method == "GET" else 0
        return self._outbound.ask(method, self._api + path, headers=headers, json=json, redirects=redirects)

    def _sign(self, private_key: str) -> str:
        now = int(self._clock().timestamp())
        claims = {"iat": now - JWT_BACKDATED_S, "exp": now + JWT_LASTS_S, "iss": self._app_id}
        try:
            return jwt.encode(claims, private_key, algorithm="RS256")
        except (jwt.PyJWTError, ValueError, TypeError):
            # What the library says of a key can hold parts of it.
            raise AppKeyNotUsable() from None

    def _refusal(self, answer: Answer, account: str = "") -> Exception:
        status, said = answer.status, message_of(answer)
        facts: dict[str, Any] = {"github_status": status, "github_says": said}
        if self._limits(answer):
            wait_s = self._wait_of(answer) or UNTOLD_WAIT_S
            self._waits[account] = time.monotonic() + wait_s
            return GitHubLimited(f"GitHub asks us to wait for {wait_s} s.", retry_after_s=wait_s, **facts)
        if status >= 500:
            return NotReachable(f"GitHub does not work right now ({status}).")
        kinds: dict[int, type[Exception]] = {
            401: GitHubRefusesApp, 403: GitHubForbids, 404: NotInstalled, 422: ScopeNotGranted,
        }  # fmt: skip
        kind = kinds.get(status, AnswerNotReadable)
        return kind(None, **facts) if kind is not AnswerNotReadable else kind(f"GitHub answers with {status}.", **facts)

    def _limits(self, answer: Answer) -> bool:
        """Whether GitHub asks us to wait."""
        return answer.status == 429 or (answer.status == 403 and self._wait_of(answer) is not None)

    def _wait_of(self, answer: Answer) -> int | None:
        """How long GitHub asks us to wait; None where it does not limit us."""
        headers = answer.headers
        if (given := headers.get("retry-after")) is not None:
            return min(int(given), MAX_WAIT_S) if given.isdecimal() and len(given) < 9 else UNTOLD_WAIT_S
        if headers.get("x-ratelimit-remaining") == "0":
            reset = headers.get("x-ratelimit-reset", "")
            if not (reset.isdecimal() and len(reset) < 13):
                return UNTOLD_WAIT_S
            return max(1, min(int(reset) - int(self._clock().timestamp()) + 1, MAX_WAIT_S))
        return UNTOLD_WAIT_S if "secondary rate limit" in message_of(answer).lower() else None

    def _wait_as_told(self, account: str = "") -> None:
        """Whoever goes on asking while limited is banned."""
        left_s = self._waits.get(account, 0.0) - time.monotonic()
        if left_s > 0:
            raise GitHubLimited(f"GitHub asks us to wait for {left_s:.0f} s.", retry_after_s=int(left_s) + 1)

    def _forget_expired(self) -> None:
        now = self._clock()
        for key in [key for key, kept in self._kept.items() if kept.expires_at <= now]:
            del self._kept[key]
            self._locks.pop(key, None)


def message_of(answer: Answer) -> str:
    """What GitHub says of a refusal, in one short line."""
    try:
        said = answer.document().get("message")
    except AnswerNotReadable:
        return ""
    return re.sub(r"[^\x20-\x7e]+", " ", said)[:200] if isinstance(said, str) else ""


def _moment(text: object) -> datetime:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise AnswerNotReadable("GitHub does not say until when its token is valid.")
    return at.astimezone(UTC)
