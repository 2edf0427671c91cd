"""A client's own secrets are found in texts however they are written, and nothing tells what they are."""

from __future__ import annotations

import base64
import json
import re
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felix.domain.apps.tree import AppTree
from felix.domain.changes.limits import SecretInChange
from felix.domain.context.known_secrets import MIN_CHARS, NO_SECRETS, KnownSecrets, marks_of
from felix.domain.context.reading import Reading

KEY = b"k" * 32
VALUE = "hunter2/Ünlocks+the=safe"
KNOWN = KnownSecrets(KEY, [*marks_of(KEY, "safe", VALUE), *marks_of(KEY, "shop", "plain-old-password")])
TREE = AppTree({"app.json": {"spec_version": 1, "app": "shop", "title": "The Shop"}})


@pytest.mark.parametrize(
    "written",
    [
        VALUE,
        f'password="{VALUE}"',
        f"https://user:{quote(VALUE, safe='')}@example.com",
        re.sub("%..", lambda code: code[0].lower(), quote(VALUE, safe="")),
        json.dumps({"password": VALUE}),
        base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("="),
        f"SAFE_{VALUE}",
    ],
)
def test_a_value_is_found_as_it_is_and_in_its_common_spellings(written: str) -> None:
    text, number = KNOWN.redact(f"Before {written} after")
    assert number == 1 and written not in text and text.startswith("Before ") and text.endswith(" after")
    assert KNOWN.redact(text) == (text, 0)


def test_what_is_no_value_stays_as_it_is() -> None:
    for text in ("", "hunter2", VALUE[:-1], VALUE[1:], f"x{VALUE}", "plain-old-passwor", "a plain text about a safe"):
        assert KNOWN.redact(text) == (text, 0)
    assert NO_SECRETS.redact(VALUE) == (VALUE, 0)
    other = KnownSecrets(b"o" * 32, KNOWN.marks)
    assert other.redact(VALUE) == (VALUE, 0), "another client's key finds nothing"


def test_what_is_too_short_to_be_looked_for_has_no_marks() -> None:
    assert marks_of(KEY, "pin", "1" * (MIN_CHARS - 1)) == [] != marks_of(KEY, "pin", "1" * MIN_CHARS)


def test_the_longer_of_two_values_that_begin_alike_is_taken_out_whole() -> None:
    known = KnownSecrets(KEY, [*marks_of(KEY, "one", "abcdefgh"), *marks_of(KEY, "two", "abcdefgh-ijkl")])
    assert known.redact("x abcdefgh-ijkl y")[0] == known.redact("x abcdefgh y")[0]
    assert [name for _, _, name in known.find("abcdefgh-ijkl abcdefgh")] == ["two", "one"]


@given(st.text(min_size=MIN_CHARS, max_size=60).filter(lambda value: len(value.strip()) >= MIN_CHARS))
def test_whatever_a_value_is_it_is_found_between_spaces(value: str) -> None:
    known = KnownSecrets(KEY, marks_of(KEY, "any", value))
    plain = value.replace("\r\n", "\n").replace("\r", "\n").strip()
    assert known.redact(f"it is {plain} indeed")[1] == 1


def test_a_change_may_not_write_what_was_not_there_and_is_told_where_it_is_and_never_what() -> None:
    before = TREE.with_file("views/old.json", {"title": f"Old {VALUE}"})
    after = before.with_file("views/new.json", {"title": "New", "columns": [{"label": f"so {VALUE}"}]})
    KNOWN.check_trees(before, before)
    KNOWN.check_trees(TREE, TREE.with_file("app.json", {**TREE.files["app.json"], "title": "Another"}))
    with pytest.raises(SecretInChange) as refused:
        KNOWN.check_trees(before, after)
    (wrong,) = refused.value.facts["errors"]
    assert (wrong["pointer"], wrong["detail"]) == ("views/new.json#/columns/0/label", "this holds the secret safe")
    assert VALUE not in str(refused.value.record())
    KNOWN.check_files({"a.env": VALUE}, {"a.env": f"{VALUE} and more", "b.env": None})
    with pytest.raises(SecretInChange):
        KNOWN.check_files({"a.env": None}, {"a.env": f"KEY={VALUE}"})


def test_what_was_read_of_a_source_is_kept_without_them() -> None:
    reading = Reading.of([("notes.md", f"Log in with {VALUE}."), ("other.md", "Nothing here.")])
    without = reading.without(KNOWN)
    assert VALUE.encode() not in without.content and without.redactions == {"secrets": 1}
    assert without.parts[1] == reading.parts[1] and without.digest != reading.digest
    assert without.without(KNOWN) is without


def test_a_long_text_is_looked_through_in_the_time_of_its_words_however_many_secrets_there_are() -> None:
    marks = [mark for number in range(200) for mark in marks_of(KEY, f"s{number}", f"value-number-{number:04d}" * 3)]
    text = "It was a bright cold day in April, and the clocks were striking thirteen. " * 1_500
    began = time.thread_time()
    assert KnownSecrets(KEY, marks).redact(text) == (text, 0)
    assert time.thread_time() - began < 2.0
