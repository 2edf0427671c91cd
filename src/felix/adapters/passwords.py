"""Argon2id by pwdlib, two at a time: a hash takes 19 MiB and a core for some hundredths of a second.

Whoever comes while both are busy waits; when many wait, more are sent away, so that guesses can't take the machine from
everybody else (OWASP ASVS 5.0, appendix C; the cost is its floor, because two cores have other work).
"""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from felix.application.sign_in import SignInBusy
from felix.domain.errors import Invalid

MIN_LENGTH, MAX_LENGTH = 12, 1024
#: zxcvbn's scale ends at 4, which is "very unguessable"; 3 withstands whoever has stolen a slow hash for a while.
LEAST_SCORE = 3
#: zxcvbn takes time that grows with the square of the length and looks at no more than this.
LOOKED_AT_LENGTH = 72
AT_ONCE = 2
MOST_WAITING = 32

T = TypeVar("T")


class WeakPassword(Invalid):
    """This password is too easy to guess."""


class Argon2Passwords:
    """The :class:`~felix.application.sign_in.Passwords` of this installation."""

    def __init__(self, *, time_cost: int = 2, memory_cost_kib: int = 19_456) -> None:
        """The costs are the floor that ASVS names; tests ask for less."""
        hasher = Argon2Hasher(time_cost=time_cost, memory_cost=memory_cost_kib, parallelism=1)
        self._hasher = PasswordHash((hasher,))
        self._threads = ThreadPoolExecutor(AT_ONCE, "passwords")
        self._waiting = 0
        self._nobodys = self._hasher.hash("nobody's password")
        self._guard = threading.Lock()

    async def matches(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        """Whether a password is the one behind a hash, and a better hash of it, if this one is out of date.

        Without a hash another one is compared, so that the answer, which is no, takes as long. Raises ``SignInBusy``.
        """
        return await self._run(lambda: self._matches(password, password_hash))

    async def accept(self, password: str, about: tuple[str, ...]) -> str:
        """The hash of a new password. Raises :class:`WeakPassword` and ``SignInBusy``."""
        return await self._run(lambda: self._accept(password, about))

    def close(self) -> None:
        """Take no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= AT_ONCE + MOST_WAITING:
            raise SignInBusy(retry_after_s=1)
        self._waiting += 1
        try:
            # A caller who goes away leaves the work to its end: only then is its place free for another.
            running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError:
            self._waiting -= 1
            raise SignInBusy("Felix is shutting down.", retry_after_s=2) from None
        running.add_done_callback(self._done)
        return await asyncio.shield(running)

    def _done(self, _: object) -> None:
        self._waiting -= 1

    def _matches(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        found, better = self._hasher.verify_and_update(_normal(password), password_hash or self._nobodys)
        return (found, better) if password_hash is not None else (False, None)

    def _accept(self, password: str, about: tuple[str, ...]) -> str:
        normal = _normal(password)
        if not MIN_LENGTH <= len(normal) <= MAX_LENGTH:
            raise _weak("length", f"{MIN_LENGTH} to {MAX_LENGTH} characters")
        told = self._estimate(normal[:LOOKED_AT_LENGTH], about)
        if told is not None:
            raise _weak("guessable", told)
        return self._hasher.hash(normal)

    def _estimate(self, password: str, about: tuple[str, ...]) -> str | None:
        """What is wrong with a password; None when nothing is."""
        # It reads its dictionaries for a good part of a second, and only whoever sets a password needs them.
        from zxcvbn import matching, zxcvbn

        # What it is told about the user it keeps in a table of its module: one at a time, and forgotten after.
        with self._guard:
            try:
                estimate = zxcvbn(password, user_inputs=[part for text in about for part in _parts(text)])
            finally:
                matching.RANKED_DICTIONARIES.pop("user_inputs", None)
        if estimate["score"] >= LEAST_SCORE:
            return None
        return str(estimate["feedback"]["warning"]) or "Add more words that have nothing to do with each other."


def _normal(password: str) -> str:
    """The same however a keyboard composes it (NIST SP 800-63B-4, section 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def _parts(text: str) -> list[str]:
    """A text and what it is made of: of an address the name, the host and its labels."""
    return [text, *filter(None, text.replace("@", ".").replace("+", ".").split("."))]


def _weak(rule: str, detail: str) -> WeakPassword:
    return WeakPassword(errors=[{"pointer": "/password", "rule": rule, "detail": detail}])
