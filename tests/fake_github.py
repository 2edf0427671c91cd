"""A GitHub of our own: Apps, installations and their tokens, as strict as the real one where it matters.

It checks signatures and times of App JWTs, refuses scopes that an installation does not have, gives tokens that end,
and lets them do what they are for and nothing else. Routes are a table; more of GitHub is more rows.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fake_repositories import FOLDER, Repository
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
    """Add a row: ``{name}`` is one part of the path, ``{ref}`` any number of them."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace("{ref}", r"(?P<ref>.+)")))

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
        self.repositories: dict[str, Repository] = {}
        #: Requests that each installation may still make this hour.
        self.allowance: dict[int, int] = {}
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
        self._count(token)
        if repository not in token.repositories:
            raise Refused(404, "Not Found")
        if LEVELS.get(token.permissions.get(permission, ""), 0) < LEVELS[level]:
            needed = {"x-accepted-github-permissions": f"{permission}={level}"}
            raise Refused(403, "Resource not accessible by integration", needed)
        return token

    def _count(self, token: Token) -> None:
        left = self.allowance.get(token.installation.number, 5_000)
        if left == 0:
            raise Refused(403, "API rate limit exceeded for installation", self._until_reset())
        self.allowance[token.installation.number] = left - 1

    def _until_reset(self) -> dict[str, str]:
        return {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(self.clock().timestamp()) + 120)}

    def repository(self, asked: Asked, match: re.Match[str], permission: str, level: str = "read") -> Repository:
        """The repository that a token may do this in. Raises :class:`Refused`."""
        name = f"{match['owner']}/{match['repo']}"
        self.check_token(asked, name, permission, level)
        if name not in self.repositories:
            raise Refused(404, "Not Found")
        return self.repositories[name]

    # --- faults ---

    def primary_limit(self, asked: Asked) -> Told:
        """The hourly limit is used up."""
        return Told(403, {"message": "API rate limit exceeded"}, self._until_reset())

    def secondary_limit(self, asked: Asked) -> Told:
        """Too many requests at once."""
        return Told(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "7"})

    def loses_the_answer(self, asked: Asked) -> Told:
        """Do what is asked, and never say so."""
        self.answer(asked)
        return self.hangs_up(asked)

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
    repository = github.repositories.get(name)
    return {"full_name": name, "default_branch": repository.default_branch if repository else "main"}


# --- what is in a repository --------------------------------------------------------------------------------

REPO = "/repos/{owner}/{repo}"


@route("GET", REPO + "/branches/{ref}")
def show_branch(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A branch and its head."""
    repository = github.repository(asked, match, "contents")
    head = _ref(repository, f"heads/{unquote(match['ref'])}")
    tree = repository.objects[head]["tree"]
    return {"name": match["ref"], "commit": {"sha": head, "commit": {"tree": {"sha": tree}}}}


@route("GET", REPO + "/git/ref/{ref}")
def show_ref(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """Where a ref points to."""
    return _shown_ref(match["ref"], _ref(github.repository(asked, match, "contents"), match["ref"]))


@route("POST", REPO + "/git/refs")
def create_ref(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A new ref; one that is there stays."""
    repository = github.repository(asked, match, "contents", "write")
    name, sha = asked.json["ref"].removeprefix("refs/"), asked.json["sha"]
    if name in repository.refs:
        raise Refused(422, "Reference already exists")
    if "tree" not in repository.objects.get(sha, {}):
        raise Refused(422, "Object does not exist")
    repository.refs[name] = sha
    return Told(201, _shown_ref(name, sha))


@route("PATCH", REPO + "/git/refs/{ref}")
def move_ref(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """Another commit under a ref, unless it is protected."""
    repository = github.repository(asked, match, "contents", "write")
    if match["ref"].removeprefix("heads/") in repository.protected:
        raise Refused(422, "Cannot update this protected ref.")
    if not asked.json.get("force"):
        raise Refused(422, "Update is not a fast forward")
    repository.refs[match["ref"]] = asked.json["sha"]
    return _shown_ref(match["ref"], asked.json["sha"])


@route("GET", REPO + "/git/blobs/{sha}")
def show_blob(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A file's bytes in base64, broken into lines."""
    found = _object(github.repository(asked, match, "contents"), match["sha"], "blob")
    encoded = base64.encodebytes(found["blob"].encode(errors="surrogateescape")).decode()
    return {"sha": match["sha"], "encoding": "base64", "content": encoded}


@route("GET", REPO + "/git/trees/{sha}")
def show_tree(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A folder, or with ``recursive`` everything below it."""
    repository = github.repository(asked, match, "contents")
    _object(repository, match["sha"], "folder")
    if asked.query.get("recursive"):
        listed = repository.walk(match["sha"])
    else:
        listed = [(name, mode, sha) for name, (mode, sha) in repository.folder(match["sha"]).items()]
    kinds = {FOLDER: "tree", "160000": "commit"}
    entries = []
    for path, mode, sha in listed:
        entry = {"path": path, "mode": mode, "type": kinds.get(mode, "blob"), "sha": sha}
        text = repository.objects.get(sha, {}).get("blob")
        entries.append(entry if text is None else entry | {"size": len(text.encode(errors="surrogateescape"))})
    return {"sha": match["sha"], "tree": entries, "truncated": False}


@route("POST", REPO + "/git/trees")
def create_tree(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A folder made from another."""
    repository = github.repository(asked, match, "contents", "write")
    entries: dict[str, tuple[str, str | None]] = {}
    for entry in asked.json["tree"]:
        assert entry["type"] == "blob" and ("sha" in entry) != ("content" in entry)
        sha = repository.blob(entry["content"]) if "content" in entry else entry["sha"]
        if sha is not None:
            _object(repository, sha, "blob")
        entries[entry["path"]] = (entry["mode"], sha)
    try:
        return Told(201, {"sha": repository.with_files(asked.json["base_tree"], entries)})
    except KeyError:
        raise Refused(422, "GitRPC::BadObjectState") from None


@route("GET", REPO + "/git/commits/{sha}")
def show_commit(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A commit."""
    found = _object(github.repository(asked, match, "contents"), match["sha"], "tree")
    parents = [{"sha": parent} for parent in found["parents"]]
    return {"sha": match["sha"], "tree": {"sha": found["tree"]}, "parents": parents, "message": found["message"]}


@route("POST", REPO + "/git/commits")
def create_commit(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A commit. Workflows need a permission of their own."""
    repository = github.repository(asked, match, "contents", "write")
    tree, parents = asked.json["tree"], asked.json["parents"]
    was = repository.walk(_object(repository, parents[0], "tree")["tree"])
    for path, _, _ in {*repository.walk(tree)} ^ {*was}:
        if path.startswith(".github/workflows/"):
            github.repository(asked, match, "workflows", "write")
    return Told(201, {"sha": repository.commit(tree, parents, asked.json["message"])})


# --- what stands beside it ----------------------------------------------------------------------------------


@route("GET", REPO + "/pulls")
def list_pulls(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """The pull requests of a head, the newest first."""
    repository = github.repository(asked, match, "pull_requests")
    head = asked.query["head"].partition(":")[2]
    assert asked.query["state"] == "all"
    return [_shown_pull(repository, pull) for pull in reversed(repository.pulls) if pull["head"] == head]


@route("POST", REPO + "/pulls")
def create_pull(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A pull request."""
    repository = github.repository(asked, match, "pull_requests", "write")
    told = asked.json
    if told.get("draft") and not repository.drafts:
        raise Refused(422, "Draft pull requests are not supported in this repository.")
    if any(pull["head"] == told["head"] and pull["state"] == "open" for pull in repository.pulls):
        raise Refused(422, "A pull request already exists for this head.")
    head, base = _ref(repository, f"heads/{told['head']}"), _ref(repository, f"heads/{told['base']}")
    if head == base:
        raise Refused(422, "No commits between them")
    made = {**told, "number": len(repository.pulls) + 1, "sha": head, "state": "open", "merged": None}
    repository.pulls.append(made)
    return Told(201, _shown_pull(repository, made))


@route("GET", REPO + "/pulls/{number}")
def show_pull(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A pull request."""
    repository = github.repository(asked, match, "pull_requests")
    return _shown_pull(repository, repository.pulls[int(match["number"]) - 1])


@route("PUT", REPO + "/pulls/{number}/merge")
def merge_pull(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """Merge a pull request, if its head is still the one that was looked at and nothing stands against it."""
    repository = github.repository(asked, match, "contents", "write")
    pull = repository.pulls[int(match["number"]) - 1]
    if asked.json["merge_method"] not in repository.merges:
        raise Refused(405, f"{asked.json['merge_method'].capitalize()} merges are not allowed on this repository.")
    if pull["state"] != "open" or pull.get("draft"):
        raise Refused(405, "Pull Request is not mergeable")
    if repository.rule is not None:
        raise Refused(405, repository.rule)
    if asked.json["sha"] != repository.refs[f"heads/{pull['head']}"]:
        raise Refused(409, "Head branch was modified. Review and try the merge again.")
    return {"sha": repository.merge(pull["number"]), "merged": True}


@route("POST", "/graphql")
def mark_ready(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """The one mutation that is used: a draft is ready."""
    assert "markPullRequestReadyForReview" in asked.json["query"]
    name, _, number = asked.json["variables"]["id"].rpartition("#")
    github.check_token(asked, name, "pull_requests", "write")
    github.repositories[name].pulls[int(number) - 1]["draft"] = False
    return {"data": {"markPullRequestReadyForReview": {"clientMutationId": None}}}


@route("PATCH", REPO + "/pulls/{number}")
def change_pull(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """Close a pull request, or say something else of it."""
    repository = github.repository(asked, match, "pull_requests", "write")
    pull = repository.pulls[int(match["number"]) - 1]
    pull.update(asked.json)
    return _shown_pull(repository, pull)


@route("GET", REPO + "/commits/{sha}/check-runs")
def list_checks(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """The checks of a commit."""
    repository = github.repository(asked, match, "checks")
    found = [check for check in repository.checks if check["head_sha"] == match["sha"]]
    return {"total_count": len(found), "check_runs": found}


@route("POST", REPO + "/check-runs")
def create_check(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A check of a commit."""
    repository = github.repository(asked, match, "checks", "write")
    made = {**asked.json, "id": len(repository.checks) + 1, "app": {"id": int(github.app_id)}}
    repository.checks.append(made)
    return Told(201, made)


@route("PATCH", REPO + "/check-runs/{number}")
def change_check(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """Another verdict."""
    repository = github.repository(asked, match, "checks", "write")
    repository.checks[int(match["number"]) - 1].update(asked.json)
    return repository.checks[int(match["number"]) - 1]


@route("GET", REPO + "/deployments")
def list_deployments(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """The deployments of a commit to an environment, the newest first."""
    repository = github.repository(asked, match, "deployments")
    wanted = (asked.query["sha"], asked.query["environment"])
    return [each for each in reversed(repository.deployments) if (each["ref"], each["environment"]) == wanted]


@route("POST", REPO + "/deployments")
def create_deployment(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """A deployment of a commit."""
    repository = github.repository(asked, match, "deployments", "write")
    assert asked.json["required_contexts"] == [] and asked.json["auto_merge"] is False
    made = {**asked.json, "id": len(repository.deployments) + 1, "statuses": []}
    repository.deployments.append(made)
    return Told(201, made)


@route("GET", REPO + "/deployments/{number}/statuses")
def list_statuses(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """How far a deployment was, the newest first."""
    repository = github.repository(asked, match, "deployments")
    return [{"state": state} for state in reversed(repository.deployments[int(match["number"]) - 1]["statuses"])]


@route("POST", REPO + "/deployments/{number}/statuses")
def create_status(github: FakeGitHub, asked: Asked, match: re.Match[str]) -> Any:
    """How far a deployment is."""
    repository = github.repository(asked, match, "deployments", "write")
    repository.deployments[int(match["number"]) - 1]["statuses"].append(asked.json["state"])
    return Told(201, {"state": asked.json["state"]})


def _ref(repository: Repository, name: str) -> str:
    if name not in repository.refs:
        raise Refused(404, "Not Found")
    return repository.refs[name]


def _object(repository: Repository, sha: str, kind: str) -> Any:
    found = repository.objects.get(sha)
    if found is None or kind not in found:
        raise Refused(404, "Not Found")
    return found


def _shown_ref(name: str, sha: str) -> dict[str, Any]:
    return {"ref": f"refs/{name}", "object": {"type": "commit", "sha": sha}}


def _shown_pull(repository: Repository, pull: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": pull["number"],
        "node_id": f"{repository.name}#{pull['number']}",
        "html_url": f"https://github.example/{repository.name}/pull/{pull['number']}",
        "state": pull["state"],
        "draft": pull.get("draft", False),
        "merged_at": None if pull["merged"] is None else "2026-07-01T12:00:00Z",
        "merge_commit_sha": pull["merged"],
        "head": {"ref": pull["head"], "sha": repository.refs.get(f"heads/{pull['head']}", pull["sha"])},
        "base": {"ref": pull["base"]},
    }
