"""``docs/access.md``: who may do what, from the table of actions and the endpoints that name them."""

from __future__ import annotations

from collections.abc import Iterator

from felix.api.app import endpoints
from felix.api.auth import STEP_UP_S
from felix.cli.docs.catalogue import GENERATED
from felix.domain.identity.access import TABLE, Action, Place
from felix.domain.identity.api_key import DEFAULT_OVERLAP_S, MAX_OVERLAP_S
from felix.domain.identity.roles import PLATFORM_SLUG, ROLES, Role
from felix.eventstore.api_keys import PATTERN

_ROLES: dict[Role, str] = {
    "founder": "runs Felix; a member of the platform, who may name every client",
    "founder_readonly": "the same, and changes nothing",
    "client_owner": "owns a client, and decides for it",
    "client_approver": "reads, and approves what others ask for",
    "client_member": "reads, and asks",
    "auditor": "reads one client until a given day",
    "service": "a client's machine, with an API key",
}
_PLACES: dict[Place, tuple[str, str]] = {
    "tenant": ("In a client", "In the client that the caller is in, or names in `Felix-Tenant`."),
    "platform": ("On the platform", "Only people of the platform get here; everybody else hears 403."),
    "own": ("About oneself", "Whatever the caller is a member of."),
    "door": ("In front of the door", "Before anybody has said who they are: no credentials are needed."),
}


def page() -> str:
    """The page."""
    doors: dict[str, list[str]] = {}
    for method, path, action in endpoints():
        doors.setdefault(action, []).append(f"`{method} {path}`")
    lines = [
        "# Who may do what",
        "",
        GENERATED,
        "",
        "One table in the code (`src/felix/domain/identity/access.py`) is asked at every door; a test sends every",
        "request as every role and compares. A command's action is its name, a read's the noun that is read.",
        "",
        "**yes**: as they are. **stepped up**: a person has proved again, within the last",
        f"{STEP_UP_S / 60:g} minutes, who they are; an API key need not. An empty cell: never, 403. *recorded*: when",
        "staff or auditors read it, the client's access log says so. Without valid credentials the answer is 401 and",
        "says no more; what belongs to another client looks like what never was, 404.",
        "",
        "| role | who that is |",
        "|---|---|",
        *(f"| `{role}` | {_ROLES[role]} |" for role in ROLES),
    ]
    for place, (title, told) in _PLACES.items():
        rows = [action for action in TABLE if action.place == place]
        columns = [] if place == "door" else [role for role in ROLES if any(role in action.grants for action in rows)]
        lines += ["", f"## {title}", "", told, ""]
        lines += [f"| action | {''.join(f'{role} | ' for role in columns)}endpoints |"]
        lines += ["|---|" + "---|" * len(columns) + "---|"]
        lines += [_row(action, columns, doors.get(action.name, [])) for action in rows]
    return "\n".join([*lines, *_of_keys()]) + "\n"


def _row(action: Action, columns: list[Role], doors: list[str]) -> str:
    cells = [action.needs(role) for role in columns]
    name = f"`{action.name}`" + (" *recorded*" if action.watched else "")
    return f"| {name} | {''.join(f'{cell} | ' for cell in cells)}{'<br>'.join(doors) or '–'} |"


def _of_keys() -> Iterator[str]:
    yield from (
        "",
        "## API keys",
        "",
        "Owners make keys for their client, founders for any client and, naming the client",
        f"`{PLATFORM_SLUG}`, for the platform. A key is shown once. Its scopes are actions of the tables above or",
        "groups of them, `ledger.*` or `*.read`; a group holds what the tables hold when the key is used. Without any",
        "scopes a key may do all that its role may; no key makes one that can do more, or lives longer, than itself.",
        "",
        f"A rotated key goes on for {DEFAULT_OVERLAP_S // 3600} hours beside its successor, or for up to"
        f" {MAX_OVERLAP_S // 86400} days. Revoked and expired keys are",
        "dead in every process within a second.",
        "",
        "Scanners of code and logs find keys by",
        "",
        f"    {PATTERN}",
        "",
        "The last 6 characters are the CRC-32 of the 30 before them, in base 62 (digits, capitals, small letters; the",
        "most significant first): a find whose checksum differs is no key.",
    )
