"""``felix changes``: ask for a change of an app in words, look at what it would do, agree, and let it go live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from felix.cli.change_diff import confirm, difference, print_diff, visible
from felix.cli.errors import UsageError
from felix.cli.options import Amount, Reading, Writing
from felix.cli.output import print_facts, print_json, print_table, tokens
from felix.cli.session import Session, open_session
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.domain.base import Command
    from felix.eventstore.tenants import TenantPlace
    from felix.projections.tenant_tx import Row, TenantTx

app = App(name="changes", help="Ask for changes of apps in words, look at them, agree, deploy and roll back.")

Environment = Literal["production", "sandbox"]
StrategyKind = Literal["instant", "canary", "preview"]
#: The newest change of the client, in the place of an id.
LAST = "last"
#: What a canary is shown to, in hundredths, unless somebody says otherwise.
CANARY_STEPS = [5, 25, 50]
#: The change is over and did not come to what was asked.
CAME_TO_NOTHING = 3


@app.command
def ask(
    prompt: str,
    *,
    app: str,
    environment: Environment = "production",
    ceiling: Amount | None = None,
    account: str | None = None,
    planner: str | None = None,
    model: str | None = None,
    wait: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    writing: Writing | None = None,
) -> int:
    """Ask for a change of an app in plain words; the answer says what it will cost at the most.

    Nothing is different before somebody else has looked at the diff and agreed.

    Parameters
    ----------
    prompt
        What should be different, such as "Add a required due date to deals".
    app
        Which app.
    environment
        Where it is to go live.
    ceiling
        Tokens that it may cost at the most. Default: the high end of the quote.
    account
        The token account that pays. Default: the client's oldest open one.
    planner
        Who plans it. Default: the first that understands it.
    model
        The language model to plan with.
    wait
        Show how it goes on until it waits for somebody or is over.
    """
    from felix import bootstrap
    from felix.application.changes.asking import asking
    from felix.application.records import NoTokenAccount
    from felix.projections import balances

    writing = writing or Writing()
    with open_session() as session:
        place = session.tenant(writing.tenant)
        paying = session.account_id(place, account) if account else session.ask(place, balances.paying_account)
        if paying is None:
            raise NoTokenAccount()
        fields: dict[str, Any] = {"app": app, "environment": environment, "account_id": paying, "channel": "cli"}
        fields |= {"planner": planner, "model": model, "ceiling_mtok": ceiling}
        root_keys, vault = bootstrap.root_keys(session.settings), bootstrap.open_vault(session.settings)()
        command, enclosed = asking(root_keys, vault, place.tenant_id, fields, prompt)
        asked = session.perform(place, command, writing, enclosed=enclosed)
        if asked is None or not wait:
            return 0
        _wait_for_row(session, place, asked["change_id"])
    return watch(asked["change_id"], until_it_waits=True, reading=Reading(tenant=place.slug, json=writing.json))


@app.command(name="list")
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
        wrote = _wrote(session, place, rows)
    found = [shown(row, wrote.get(row["subject_id"], {})) for row in rows]
    if reading.json:
        print_json(found)
        return
    for each in found:
        each |= {"spent_mtok": each["price"]["spent_mtok"], "prompt": _short(each["prompt"])}
    headings = {"change_id": "change", "app": "app", "environment": "environment", "state": "state"}
    headings |= {"waits_for": "waits for", "risk": "risk", "spent_mtok": "spent", "prompt": "prompt"}
    print_table(found, headings, empty='There are no changes. Ask for one: felix changes ask "…" --app shop')


@app.command
def show(change: str = LAST, *, reading: Reading | None = None) -> None:
    """Show one change: what was asked, where it is, whom it waits for, and what it costs.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    """
    from felix.api.change_views import shown

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        row = _find(session, place, change)
        wrote = _wrote(session, place, [row])
    found = shown(row, wrote.get(row["subject_id"], {}))
    if reading.json:
        print_json(found)
        return
    found["prompt"] = found["prompt"] and visible(found["prompt"])
    price, approval, deployment = (found.pop(name) or {} for name in ("price", "approval", "deployment"))
    facts = {name: found[name] for name in ("change_id", "app", "environment", "state", "waits_for", "prompt", "risk")}
    facts |= {"spent_mtok": price["spent_mtok"], "held_mtok": price["held_mtok"]}
    facts |= {"at_the_most_mtok": price["ceiling_mtok"], "planner": found["planner"], "reason": found["reason"]}
    facts |= {"requester": found["requester"], "approvers": approval.get("approvers")}
    facts |= {"requested_at": found["requested_at"], "expires_at": found["expires_at"]}
    facts |= {"deployment": deployment.get("deployment_id"), "version": found["version"]}
    print_facts({name: value for name, value in facts.items() if value not in (None, [])})
    for question in found["questions"] or []:
        print(f"\n{question['question']}")
        for candidate in question["candidates"]:
            print(f"  - {candidate}")
    for finding in found["findings"]:
        print(f"\n{finding['level']}: {finding['detail']}")
    for conflict in found["conflicts"] or []:
        print(f"\n{conflict['place']}\n  ours:   {conflict['ours']}\n  theirs: {conflict['theirs']}")


@app.command
def plan(change: str = LAST, *, reading: Reading | None = None) -> None:
    """Show what was planned for a change, by whom, and the sentence of each operation.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    """
    from felix import bootstrap
    from felix.api import change_views
    from felix.domain.changes.messages import OBJECTS

    reading = reading or Reading()
    with open_session() as session:
        row = _find(session, session.tenant(reading.tenant), change)
        objects = bootstrap.open_objects(session.settings)
        stored = objects.get(OBJECTS["operations"], row["operations"]) if row["operations"] else None
        tree = bootstrap.open_releases(session.settings).tree(row["base_release"])
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


@app.command
def diff(change: str = LAST, *, reading: Reading | None = None) -> None:
    """Show what a change would make different: for people who use the app, then line by line, then what it costs.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    """
    reading = reading or Reading()
    with open_session() as session:
        found = difference(session, _find(session, session.tenant(reading.tenant), change))
    if reading.json:
        print_json(found)
    else:
        print_diff(found)


@app.command
def approve(
    change: str = LAST,
    *,
    yes: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    binding: str | None = None,
    comment: str | None = None,
    writing: Writing | None = None,
) -> None:
    """Agree to a change: to exactly the diff, checks and price that are shown, and to nothing that comes after.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    yes
        Ask nothing; needs --binding.
    binding
        The digest that felix changes diff showed; anything else is refused.
    comment
        What you want to be remembered with it.
    """
    from felix.domain.changes.messages import ApproveChange

    writing = writing or Writing()
    if yes and binding is None:
        raise UsageError("With --yes, say what you agree to: --binding DIGEST, as felix changes diff shows it.")
    with open_session() as session:
        place = session.tenant(writing.tenant)
        row = _find(session, place, change)
        if not yes:
            confirm(difference(session, row), writing)
        command = ApproveChange(
            change_id=row["change_id"],
            expected_version=row["version"],
            binding=binding or row["binding"] or "0" * 64,
            comment=comment,
        )
        session.perform(place, command, writing)


@app.command
def reject(change: str, *, reason: str, writing: Writing | None = None) -> None:
    """Turn a change down, for good.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    reason
        Why; whoever asked reads it.
    """
    from felix.domain.changes.messages import RejectChange

    _decide(change, RejectChange, writing, seen=True, reason=reason)


@app.command
def withdraw(change: str = LAST, *, reason: str | None = None, writing: Writing | None = None) -> None:
    """Take your agreement back, as long as nothing is live.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    reason
        Why, for the log.
    """
    from felix.domain.changes.messages import WithdrawApproval

    _decide(change, WithdrawApproval, writing, reason=reason)


@app.command
def answer(change: str, answer: str, *, writing: Writing | None = None) -> None:
    """Answer what was asked about a change; it is planned anew with the answer.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    answer
        A sentence of its own, such as "Add a date field due date to deals".
    """
    from felix import bootstrap
    from felix.application.changes.asking import answering

    writing = writing or Writing()
    with open_session() as session:
        place = session.tenant(writing.tenant)
        row = _find(session, place, change)
        fields = {"change_id": row["change_id"], "expected_version": row["version"]}
        root_keys, vault = bootstrap.root_keys(session.settings), bootstrap.open_vault(session.settings)()
        command, enclosed = answering(root_keys, vault, place.tenant_id, fields, answer, row["answers"] + 1)
        session.perform(place, command, writing, enclosed=enclosed)


@app.command
def raise_ceiling(change: str, ceiling: Amount, *, writing: Writing | None = None) -> None:
    """Let a change cost more, before anybody has approved what it costs.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    ceiling
        Tokens that it may cost at the most from now on.
    """
    from felix.domain.changes.messages import RaiseCeiling

    _decide(change, RaiseCeiling, writing, seen=True, ceiling_mtok=ceiling)


@app.command
def cancel(change: str = LAST, *, reason: str | None = None, writing: Writing | None = None) -> None:
    """Let a change be that does not run anywhere yet; what it holds is given back.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    reason
        Why, for the log.
    """
    from felix.domain.changes.messages import CancelChange

    _decide(change, CancelChange, writing, reason=reason)


@app.command
def deploy(
    change: str = LAST,
    *,
    strategy: StrategyKind = "instant",
    step: Annotated[list[int] | None, Parameter(negative="")] = None,
    hold_s: int = 300,
    bake_s: int = 0,
    wait: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    writing: Writing | None = None,
) -> int:
    """Let an approved change go live, in its turn.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    strategy
        Everybody at once, a few people first, or nobody but who asks for the release by its name.
    step
        Of a canary: to so many in a hundred; may be given several times. Default: 5, 25 and 50.
    hold_s
        Of a canary: for how long each step stays.
    bake_s
        For how long it is watched once everybody has it.
    wait
        Show how it goes on until it is over.
    """
    from felix.domain.changes.messages import DeployChange, Strategy

    writing = writing or Writing()
    steps = (step or CANARY_STEPS) if strategy == "canary" else []
    chosen = Strategy(kind=strategy, steps=steps, hold_s=hold_s, bake_s=bake_s)
    with open_session() as session:
        place = session.tenant(writing.tenant)
        row = _find(session, place, change)
        command = DeployChange(change_id=row["change_id"], expected_version=row["version"], strategy=chosen)
        deployed = session.perform(place, command, writing)
    if deployed is None or not wait:
        return 0
    return watch(row["change_id"], reading=Reading(tenant=place.slug, json=writing.json))


@app.command
def abort(change: str = LAST, *, reason: str, writing: Writing | None = None) -> None:
    """Stop a deployment and go back to what ran before.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    reason
        Why, for the log.
    """
    from felix.domain.changes.messages import AbortDeploy

    _decide(change, AbortDeploy, writing, reason=reason)


@app.command
def resume(
    change: str = LAST,
    *,
    accept_inconclusive: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    writing: Writing | None = None,
) -> None:
    """Let a canary go on that was paused, or waits for somebody.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    accept_inconclusive
        Take too few samples for enough. Nothing makes a failure pass.
    """
    from felix.domain.changes.messages import ResumeDeploy

    _decide(change, ResumeDeploy, writing, accept_inconclusive=accept_inconclusive)


@app.command
def override(
    change: str,
    *,
    reason: str,
    break_glass: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    writing: Writing | None = None,
) -> None:
    """Let a change pass whose findings a founder may override; it is approved and deployed like any other.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    reason
        Why; the client reads it.
    break_glass
        Do not wait for another founder, who then has to close a review of it.
    """
    from felix.domain.changes.messages import OverridePolicy

    _decide(change, OverridePolicy, writing, seen=True, reason=reason, break_glass=break_glass)


@app.command
def rollback(change: str = LAST, *, reason: str, writing: Writing | None = None) -> None:
    """Go back to what ran before a change that is live: at once, without approval or price.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    reason
        Why, for the log.
    """
    from felix.domain.changes.messages import RequestRollback

    _decide(change, RequestRollback, writing, reason=reason)


@app.command
def timeline(change: str = LAST, *, reading: Reading | None = None) -> None:
    """Show everything that happened to a change: who did it, and what each step cost.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    """
    from felix.projections import changes

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        change_id = _find(session, place, change)["change_id"]

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


@app.command
def watch(
    change: str = LAST,
    *,
    until_it_waits: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    reading: Reading | None = None,
) -> int:
    """Follow a change live until it is over.

    The exit code is 3 when it came to nothing: rejected, failed, rolled back and the like.

    Parameters
    ----------
    change
        Its id, or last for the newest.
    until_it_waits
        End also when it waits for somebody.
    """
    from felix.api.change_views import progress
    from felix.cli.change_watch import follow_change

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        row = _find(session, place, change)
        settings = session.settings
    last = follow_change(settings, place.slug, progress(row), row["tenant_sequence"], until_it_waits, reading.json)
    return CAME_TO_NOTHING if last["is_over"] and last["state"] != "deployed" else 0


def _decide(change: str, command: type[Command], writing: Writing | None, *, seen: bool = False, **said: Any) -> None:
    """Perform a command about a change; where it matters what was seen, as it is now."""
    writing = writing or Writing()
    with open_session() as session:
        place = session.tenant(writing.tenant)
        row = _find(session, place, change)
        saw = {"expected_version": row["version"]} if seen else {}
        session.perform(place, command.model_validate({"change_id": row["change_id"], **saw, **said}), writing)


def _find(session: Session, place: TenantPlace, change: str) -> Row:
    """A change by its id, or the newest. Raises NotFound."""
    from felix.projections import changes

    async def question(tx: TenantTx) -> Row | None:
        if change != LAST:
            return await changes.change_of(tx, change)
        return next(iter(await changes.changes(tx, None, 1)), None)

    found = session.ask(place, question)
    if found is None:
        raise NotFound(f"{place.slug} has no change {change}." if change != LAST else f"{place.slug} has no changes.")
    return found


def _wait_for_row(session: Session, place: TenantPlace, change_id: str, timeout_s: float = 10.0) -> None:
    """Until the read model knows a change that was just asked for."""
    import time

    from felix.projections import changes

    deadline = time.monotonic() + timeout_s
    while session.ask(place, lambda tx: changes.change_of(tx, change_id)) is None and time.monotonic() < deadline:
        time.sleep(0.05)


def _wrote(session: Session, place: TenantPlace, rows: list[Row]) -> dict[str, dict[str, str]]:
    """What people wrote about some changes, as far as it is kept."""
    from felix import bootstrap
    from felix.eventstore.vault import SEALED

    subjects = sorted({row["subject_id"] for row in rows if row["prompt_chars"]})
    if not subjects:
        return {}
    sealed = session.ask(place, lambda tx: tx.fetch(SEALED, tx.partition, tx.tenant_id, subjects))
    return bootstrap.open_vault(session.settings)().open(sealed)


def _short(text: str | None) -> str | None:
    shown = None if text is None else visible(text)
    return shown if shown is None or len(shown) <= 60 else f"{shown[:59]}…"
