"""Tokens of a GitHub App are for what a job names, live in memory, and every refusal says what to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from fake_github import FakeGitHub, Installation, new_private_key, running_github

from felix.adapters import github as adapter
from felix.adapters.github import GitHubApp, Scope
from felix.adapters.outbound import AddressNotSafe, AnswerNotReadable, NotReachable, Outbound, check_address
from felix.application.secrets import User

KEY = new_private_key()
DEPLOYER = User("policy:of_the_test", "job:81")
WORK = Scope.of(["acme/shop"], {"contents": "write", "pull_requests": "write"})


class Setting:
    """A GitHub, an App on it, and how often the App's key was opened."""

    def __init__(self, github: FakeGitHub) -> None:
        self.github = github
        self.opened = 0
        self.private_key = KEY
        self.at: datetime | None = None
        github.clock = self.now
        self.apps: list[GitHubApp] = []
        self.app = self.an_app()

    def now(self) -> datetime:
        return self.at or datetime.now(UTC)

    @contextmanager
    def key(self, user: User) -> Iterator[str]:
        assert user is DEPLOYER
        self.opened += 1
        yield self.private_key

    def an_app(self, app_id: str = "4711", *, timeout_s: float = 5.0) -> GitHubApp:
        outbound = Outbound("GitHub", timeout_s=timeout_s, max_answer_bytes=64 * 1024)
        app = GitHubApp(app_id, self.key, api_url=self.github.url, outbound=outbound, clock=self.now)
        self.apps.append(app)
        return app

    def can(self, token: str, repository: str) -> int:
        headers = {"Authorization": f"token {token}"}
        with httpx.Client() as client:
            return client.get(f"{self.github.url}/repos/{repository}", headers=headers).status_code


@pytest.fixture
def setting() -> Iterator[Setting]:
    with running_github(KEY) as github:
        github.install("acme", "shop", "site")
        made = Setting(github)
        yield made
        for app in made.apps:
            app.close()


def test_a_token_is_for_what_was_asked_and_nothing_else(setting: Setting) -> None:
    assert setting.app.installation_of("acme/shop", DEPLOYER) == 81
    token = setting.app.token(81, WORK, DEPLOYER)
    (given,) = setting.github.tokens.values()
    assert given.text == token.token
    assert (given.repositories, given.permissions) == (
        ["acme/shop"],
        {"metadata": "read", "contents": "write", "pull_requests": "write"},
    )
    assert setting.can(token.token, "acme/shop") == 200
    assert setting.can(token.token, "acme/site") == 404
    assert token.token not in repr(token)


def test_a_token_is_kept_until_shortly_before_its_end_and_only_for_its_scope(setting: Setting) -> None:
    setting.at = datetime(2026, 7, 1, 12, tzinfo=UTC)
    first = setting.app.token(81, WORK, DEPLOYER)
    setting.at += timedelta(minutes=54)
    assert setting.app.token(81, Scope.of(["acme/shop"], dict(WORK.permissions)), DEPLOYER) is first
    assert setting.app.token(81, Scope.of(["acme/shop"], {"contents": "read"}), DEPLOYER).token != first.token
    setting.at += timedelta(minutes=2)
    second = setting.app.token(81, WORK, DEPLOYER)
    assert second.token != first.token
    setting.app.forget(second)
    assert setting.app.token(81, WORK, DEPLOYER).token != second.token
    assert setting.opened == 4, "the key is opened for a signature and not for what is kept"


def test_many_who_need_the_same_token_ask_for_it_once(setting: Setting) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = {token.token for token in pool.map(lambda _: setting.app.token(81, WORK, DEPLOYER), range(8))}
    assert len(tokens) == len(setting.github.tokens) == 1


def test_the_jwt_is_short_lived_and_back_dated(setting: Setting) -> None:
    setting.app.installation_of("acme/shop", DEPLOYER)
    claims = jwt.decode(setting.github.asked[0].bearer, setting.github.public_key, algorithms=["RS256"])
    now = setting.now().timestamp()
    assert claims["iss"] == "4711"
    assert claims["iat"] <= now - 55 and claims["exp"] - claims["iat"] <= 600


@pytest.mark.parametrize("ahead_s", [-50, 50])
def test_a_clock_that_is_a_little_off_does_no_harm(setting: Setting, ahead_s: int) -> None:
    setting.github.clock = lambda: setting.now() + timedelta(seconds=ahead_s)
    assert setting.app.installation_of("acme/shop", DEPLOYER) == 81


def suspended(installed: Installation) -> None:
    installed.suspended = True


@pytest.mark.parametrize(
    ("prepare", "code", "says"),
    [
        (lambda s: setattr(s, "app", s.an_app("9999")), "git_hub_refuses_app", "Integration not found"),
        (lambda s: setattr(s, "private_key", new_private_key()), "git_hub_refuses_app", "could not be decoded"),
        (lambda s: setattr(s.github, "clock", lambda: s.now() + timedelta(hours=1)), "git_hub_refuses_app", "future"),
        (lambda s: setattr(s, "private_key", "-----BEGIN PRIVATE KEY-----\nAAAA"), "app_key_not_usable", ""),
        (lambda s: setattr(s, "private_key", "nonsense"), "app_key_not_usable", ""),
        (lambda s: suspended(s.github.installations[81]), "git_hub_forbids", "suspended"),
        (lambda s: s.github.installations.clear(), "not_installed", "Not Found"),
        (lambda s: s.github.installations[81].repositories.remove("acme/shop"), "scope_not_granted", "repository"),
        (lambda s: s.github.installations[81].permissions.pop("contents"), "scope_not_granted", "permissions"),
    ],
)
def test_a_refusal_says_what_is_the_case(setting: Setting, prepare: Any, code: str, says: str) -> None:
    assert setting.app.token(81, Scope.of(["acme/site"], {"metadata": "read"}), DEPLOYER), "before, it works"
    prepare(setting)
    with pytest.raises(Exception) as refused:
        setting.app.token(81, WORK, DEPLOYER)
    error: Any = refused.value
    assert error.code == code
    assert says in error.facts.get("github_says", "")
    assert "PRIVATE KEY" not in f"{error} {error.facts} {error.__context__!r}" or says == ""


@pytest.mark.parametrize(
    ("fault", "wait_s"), [("primary_limit", range(119, 123)), ("secondary_limit", [7]), ("untold_limit", [60])]
)
def test_a_limit_is_respected_without_asking_again(setting: Setting, fault: str, wait_s: Any) -> None:
    setting.github.faults.append(getattr(setting.github, fault))
    for _ in range(2):
        with pytest.raises(adapter.GitHubLimited) as limited:
            setting.app.token(81, WORK, DEPLOYER)
        assert limited.value.facts["retry_after_s"] in [*wait_s, *[each + 1 for each in wait_s]]
    assert len(setting.github.asked) == 1, "nobody asks while limited"
    setting.app._waits.clear()
    assert setting.app.token(81, WORK, DEPLOYER)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("fails", NotReachable),
        ("hangs_up", NotReachable),
        ("babbles", AnswerNotReadable),
        ("floods", AnswerNotReadable),
    ],
)
def test_whatever_github_does_is_an_error_with_a_name(setting: Setting, fault: str, error: type[Exception]) -> None:
    setting.github.faults.append(getattr(setting.github, fault))
    with pytest.raises(error):
        setting.app.token(81, WORK, DEPLOYER)
    assert setting.app.token(81, WORK, DEPLOYER), "the next one is asked for again"


def test_a_github_that_hangs_is_given_up(setting: Setting) -> None:
    app = setting.an_app(timeout_s=0.3)
    setting.github.faults.append(setting.github.hangs)
    with pytest.raises(NotReachable):
        app.token(81, WORK, DEPLOYER)


def test_redirects_stay_on_the_host_and_never_take_the_key_elsewhere(setting: Setting) -> None:
    setting.github.install("acme", "renamed")
    setting.github.faults.append(setting.github.leads_to("/repos/acme/renamed/installation"))
    assert setting.app.installation_of("acme/old-name", DEPLOYER) == 81
    with running_github(KEY) as elsewhere:
        for target in (elsewhere.url, "http://169.254.169.254/latest", "//evil.example/x", "http://[::bad", ""):
            setting.github.faults.append(setting.github.leads_to(target))
            with pytest.raises((AnswerNotReadable, NotReachable)):
                setting.app.installation_of("acme/renamed", DEPLOYER)
        setting.github.faults.append(setting.github.leads_to("/elsewhere"))
        with pytest.raises(AnswerNotReadable):
            setting.app.token(81, Scope.of(["acme/renamed"], {"contents": "read"}), DEPLOYER)
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told | {"permissions": {"contents": "write", "workflows": "write"}},
        lambda told: told | {"permissions": {"contents": "admin"}},
        lambda told: told | {"repositories": [*told["repositories"], {"full_name": "acme/site"}]},
        lambda told: told | {"repositories": [{"full_name": "evil/shop"}]},
        lambda told: {name: value for name, value in told.items() if name != "repositories"},
        lambda told: told | {"permissions": None},
        lambda told: told | {"token": None},
        lambda told: told | {"token": "ghs_\nInjected: header"},
        lambda told: told | {"expires_at": "soon"},
        lambda told: told | {"expires_at": "2026-07-01T12:00:00"},
        lambda told: told | {"expires_at": "2000-01-01T00:00:00Z"},
        lambda told: [told],
    ],
)
def test_a_token_that_is_not_what_was_asked_for_is_thrown_away(setting: Setting, spoil: Any) -> None:
    setting.github.spoil = spoil
    with pytest.raises(AnswerNotReadable):
        setting.app.token(81, WORK, DEPLOYER)
    setting.github.spoil = lambda told: told
    assert setting.app.token(81, WORK, DEPLOYER)


@pytest.mark.parametrize(
    ("repositories", "permissions"),
    [
        ([], {"contents": "read"}),
        (["acme/shop"], {}),
        (["shop"], {"contents": "read"}),
        (["acme/shop", "globex/shop"], {"contents": "read"}),
        (["acme/../admin"], {"contents": "read"}),
        (["acme/.."], {"contents": "read"}),
        (["acme/shop?x=1"], {"contents": "read"}),
        (["acme/shop\n"], {"contents": "read"}),
        (["acme/shop"], {"workflows": "write"}),
        (["acme/shop"], {"administration": "read"}),
        (["acme/shop"], {"contents": "admin"}),
        ([f"acme/r{number}" for number in range(501)], {"contents": "read"}),
    ],
)
def test_a_scope_that_no_job_may_have_can_not_be_written(repositories: Any, permissions: Any) -> None:
    with pytest.raises(adapter.ScopeNotPossible):
        Scope.of(repositories, permissions)


def test_an_app_that_waits_for_one_token_gives_others_theirs(setting: Setting) -> None:
    setting.github.faults.append(setting.github.hangs)
    failed: list[Exception] = []

    def wait() -> None:
        try:
            setting.app.token(81, WORK, DEPLOYER)
        except NotReachable as error:
            failed.append(error)

    slow = threading.Thread(target=wait)
    slow.start()
    while not setting.github.asked:
        slow.join(0.01)
    assert setting.app.token(81, Scope.of(["acme/site"], {"contents": "read"}), DEPLOYER)
    assert slow.is_alive(), "the first one still waits"
    setting.github.let_go()
    slow.join()
    assert failed


@pytest.mark.parametrize(
    "url",
    [
        "http://api.github.com", "ftp://api.github.com", "https://user:pw@api.github.com", "https://", "nonsense",
        "http://10.0.0.1", "http://127.0.0.1.evil.example", "https://api.github.com/#x", "http://[", "\x00",
    ],
)  # fmt: skip
def test_an_address_that_is_not_safe_is_not_asked(url: str) -> None:
    with pytest.raises(AddressNotSafe):
        check_address(url)


@pytest.mark.parametrize("url", ["https://api.github.com", "http://127.0.0.1:81", "http://localhost", "http://[::1]:8"])
def test_https_and_this_machine_are_safe(url: str) -> None:
    assert str(check_address(url)).startswith(url)
