"""A tenant's repository: the same tree is the same commit, refs move by comparison, nothing strange gets in or out."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo

from felix.adapters.repositories import AppRepository, RepositoryBroken
from felix.domain.apps.tree import AppTree, InvalidApp
from felix.domain.errors import NotFound

BAKERY, GARAGE = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TREE = AppTree(
    {
        "app.json": {"app": "bakery", "title": "Caf\u00e9"},
        "templates/thanks.json": {"title": "Thanks", "subject": "Thanks"},
        "templates/thanks.liquid": "Thank you.\n",
    }
)


@pytest.fixture
def repository(tmp_path: Path) -> AppRepository:
    return AppRepository(tmp_path, BAKERY)


def record(repository: AppRepository, tree: AppTree = TREE, parent: str | None = None, message: str = "m") -> str:
    return repository.record(tree, parent, message, "user:usr_1", NOON)


def test_a_tree_comes_back_as_it_was(repository: AppRepository) -> None:
    commit = record(repository)
    assert repository.tree(commit).digest == TREE.digest
    assert record(repository) == commit, "the same arguments give the same commit"


def test_history_is_read_newest_first(repository: AppRepository) -> None:
    first = record(repository, message="first")
    second = record(repository, TREE.without_file("templates/thanks.json"), first, "second")
    assert [(each.message, each.at) for each in repository.history(second)] == [("second", NOON), ("first", NOON)]


def test_a_ref_moves_only_from_where_it_was_seen(repository: AppRepository) -> None:
    first, second, third = (record(repository, message=word) for word in ("1", "2", "3"))
    assert repository.head("refs/heads/main") is None
    assert repository.move("refs/heads/main", None, first) and not repository.move("refs/heads/main", None, second)
    assert repository.move("refs/heads/main", first, second) and not repository.move("refs/heads/main", first, third)
    assert repository.head("refs/heads/main") == second


def test_of_many_who_move_a_ref_at_once_one_does(tmp_path: Path) -> None:
    repositories = [AppRepository(tmp_path, BAKERY) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda each: record(each[1], message=str(each[0])), enumerate(repositories)))
        moved = list(
            threads.map(
                lambda each: each[0].move("refs/heads/main", None, each[1]), zip(repositories, made, strict=True)
            )
        )
    assert moved.count(True) == 1
    assert repositories[0].head("refs/heads/main") == made[moved.index(True)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{BAKERY}.git", f"{BAKERY}.lock"]


def test_locks_of_a_killed_writer_are_nobodys(tmp_path: Path, repository: AppRepository) -> None:
    first = record(repository)
    repository.move("refs/heads/main", None, first)
    place = tmp_path / f"{BAKERY}.git"
    second = record(AppRepository(tmp_path / "elsewhere", BAKERY), message="next")
    (place / "objects" / second[:2]).mkdir(exist_ok=True)
    (place / "objects" / second[:2] / f"{second[2:]}.lock").touch()
    (place / "refs" / "heads" / "main.lock").touch()
    assert record(repository, message="next") == second
    assert repository.move("refs/heads/main", first, second) and repository.head("refs/heads/main") == second


def test_tenants_do_not_share_commits(tmp_path: Path, repository: AppRepository) -> None:
    commit = record(repository)
    with pytest.raises(NotFound):
        AppRepository(tmp_path, GARAGE).tree(commit)


@pytest.mark.parametrize("path", ["../x", ".git/config", ".GIT/config", "git~1/config", "entities/../x.json", "a.sh"])
def test_a_path_that_no_app_has_is_not_stored(repository: AppRepository, path: str) -> None:
    with pytest.raises(InvalidApp):
        record(repository, TREE.with_file(path, {}))


@pytest.mark.parametrize(
    ("name", "mode"), [(b"app.json", 0o120000), (b"app.json", 0o100755), (b".GIT", 0o100644), (b"x.sh", 0o100644)]
)
def test_what_others_put_in_is_not_read(tmp_path: Path, repository: AppRepository, name: bytes, mode: int) -> None:
    record(repository)
    strange = Repo(str(tmp_path / f"{BAKERY}.git"), bare=True)
    blob, tree, commit = Blob.from_string(b"/etc/passwd"), Tree(), Commit()
    tree.add(name, mode, blob.id)
    commit.tree, commit.author, commit.committer, commit.message = tree.id, b"x <>", b"x <>", b"m"
    commit.commit_time = commit.author_time = commit.commit_timezone = commit.author_timezone = 0
    for each in (blob, tree, commit):
        strange.object_store.add_object(each)
    strange.close()
    with pytest.raises(RepositoryBroken):
        repository.tree(commit.id.decode())


@pytest.mark.parametrize("ref", ["HEAD", "refs/heads/../../x", "refs/tags/a", "refs/heads/A", "main", ""])
def test_only_felixs_own_refs_exist(repository: AppRepository, ref: str) -> None:
    with pytest.raises(NotFound):
        repository.head(ref)


@pytest.mark.parametrize("commit", ["", "0" * 40, "HEAD", "../x", "f" * 41])
def test_an_unknown_commit_is_not_found(repository: AppRepository, commit: str) -> None:
    with pytest.raises(NotFound):
        repository.tree(commit)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git, to read what was written")
def test_git_itself_reads_it(tmp_path: Path, repository: AppRepository) -> None:
    commit = record(repository, message="say thanks")
    repository.move("refs/heads/main", None, commit)
    place = str(tmp_path / f"{BAKERY}.git")
    git = ["git", "-c", "safe.directory=*", "-C", place]
    assert subprocess.run([*git, "fsck", "--strict"], capture_output=True).returncode == 0
    assert subprocess.check_output([*git, "log", "--format=%s %an", "main"], text=True) == "say thanks user:usr_1\n"
