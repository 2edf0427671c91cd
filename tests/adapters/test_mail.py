"""Mail goes by SMTP under TLS, or into files; what can't be sent says why, and not to whom."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from felix.adapters.mail import FileMailer, MailNotSent, MailRefused, NotAMailServer, SmtpMailer, open_mailer

TO = "ada@example.com"
FROM = "Felix <felix@example.com>"


class SmtpServer:
    """As much of a mail server (RFC 5321) as it takes to receive one mail, or to refuse it."""

    def __init__(self, answers: dict[str, str]) -> None:
        """``answers`` are given in place of the usual ones, by the first word of what was said."""
        self.answers = answers
        self.said: list[str] = []
        self.mail = ""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port."""
        self._listening.close()
        self._thread.join(5)

    def _serve(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return
        with connection, connection.makefile("rwb", buffering=0) as talk:
            talk.write(self.answers.get("", "220 here").encode() + b"\r\n")
            while line := talk.readline().decode().strip():
                self.said.append(line)
                word = line.split()[0].split(":")[0].upper()
                talk.write(
                    self.answers.get(word, {"DATA": "354 go on", "QUIT": "221 bye"}.get(word, "250 ok")).encode()
                )
                talk.write(b"\r\n")
                if word == "QUIT":
                    return
                if word == "DATA" and "DATA" not in self.answers:
                    while (text := talk.readline().decode()) != ".\r\n":
                        self.mail += text
                    talk.write(self.answers.get(".", "250 taken").encode() + b"\r\n")


@pytest.fixture
def servers() -> Iterator[list[SmtpServer]]:
    """Servers that a test has started."""
    started: list[SmtpServer] = []
    yield started
    for server in started:
        server.close()


def serve(servers: list[SmtpServer], **answers: str) -> SmtpServer:
    """A server that answers some words otherwise."""
    servers.append(SmtpServer(answers))
    return servers[-1]


def test_a_mail_arrives_as_it_was_written(servers: list[SmtpServer]) -> None:
    server = serve(servers)
    SmtpMailer(server.url, FROM).send(TO, "Grüße", "Viele Grüße\n.\nEnde", about="usr_1")
    envelope = [line.upper() for line in server.said if line.upper().startswith(("MAIL", "RCPT"))]
    assert envelope == ["MAIL FROM:<FELIX@EXAMPLE.COM>", "RCPT TO:<ADA@EXAMPLE.COM>"]
    assert "Subject: =?utf-8?" in server.mail and "Auto-Submitted: auto-generated" in server.mail


@pytest.mark.parametrize(
    ("word", "answer", "error"),
    [
        ("RCPT", "550 ada@example.com is unknown", MailRefused),
        ("RCPT", "450 ada@example.com is busy", MailNotSent),
        ("MAIL", "552 too much", MailRefused),
        ("DATA", "451 later", MailNotSent),
        ("", "421 not now", MailNotSent),
    ],
)
def test_what_a_server_refuses_is_told_by_its_number_alone(
    word: str, answer: str, error: type[Exception], servers: list[SmtpServer]
) -> None:
    server = serve(servers, **{word: answer})
    with pytest.raises(error) as refused:
        SmtpMailer(server.url, FROM).send(TO, "s", "t", about="usr_1")
    assert "ada" not in str(refused.value) + str(refused.value.facts)  # type: ignore[attr-defined]
    assert refused.value.__cause__ is None and refused.value.__suppress_context__


def test_a_server_that_is_not_there_is_asked_again_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MailNotSent):
        SmtpMailer(f"smtp://127.0.0.1:{port}", FROM).send(TO, "s", "t", about="usr_1")


def test_no_mail_and_no_password_leaves_this_machine_in_the_clear(
    servers: list[SmtpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server elsewhere that offers no TLS gets nothing, whatever stands in the address."""
    server = serve(servers)
    port = int(server.url.rpartition(":")[2])
    there = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda address, *rest: there(("127.0.0.1", address[1]), *rest))
    with pytest.raises(MailNotSent):
        SmtpMailer(f"smtp://ada:kettle@mail.example.com:{port}", FROM).send(TO, "s", "t", about="usr_1")
    assert not any("kettle" in line or line.upper().startswith(("AUTH", "MAIL")) for line in server.said)


@pytest.mark.parametrize(
    "url", ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://host:port", "smtp://["]
)
def test_what_is_no_mail_server_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(NotAMailServer):
        open_mailer(url, FROM, tmp_path)


@pytest.mark.parametrize("to", ["ada@example.com\nBcc: ben@example.com", "ada@example.com\r\n\r\nHello"])
def test_an_address_is_one_line(to: str, tmp_path: Path) -> None:
    with pytest.raises(MailRefused):
        FileMailer(FROM, tmp_path).send(to, "s", "t", about="usr_1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("about", ["../usr_1", "", "usr/1", "."])
def test_a_mail_stays_in_its_directory(about: str, tmp_path: Path) -> None:
    with pytest.raises(MailRefused):
        FileMailer(FROM, tmp_path / "mail").send(TO, "s", "t", about=about)
    assert list(tmp_path.iterdir()) == []


def test_without_a_server_mails_are_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    mailer = open_mailer(None, FROM, tmp_path / "mail")
    for _ in range(3):
        mailer.send(TO, "s", "t", about="usr_1")
    files = sorted((tmp_path / "mail" / "usr_1").iterdir())
    assert len(files) == 3 and {each.suffix for each in files} == {".eml"}
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file where the directory should be")
    with pytest.raises(MailNotSent):
        FileMailer(FROM, tmp_path / "mail").send(TO, "s", "t", about="usr_1")
