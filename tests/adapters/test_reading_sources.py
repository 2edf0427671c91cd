"""PDFs and repositories are read within limits, and nothing is asked at an address of this network."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fake_github import FakeGitHub, new_private_key, running_github
from fake_repositories import Repository

from felix.adapters import pdf, repository_reader
from felix.adapters.github import GitHubApp, NotInstalled, ScopeNotGranted
from felix.adapters.outbound import AddressNotSafe, NotReachable
from felix.adapters.pdf import read_pdf
from felix.adapters.repository_reader import BranchNotFound, RepositoryReader
from felix.adapters.safe_addresses import safe_addresses
from felix.application.secrets import User
from felix.domain.context.reading import DocumentTooLarge, NotReadable

USER = User("policy:of_the_test", "job:81")

# --- PDF ----------------------------------------------------------------------------------------------------


def a_pdf(*pages: str, stream: bytes | None = None, trailer: bytes = b"") -> bytes:
    """A PDF as a program would write it; ``stream`` is what each page has instead of its text."""
    numbered: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /A >>",
    ]
    kids = []
    for text in pages:
        packed = zlib.compress(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()) if stream is None else stream
        kids.append(b"%d 0 R" % (len(numbered) + 1))
        numbered.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (len(numbered) + 2)
        )
        numbered.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed))
    numbered[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    written, places = b"%PDF-1.4\n", []
    for number, each in enumerate(numbered, start=1):
        places.append(b"%010d 00000 n \n" % len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(numbered) + 1, b"".join(places))
    end = b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n"
    return written + table + end % (len(numbered) + 1, trailer, len(written))


def test_a_pdf_is_read_page_by_page() -> None:
    assert read_pdf(a_pdf("Open from seven", "Closed on Sunday")) == ["Open from seven", "Closed on Sunday"]


def test_a_bomb_is_put_out() -> None:
    """The pages say the same packed 100 MB of instructions; one that is no bomb is read by the test above."""
    bomb = zlib.compress(b"BT (a) Tj ET " * (8 * 2**20), 1)
    began_at = time.monotonic()
    with pytest.raises(NotReadable):
        read_pdf(a_pdf("x", "y", stream=bomb), wall_s=5)
    assert time.monotonic() - began_at < 15


def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(NotReadable, match="too much time"):
        read_pdf(a_pdf("Open from seven"), wall_s=0.01)


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.4\nnothing", a_pdf("x")[:300], b"PK\x03\x04"])
def test_what_is_no_pdf_is_refused(content: bytes) -> None:
    with pytest.raises(NotReadable):
        read_pdf(content)


def test_a_pdf_of_too_many_pages_is_refused() -> None:
    with pytest.raises(DocumentTooLarge):
        read_pdf(a_pdf(*["x"] * (pdf.MAX_PAGES + 1)))


# --- repositories -------------------------------------------------------------------------------------------


class Shelf:
    """A GitHub with one repository, and a reader."""

    def __init__(self, github: FakeGitHub, key: str) -> None:
        @contextmanager
        def private_key(user: User) -> Iterator[str]:
            assert user is USER
            yield key

        self.github = github
        self.app = GitHubApp("4711", private_key, api_url=github.url)
        self.reader = RepositoryReader(self.app)
        github.install("acme", "shop")

    def holds(self, files: dict[str, str], **modes: str) -> Repository:
        made = Repository.holding("acme/shop", files, **modes)
        self.github.repositories["acme/shop"] = made
        return made

    def names(self, branch: str | None = None) -> list[str]:
        return [part.name for part in self.reader.read("acme/shop", branch, USER).parts]


@pytest.fixture(scope="module")
def key() -> str:
    """One for all: making one takes longer than what is tested with it."""
    return new_private_key()


@pytest.fixture
def shelf(key: str) -> Iterator[Shelf]:
    """A GitHub that listens."""
    with running_github(key) as github:
        opened = Shelf(github, key)
        yield opened
        opened.app.close()


def test_documentation_is_read_before_schemas_and_code(shelf: Shelf) -> None:
    shelf.holds({"src/a.py": "x = 1\n", "README.md": "# Shop\n", "db/schema.sql": "create table t ();\n"})
    assert shelf.names() == ["README.md", "db/schema.sql", "src/a.py"]


def test_the_token_reads_the_contents_of_this_repository_and_does_nothing_else(shelf: Shelf) -> None:
    shelf.holds({"README.md": "# Shop\n"})
    shelf.names()
    (token,) = shelf.github.tokens.values()
    assert token.repositories == ["acme/shop"]
    assert token.permissions == {"metadata": "read", "contents": "read"}


def test_what_may_hold_secrets_or_leads_elsewhere_is_never_read(shelf: Shelf) -> None:
    shelf.holds(
        {
            "README.md": "# Shop\n", ".env": "KEY=1\n", ".github/workflows/a.yml": "on: push", "link.md": "/etc/passwd",
            "config/secrets.yml": "a: b\n", "node_modules/x/a.js": "1\n", "logo.png": "\udc89PNG", "yarn.lock": "x",
            "package-lock.json": "{}\n", "odd.md": "\udcff\udcfe", "nul.md": "a\0b", "deep/vendor/a.md": "x\n",
        },
        **{"link.md": "120000"},
    )  # fmt: skip
    read = shelf.reader.read("acme/shop", None, USER)
    assert [part.name for part in read.parts] == ["README.md"]
    left_out = dict(read.left_out)
    assert len(left_out) == 11
    assert left_out["link.md"] == left_out[".env"] == "never read"
    assert left_out["odd.md"] == "not text in UTF-8"


def test_a_branch_is_read_when_it_is_named_and_must_be_one_of_the_repository(shelf: Shelf) -> None:
    made = shelf.holds({"README.md": "# Shop\n"})
    made.refs["heads/team/docs"] = made.push("main", {"docs/more.md": "more\n"})
    assert shelf.names("team/docs") == ["README.md", "docs/more.md"]
    with pytest.raises(BranchNotFound):
        shelf.names("elsewhere")


def test_a_repository_that_the_app_is_not_for_is_not_read(shelf: Shelf) -> None:
    with pytest.raises(NotInstalled):
        shelf.reader.read("globex/plans", None, USER)
    shelf.github.install("acme", "shop", permissions={"metadata": "read"})
    with pytest.raises(ScopeNotGranted):
        shelf.names()


def test_a_repository_of_many_files_is_read_up_to_a_limit(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository_reader, "MAX_FILES", 3)
    monkeypatch.setattr(repository_reader, "MAX_FILE_BYTES", 100)
    shelf.holds({f"docs/{n}.md": "text\n" for n in range(6)} | {"large.md": "x" * 101})
    read = shelf.reader.read("acme/shop", None, USER)
    assert len(read.parts) == 3 and len(read.left_out) == 4


# --- addresses ----------------------------------------------------------------------------------------------

PUBLIC_AND_NOT = [
    ("127.0.0.1", False), ("::1", False), ("10.1.2.3", False), ("169.254.169.254", False), ("192.168.0.4", False),
    ("::ffff:127.0.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("0.0.0.0", False),
    ("100.64.0.1", False), ("224.0.0.1", False), ("fe80::1", False), ("1.1.1.1", True), ("2606:4700::1111", True),
]  # fmt: skip


@pytest.mark.parametrize(("address", "public"), PUBLIC_AND_NOT)
def test_addresses_of_this_machine_and_its_network_are_not_asked(address: str, public: bool) -> None:
    if public:
        assert safe_addresses(address, 5432) == [address]
        return
    with pytest.raises(AddressNotSafe):
        safe_addresses(address, 5432)
    assert safe_addresses(address, 5432, private=True)


def test_a_name_that_leads_nowhere_is_not_reachable() -> None:
    with pytest.raises(NotReachable):
        safe_addresses("nobody.invalid", 5432)
