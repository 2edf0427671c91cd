"""GitHub repositories as the target of a change: a branch of its own, a draft pull request, a check, a deployment.

Nothing is cloned, and nothing of anybody else is ever moved: a branch is made with one commit, through GitHub's Git
Data API (docs.github.com, "REST API endpoints for Git database"), and moves only from one commit of ours to the next.
Who is killed in between begins again and finds what there is by the name of the branch. Each token is for one
repository and for what one call needs.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

from pydantic_core import to_json

from felix.adapters.github import GitHubApp, InstallationToken, Level, NotInstalled, Permission, Scope, message_of
from felix.adapters.outbound import Answer, AnswerNotReadable
from felix.application.changes.code_target import (
    BranchTaken,
    CodeChange,
    MergeRefused,
    NothingToRevert,
    NotProposed,
    Progress,
    PullRequest,
    RepositoryTooLarge,
    RevertConflict,
    Verdict,
)
from felix.application.secrets import User
from felix.domain.changes.code_edits import EditDoesNotFit, PathNotAllowed, check_paths, touched, written_files
from felix.domain.changes.code_tree import CodeTree
from felix.domain.errors import Refused

CHECK = "Felix approval"
MAX_TITLE_CHARS, MAX_TEXT_CHARS = 200, 60_000
_CHANGE = re.compile(r"chg_([0-9a-f]{32})", re.ASCII)
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_FOLDER, _PLAIN = "040000", "100644"
_WRITABLE = (_PLAIN, "100755")
#: Ways to merge, of which a repository may allow some; on the commit that was approved all lead to the same files.
_MERGES = ("merge", "squash", "rebase")
#: The one thing that GitHub's REST API can't do with a pull request.
_READY = "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) { clientMutationId } }"
#: How a verdict is said as the status and the conclusion of a check.
_VERDICTS: Mapping[Verdict, tuple[str, str | None]] = {
    "waiting": ("in_progress", None),
    "approved": ("completed", "success"),
    "rejected": ("completed", "failure"),
    "expired": ("completed", "timed_out"),
    "cancelled": ("completed", "cancelled"),
}


class GitHubRefuses(Refused):
    """GitHub does not take this; the repository's own rules may stand against it."""


class ChangeNotNamed(Refused):
    """A change without an id of its own has no branch."""


@dataclass(frozen=True, slots=True)
class GitHubTarget:
    """The :class:`~felix.application.changes.code_target.CodeTarget` of repositories that the App is installed for.

    Raises beside what is said there what :class:`GitHubApp` raises, and :class:`GitHubRefuses`.
    """

    app: GitHubApp
    user: User
    installations: dict[str, int] = field(default_factory=dict)

    def head(self, repository: str, branch: str | None) -> str:
        at = self._open(repository, {"contents": "read"})
        chosen = branch or at.default_branch()
        found = at.head(chosen)
        if found is None:
            raise NotInstalled(f"There is no branch {chosen}.", branch=chosen)
        return found

    def tree(self, repository: str, commit: str) -> CodeTree:
        at = self._open(repository, {"contents": "read"})
        return at.everything(at.tree_of(commit))

    def text(self, repository: str, digest: str, path: str) -> str:
        return self._open(repository, {"contents": "read"}).text(digest, path)

    def propose(self, change: CodeChange) -> PullRequest:
        check_paths(change.edits, change.risk)
        at = self._open(change.repository, {"contents": "write", "pull_requests": "write"})
        branch, mark = _branch(change), _mark(change)
        stale = None if change.base is None else at.stale(branch, mark, _signed(change))
        if stale is None and (pull := at.pull_of(branch, mark)) is not None:
            return pull
        base = change.branch or at.default_branch()
        if stale is not None or at.marked(branch, mark) is None:
            head = change.base or at.head(base)
            if head is None:
                raise NotInstalled(f"There is no branch {base}.", branch=base)
            at.write(branch, head, _entries(at, change, head), change.title, mark, over=stale)
        found = None if stale is None else at.pull_of(branch, mark)
        if found is None:
            return at.open_pull(branch, base, change.title, _text(change), mark)
        return at.change_pull(found, **_said(change.title, _text(change), mark))

    def show_verdict(self, change: CodeChange, verdict: Verdict, summary: str) -> None:
        at = self._open(change.repository, {"checks": "write", "contents": "read", "pull_requests": "read"})
        commit = _proposed(at, change).commit
        status, conclusion = _VERDICTS[verdict]
        told = {
            "status": status,
            **({} if conclusion is None else {"conclusion": conclusion}),
            "output": {"title": f"The change is {verdict}", "summary": summary[:MAX_TEXT_CHARS]},
        }
        # One check a change: whoever looks sees where it is now, and who was killed does not add another.
        listed = at.get(f"/commits/{commit}/check-runs?{urlencode({'check_name': CHECK})}").get("check_runs")
        kept = [check for check in listed or () if check.get("external_id") == change.change_id]
        if not kept:
            about = {"name": CHECK, "head_sha": commit, "external_id": change.change_id}
            at.send("POST", "/check-runs", {**about, **told})
        elif any(kept[0].get(name) != value for name, value in told.items() if name != "output"):
            at.send("PATCH", f"/check-runs/{_number(kept[0].get('id'))}", told)

    def show_progress(self, change: CodeChange, environment: str, progress: Progress) -> None:
        at = self._open(change.repository, {"contents": "read", "deployments": "write", "pull_requests": "read"})
        pull = _proposed(at, change)
        commit = pull.merged or pull.commit
        deployments = at.list(f"/deployments?{urlencode({'sha': commit, 'environment': environment})}")
        if deployments:
            number = _number(deployments[0].get("id"))
        else:
            # Without contexts and merging GitHub only writes it down.
            asked = {"ref": commit, "environment": environment, "auto_merge": False, "required_contexts": []}
            described = {"description": f"Felix deploys {change.change_id}", "payload": {"change": change.change_id}}
            number = _number(at.send("POST", "/deployments", {**asked, **described}).get("id"))
        statuses = at.list(f"/deployments/{number}/statuses")
        if not statuses or statuses[0].get("state") != progress:
            at.send("POST", f"/deployments/{number}/statuses", {"state": progress})

    def merge(self, change: CodeChange, *, reverting: bool = False) -> PullRequest:
        at = self._open(change.repository, {"contents": "write", "pull_requests": "write"})
        pull = at.pull_of(_branch(change, "revert"), _undoing(change)) if reverting else _proposed(at, change)
        if pull is None:
            raise NotProposed()
        return pull if pull.merged else at.merge_pull(pull)

    def revert(self, change: CodeChange) -> PullRequest:
        at = self._open(change.repository, {"contents": "write", "pull_requests": "write"})
        pull = _proposed(at, change)
        if pull.merged is None:
            return at.change_pull(pull, state="closed") if pull.open else pull
        branch, mark = _branch(change, "revert"), _undoing(change)
        if (reverting := at.pull_of(branch, mark)) is not None:
            return reverting
        title = f'Revert "{change.title[:150]}"'
        if at.marked(branch, mark) is None:
            head = at.head(pull.base)
            if head is None:
                raise NothingToRevert(f"There is no branch {pull.base} any more.", branch=pull.base)
            at.write(branch, head, _undone(at, change, pull.commit, head), title, mark)
        return at.open_pull(branch, pull.base, title, f"Takes back #{pull.number}.", mark)

    def _open(self, name: str, permissions: Mapping[Permission, Level]) -> _Repository:
        installation = self.installations.get(name) or self.app.installation_of(name, self.user)
        self.installations[name] = installation
        try:
            token = self.app.token(installation, Scope.of([name], permissions), self.user)
        except NotInstalled:
            # It may be installed anew, under another number.
            self.installations.pop(name, None)
            raise
        return _Repository(self.app, token, name)


def _proposed(at: _Repository, change: CodeChange) -> PullRequest:
    """The pull request of a change; its branch may be gone. Raises ``NotProposed``."""
    pull = at.pull_of(_branch(change), _mark(change))
    if pull is None:
        raise NotProposed()
    return pull


def _entries(at: _Repository, change: CodeChange, head: str) -> list[dict[str, Any]]:
    """What the edits make of the files at a commit, as GitHub takes a tree."""
    tree = at.tree_of(head)
    found = {path: at.entry(tree, path) for path in touched(change.edits)}

    def read(path: str) -> str | None:
        entry = found[path]
        return None if entry is None else at.text(entry[1], path)

    written = []
    for path, text in written_files(change.edits, read).items():
        entry = found[path]
        content = {"sha": None} if text is None else {"content": text}
        written.append({"path": path, "mode": entry[0] if entry else _PLAIN, "type": "blob", **content})
    return written


def _undone(at: _Repository, change: CodeChange, commit: str, head: str) -> list[dict[str, Any]]:
    """The files as they were before a change, where they are still as it left them. Raises ``RevertConflict``."""
    before, after, now = at.tree_of(at.parent_of(commit)), at.tree_of(commit), at.tree_of(head)
    undone, conflicts = [], []
    for path in touched(change.edits):
        was, became, found = (at.entry(tree, path) for tree in (before, after, now))
        if found == was:
            continue
        if found != became:
            conflicts.append(path)
            continue
        mode, sha = was or (_PLAIN, None)
        undone.append({"path": path, "mode": mode, "type": "blob", "sha": sha})
    if conflicts:
        raise RevertConflict(paths=conflicts[:50])
    if not undone:
        raise NothingToRevert()
    return undone


@dataclass(slots=True)
class _Repository:
    """One repository for as long as one call needs it, and the folders that it has seen."""

    app: GitHubApp
    token: InstallationToken
    name: str
    folders: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)

    # Asking.

    def get(self, path: str) -> dict[str, Any]:
        """An object that must be there."""
        return self._expect(self.app.ask(self.token, "GET", f"/repos/{self.name}{path}")).document()

    def find(self, path: str) -> dict[str, Any] | None:
        """An object that may not be there."""
        answer = self.app.ask(self.token, "GET", f"/repos/{self.name}{path}")
        return None if answer.status == 404 else self._expect(answer).document()

    def list(self, path: str) -> list[dict[str, Any]]:
        """The first page of a list."""
        answer = self._expect(self.app.ask(self.token, "GET", f"/repos/{self.name}{path}"))
        return answer.documents()

    def send(self, method: str, path: str, json: Any) -> dict[str, Any]:
        """Something that changes the repository. Raises :class:`GitHubRefuses`."""
        return self._expect(self.app.ask(self.token, method, f"/repos/{self.name}{path}", json)).document()

    def _expect(self, answer: Answer) -> Answer:
        if 200 <= answer.status < 300:
            return answer
        if answer.status == 404:
            raise NotInstalled(repository=self.name)
        if answer.status in (409, 422):
            raise GitHubRefuses(github_status=answer.status, github_says=message_of(answer))
        raise AnswerNotReadable(f"GitHub answers with {answer.status}.")

    # Reading.

    def default_branch(self) -> str:
        """The branch that changes are for."""
        found = self.get("").get("default_branch")
        if not isinstance(found, str) or not found:
            raise AnswerNotReadable("GitHub does not name the default branch.")
        return found

    def head(self, branch: str) -> str | None:
        """The commit of a branch; None where there is no such branch."""
        found = self.find(f"/git/ref/heads/{quote(branch, safe='/')}")
        return None if found is None else _sha(_inside(found, "object", "sha"))

    def marked(self, branch: str, mark: str) -> str | None:
        """The commit of a branch of ours, if there is one. Raises ``BranchTaken`` where it is somebody else's."""
        commit = self.head(branch)
        return None if commit is None else self._ours(commit, branch, mark)

    def _ours(self, commit: str, branch: str, mark: str) -> str:
        if mark not in str(self.get(f"/git/commits/{commit}").get("message")).splitlines():
            raise BranchTaken(branch=branch, retry_after_s=60)
        return commit

    def stale(self, branch: str, mark: str, signed: str) -> str | None:
        """The commit of a branch of ours that was proposed with other edits, or on another commit."""
        commit = self.head(branch)
        lines = [] if commit is None else str(self.get(f"/git/commits/{commit}").get("message")).splitlines()
        return commit if mark not in lines and any(line.startswith(signed) for line in lines) else None

    def everything(self, tree: str) -> CodeTree:
        """Every file below a folder, each by the digest that makes the folder's."""
        told = self.get(f"/git/trees/{tree}?recursive=1")
        listed = told.get("tree")
        if not isinstance(listed, list):
            raise AnswerNotReadable("GitHub does not tell what is in a folder.")
        if told.get("truncated"):
            raise RepositoryTooLarge(repository=self.name)
        files = (each for each in listed if isinstance(each, Mapping) and each.get("type") != "tree")
        found = CodeTree(
            self.name, {str(each.get("path")): (str(each.get("mode")), _sha(each.get("sha"))) for each in files}
        )
        if found.tree != tree:
            raise AnswerNotReadable("What GitHub tells of a folder is not what is in it.")
        return found

    def tree_of(self, commit: str) -> str:
        """The tree of a commit."""
        return _sha(_inside(self.get(f"/git/commits/{commit}"), "tree", "sha"))

    def parent_of(self, commit: str) -> str:
        """The commit before."""
        (parent,) = self.get(f"/git/commits/{commit}").get("parents") or [{}]
        return _sha(_inside(parent, "sha"))

    def entry(self, tree: str, path: str) -> tuple[str, str] | None:
        """Mode and digest of a file; None where there is none. Raises ``PathNotAllowed`` for what is no plain file."""
        *above, name = path.split("/")
        for part in above:
            found = self._in_folder(tree, part, path)
            if found is None:
                return None
            if found[0] != _FOLDER:
                raise PathNotAllowed(f"{path!r} leads through something that is no folder.", path=path, rule="folder")
            tree = found[1]
        found = self._in_folder(tree, name, path)
        if found is not None and found[0] not in _WRITABLE:
            raise PathNotAllowed(f"{path!r} is no plain file: a link, or a folder.", path=path, rule="mode")
        return found

    def _in_folder(self, tree: str, name: str, path: str) -> tuple[str, str] | None:
        if tree not in self.folders:
            told = self.get(f"/git/trees/{tree}")
            entries = told.get("tree")
            if told.get("truncated") or not isinstance(entries, list):
                raise AnswerNotReadable("GitHub does not tell all of a folder.")
            self.folders[tree] = {str(each["path"]): (str(each["mode"]), _sha(each["sha"])) for each in entries}
        folder = self.folders[tree]
        if name not in folder and name.casefold() in map(str.casefold, folder):
            raise PathNotAllowed(f"{path!r} is there in another spelling.", path=path, rule="case")
        return folder.get(name)

    def text(self, blob: str, path: str) -> str:
        """What a file says. Raises ``EditDoesNotFit`` for one that is no text."""
        told = self.get(f"/git/blobs/{blob}")
        try:
            return base64.b64decode(told["content"], validate=False).decode()
        except UnicodeDecodeError:
            raise EditDoesNotFit(f"{path} is not text.", path=path) from None
        except (KeyError, TypeError, binascii.Error):
            raise AnswerNotReadable("GitHub answers with a file that can't be read.") from None

    # Writing.

    def write(
        self,
        branch: str,
        head: str,
        entries: Sequence[Mapping[str, Any]],
        title: str,
        mark: str,
        *,
        over: str | None = None,
    ) -> None:
        """A new branch with one commit after another one, or the same branch moved on from ``over``.

        One that came to be meanwhile stays as it is.
        """
        tree = self.send("POST", "/git/trees", {"base_tree": self.tree_of(head), "tree": list(entries)})
        message = f"{title[:MAX_TITLE_CHARS]}\n\n{mark}"
        made = {"message": message, "tree": _sha(tree.get("sha")), "parents": [head]}
        commit = _sha(self.send("POST", "/git/commits", made).get("sha"))
        if over is not None and self.head(branch) == over:
            self.send("PATCH", f"/git/refs/heads/{quote(branch, safe='/')}", {"sha": commit, "force": True})
            return
        try:
            self.send("POST", "/git/refs", {"ref": f"refs/heads/{branch}", "sha": commit})
        except GitHubRefuses:
            if self.marked(branch, mark) is None:
                raise

    def pull_of(self, branch: str, mark: str) -> PullRequest | None:
        """The pull request of a branch of ours, the newest if there are several. Raises ``BranchTaken``."""
        owner = self.name.partition("/")[0]
        found = self.list(f"/pulls?{urlencode({'head': f'{owner}:{branch}', 'state': 'all'})}")
        if not found:
            return None
        pull = _pull(found[0])
        self._ours(pull.commit, branch, mark)
        return pull

    def open_pull(self, branch: str, base: str, title: str, text: str, mark: str) -> PullRequest:
        """A pull request, as a draft where the repository has drafts."""
        asked = {**_said(title, text, mark), "head": branch, "base": base}
        try:
            return _pull(self.send("POST", "/pulls", {**asked, "draft": True}))
        except GitHubRefuses as refused:
            if (there := self.pull_of(branch, mark)) is not None:
                return there
            if "draft" not in refused.facts["github_says"].lower():
                raise
        return _pull(self.send("POST", "/pulls", asked))

    def merge_pull(self, pull: PullRequest) -> PullRequest:
        """The same, merged: exactly the commit that was looked at. Raises ``MergeRefused``."""
        self._ready(pull.number)
        says, status = "", 0
        for method in _MERGES:
            asked = {"sha": pull.commit, "merge_method": method}
            answer = self.app.ask(self.token, "PUT", f"/repos/{self.name}/pulls/{pull.number}/merge", asked)
            if answer.status == 200:
                return replace(pull, open=False, merged=_sha(answer.document().get("sha")))
            says, status = message_of(answer), answer.status
            if status != 405 or "not allowed" not in says.lower():
                break
        if status in (405, 409, 422):
            raise MergeRefused(github_status=status, github_says=says)
        self._expect(answer)
        raise AnswerNotReadable(f"GitHub answers with {status}.")

    def _ready(self, number: int) -> None:
        """Let a pull request be a draft no more."""
        told = self.get(f"/pulls/{number}")
        if not told.get("draft"):
            return
        asked = {"query": _READY, "variables": {"id": told.get("node_id")}}
        if self._expect(self.app.ask(self.token, "POST", "/graphql", asked)).document().get("errors"):
            raise MergeRefused(github_says="The pull request stays a draft.")

    def change_pull(self, pull: PullRequest, **to: str) -> PullRequest:
        """The same, closed or with another text."""
        return _pull(self.send("PATCH", f"/pulls/{pull.number}", to))


def _branch(change: CodeChange, kind: str = "change") -> str:
    if (match := _CHANGE.fullmatch(change.change_id)) is None:
        raise ChangeNotNamed(id=change.change_id[:100])
    return f"felix/{kind}-{match[1]}"


def _mark(change: CodeChange) -> str:
    """The last line of the commit: which change it is of, and the digest of exactly these edits on this base."""
    base = [] if change.base is None else [change.base]
    digest = sha256(to_json([*base, *(edit.model_dump() for edit in change.edits)])).hexdigest()
    return f"{_signed(change)}{digest}"


def _signed(change: CodeChange) -> str:
    """How that line begins, whatever the edits."""
    return f"Felix-Change: {change.change_id} "


def _undoing(change: CodeChange) -> str:
    """The last line of the commit that takes it back."""
    return f"Felix-Revert: {change.change_id}"


def _said(title: str, text: str, mark: str) -> dict[str, str]:
    """What people read of a pull request."""
    return {"title": title[:MAX_TITLE_CHARS], "body": f"{text[: MAX_TEXT_CHARS - 500]}\n\n{mark}"}


def _text(change: CodeChange) -> str:
    return f"{change.description}\n\nA rollback of this change is another pull request, and not instant."


def _pull(told: Mapping[str, Any]) -> PullRequest:
    merged = told.get("merged_at") is not None
    return PullRequest(
        number=_number(told.get("number")),
        url=str(told.get("html_url"))[:500],
        branch=str(_inside(told, "head", "ref")),
        base=str(_inside(told, "base", "ref")),
        commit=_sha(_inside(told, "head", "sha")),
        open=told.get("state") == "open",
        merged=_sha(told.get("merge_commit_sha")) if merged else None,
    )


def _inside(told: Any, *names: str) -> Any:
    for name in names:
        told = told.get(name) if isinstance(told, Mapping) else None
    return told


def _sha(told: Any) -> str:
    """Only hex digits come into a path that is asked for next."""
    if not isinstance(told, str) or _SHA.fullmatch(told) is None:
        raise AnswerNotReadable("GitHub answers with a digest that is none.")
    return told


def _number(told: Any) -> int:
    if type(told) is not int or told <= 0:
        raise AnswerNotReadable("GitHub answers with a number that is none.")
    return told
