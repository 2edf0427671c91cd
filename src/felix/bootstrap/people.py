"""How Felix writes to people, invites them, and lets them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from felix.adapters.mail import open_mailer
from felix.application.identity import Inviter
from felix.application.post import Post
from felix.bootstrap.endpoints import Endpoints, public_url
from felix.bootstrap.keys import following_root_keys, open_vault
from felix.eventstore.connections import connect
from felix.eventstore.sign_in import Purpose
from felix.eventstore.sign_in_book import SignInBook
from felix.settings import Settings

if TYPE_CHECKING:
    # Imported where they are used: an HTTP client takes longer to load than most commands take.
    from felix.adapters.oidc import OidcProvider

#: Where mails are left while there is no mail server, in a directory for each person.
MAIL_DIR = "mail"


def open_sign_in_book(endpoints: Endpoints) -> SignInBook:
    """What sign-in keeps without a command."""
    url = endpoints.writer_url
    return SignInBook(lambda: connect(url))


def open_post(settings: Settings, book: SignInBook) -> Post:
    """How Felix writes to people, and makes links for those who hand them over in another way."""
    url = settings.smtp_url.get_secret_value() if settings.smtp_url else None
    mailer = open_mailer(url, settings.mail_from, settings.data_dir / MAIL_DIR)
    return Post(mailer, following_root_keys(settings), book, public_url(settings))


def open_inviter(settings: Settings) -> Callable[[], Inviter]:
    """How people are invited, with the root keys that are in force when it is asked for."""
    vault, keys = open_vault(settings), following_root_keys(settings)
    return lambda: Inviter(vault(), keys(), public_url(settings))


def open_sign_in_provider(settings: Settings) -> OidcProvider | None:
    """The OpenID provider that people may sign in with, if there is one."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    from felix.adapters.oidc import OidcProvider

    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else None
    callback = f"{public_url(settings).rstrip('/')}/v1/oidc/callback"
    return OidcProvider(settings.oidc_issuer, settings.oidc_client_id, secret, callback)


def make_link(settings: Settings, endpoints: Endpoints, purpose: Purpose, user_id: str) -> str:
    """A link for a user, to be handed over by somebody who knows that it gets to the right person."""
    book = open_sign_in_book(endpoints)
    try:
        return open_post(settings, book).make_link(purpose, user_id)
    finally:
        book.close()
