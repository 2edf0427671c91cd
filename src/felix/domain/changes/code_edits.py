"""Edits of a code repository: whole files, or a text in the place of another, never a patch that a model wrote.

A repository is somebody else's ground. So a path may only lead to a plain file, what runs on its own (workflows, hooks,
builds, what a lock file pins) is out of reach or of high risk, and everything has a size that people can read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from felix.domain.apps.tree import MAX_PROBLEMS
from felix.domain.changes.limits import (
    MAX_CHANGED_FILES,
    MAX_DIFF_BYTES,
    ChangeTooLarge,
    SecretInChange,
    check_size,
    secret_in,
)
from felix.domain.changes.risk import RISKS, Risk
from felix.domain.errors import Invalid, Refused

#: A longer file is changed by search and replace: nobody reads it whole, and models forget half of it.
MAX_WHOLE_LINES = 400
MAX_FILE_BYTES = 512 * 1024
MAX_PATH_CHARS, MAX_PATH_PARTS = 200, 12
_PART = re.compile(r"[A-Za-z0-9_@+()\[\]. -]{1,100}", re.ASCII)
#: How ``.git`` is spelled on file systems that are lenient about names.
_GIT = re.compile(r"\.git|git~[0-9]+|\.gitmodules|gitmod~[0-9]+", re.ASCII)
#: What a change of high risk may touch and no other: it decides what is built, or what others fetch.
_HIGH = re.compile(
    r"(?:.*/)?(?:"
    r"\.git[^/]*|\.github/.*|\.gitlab-ci\.ya?ml|\.gitlab/.*|jenkinsfile[^/]*|\.circleci/.*|\.buildkite/.*|\.travis\.ya?ml"
    r"|\.drone\.ya?ml|azure-pipelines[^/]*\.ya?ml|bitbucket-pipelines\.ya?ml|\.woodpecker[^/]*|\.pre-commit-config\.ya?ml"
    r"|dockerfile[^/]*|[^/]*\.dockerfile|containerfile[^/]*|(?:docker-)?compose[^/]*\.ya?ml|makefile|codeowners"
    r"|[^/]*\.lock|[^/]*\.lockb|package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.ya?ml|go\.sum|[^/]*lock\.json"
    r"|gemfile\.lock|packages\.lock\.json"
    r")",
    re.ASCII,
)


class PathNotAllowed(Invalid):
    """A change may not touch this file."""


class EditDoesNotFit(Refused):
    """The file is not as the edit expects it."""


class AlreadyWritten(EditDoesNotFit):
    """That is how the files are already."""


class InvalidEdits(Invalid):
    """These are no edits of files."""


class _Edit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    path: Annotated[str, Field(min_length=1, max_length=MAX_PATH_CHARS)]


class WriteFile(_Edit):
    """Make a file, or write all of one anew."""

    edit: Literal["write"] = "write"
    content: Annotated[str, Field(max_length=MAX_FILE_BYTES)]

    def describe(self) -> str:
        """In one sentence."""
        return f"Writes all of {self.path}"


class ReplaceText(_Edit):
    """Put a text in the place of another that stands in the file exactly once."""

    edit: Literal["replace"] = "replace"
    search: Annotated[str, Field(min_length=1, max_length=MAX_FILE_BYTES)]
    replace: Annotated[str, Field(max_length=MAX_FILE_BYTES)]

    def describe(self) -> str:
        """In one sentence."""
        return f"Puts a text in the place of another in {self.path}"


class RemoveFile(_Edit):
    """Take a file out."""

    edit: Literal["remove"] = "remove"

    def describe(self) -> str:
        """In one sentence."""
        return f"Takes out {self.path}"


CodeEdit = Annotated[WriteFile | ReplaceText | RemoveFile, Field(discriminator="edit")]


_EDITS: TypeAdapter[list[CodeEdit]] = TypeAdapter(list[CodeEdit])


def read_edits(content: bytes) -> list[CodeEdit]:
    """Edits from JSON. Raises :class:`InvalidEdits` and ``ChangeTooLarge``."""
    check_size(len(content))
    try:
        edits = _EDITS.validate_json(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]
        errors = [
            {"pointer": "".join(f"/{part}" for part in each["loc"]), "rule": each["type"], "detail": each["msg"]}
            for each in found
        ]
        raise InvalidEdits(errors=errors) from None
    if not edits:
        raise InvalidEdits(errors=[{"pointer": "", "rule": "too_short", "detail": "there are none"}])
    return edits


def written(edits: Sequence[CodeEdit]) -> list[dict[str, str]]:
    """Edits as they are kept."""
    return _EDITS.dump_python(list(edits), mode="json")  # type: ignore[no-any-return]


def risk_of(edits: Sequence[CodeEdit]) -> Risk:
    """Code runs with whatever rights it has where it runs, so it is never less than high. What decides what is built
    can do things that no revert takes back."""
    built = any(_HIGH.fullmatch(edit.path.casefold()) for edit in edits)
    return "destructive" if built else "high"


def check_paths(edits: Sequence[CodeEdit], risk: Risk) -> None:
    """Whether a change of this risk may touch these files. Raises :class:`PathNotAllowed`, ``ChangeTooLarge``."""
    spelled: dict[str, str] = {}
    for edit in edits:
        path = edit.path
        if (why := _wrong(path, risk)) is not None:
            raise PathNotAllowed(f"A change may not touch {path!r}: {why}.", path=path, rule=why)
        # Where case means nothing, two spellings are one file.
        if spelled.setdefault(path.casefold(), path) != path:
            raise PathNotAllowed(f"{path!r} and {spelled[path.casefold()]!r} may be one file.", path=path, rule="case")
    if len(spelled) > MAX_CHANGED_FILES:
        raise ChangeTooLarge(what="files", limit=MAX_CHANGED_FILES)


def written_files(edits: Sequence[CodeEdit], read: Callable[[str], str | None]) -> dict[str, str | None]:
    """What the edits make of the files that they touch, in order; None for one that is taken out.

    ``read`` gives the text of a file, and None where there is none. Raises :class:`EditDoesNotFit`, ``ChangeTooLarge``,
    ``SecretInChange``.
    """
    before: dict[str, str | None] = {}
    after: dict[str, str | None] = {}
    for edit in edits:
        if edit.path not in before:
            before[edit.path] = after[edit.path] = read(edit.path)
        after[edit.path] = _applied(edit, after[edit.path])
    changed = {path: text for path, text in after.items() if text != before[path]}
    if not changed:
        raise AlreadyWritten()
    if sum(len((text or "").encode()) for text in changed.values()) > MAX_DIFF_BYTES:
        raise ChangeTooLarge(what="bytes", limit=MAX_DIFF_BYTES)
    for path, text in changed.items():
        known = set((before[path] or "").splitlines())
        _refuse_secret(path, "\n".join(line for line in (text or "").splitlines() if line not in known))
    return changed


def check_texts(edits: Sequence[CodeEdit]) -> None:
    """Whether no edit writes a secret, before it is kept anywhere. Raises ``SecretInChange``."""
    for edit in edits:
        text = edit.content if isinstance(edit, WriteFile) else edit.replace if isinstance(edit, ReplaceText) else ""
        _refuse_secret(edit.path, text)


def _refuse_secret(path: str, text: str) -> None:
    if (kind := secret_in(text)) is not None:
        found = {"pointer": path, "rule": "secret", "detail": f"this looks like {kind}"}
        raise SecretInChange("The change would write a secret into the repository.", errors=[found])


def _applied(edit: CodeEdit, text: str | None) -> str | None:
    if isinstance(edit, WriteFile):
        if len(edit.content.splitlines()) > MAX_WHOLE_LINES:
            raise ChangeTooLarge(what="lines of a file that is written whole", limit=MAX_WHOLE_LINES, path=edit.path)
        return edit.content
    if text is None:
        raise EditDoesNotFit(f"There is no file {edit.path}.", path=edit.path)
    if isinstance(edit, RemoveFile):
        return None
    if (count := text.count(edit.search)) != 1:
        raise EditDoesNotFit(
            f"The text that is to be replaced in {edit.path} is there {count} times.", path=edit.path, found=count
        )
    return text.replace(edit.search, edit.replace)


def _wrong(path: str, risk: Risk) -> str | None:
    """Which rule a path breaks; None where it breaks none."""
    if unicodedata.normalize("NFC", path) != path or not path.isprintable() or len(path) > MAX_PATH_CHARS:
        return "it is not plain text"
    parts = path.split("/")
    if len(parts) > MAX_PATH_PARTS or any(_PART.fullmatch(part) is None for part in parts):
        return "it is no path within a repository"
    folded = [part.casefold() for part in parts]
    if any(part.strip(". ") == "" or part != part.strip(" ") or part.endswith(".") for part in parts):
        return "it is no path within a repository"
    if any(_GIT.fullmatch(part) for part in folded):
        return "it belongs to git itself"
    whole = "/".join(folded)
    if whole.startswith(".github/workflows/") or whole.startswith(".github/actions/"):
        return "workflows run by themselves"
    if _HIGH.fullmatch(whole) and RISKS.index(risk) < RISKS.index("high"):
        return "that needs a change of high risk"
    return None


def touched(edits: Sequence[CodeEdit]) -> Iterator[str]:
    """The paths of some edits, each once."""
    yield from dict.fromkeys(edit.path for edit in edits)
