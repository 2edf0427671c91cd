"""What can be the case when a command of the command line does not do what it was asked."""

from __future__ import annotations

from felix.domain.errors import FelixError, Invalid, NotFound, Unavailable


class PortTaken(Unavailable):
    """Another program listens on the port."""


class ProcessDidNotStart(Unavailable):
    """One of Felix's own processes keeps dying at its start."""


class NotReady(Unavailable):
    """Felix runs but does not become ready."""


class NoSourceCheckout(NotFound):
    """This needs a source checkout of Felix, and this is an installed one."""


class UsageError(Invalid):
    """The arguments contradict each other or can't be read."""


def with_hint(error: FelixError, hint: str) -> FelixError:
    """Say, besides what is the case, what a person can do about it."""
    error.facts["hint"] = hint
    return error
