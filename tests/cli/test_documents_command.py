"""`felix documents` and `felix context`: a file is added once, shown as planners would see it, and removed."""

from __future__ import annotations

from command_line import CommandLine


def test_a_file_is_added_listed_shown_and_removed(felix: CommandLine, account: str) -> None:
    file = felix.home / "hours.md"
    file.write_text("# Hours\n\nWe open at seven.\n<!-- unseen -->\n")
    added = felix.done("documents", "add", str(file), "--account", account)["result"]
    assert (added["added"], added["redactions"], added["charged_mtok"]) == (True, {"comments": 1}, 10)
    felix.retell()
    again = felix.done("documents", "add", str(file), "--title", "Once more")["result"]
    assert (again["added"], again["document_id"]) == (False, added["document_id"])
    shown = felix("context", "show", "when do you open")
    assert shown.out.startswith("<<<source ") and "We open at seven." in shown.out and "unseen" not in shown.out
    told = felix.done("context", "show", "when do you open")
    assert [each["source"] for each in told["data"]] == ["markdown:hours.md"]
    removed = felix.done("documents", "remove", added["document_id"], "--reason", "moved")["result"]
    assert removed["removed"]
    assert felix("context", "show", "when do you open").out.startswith("No document")


def test_what_is_no_document_is_refused(felix: CommandLine, account: str) -> None:
    picture = felix.home / "logo.png"
    picture.write_bytes(b"\x89PNG")
    assert "is none of" in felix("documents", "add", str(picture), "--account", account).err
    broken = felix.home / "broken.md"
    broken.write_bytes(b"\xff")
    said = felix("documents", "add", str(broken), "--account", account)
    assert said.code != 0 and "not text in UTF-8" in said.err
    assert "can't be read" in felix("documents", "add", str(felix.home / "gone.md"), "--account", account).err
    assert "There are no documents." in felix("documents", "list").out
