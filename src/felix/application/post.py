"""What Felix writes to people. Addresses and links travel sealed: a job that waits tells nobody whom it is for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from felix.application.sign_in import LINK_LASTS, Mailer
from felix.eventstore.sealing import RootKeys
from felix.eventstore.sign_in import Purpose, hash_token, link_made, new_token
from felix.eventstore.sign_in_book import SignInBook

_PAGES: Mapping[Purpose, str] = {
    "invitation": "invitation",
    "magic_link": "sign-in/link",
    "password_reset": "sign-in/reset",
}
_LETTERS: Mapping[Purpose, tuple[str, str]] = {
    "magic_link": (
        "Sign in to Felix",
        "With this link you sign in, once and within {minutes} minutes:\n\n{url}\n\n"
        "If it was not you who asked for it, do nothing: nobody else has it.\n",
    ),
    "password_reset": (
        "Set your Felix password",
        "With this link you set a new password, once and within {minutes} minutes. You are then signed out everywhere:"
        "\n\n{url}\n\nIf it was not you who asked for it, do nothing: your password stays as it is.\n",
    ),
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail that is to be sent. ``about`` is the id of whom it concerns."""

    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    about: str

    def seal(self, root_keys: RootKeys) -> str:
        """As it travels in a job."""
        return seal_for_job(root_keys, to=self.to, subject=self.subject, text=self.text, about=self.about)


def seal_for_job(root_keys: RootKeys, **told: str) -> str:
    """What a job is told and nobody else may read, as text."""
    return base64.b64encode(root_keys.seal(json.dumps(told).encode(), "job")).decode()


def link_url(public_url: str, purpose: Purpose, token: str) -> str:
    """The address of a link. The token stands behind the #, which browsers keep to themselves: it is in no log."""
    return f"{public_url.rstrip('/')}/{_PAGES[purpose]}#{token}"


class Post:
    """Writes to people, from a worker."""

    def __init__(self, mailer: Mailer, root_keys: Callable[[], RootKeys], book: SignInBook, public_url: str) -> None:
        """``public_url`` is where people reach Felix."""
        self._mailer = mailer
        self._root_keys = root_keys
        self._book = book
        self._public_url = public_url

    def send(self, sealed: str) -> None:
        """Send what :meth:`Letter.seal` sealed. Raises ``Unavailable``, and ``MailRefused`` for good."""
        letter = Letter(**self._unseal(sealed))
        self._mailer.send(letter.to, letter.subject, letter.text, about=letter.about)

    def send_link(self, sealed: str, purpose: Purpose) -> None:
        """Send a link to whoever has the address; nothing where nobody has. Raises what :meth:`send` does."""
        email = self._unseal(sealed)["email"]
        user_id = self._book.active_user(self._root_keys().index("email", email))
        if user_id is None:
            return
        subject, text = _LETTERS[purpose]
        minutes = int(LINK_LASTS[purpose].total_seconds() // 60)
        url = self.make_link(purpose, user_id)
        self._mailer.send(email, subject, text.format(minutes=minutes, url=url), about=user_id)

    def make_link(self, purpose: Purpose, user_id: str) -> str:
        """A link for a user, to be handed over by somebody who knows that it gets to the right person."""
        token, at = new_token(), datetime.now(UTC)
        self._book.run(link_made(hash_token(token), purpose, user_id, at, at + LINK_LASTS[purpose]))
        return link_url(self._public_url, purpose, token)

    def _unseal(self, sealed: str) -> dict[str, str]:
        told: dict[str, str] = json.loads(self._root_keys().unseal(base64.b64decode(sealed), "job"))
        return told
