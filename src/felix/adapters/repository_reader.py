"""Reads the texts of a GitHub repository with a token that can read the contents of this one repository and no more.

Only what is on a branch of the repository itself is read: whoever put it there may write to it. Issues, comments and
pull requests, which anybody may write, are never asked for.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from felix.adapters.github import GitHubApp, InstallationToken, NotInstalled, Scope
from felix.adapters.outbound import AnswerNotReadable
from felix.application.secrets import User
from felix.domain.context.reading import MAX_TEXT_BYTES, NotReadable, Reading, text_of
from felix.domain.errors import NotFound

#: Each file is a request. What tells most comes first: documentation, then schemas, then code.
MAX_FILES = 500
MAX_FILE_BYTES = 200_000
#: A tree of more than GitHub tells at once is too large for planners too.
MAX_TREE_ENTRIES = 5_000

_DOCUMENTS = (".md", ".markdown", ".mdx", ".rst", ".txt", ".adoc")
_SCHEMAS = (".sql", ".prisma", ".graphql", ".proto", ".json", ".yaml", ".yml", ".toml")
_CODE = (".py", ".ts", ".tsx", ".js", ".jsx", ".rb", ".go", ".java", ".kt", ".php", ".cs", ".rs", ".html", ".liquid")
_SUFFIXES = {suffix: rank for rank, suffixes in enumerate((_DOCUMENTS, _SCHEMAS, _CODE)) for suffix in suffixes}
#: What holds secrets, was made by a machine, or belongs to somebody else; and names that no file of ours could have.
_NEVER = re.compile(
    r"(^|/)(\.[^/]+|\.\.?|node_modules|vendor|dist|build|__pycache__|[^/]*\.lock|package-lock\.json|pnpm-lock\.yaml"
    r"|[^/]*\.min\.[^/]*|(secrets?|credentials?)(\.[^/]*)?|id_(rsa|ed25519|ecdsa)[^/]*)(/|$)|[\x00-\x1f\x7f\\]",
    re.IGNORECASE,
)
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REGULAR = ("100644", "100755")


class BranchNotFound(NotFound):
    """The repository has no such branch."""


@dataclass(frozen=True, slots=True)
class RepositoryReader:
    """Reads repositories as one App. Safe from any thread."""

    app: GitHubApp

    def read(self, repository: str, branch: str | None, user: User) -> Reading:
        """The texts of a branch. Raises what :class:`GitHubApp` raises, ``Invalid`` and ``TooMuch``."""
        scope = Scope.of([repository], {"contents": "read", "metadata": "read"})
        token = self.app.token(self.app.installation_of(repository, user), scope, user)
        at = f"/repos/{repository}"
        chosen = branch or str(self._ask(token, at).get("default_branch"))
        head = self._ask(token, f"{at}/branches/{quote(chosen, safe='')}", BranchNotFound)
        tree = self._ask(token, f"{at}/git/trees/{_sha(_inside(head, 'commit', 'commit', 'tree', 'sha'))}?recursive=1")
        left_out: list[tuple[str, str]] = []
        if tree.get("truncated"):
            left_out.append(("", "the repository has more files than can be listed"))
        chosen_files = list(_chosen(tree, left_out))
        return Reading.of(self._texts(token, at, chosen_files, left_out), left_out)

    def _texts(
        self, token: InstallationToken, at: str, files: list[tuple[str, str]], left_out: list[tuple[str, str]]
    ) -> Iterator[tuple[str, str]]:
        size_bytes = 0
        for path, sha in files:
            if size_bytes > MAX_TEXT_BYTES * 3 // 4:
                left_out.append((path, "there is enough text already"))
                continue
            try:
                text = text_of(_decoded(self._ask(token, f"{at}/git/blobs/{sha}")))
            except NotReadable:
                left_out.append((path, "not text in UTF-8"))
                continue
            size_bytes += len(text.encode())
            yield path, text

    def _ask(self, token: InstallationToken, path: str, missing: type[NotFound] = NotInstalled) -> dict[str, Any]:
        answer = self.app.ask(token, "GET", path)
        if answer.status == 200:
            return answer.document()
        if answer.status in (404, 409):
            raise missing()
        raise AnswerNotReadable(f"GitHub answers with {answer.status}.")


def _chosen(tree: dict[str, Any], left_out: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The files to read, those that tell most first, and of the others why not."""
    entries = tree.get("tree")
    if not isinstance(entries, list):
        raise AnswerNotReadable("GitHub answers with a tree that has no files.")
    ranked = []
    for entry in entries[:MAX_TREE_ENTRIES]:
        path, size = entry.get("path"), entry.get("size")
        if entry.get("type") != "blob" or not isinstance(path, str):
            continue
        rank = _SUFFIXES.get("." + path.rpartition(".")[2].lower())
        if entry.get("mode") not in _REGULAR or _NEVER.search(path) is not None:
            left_out.append((path, "never read"))
        elif rank is None:
            left_out.append((path, "no kind of text that planners read"))
        elif type(size) is not int or size > MAX_FILE_BYTES:
            left_out.append((path, f"more than {MAX_FILE_BYTES} bytes"))
        else:
            ranked.append((rank, path.count("/"), path, _sha(entry.get("sha"))))
    if len(entries) > MAX_TREE_ENTRIES:
        left_out.append(("", f"more than {MAX_TREE_ENTRIES} files"))
    for number, (_, _, path, sha) in enumerate(sorted(ranked)):
        if number < MAX_FILES:
            yield path, sha
        else:
            left_out.append((path, f"more than {MAX_FILES} files to read"))


def _decoded(blob: dict[str, Any]) -> bytes:
    content = blob.get("content")
    if blob.get("encoding") != "base64" or not isinstance(content, str):
        raise AnswerNotReadable("GitHub answers with a file in an encoding that can't be read.")
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise AnswerNotReadable("GitHub answers with a file that is not base64.") from None


def _inside(told: Any, *names: str) -> Any:
    for name in names:
        told = told.get(name) if isinstance(told, dict) else None
    return told


def _sha(told: Any) -> str:
    """Only hex digits come into a path that is asked for next."""
    if not isinstance(told, str) or _SHA.fullmatch(told) is None:
        raise AnswerNotReadable("GitHub answers with a digest that is none.")
    return told
