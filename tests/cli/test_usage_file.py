"""A file of usage becomes CloudEvents: the same ones however often it is read."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from felix.cli.usage_file import MAX_LINE_BYTES, UnreadableUsageFile, UnusableMapping, UsageFile, UsageMapping
from felix.domain.metering.usage import read_usage

TENANT = UUID(int=7)
ACCOUNTS = [f"acct_{number:032x}" for number in (1, 2, 3)]
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "llm-usage" / "llm_inference_trace_code.csv"
LLM = UsageMapping.of_options(
    ["time=TIMESTAMP", "llm.input_tokens=ContextTokens", "llm.output_tokens=GeneratedTokens"],
    ["model=gpt-4o", "app=assistant"],
)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real trace of a coding assistant, or one of the same shape where the data is not at hand."""
    if REAL.is_file():
        return REAL
    made = tmp_path_factory.mktemp("trace") / "trace.csv"
    at = datetime(2023, 11, 16, 18, 17, 3, 979960)
    rows = [
        f"{at + timedelta(milliseconds=317 * n):%Y-%m-%d %H:%M:%S.%f}0,{n % 7437 + 1},{n % 97 + 1}" for n in range(8819)
    ]
    made.write_bytes("\r\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]).encode())
    return made


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_row_of_the_trace_is_usage_and_nothing_is_lost(trace: Path) -> None:
    with trace.open(newline="") as content:
        rows = list(csv.DictReader(content))
    assert len(rows) == 8819

    file = UsageFile(trace, LLM, accounts=ACCOUNTS)
    events = [read.event for read in file]

    assert (file.row, file.events, file.bad_row_count, file.rows_without_usage) == (8819, 8819, 0, 0)
    assert file.bytes_read == file.size_bytes == trace.stat().st_size
    quantities = [event["data"]["quantities"] for event in events]
    assert sum(each["llm.input_tokens"] for each in quantities) == sum(int(row["ContextTokens"]) for row in rows)
    assert sum(each["llm.output_tokens"] for each in quantities) == sum(int(row["GeneratedTokens"]) for row in rows)
    assert events[0] == {
        "specversion": "1.0",
        "type": "felix.usage",
        "source": file.content_id,
        "id": f"{file.content_id}:1",
        "subject": ACCOUNTS[0],
        "time": "2023-11-16T18:17:03.979960Z",
        "data": {
            "model": "gpt-4o",
            "app": "assistant",
            "quantities": {
                "llm.input_tokens": int(rows[0]["ContextTokens"]),
                "llm.output_tokens": int(rows[0]["GeneratedTokens"]),
            },
        },
    }


def test_what_the_file_says_is_accepted_at_the_door(trace: Path) -> None:
    events = [read.event for read in UsageFile(trace, LLM, accounts=ACCOUNTS)]
    keys = set()
    for start in range(0, len(events), 1000):
        good, bad = read_usage(json.loads(json.dumps(events[start : start + 1000])), TENANT)
        assert not bad
        keys |= {item.dedupe_key for _, item in good}
    assert len(keys) == len(events)


def test_reading_again_or_from_the_middle_gives_the_same_events(trace: Path) -> None:
    whole = list(UsageFile(trace, LLM, accounts=ACCOUNTS))
    again = UsageFile(trace, LLM, accounts=ACCOUNTS)
    assert list(again) == whole
    assert list(again) == whole
    assert list(UsageFile(trace, LLM, accounts=ACCOUNTS, start_after=8000)) == whole[8000:]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_values(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b'\xef\xbb\xbfTokens,Who\r\n5,"ada\r\nl."\r\n\r\n6,\r\n')
    file = UsageFile(path, UsageMapping.of_options(["llm.tokens=Tokens", "person=Who"]), accounts=ACCOUNTS)
    assert [(read.row, read.event["subject"], read.event["data"]) for read in file] == [
        (1, ACCOUNTS[0], {"quantities": {"llm.tokens": 5}, "person": "ada\r\nl."}),
        (2, ACCOUNTS[1], {"quantities": {"llm.tokens": 6}}),
    ]


def test_bad_rows_are_left_out_with_row_line_column_and_rule(tmp_path: Path) -> None:
    good = "2026-01-01 00:00:00"
    rows = [
        f"{good},1,x", f"{good},1.5,x", f"{good},-1,x", f"{good},,x", f"{good},{2**53},x", f"{good},1e3,x",
        f"{good},1", "yesterday,1,x", "2026-02-30 00:00:00,1,x", ",1,x", f"{good},1,{'x' * 201}", f"{good},1,a\0b",
        f"{good},0,x", f"{good},2,y",
    ]  # fmt: skip
    path = written(tmp_path / "a.csv", "\n".join(["at,n,model", *rows]))
    file = UsageFile(path, UsageMapping.of_options(["time=at", "m=n", "model=model"]), accounts=ACCOUNTS[:1])
    assert [read.row for read in file] == [1, 14]
    assert [(bad.row, bad.line, bad.column, bad.rule) for bad in file.bad_rows] == [
        (2, 3, "n", "integer"), (3, 4, "n", "integer"), (4, 5, "n", "required"), (5, 6, "n", "range"),
        (6, 7, "n", "integer"), (7, 8, None, "columns"), (8, 9, "at", "time"), (9, 10, "at", "time"),
        (10, 11, "at", "time"), (11, 12, "model", "text"), (12, 13, "model", "text"),
    ]  # fmt: skip
    assert (file.row, file.events, file.bad_row_count, file.rows_without_usage) == (14, 2, 11, 1)


def test_bytes_that_are_not_utf8_spoil_only_a_row_that_uses_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"n,model,note\n1,\xff,x\n2,ok,\xff\n3,\xc3\xa9,x\n")
    file = UsageFile(path, UsageMapping.of_options(["m=n", "model=model"]), accounts=ACCOUNTS)
    assert [read.event["data"].get("model") for read in file] == ["ok", "é"]
    assert [(bad.row, bad.column, bad.rule) for bad in file.bad_rows] == [(1, "model", "text")]


def test_endless_lines_are_bad_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"n\n" + b"1" * (2 * MAX_LINE_BYTES) + b"\n7\n")
    file = UsageFile(path, UsageMapping.of_options(["m=n"]), accounts=ACCOUNTS)
    assert [read.event["data"]["quantities"] for read in file] == [{"m": 7}]
    assert [bad.rule for bad in file.bad_rows] == ["csv"]
    assert file.bytes_read == file.size_bytes


def test_json_lines_are_read_by_dotted_paths(tmp_path: Path) -> None:
    lines = [
        {
            "id": 81,
            "usage": {"in": 5, "out": [9, 2]},
            "who": {"account": ACCOUNTS[2]},
            "t": "2026-01-01T01:00:00+01:00",
        },
        {"id": 82, "usage": {"in": 5.0, "out": [1, 1]}, "who": {"account": ACCOUNTS[2]}, "t": "2026-01-01T00:00Z"},
        {"id": 83, "usage": {"in": 5, "out": []}, "who": {"account": ACCOUNTS[2]}, "t": "2026-01-01T00:00:00"},
        {"usage.in": 3, "id": "x", "usage": {"out": [0, 1]}, "who": {"account": "me"}, "t": "2026-01-01T00:00:00"},
        {"id": None, "usage": {"in": True, "out": [1, 1]}, "who": {"account": ACCOUNTS[2]}},
    ]
    path = written(tmp_path / "a.jsonl", "\n".join([*map(json.dumps, lines), "", "[]", "{", '{"id": "9', "null"]))
    mapping = UsageMapping.of_options(
        ["llm.input_tokens=usage.in", "llm.output_tokens=usage.out.1", "account=who.account", "time=t"],
        id_column="id",
        source="assistant",
    )
    file = UsageFile(path, mapping)
    assert [read.event for read in file] == [
        {
            "specversion": "1.0",
            "type": "felix.usage",
            "source": "assistant",
            "id": "81",
            "subject": ACCOUNTS[2],
            "time": "2026-01-01T00:00:00Z",
            "data": {"quantities": {"llm.input_tokens": 5, "llm.output_tokens": 2}},
        }
    ]
    assert [(bad.row, bad.line, bad.column, bad.rule) for bad in file.bad_rows] == [
        (2, 2, "usage.in", "integer"),
        (3, 3, "usage.out.1", "required"),
        (4, 4, "who.account", "account"),
        (5, 5, "id", "required"),
        (6, 7, None, "json"),
        (7, 8, None, "json"),
        (8, 9, None, "json"),
        (9, 10, None, "json"),
    ]


def test_two_files_under_one_source_name_never_share_ids(tmp_path: Path) -> None:
    mapping = UsageMapping.of_options(["m=n"], source="nightly")
    files = [written(tmp_path / name, f"n\n{n}\n") for n, name in enumerate(("a.csv", "b.csv"), 1)]
    first, second = ([read.event for read in UsageFile(path, mapping, accounts=ACCOUNTS)] for path in files)
    assert first[0]["source"] == second[0]["source"] == "nightly"
    assert first[0]["id"] != second[0]["id"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2023-11-16 18:17:03.9799600", "2023-11-16T18:17:03.979960Z"),
        ("2023-11-16 18:17:03", "2023-11-16T18:17:03Z"),
        ("2023-11-16T18:17:03.5Z", "2023-11-16T18:17:03.500000Z"),
        ("2023-11-16 18:17:03 UTC", "2023-11-16T18:17:03Z"),
        ("2023-11-16T18:17:03+0530", "2023-11-16T12:47:03Z"),
    ],
)
def test_times_become_rfc3339_in_utc(tmp_path: Path, text: str, time: str) -> None:
    path = written(tmp_path / "a.csv", f"at,n\n{text},1\n")
    events = [r.event for r in UsageFile(path, UsageMapping.of_options(["time=at", "m=n"]), accounts=ACCOUNTS)]
    assert [event["time"] for event in events] == [time]


@pytest.mark.parametrize(
    ("maps", "sets"),
    [
        ([], []),
        (["time=at"], []),
        (["Tokens=n"], []),
        (["m"], []),
        (["m="], []),
        (["m=n", "m=k"], []),
        (["m=n"], ["m=1"]),
        (["m=n"], ["time=yesterday"]),
        (["m=n"], ["account=me"]),
        (["m=n"], ["model=" + "x" * 201]),
        ([], ["m=many"]),
        ([f"m{number}=n" for number in range(21)], []),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_before_reading(maps: list[str], sets: list[str]) -> None:
    with pytest.raises(UnusableMapping):
        UsageMapping.of_options(maps, sets)


def test_a_file_that_does_not_fit_its_mapping_is_refused(tmp_path: Path) -> None:
    mapping = UsageMapping.of_options(["m=n"])
    for number, content in enumerate(("k\n1\n", "n,n\n1,2\n")):
        with pytest.raises(UnusableMapping):
            list(UsageFile(written(tmp_path / f"{number}.csv", content), mapping, accounts=ACCOUNTS))
    for number, raw in enumerate((b"", "n\n1\n".encode("utf-16"))):
        with pytest.raises(UnreadableUsageFile):
            list(UsageFile(written(tmp_path / f"raw{number}.csv", raw), mapping, accounts=ACCOUNTS))
    with pytest.raises(UnreadableUsageFile):
        UsageFile(tmp_path / "nowhere.csv", mapping, accounts=ACCOUNTS)
    with pytest.raises(UnusableMapping):
        UsageFile(written(tmp_path / "a.csv", "n\n1\n"), mapping)
    with pytest.raises(UnusableMapping):
        UsageFile(written(tmp_path / "a.csv", "n\n1\n"), mapping, accounts=["me"])
