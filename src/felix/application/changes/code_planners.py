"""What a planner of code is told of a repository and a wish, and what it answers: edits of files, or a question.

There is no grammar for code; without a language model changes of repositories are given as exact edits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from felix.application.changes.planners import Passage
from felix.domain.changes.code_edits import CodeEdit, EditDoesNotFit, PathNotAllowed, WriteFile, check_paths
from felix.domain.changes.code_tree import CodeTree
from felix.domain.changes.limits import secret_in
from felix.domain.changes.planning.base import Planned
from felix.domain.errors import Refused

#: What is shown to a model whole: files that were named, then those that the passages are from.
MAX_SHOWN_FILES, MAX_SHOWN_BYTES = 20, 150_000


class NoCodePlanner(Refused):
    """Nobody here can plan edits of code: set a language model, or give the edits exactly."""


@dataclass(frozen=True, slots=True)
class CodePlanRequest:
    """What is asked of a planner. ``files`` are those that it is shown, of all that the ``tree`` has."""

    prompt: str
    repository: str
    tree: CodeTree
    files: Mapping[str, str]
    context: Sequence[Passage] = ()
    answers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class PlannedCode(Planned):
    """Edits, and why these."""

    operations: tuple[CodeEdit, ...]  # type: ignore[assignment]


def shown_files(
    tree: CodeTree, said: str, passages: Sequence[Passage], read: Callable[[str, str], str]
) -> dict[str, str]:
    """The files that a planner has to see: named in what was said, or where the passages come from.

    What no change may touch is not shown, nor what holds a secret.
    """
    words = {word.strip("`'\".,;:!?()[]") for word in said.split()}
    heads = {getattr(passage, "heading", "").split(" > ")[0] for passage in passages}
    named = [path for path in tree.entries if path in words or path.rpartition("/")[2] in words]
    files: dict[str, str] = {}
    size = 0
    for path in dict.fromkeys([*named, *sorted(heads.intersection(tree.entries))]):
        try:
            check_paths([WriteFile(path=path, content="")], "destructive")
            entry = tree.entry(path)
            text = "" if entry is None else read(entry[1], path)
        except (EditDoesNotFit, PathNotAllowed):
            continue
        size += len(text.encode())
        if size > MAX_SHOWN_BYTES or len(files) == MAX_SHOWN_FILES:
            break
        if secret_in(text) is None:
            files[path] = text
    return files
