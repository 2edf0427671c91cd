"""Follows one change over the live stream, and shows how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from felix.cli.errors import UsageError
from felix.cli.installation import FOUNDER_KEY_FILE, recorded_processes
from felix.cli.live import SILENCE_S, EventStream, follow
from felix.cli.output import console, tokens
from felix.settings import Settings


def follow_change(
    settings: Settings, slug: str, known: dict[str, Any], sequence: int, until_it_waits: bool, as_json: bool
) -> dict[str, Any]:
    """Show a change from what is known of it on, until it is over or waits; what was last told of it.

    ``sequence`` is the place in the client's log that is known. Raises UsageError where no Felix runs here.
    """
    page, last = _Lines() if as_json else _Bar(), known
    try:
        for told in _told(settings, slug, known, sequence):
            last = told
            page.show(told)
            if told["is_over"] or (until_it_waits and told["waits_for"] not in (None, "its turn")):
                break
    finally:
        page.end(last)
    return last


def _told(settings: Settings, slug: str, known: dict[str, Any], sequence: int) -> Iterator[dict[str, Any]]:
    """What is known, and then everything newer, over as many connections as it takes."""
    import httpx

    yield known
    url, key_file = recorded_processes(settings.data_dir).get("url"), settings.data_dir / FOUNDER_KEY_FILE
    if not url or not key_file.exists():
        raise UsageError("There is no `felix up` on this data directory, so nobody tells how it goes on.")
    headers = {"Authorization": f"Bearer {key_file.read_text().strip()}", "Felix-Tenant": slug}
    timeout = httpx.Timeout(10.0, read=SILENCE_S)
    with httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False) as client:
        for message in follow(client, {"topics": "changes"}, EventStream(str(sequence))):
            if message.event != "changes":
                continue
            told: dict[str, Any] = orjson.loads(message.data)
            if told["change_id"] == known["change_id"] and told["version"] > known["version"]:
                yield told


class _Bar:
    """A bar that moves where somebody looks; and, for everybody, a line about where it ended."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        page = console()
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        self._progress = Progress(*columns, console=page, transient=True, disable=not page.is_terminal)
        self._task = self._progress.add_task("", total=100)
        self._progress.start()

    def show(self, told: dict[str, Any]) -> None:
        """Show where it is now."""
        self._progress.update(self._task, completed=told["percent"], description=_line(told))

    def end(self, told: dict[str, Any]) -> None:
        """Say where it stayed."""
        self._progress.stop()
        print(_line(told), flush=True)


class _Lines:
    """One JSON document a line, whenever something is different."""

    def show(self, told: dict[str, Any]) -> None:
        print(orjson.dumps(told, default=str).decode(), flush=True)

    def end(self, told: dict[str, Any]) -> None:
        """It was told already."""


def _line(told: dict[str, Any]) -> str:
    share = f", {told['weight']} % of people have it" if told["weight"] else ""
    waits = f", waits for {told['waits_for']}" if told["waits_for"] else ""
    why = f": {told['reason']}" if told["reason"] and told["is_over"] else ""
    return f"{told['state'].replace('_', ' ')}{share}{waits}{why}  ({tokens(told['spent_mtok'])} tokens spent)"
