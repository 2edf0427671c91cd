"""What everybody sees of changes: where each is, what was planned, what would be different, and what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from felix.cli.change_diff import difference, print_diff, visible
from felix.cli.one_change import LAST, Named, find, wrote
from felix.cli.options import Reading
from felix.cli.output import print_facts, print_json, print_table, tokens
from felix.cli.session import open_session

if TYPE_CHECKING:
    from felix.projections.tenant_tx import Row, TenantTx

#: The change is over and did not come to what was asked.
CAME_TO_NOTHING = 3
#: Characters of what a change is about, in a list.
MAX_SHOWN = 60


def list_changes(
    *,
    state: str | None = None,
    app: str | None = None,
    waiting_for: str | None = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 50,
    reading: Reading | None = None,
) -> None:
    """List a client's changes, the newest first.

    Parameters
    ----------
    state
        Only those in this state, such as awaiting_approval.
    app
        Only those of this app.
    waiting_for
        Only those that somebody can do something about, such as client_approver:usr_….
    limit
        How many at the most.
    """
    from datetime import UTC, datetime

    from felix.api.change_views import shown
    from felix.projections import changes

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        chosen = {"state": state, "app": app, "waiting_for": waiting_for}
        rows = session.ask(place, lambda tx: changes.changes(tx, None, limit, at=datetime.now(UTC), **chosen))
        texts = wrote(session, place, rows)
    found = [shown(row, texts.get(row["subject_id"], {})) for row in rows]
    if reading.json:
        print_json(found)
        return
    for each in found:
        each["app"] = each["repository"] or each["app"]
        each |= {"spent_mtok": each["price"]["spent_mtok"], "what": _what(each)}
    headings = {"change_id": "change", "app": "app", "environment": "environment", "state": "state"}
    headings |= {"waits_for": "waits for", "risk": "risk", "spent_mtok": "spent", "what": "what"}
    print_table(found, headings, empty='There are no changes. Ask for one: felix changes ask "…" --app shop')


def show(change: Named = LAST, *, reading: Reading | None = None) -> None:
    """Show one change: what was asked, where it is, whom it waits for, and what it costs."""
    from felix.api.change_views import shown

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        row = find(session, place, change)
        texts = wrote(session, place, [row])
    found = shown(row, texts.get(row["subject_id"], {}))
    if reading.json:
        print_json(found)
        return
    found["prompt"] = found["prompt"] and visible(found["prompt"])
    price, approval, deployment = (found.pop(name) or {} for name in ("price", "approval", "deployment"))
    facts = {name: found[name] for name in ("change_id", "app", "environment", "state", "waits_for", "prompt", "risk")}
    facts |= {"spent_mtok": price["spent_mtok"], "held_mtok": price["held_mtok"]}
    facts |= {"at_the_most_mtok": price["ceiling_mtok"], "planner": found["planner"], "reason": found["reason"]}
    facts |= {name: found[name] for name in ("repository", "rollback_of", "retry_of")}
    facts |= {name: found[name] and found[name]["url"] for name in ("pull_request", "revert")}
    facts |= {"requester": found["requester"], "approvers": approval.get("approvers")}
    facts |= {"requested_at": found["requested_at"], "expires_at": found["expires_at"]}
    facts |= {"deployment": deployment.get("deployment_id"), "version": found["version"]}
    if (kept := found["export"]) is not None:
        facts["export"] = f"{kept['records']} records, {kept['size_bytes']} bytes, {kept['digest']}"
    print_facts({name: value for name, value in facts.items() if value not in (None, [])})
    for question in found["questions"] or []:
        print(f"\n{question['question']}")
        for candidate in question["candidates"]:
            print(f"  - {candidate}")
    for finding in found["findings"]:
        print(f"\n{finding['level']}: {finding['detail']}")
    for conflict in found["conflicts"] or []:
        print(f"\n{conflict['place']}\n  ours:   {conflict['ours']}\n  theirs: {conflict['theirs']}")


def plan(change: Named = LAST, *, reading: Reading | None = None) -> None:
    """Show what was planned for a change, by whom, and the sentence of each operation."""
    from felix import bootstrap
    from felix.api import change_views
    from felix.domain.changes.messages import OBJECTS

    reading = reading or Reading()
    with open_session() as session:
        row = find(session, session.tenant(reading.tenant), change)
        objects = bootstrap.open_objects(session.settings)
        stored = objects.get(OBJECTS["operations"], row["operations"]) if row["operations"] else None
        tree = None if row["repository"] else bootstrap.open_releases(session.settings).tree(row["base_release"])
    found = change_views.plan(row, stored, tree)
    if reading.json:
        print_json(found)
        return
    if not found["operations"]:
        print("Nothing was planned yet." if not found["questions"] else "There is a question first:")
    for number, sentence in enumerate(found["sentences"], 1):
        print(f"{number:>3}. {sentence}")
    for question in found["questions"]:
        print(f"{question['question']}  {' / '.join(question['candidates'])}")
    if found["operations"]:
        print(f"\nplanned by {found['planner']}{' with ' + found['model'] if found['model'] else ''}")


def diff(change: Named = LAST, *, reading: Reading | None = None) -> None:
    """Show what a change would make different: for people who use the app, then line by line, then what it costs."""
    reading = reading or Reading()
    with open_session() as session:
        found = difference(session, find(session, session.tenant(reading.tenant), change))
    if reading.json:
        print_json(found)
    else:
        print_diff(found)


def timeline(change: Named = LAST, *, reading: Reading | None = None) -> None:
    """Show everything that happened to a change: who did it, and what each step cost."""
    from felix.projections import changes

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        change_id = find(session, place, change)["change_id"]

        async def question(tx: TenantTx) -> tuple[list[Row], list[Row]]:
            return await changes.steps(tx, change_id, limit=1000), await changes.costs(tx, change_id)

        steps, costs = session.ask(place, question)
    if reading.json:
        print_json({"change_id": change_id, "data": steps, "costs": costs})
        return
    headings = {"happened_at": "at", "happened": "what", "state": "state", "step": "step", "held_mtok": "held"}
    headings |= {"settled_mtok": "cost", "released_mtok": "given back", "actor": "by"}
    paid = ("held_mtok", "settled_mtok", "released_mtok")
    rows = [step | {name: step[name] or None for name in paid} for step in steps]
    print_table(rows, headings, empty="Nothing happened yet.")
    print()
    cost = {"step": "step", "settled_mtok": "cost", "released_mtok": "given back", "absorbed_mtok": "Felix's loss"}
    print_table(costs, cost, empty="Nothing was paid yet.")
    if costs:
        print(f"\n{tokens(sum(row['settled_mtok'] for row in costs))} tokens in all")


def watch(
    change: Named = LAST,
    *,
    until_it_waits: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    reading: Reading | None = None,
) -> int:
    """Follow a change live until it is over.

    The exit code is 3 when it came to nothing: rejected, failed, rolled back and the like.

    Parameters
    ----------
    until_it_waits
        End also when it waits for somebody.
    """
    from felix.api.change_views import progress
    from felix.cli.change_watch import follow_change

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        row = find(session, place, change)
        settings = session.settings
    last = follow_change(settings, place.slug, progress(row), row["tenant_sequence"], until_it_waits, reading.json)
    return CAME_TO_NOTHING if last["is_over"] and last["state"] != "deployed" else 0


def _what(change: dict[str, Any]) -> str | None:
    """What a change is about, on one line: the words it was asked in, its rationale, or what it takes back."""
    if change["kind"] == "rollback":
        return f"takes back {change['rollback_of'] or 'what was live'}"
    said = change["prompt"] or change["rationale"]
    shown = None if said is None else visible(said)
    return shown if shown is None or len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN - 1]}…"
