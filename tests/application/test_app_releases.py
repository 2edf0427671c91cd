"""Releases are kept by their digest and compiled once in a process, as long as they are used."""

from __future__ import annotations

from pathlib import Path

import pytest
from domain.apps.sample_app import TREE

from felix.adapters.objects import Objects
from felix.application.apps.releases import NoSuchRelease, Releases
from felix.domain.apps.release import Release
from felix.domain.apps.tree import AppTree, InvalidApp
from felix.domain.errors import Corrupt


def titled(number: int) -> AppTree:
    return TREE.with_file("app.json", TREE.files["app.json"] | {"title": f"Bakery {number}"})


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(Objects.open(tmp_path), kept=2)


def test_the_same_tree_is_the_same_release_and_is_compiled_once(releases: Releases) -> None:
    digest = releases.put(TREE)
    assert digest == releases.put(AppTree(dict(TREE.files))) == Release.of(TREE).digest
    assert releases.ready(digest) is None
    app = releases.app(digest)
    assert app is releases.app(digest) is releases.ready(digest)
    assert (app.release, releases.tree(digest)) == (digest, TREE)


def test_what_was_not_used_for_longest_is_let_go_and_compiled_anew(releases: Releases) -> None:
    one, two, three = (releases.put(titled(number)) for number in range(3))
    for digest in (one, two, one, three):
        releases.app(digest)
    assert releases.ready(two) is None and releases.ready(one) is not None
    assert releases.app(two).app.app.title == "Bakery 1"


def test_what_is_no_app_is_no_release(releases: Releases, tmp_path: Path) -> None:
    with pytest.raises(InvalidApp):
        releases.put(TREE.without_file("app.json"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("digest", ["0" * 64, "nothing", "../../etc/passwd"])
def test_a_release_that_nobody_made_is_not_found(releases: Releases, digest: str) -> None:
    with pytest.raises(NoSuchRelease):
        releases.app(digest)


def test_a_release_that_was_tampered_with_does_not_run(releases: Releases, tmp_path: Path) -> None:
    digest = releases.put(TREE)
    (kept,) = (path for path in tmp_path.rglob("*") if path.is_file())
    kept.write_bytes(kept.read_bytes().replace(b"The Bakery", b"Thy Bakery"))
    with pytest.raises(Corrupt):
        releases.app(digest)
