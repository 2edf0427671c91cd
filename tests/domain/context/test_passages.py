"""Passages are the text, cut: nothing is lost, nothing is longer than it may be, and each knows what it is under."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from felix.domain.context.passages import MAX_CHARS, MAX_HEADING_CHARS, cut

LINES = st.lists(
    st.sampled_from(["# A", "## B", "### C ###", "", "word", "```", "~~~", "word " * 80, "x" * 4_000, "#no", "\t# D"])
    | st.text(max_size=20),
    max_size=60,
).map("\n".join)


@given(LINES, st.booleans())
def test_passages_one_after_the_other_are_the_text(text: str, headings: bool) -> None:
    pieces = list(cut(text, headings=headings))
    assert "".join(piece.text for piece in pieces) == text
    assert all(0 < len(piece.text) <= MAX_CHARS and len(piece.heading) <= MAX_HEADING_CHARS for piece in pieces)


def test_a_passage_says_what_it_stands_under() -> None:
    body = "Some sentences that are long enough to be a passage of their own. " * 4
    text = f"# Handbook\n{body}\n## Returns\n{body}\n### Cakes\n{body}\n## Hours\n{body}\n"
    assert [piece.heading for piece in cut(text)] == [
        "Handbook",
        "Handbook > Returns",
        "Handbook > Returns > Cakes",
        "Handbook > Hours",
    ]


def test_short_sections_are_kept_together() -> None:
    assert len(list(cut("# A\none\n# B\ntwo\n# C\nthree\n"))) == 1


def test_what_looks_like_a_heading_in_code_is_none() -> None:
    body = "x = 1\n" * 40
    assert {piece.heading for piece in cut(f"# Real\n```\n{body}# not one\n{body}```\n{body}")} == {"Real"}
    assert {piece.heading for piece in cut(f"# a comment\n{body}# another\n{body}", headings=False)} == {""}


def test_a_hundred_thousand_lines_are_cut_in_no_time() -> None:
    text = "".join(f"{'#' * (1 + n % 6)} Heading {n}\ntext of it\n" for n in range(50_000))
    pieces = list(cut(text))
    assert "".join(piece.text for piece in pieces) == text
    assert len(pieces) < len(text) / 100


def test_a_line_without_spaces_is_cut_too() -> None:
    assert [len(piece.text) for piece in cut("x" * (2 * MAX_CHARS + 7))] == [MAX_CHARS, MAX_CHARS, 7]
