"""Code repositories as the other thing that a change can be made to: there it is a pull request.

Felix proposes and shows; who merges, and when, are the repository's own rules. So a rollback is another pull request:
slower than moving a pointer, and honest about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from felix.domain.changes.code_edits import CodeEdit
from felix.domain.changes.code_tree import CodeTree
from felix.domain.changes.risk import Risk
from felix.domain.errors import Refused, TooMuch

#: What a check beside the pull request says of the approval here.
Verdict = Literal["waiting", "approved", "rejected", "expired", "cancelled"]
#: What the deployment beside it says.
Progress = Literal["queued", "in_progress", "success", "failure", "inactive"]


class BranchTaken(Refused):
    """The branch of this change holds something that this change did not put there; nothing was overwritten."""


class RevertConflict(Refused):
    """The files were changed again since; taking this change back would take that back too."""


class NotProposed(Refused):
    """This change was never proposed in this repository."""


class NothingToRevert(Refused):
    """The files are as they were before this change."""


class MergeRefused(Refused):
    """The repository's own rules do not let this be merged, or not yet."""


class RepositoryTooLarge(TooMuch):
    """The repository has more files than can be looked through."""


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A change of a repository. ``title`` and ``description`` are for whoever reviews it there.

    Without a ``branch`` it is for the repository's default branch. With a ``base``, a commit of it, the edits are made
    there, and a proposal that was made on another is made anew.
    """

    change_id: str
    repository: str
    title: str
    description: str
    edits: Sequence[CodeEdit]
    risk: Risk
    branch: str | None = None
    base: str | None = None


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request as it is now. ``commit`` is the head of its branch, ``merged`` the commit that it became."""

    number: int
    url: str
    branch: str
    base: str
    commit: str
    open: bool
    merged: str | None = None


class CodeTarget(Protocol):
    """A place where repositories are. Everything may be done again at any time and has its effect once."""

    def head(self, repository: str, branch: str | None) -> str:
        """The commit that a branch, or else the default branch, is at. Raises ``NotFound``."""

    def tree(self, repository: str, commit: str) -> CodeTree:
        """Every file of a commit. Raises :class:`RepositoryTooLarge`."""

    def text(self, repository: str, digest: str, path: str) -> str:
        """What a file says, by its digest. Raises ``EditDoesNotFit`` for one that is no text."""

    def propose(self, change: CodeChange) -> PullRequest:
        """A draft pull request with the edits, on a branch of the change's own; the one that is there if there is.

        Raises ``PathNotAllowed``, ``EditDoesNotFit``, ``ChangeTooLarge``, ``SecretInChange``, :class:`BranchTaken`.
        """

    def show_verdict(self, change: CodeChange, verdict: Verdict, summary: str) -> None:
        """Let a check of the proposed commit say where the approval is. Raises :class:`NotProposed`."""

    def show_progress(self, change: CodeChange, environment: str, progress: Progress) -> None:
        """Let a deployment of the commit, the merged one if there is one, say how far it is."""

    def merge(self, change: CodeChange, *, reverting: bool = False) -> PullRequest:
        """Merge what was proposed, or with ``reverting`` what takes it back; nothing where that was done before.

        Raises :class:`NotProposed`, :class:`BranchTaken`, :class:`MergeRefused`.
        """

    def revert(self, change: CodeChange) -> PullRequest:
        """Take the change back: a pull request where it was merged, or else its own is closed.

        Raises :class:`NotProposed`, :class:`NothingToRevert`, :class:`RevertConflict`.
        """
