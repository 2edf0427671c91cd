"""`felix apps runs` and `felix apps report`: what an app did by itself, and what its records come to."""

from __future__ import annotations

from collections.abc import Callable

from command_line import CommandLine
from test_records_command import begin_app

from felix import bootstrap


def test_runs_and_reports_are_shown(
    felix: CommandLine, account: str, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    begin_app(felix)
    felix.done("records", "add", "bakery", "deal", "title==Bread", "value=1250", "--account", account)
    runner = bootstrap.open_runner(felix.endpoints, partitions=4)
    runner.start()
    try:
        eventually(lambda: bool(felix.done("records", "list", "bakery", "deal")))
    finally:
        assert runner.stop()
    assert felix.done("apps", "runs", "bakery") == []
    report = felix.done("apps", "report", "bakery", "won_deals")
    assert report["rows"] == [] and report["columns"][-1]["type"] == "money"
    said = felix("apps", "report", "bakery", "won_deals")
    assert (said.code, said.out.split()) == (0, ["Closes", "on", "(month),Count,Sum", "of", "Value"])
    said = felix("apps", "report", "bakery", "lost_deals")
    assert said.code == 1 and "no_such_report" in said.err
