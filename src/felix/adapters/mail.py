"""Mail by SMTP, always under TLS unless the server is this machine; without a server a file for each mail.

What a server says of a mail that it refuses names the person, and errors of jobs are kept: only its number is.
"""

from __future__ import annotations

import secrets
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from urllib.parse import unquote, urlsplit

from felix.application.sign_in import Attachment, Mailer
from felix.domain.errors import Invalid, Refused, Unavailable

TIMEOUT_S = 20.0
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"smtp": 587, "smtps": 465}
#: A server that answers so will not answer otherwise the next time (RFC 5321, section 4.2.1).
_FOR_GOOD = 500


class NotAMailServer(Invalid):
    """FELIX_SMTP_URL is not the address of a mail server. It looks like smtps://user:password@host:465."""


class MailRefused(Refused):
    """The mail server does not take this mail, and will not take it later."""


class MailNotSent(Unavailable):
    """The mail server could not be reached, or asks to come back later."""


def open_mailer(smtp_url: str | None, sender: str, directory: Path) -> Mailer:
    """By SMTP where there is a server, else into files. Raises :class:`NotAMailServer`."""
    return SmtpMailer(smtp_url, sender) if smtp_url else FileMailer(sender, directory)


def compose(
    sender: str,
    to: str,
    subject: str,
    text: str,
    *,
    key: str | None = None,
    page: str | None = None,
    attached: Attachment | None = None,
) -> EmailMessage:
    """A mail as it is sent. Raises :class:`MailRefused` for addresses that are none."""
    mail = EmailMessage()
    try:
        mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    except (ValueError, IndexError):
        raise MailRefused("This is not an address that mail can be sent to.") from None
    mail["Date"] = formatdate(usegmt=True)
    domain = sender.rpartition("@")[2].rstrip(">") or "localhost"
    mail["Message-ID"] = make_msgid(domain=domain) if key is None else f"<{key}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    if page is not None:
        mail.add_alternative(page, subtype="html")
    if attached is not None:
        main, _, sub = attached.media_type.partition("/")
        mail.add_attachment(attached.content, maintype=main, subtype=sub, filename=attached.name)
    return mail


class SmtpMailer:
    """Sends each mail on a connection of its own."""

    def __init__(self, url: str, sender: str) -> None:
        """``smtps://`` speaks TLS from the first byte, ``smtp://`` after STARTTLS. Raises :class:`NotAMailServer`."""
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            raise NotAMailServer() from None
        if not self._host:
            raise NotAMailServer()
        self._under_tls = parts.scheme == "smtps"
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._sender = sender

    def send(
        self,
        to: str,
        subject: str,
        text: str,
        *,
        about: str,
        key: str | None = None,
        page: str | None = None,
        attached: Attachment | None = None,
    ) -> None:
        """Hand a mail to the server. Raises :class:`MailRefused` and :class:`MailNotSent`."""
        mail = compose(self._sender, to, subject, text, key=key, page=page, attached=attached)
        try:
            with self._connect() as server:
                if self._user:
                    server.login(self._user, self._password)
                server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise _failed(max(codes, default=_FOR_GOOD)) from None
        except smtplib.SMTPResponseException as error:
            raise _failed(error.smtp_code, sent=not isinstance(error, smtplib.SMTPAuthenticationError)) from None
        except (OSError, smtplib.SMTPException) as error:
            raise MailNotSent(failure=type(error).__name__) from None

    def _connect(self) -> smtplib.SMTP:
        if self._under_tls:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
        try:
            server.ehlo()
            if self._host not in _LOCAL or server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
        return server


def _failed(code: int, *, sent: bool = True) -> MailRefused | MailNotSent:
    return MailRefused(smtp_code=code) if sent and code >= _FOR_GOOD else MailNotSent(smtp_code=code)


class FileMailer:
    """Leaves each mail in a directory of the person whom it is about, for whoever operates Felix to read."""

    def __init__(self, sender: str, directory: Path) -> None:
        self._sender = sender
        self._directory = directory

    def send(
        self,
        to: str,
        subject: str,
        text: str,
        *,
        about: str,
        key: str | None = None,
        page: str | None = None,
        attached: Attachment | None = None,
    ) -> None:
        """Write a file that its owner alone can read. Raises :class:`MailRefused` and :class:`MailNotSent`."""
        mail = compose(self._sender, to, subject, text, key=key, page=page, attached=attached)
        if not about.replace("_", "").isalnum():
            raise MailRefused("Mail is about somebody with an id.")
        folder = self._directory / about
        path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}.eml"
        partial = path.with_suffix(".new")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.touch(mode=0o600, exist_ok=False)
            partial.write_bytes(mail.as_bytes())
            partial.rename(path)
        except OSError as error:
            raise MailNotSent(failure=type(error).__name__) from error
