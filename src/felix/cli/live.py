"""``felix live``: what happens, as dashboards are told it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from felix.cli.errors import UsageError
from felix.cli.installation import FOUNDER_KEY_FILE, recorded_processes
from felix.cli.options import Reading
from felix.cli.output import cell
from felix.settings import Settings

if TYPE_CHECKING:
    import httpx

#: Longer than the pause between two heartbeats of the server: who hears nothing for this long is not connected.
SILENCE_S = 45.0
#: After an answer that asks to come back later, unless it says when.
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an event stream. ``id`` is where to go on after it."""

    id: str
    event: str
    data: str


class EventStream:
    """Reads an event stream (https://html.spec.whatwg.org/multipage/server-sent-events.html), also in several parts."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry_s = PAUSE_S

    def read(self, lines: Iterable[str]) -> Iterator[Message]:
        """The messages of one connection, from its lines without their ends; what is unfinished at its end is not."""
        event, data, id_ = "message", list[str](), self.last_event_id
        for line in lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                self.last_event_id = id_
                if data:
                    yield Message(id_, event, "\n".join(data))
                event, data = "message", []
            elif name == "data":
                data.append(value)
            elif name == "event":
                event = value
            elif name == "id":
                id_ = value
            elif name == "retry" and value.isdecimal():
                self.retry_s = int(value) / 1000


def live(
    *,
    topics: str = "events",
    from_beginning: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    last_event_id: str = "",
    url: str | None = None,
    api_key: str | None = None,
    reading: Reading | None = None,
) -> None:
    """Follow what happens over HTTP, as dashboards do, until Ctrl-C.

    Connects again by itself and goes on where it was, whatever is restarted meanwhile: no event is missing and none
    comes twice. With --json every message is one JSON document on a line of its own.

    Parameters
    ----------
    topics
        What to be told: events, types of events such as ledger.*, balances, changes; with commas.
    from_beginning
        Begin with the first event there is.
    last_event_id
        Go on after this id of a message.
    url
        Where the API is. Default: the `felix up` on this data directory.
    api_key
        Whose key to use. Default: the founder's, from this data directory.
    """
    import httpx

    reading = reading or Reading()
    settings = Settings()
    url = url or recorded_processes(settings.data_dir).get("url")
    key_file = settings.data_dir / FOUNDER_KEY_FILE
    if api_key is None and key_file.exists():
        api_key = key_file.read_text().strip()
    if not url or not api_key:
        raise UsageError("There is no `felix up` on this data directory: say --url and --api-key.")
    asked = {"topics": topics} | ({"from": "beginning"} if from_beginning else {})
    headers = {"Authorization": f"Bearer {api_key}"} | ({"Felix-Tenant": reading.tenant} if reading.tenant else {})
    timeout = httpx.Timeout(10.0, read=SILENCE_S)
    with httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False) as client:
        for message in follow(client, asked, EventStream(last_event_id)):
            _print_message(message, reading.json)


def follow(client: httpx.Client, asked: Mapping[str, str], stream: EventStream) -> Iterator[Message]:
    """Every message, over as many connections as it takes. Raises UsageError when the API says that it is no use."""
    import httpx

    while True:
        pause_s = stream.retry_s
        try:
            headers = {"Last-Event-ID": stream.last_event_id} if stream.last_event_id else {}
            with client.stream("GET", "/v1/live", params=asked, headers=headers) as answer:
                if answer.status_code == 200:
                    yield from stream.read(answer.iter_lines())
                elif answer.status_code in (429, 503):
                    pause_s = float(answer.headers.get("retry-after", PAUSE_S))
                else:
                    answer.read()
                    raise UsageError(answer.json()["detail"])
            why = "the stream ended"
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
        print(f"connecting again: {why}", file=sys.stderr)
        time.sleep(pause_s)


def _print_message(message: Message, as_json: bool) -> None:
    import orjson

    data: dict[str, Any] = orjson.loads(message.data)
    if as_json:
        print(orjson.dumps({"id": message.id, "event": message.event, "data": data}).decode(), flush=True)
        return
    match message.event:
        case "ready":
            told = f"{', '.join(data['topics'])} after {data['position']}"
        case "events":
            amount = data["state"].get("amount_mtok")
            told = (
                f"{data['type']:<30} {cell('amount_mtok', amount) if amount is not None else '':>14}  {data['actor']}"
            )
        case _:
            told = "  ".join(f"{name} {cell(name, value)}" for name, value in data.items() if isinstance(value, str))
    print(f"{message.id:<12} {message.event:<10} {told}", flush=True)
