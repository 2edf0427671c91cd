"""A repository's tree has git's own digest, and its diff is one that git would take."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from felix.domain.changes.code_edits import PathNotAllowed
from felix.domain.changes.code_tree import CodeDiff, CodeTree, digest_of, slug_of
from felix.domain.changes.diff import MAX_COMPARED_LINES

words = st.lists(st.sampled_from(["a", "b", "c", "", "same"]), max_size=30)


def tree_of(texts: dict[str, str | None]) -> CodeTree:
    return CodeTree("acme/site", {}).with_texts(texts)


def diff_of(before: dict[str, str | None], after: dict[str, str | None]) -> CodeDiff:
    base = tree_of(before)
    return CodeDiff(base, base.with_texts(after), {path: before.get(path) for path in after}, after, "high")


def test_the_digest_of_a_tree_is_the_one_that_git_gives_it() -> None:
    # git write-tree says so; a folder is sorted as if its name ended in a slash.
    assert tree_of({}).tree == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    found = tree_of({"a.b": "x\n", "a/b": "x\n", "a0": "x\n"})
    assert found.entries["a0"] == ("100644", "587be6b4c3f93f93c489c0111bba5596147a26cb")
    assert found.tree == "f221ce0d4b72ec034e4e8f0f46a233119285b2b3"


@given(words, words, st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_lines_of_a_diff_lead_from_one_text_to_the_other(
    was: list[str], becomes: list[str], ends: bool, ended: bool
) -> None:
    before, after = "\n".join(was) + "\n" * ends, "\n".join(becomes) + "\n" * ended
    if before != after:
        assert applied(before, diff_of({"f": before}, {"f": after}).lines) == after


def applied(text: str, diff: str) -> str:
    """What a reader of unified diffs makes of a text."""
    lines, done, at = text.split("\n"), list[str](), 0
    whole = text.endswith("\n") or not text
    source = [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if not whole else [])
    told = diff.split("\n")[2:-1]
    for number, line in enumerate(told):
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            begins = int(start) - (count != "0")
            done += source[at:begins]
            at = begins
        elif line.startswith("\\"):
            continue
        else:
            end = "" if told[number + 1 : number + 2] == ["\\ No newline at end of file"] else "\n"
            if line[0] in " -":
                assert source[at] == line[1:] + end
                at += 1
            if line[0] in " +":
                done.append(line[1:] + end)
    return "".join(done + source[at:])


def test_a_long_file_is_compared_where_it_differs_and_shown_as_replaced_where_all_of_it_does() -> None:
    lines = [f"{number}\n" for number in range(3 * MAX_COMPARED_LINES)]
    middle = len(lines) // 2
    changed = [*lines[:middle], "new\n", *lines[middle + 1 :]]
    found = diff_of({"f": "".join(lines)}, {"f": "".join(changed)}).lines
    assert found.count("\n") == 2 + 1 + 8 and f"@@ -{middle - 2},7 +{middle - 2},7 @@" in found
    random.Random(1).shuffle(lines)
    assert diff_of({"f": "".join(sorted(lines))}, {"f": "".join(lines)}).lines.count("\n-") > MAX_COMPARED_LINES


def test_the_same_lines_on_another_base_are_the_same_change() -> None:
    one = diff_of({"f": "a\nb\nc\n"}, {"f": "a\nB\nc\n"})
    other = diff_of({"f": "x\na\nb\nc\n", "g": "y\n"}, {"f": "x\na\nB\nc\n"})
    assert one.meaning == other.meaning and one.lines != other.lines
    assert one.meaning != diff_of({"f": "a\nb\nc\n"}, {"f": "a\nB!\nc\n"}).meaning


@pytest.mark.parametrize("path", ["readme.md", "src", "SRC/new.py", "link", "README.md/x"])
def test_only_plain_files_are_written(path: str) -> None:
    tree = tree_of({"README.md": "x", "src/app.py": "x"})
    linked = CodeTree(tree.repository, {**tree.entries, "link": ("120000", "1" * 40)})
    with pytest.raises(PathNotAllowed):
        linked.entry(path)
    assert linked.entry("README.md") is not None and linked.entry("src/new.py") is None


def test_two_spellings_of_a_name_are_one_repository() -> None:
    assert slug_of("Acme/Site") == slug_of("acme/site") != slug_of("acme/site2")
    assert digest_of("Acme/Site", "a") == digest_of("acme/site", "a") != digest_of("acme/site", "b")
