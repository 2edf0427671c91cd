"""A change of a repository is one branch, one pull request and one check, whoever is killed in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from fake_github import FakeGitHub, new_private_key, running_github
from fake_repositories import Repository
from local_server import Told

from felix.adapters.github import GitHubApp, GitHubLimited, PermissionMissing, ScopeNotGranted
from felix.adapters.github_target import CHECK, ChangeNotNamed, GitHubRefuses, GitHubTarget
from felix.adapters.outbound import NotReachable, Outbound
from felix.application.changes.code_target import (
    BranchTaken,
    CodeChange,
    NothingToRevert,
    NotProposed,
    RevertConflict,
)
from felix.application.secrets import User
from felix.domain.changes.code_edits import (
    EditDoesNotFit,
    PathNotAllowed,
    RemoveFile,
    ReplaceText,
    WriteFile,
    check_paths,
    written_files,
)
from felix.domain.changes.limits import ChangeTooLarge, SecretInChange

KEY = new_private_key()
ALL = dict.fromkeys(("contents", "pull_requests", "checks", "deployments"), "write") | {"metadata": "read"}
FILES = {
    "README.md": "# Shop\n\nOpen from 9 to 5.\n",
    "src/app.py": "RATE = 1\nNAME = 'shop'\n",
    "src/old.py": "x = 1\n",
    "bin/run": "#!/bin/sh\n",
    "link": "/etc/passwd",
}
CHANGE = CodeChange(
    change_id="chg_" + "0a" * 16,
    repository="acme/shop",
    title="Open until 6",
    description="Opens an hour longer.",
    edits=[
        ReplaceText(path="README.md", search="9 to 5", replace="9 to 6"),
        WriteFile(path="docs/hours.md", content="Until 6.\n"),
        RemoveFile(path="src/old.py"),
        ReplaceText(path="bin/run", search="sh", replace="bash"),
    ],
    risk="medium",
)
BRANCH = "felix/change-" + "0a" * 16


class Setting:
    """A GitHub with a repository in it, and a target."""

    def __init__(self, github: FakeGitHub) -> None:
        self.github = github
        github.install("acme", "shop", permissions=dict(ALL))
        self.repository = Repository.holding("acme/shop", FILES, **{"bin/run": "100755", "link": "120000"})
        github.repositories["acme/shop"] = self.repository
        self.main = self.repository.refs["heads/main"]
        self.outbound = Outbound("GitHub", timeout_s=5.0)
        self.app = GitHubApp("4711", self.key, api_url=github.url, outbound=self.outbound)
        self.target = GitHubTarget(self.app, User("policy:of_the_test"))

    @contextmanager
    def key(self, user: User) -> Iterator[str]:
        yield KEY

    def kinds(self) -> list[str]:
        """What was asked of the repository, without the App's own requests."""
        return [asked.method for asked in self.github.asked if asked.bearer.startswith("ghs_")]

    def everything(self) -> tuple[Any, ...]:
        """All that people see of it."""
        return self.everything_of(self.repository)

    @staticmethod
    def everything_of(kept: Repository) -> tuple[Any, ...]:
        """The branches with their files, pull requests, checks and deployments."""
        files = {name: kept.files(sha) for name, sha in kept.refs.items()}
        pulls = [(pull["head"], pull["state"]) for pull in kept.pulls]
        checks = [(check["status"], check.get("conclusion")) for check in kept.checks]
        return files, pulls, checks, [each["statuses"] for each in kept.deployments]


@pytest.fixture
def setting() -> Iterator[Setting]:
    with running_github(KEY) as github:
        made = Setting(github)
        yield made
        made.outbound.close()


def test_a_change_is_a_draft_pull_request_from_a_branch_of_its_own(setting: Setting) -> None:
    pull = setting.target.propose(CHANGE)
    assert (pull.branch, pull.base, pull.open, pull.merged) == (BRANCH, "main", True, None)
    repository = setting.repository
    assert repository.files(pull.commit) == {
        "README.md": "# Shop\n\nOpen from 9 to 6.\n",
        "docs/hours.md": "Until 6.\n",
        "src/app.py": FILES["src/app.py"],
        "bin/run": "#!/bin/bash\n",
        "link": FILES["link"],
    }
    modes = {path: mode for path, mode, _ in repository.walk(repository.objects[pull.commit]["tree"])}
    assert (modes["bin/run"], modes["docs/hours.md"], modes["link"]) == ("100755", "100644", "120000")
    assert repository.objects[pull.commit]["parents"] == [setting.main] == [repository.refs["heads/main"]]
    assert repository.pulls[0]["draft"] and CHANGE.change_id in repository.pulls[0]["body"]


def test_asking_again_finds_what_is_there(setting: Setting) -> None:
    first = setting.target.propose(CHANGE)
    seen, asked = setting.everything(), len(setting.github.asked)
    assert setting.target.propose(CHANGE) == first
    assert setting.everything() == seen
    assert not {"POST", "PATCH"} & {each.method for each in setting.github.asked[asked:] if "git" in each.path}


Act = Callable[[GitHubTarget], object]
SMALL = replace(CHANGE, edits=CHANGE.edits[:2])
#: A change from its beginning to its end; before the last two somebody has merged it.
ACTS: list[Act] = [
    lambda target: target.propose(SMALL),
    lambda target: target.show_verdict(SMALL, "waiting", "One of one is asked."),
    lambda target: target.show_verdict(SMALL, "approved", "Approved by Ana."),
    lambda target: target.show_progress(SMALL, "production", "success"),
    lambda target: target.revert(SMALL),
]


@pytest.mark.parametrize("number", range(len(ACTS)))
def test_whoever_is_killed_at_any_request_is_followed_as_if_nothing_had_been(setting: Setting, number: int) -> None:
    for act in ACTS[:number]:
        act(setting.target)
    if number > 2:
        setting.repository.merge(1)
    before = deepcopy(setting.repository)
    ACTS[number](setting.target)
    expected = setting.everything()
    assert expected != setting.everything_of(before), "there is something to be killed in"

    def begin_again() -> int:
        setting.repository = setting.github.repositories["acme/shop"] = deepcopy(before)
        return len(setting.github.asked)

    # The first time it asked for tokens too, which are kept.
    asked = begin_again()
    ACTS[number](setting.target)
    requests = len(setting.github.asked) - asked
    assert requests > 3
    for at in range(requests):
        begin_again()
        # To be killed before a request is to be killed after the one before it.
        setting.github.faults[:] = [*[setting.github.answer] * at, setting.github.loses_the_answer]
        with pytest.raises(NotReachable):
            ACTS[number](setting.target)
        ACTS[number](setting.target)
        assert setting.everything() == expected


def test_a_check_says_where_the_approval_is(setting: Setting) -> None:
    pull = setting.target.propose(CHANGE)
    said = []
    for verdict in ("waiting", "approved", "rejected", "expired", "cancelled"):
        setting.target.show_verdict(CHANGE, verdict, "…")  # type: ignore[arg-type]
        (check,) = setting.repository.checks
        said.append((check["status"], check.get("conclusion")))
    assert (check["name"], check["head_sha"], check["external_id"]) == (CHECK, pull.commit, CHANGE.change_id)
    assert said == [
        ("in_progress", None),
        ("completed", "success"),
        ("completed", "failure"),
        ("completed", "timed_out"),
        ("completed", "cancelled"),
    ]


def test_a_deployment_is_of_what_was_merged(setting: Setting) -> None:
    pull = setting.target.propose(CHANGE)
    setting.target.show_progress(CHANGE, "sandbox", "success")
    merged = setting.repository.merge(pull.number)
    del setting.repository.refs[f"heads/{BRANCH}"]
    setting.target.show_progress(CHANGE, "production", "success")
    setting.target.show_progress(CHANGE, "production", "success")
    shown = [(each["ref"], each["environment"], each["statuses"]) for each in setting.repository.deployments]
    assert shown == [(pull.commit, "sandbox", ["success"]), (merged, "production", ["success"])]


def test_a_rollback_is_a_pull_request_that_takes_back_what_was_merged(setting: Setting) -> None:
    pull = setting.target.propose(CHANGE)
    setting.repository.merge(pull.number)
    setting.repository.push("main", {"src/app.py": "RATE = 2\n"})
    reverting = setting.target.revert(CHANGE)
    assert setting.target.revert(CHANGE) == reverting
    assert (reverting.branch, reverting.base) == ("felix/revert-" + "0a" * 16, "main")
    assert setting.repository.files(reverting.commit) == FILES | {"src/app.py": "RATE = 2\n"}


def test_a_change_that_was_not_merged_is_taken_back_by_closing_it(setting: Setting) -> None:
    with pytest.raises(NotProposed):
        setting.target.revert(CHANGE)
    setting.target.propose(CHANGE)
    assert not setting.target.revert(CHANGE).open
    assert not setting.target.revert(CHANGE).open
    assert len(setting.repository.pulls) == 1


def test_what_was_changed_since_is_not_taken_back_with_it(setting: Setting) -> None:
    setting.repository.merge(setting.target.propose(CHANGE).number)
    setting.repository.push("main", {"README.md": "# Another shop\n"})
    with pytest.raises(RevertConflict) as conflict:
        setting.target.revert(CHANGE)
    assert conflict.value.facts["paths"] == ["README.md"]
    setting.repository.push("main", {"README.md": FILES["README.md"], "src/old.py": FILES["src/old.py"]})
    setting.repository.push("main", {"bin/run": FILES["bin/run"]})
    reverting = setting.target.revert(CHANGE)
    assert "docs/hours.md" not in setting.repository.files(reverting.commit), "what is left of it is taken back"


def test_files_that_are_as_before_leave_nothing_to_revert(setting: Setting) -> None:
    small = replace(CHANGE, edits=[WriteFile(path="README.md", content="# New\n")])
    setting.repository.merge(setting.target.propose(small).number)
    setting.repository.push("main", {"README.md": FILES["README.md"]})
    with pytest.raises(NothingToRevert):
        setting.target.revert(small)


@pytest.mark.parametrize("missing", ["contents", "pull_requests", "checks", "deployments"])
def test_a_permission_that_was_not_granted_is_named(setting: Setting, missing: str) -> None:
    setting.github.installations[81].permissions.pop(missing)
    with pytest.raises(ScopeNotGranted) as refused:
        for act in ACTS[:4]:
            act(setting.target)
    assert "permissions" in refused.value.facts["github_says"]
    assert setting.repository.refs["heads/main"] == setting.main


@pytest.mark.parametrize("missing", ["contents", "pull_requests"])
def test_a_permission_that_was_taken_away_meanwhile_is_named(setting: Setting, missing: str) -> None:
    weaken = dict(ALL) | {missing: "read"}
    setting.github.spoil = lambda told: (
        setting.github.tokens[told["token"]].permissions.update({missing: weaken[missing]}),
        told,
    )[1]
    with pytest.raises(PermissionMissing) as refused:
        setting.target.propose(CHANGE)
    assert refused.value.facts["needed"] == f"{missing}=write"
    assert not setting.repository.pulls


def test_every_token_is_for_one_repository_and_one_kind_of_work(setting: Setting) -> None:
    setting.github.installations[81].repositories.append("acme/other")
    for act in ACTS[:4]:
        act(setting.target)
    given = setting.github.tokens.values()
    assert {name for token in given for name in token.repositories} == {"acme/shop"}
    assert {frozenset(name for name, level in token.permissions.items() if level == "write") for token in given} == {
        frozenset({"contents", "pull_requests"}),
        frozenset({"checks"}),
        frozenset({"deployments"}),
    }


def test_limits_are_respected_for_this_account_and_no_other(setting: Setting) -> None:
    setting.github.install("globex", "site", permissions=dict(ALL), number=82)
    setting.github.repositories["globex/site"] = Repository.holding("globex/site", FILES)
    setting.github.allowance[81] = 4
    with pytest.raises(GitHubLimited) as limited:
        setting.target.propose(CHANGE)
    assert 118 <= limited.value.facts["retry_after_s"] <= 122
    asked = len(setting.kinds())
    with pytest.raises(GitHubLimited):
        setting.target.propose(CHANGE)
    assert len(setting.kinds()) == asked, "nobody asks while limited"
    assert setting.target.propose(replace(CHANGE, repository="globex/site")).open
    setting.app._waits.clear()
    setting.github.allowance[81] = 5_000
    setting.github.faults[:] = [setting.github.answer] * 3 + [setting.github.secondary_limit]
    with pytest.raises(GitHubLimited) as limited:
        setting.target.propose(CHANGE)
    assert limited.value.facts["retry_after_s"] == 7
    setting.app._waits.clear()
    assert setting.target.propose(CHANGE).open


def test_a_branch_of_somebody_else_is_not_touched(setting: Setting) -> None:
    setting.repository.refs[f"heads/{BRANCH}"] = theirs = setting.main
    with pytest.raises(BranchTaken):
        setting.target.propose(CHANGE)
    assert setting.repository.refs[f"heads/{BRANCH}"] == theirs and not setting.repository.pulls


def test_what_somebody_pushed_to_our_branch_is_not_what_was_approved(setting: Setting) -> None:
    setting.target.propose(CHANGE)
    setting.repository.push(BRANCH, {"src/app.py": "import os\n"})
    for go_on in (setting.target.propose, setting.target.revert):
        with pytest.raises(BranchTaken):
            go_on(CHANGE)
    with pytest.raises(BranchTaken):
        setting.target.show_verdict(CHANGE, "approved", "…")


def test_other_edits_under_the_same_change_are_not_what_is_there(setting: Setting) -> None:
    setting.target.propose(CHANGE)
    with pytest.raises(BranchTaken):
        setting.target.propose(replace(CHANGE, edits=CHANGE.edits[:1]))


def test_a_repository_without_drafts_gets_a_pull_request(setting: Setting) -> None:
    setting.repository.drafts = False
    assert setting.target.propose(CHANGE).open
    assert not setting.repository.pulls[0].get("draft")


def test_what_github_refuses_says_why(setting: Setting) -> None:
    refuses = Told(422, {"message": "Repository rule violations found"})
    setting.github.faults[:] = [*[setting.github.answer] * 10, lambda asked: refuses]
    with pytest.raises(GitHubRefuses) as refused:
        setting.target.propose(SMALL)
    assert refused.value.facts == {"github_status": 422, "github_says": "Repository rule violations found"}
    assert setting.target.propose(SMALL).open


@pytest.mark.parametrize("change_id", ["chg_1", "main", "chg_" + "0a" * 16 + "\n", "../main", "chg_" + "0A" * 16])
def test_a_change_with_another_name_has_no_branch(setting: Setting, change_id: str) -> None:
    with pytest.raises(ChangeNotNamed):
        setting.target.propose(replace(CHANGE, change_id=change_id))
    assert list(setting.repository.refs) == ["heads/main"]


@pytest.mark.parametrize(
    "path", ["link", "link/below", "README.md/below", "src", "readme.md", "SRC/app.py"]
)  # fmt: skip
def test_only_plain_files_are_written(setting: Setting, path: str) -> None:
    with pytest.raises(PathNotAllowed):
        setting.target.propose(replace(CHANGE, edits=[WriteFile(path=path, content="x\n")]))
    assert list(setting.repository.refs) == ["heads/main"]


NEVER = [
    ".git/config", ".GIT/config", "a/.git/hooks/pre-commit", "git~1/config", ".gitmodules", "../x", "a/../x",
    "/etc/passwd", "a//b", "./a", "a/", "a\\b", "a\x00b", "a\nb", "a\u202eb", "é.md", ".github/workflows/ci.yml",
    ".GitHub/Workflows/ci.yml", ".github/actions/x/action.yml", "a/b/c/d/e/f/g/h/i/j/k/l/m", "x" * 101, "a ", "a.",
    "a. /b", "...",
]  # fmt: skip
HIGH = [
    ".gitignore", ".gitattributes", ".github/CODEOWNERS", ".gitlab-ci.yml", "Jenkinsfile", "Dockerfile",
    "web/Dockerfile.prod", "docker-compose.yml", "Makefile", "uv.lock", "package-lock.json", "a/yarn.lock", "go.sum",
    ".circleci/config.yml",
    "Gemfile.lock", "pnpm-lock.yaml", "composer.lock",
]  # fmt: skip


@pytest.mark.parametrize("path", NEVER)
def test_some_paths_are_out_of_reach(path: str) -> None:
    with pytest.raises(PathNotAllowed):
        check_paths([WriteFile(path=path, content="x")], "destructive")


@pytest.mark.parametrize("path", HIGH)
def test_what_decides_what_is_built_needs_a_change_of_high_risk(path: str) -> None:
    with pytest.raises(PathNotAllowed):
        check_paths([WriteFile(path=path, content="x")], "medium")
    check_paths([WriteFile(path=path, content="x")], "high")


def test_ordinary_paths_are_allowed() -> None:
    check_paths([WriteFile(path=path, content="x") for path in (".env.example", "src/[id]/page.tsx", "a b.md")], "low")
    with pytest.raises(PathNotAllowed):
        check_paths([WriteFile(path=path, content="x") for path in ("a.md", "A.md")], "low")


def test_sizes_have_limits() -> None:
    none: dict[str, str] = {}
    with pytest.raises(ChangeTooLarge):
        check_paths([RemoveFile(path=f"f{number}") for number in range(201)], "low")
    with pytest.raises(ChangeTooLarge):
        written_files([WriteFile(path="a", content="x\n" * 401)], none.get)
    with pytest.raises(ChangeTooLarge):
        written_files([WriteFile(path=f"f{number}", content="x" * 300_000) for number in range(2)], none.get)
    with pytest.raises(ValueError):
        WriteFile(path="a", content="x" * (512 * 1024 + 1))


@pytest.mark.parametrize(
    "edit",
    [
        ReplaceText(path="a", search="not there", replace="x"),
        ReplaceText(path="a", search="twice", replace="x"),
        ReplaceText(path="b", search="x", replace="y"),
        RemoveFile(path="b"),
        WriteFile(path="a", content="twice twice"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_whole(edit: Any) -> None:
    with pytest.raises(EditDoesNotFit):
        written_files([edit], {"a": "twice twice"}.get)


def test_a_secret_is_not_written_and_one_that_is_there_stays() -> None:
    secret = "KEY = 'sk_live_" + "a1" * 12 + "'\n"
    with pytest.raises(SecretInChange) as refused:
        written_files([WriteFile(path="a", content=secret)], {"a": "KEY = None\n"}.get)
    assert "sk_live" not in f"{refused.value} {refused.value.facts}"
    kept = written_files([ReplaceText(path="a", search="x", replace="y")], {"a": f"{secret}x\n"}.get)
    assert kept == {"a": f"{secret}y\n"}
