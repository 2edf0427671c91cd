"""What was read is cleaned, has one digest wherever it is read, and is no larger than it may be."""

from __future__ import annotations

import pytest

from felix.domain.context import reading
from felix.domain.context.reading import DocumentTooLarge, NothingToRead, NotReadable, Reading, text_of


def test_the_same_text_has_the_same_digest_however_it_was_sent() -> None:
    assert Reading.of([("", "a\r\nb")]).digest == Reading.of([("", "a\nb\u200b")]).digest
    assert Reading.of([("", "ab")]).digest != Reading.of([("a", "b")]).digest


def test_a_byte_order_mark_is_no_part_of_a_text() -> None:
    assert text_of(b"\xef\xbb\xbfhello") == "hello"


@pytest.mark.parametrize(
    ("content", "byte"), [(b"abc\xff\xfe", 3), (b"\xff\xfea\0b\0", 0), (b"PK\x03\x04\0", 4), (b"\xed\xa0\x80", 0)]
)
def test_what_is_not_utf_8_is_refused_at_its_byte(content: bytes, byte: int) -> None:
    with pytest.raises(NotReadable) as refused:
        text_of(content)
    assert refused.value.facts["byte"] == byte


@pytest.mark.parametrize("text", ["", " \n\t", "<!-- only this -->", "\u200b\u200b"])
def test_there_has_to_be_something_to_read(text: str) -> None:
    with pytest.raises(NothingToRead):
        Reading.of([("", text)])


def test_a_document_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_TEXT_BYTES", 10)
    assert Reading.of([("", "0123456789")]).size_bytes == 10
    with pytest.raises(DocumentTooLarge):
        Reading.of([("a", "01234"), ("b", "567890")])
    monkeypatch.setattr(reading, "MAX_PARTS", 2)
    with pytest.raises(DocumentTooLarge):
        Reading.of([(str(number), "x") for number in range(3)])


def test_a_part_is_found_under_its_name_and_code_has_no_headings() -> None:
    long = "words " * 60
    read = Reading.of([("docs/a.md", f"# Title\n{long}"), ("src/b.py", f"# comment\n{long}")])
    assert [piece.heading for piece in read.passages()] == ["docs/a.md > Title", "src/b.py"]


def test_secrets_are_taken_out_before_anything_is_kept() -> None:
    read = Reading.of([("", f"token ghp_{'a1' * 15} here")])
    assert b"ghp_" not in read.content and read.redactions == {"secrets": 1}
