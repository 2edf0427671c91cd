"""What somebody who wants a change says: what it should be, what was meant, and how much it may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from felix.cli.change_following import watch
from felix.cli.one_change import LAST, Environment, decide, find
from felix.cli.options import Amount, Reading, Writing
from felix.cli.session import Session, open_session

if TYPE_CHECKING:
    from felix.eventstore.tenants import TenantPlace


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
        fields |= {"default_model": session.settings.planner_model}
        root_keys, vault = bootstrap.root_keys(session.settings), bootstrap.open_vault(session.settings)()
        command, enclosed = asking(root_keys, vault, place.tenant_id, fields, prompt)
        asked = session.perform(place, command, writing, enclosed=enclosed)
        if asked is None or not wait:
            return 0
        _wait_for_row(session, place, asked["change_id"])
    return watch(asked["change_id"], until_it_waits=True, reading=Reading(tenant=place.slug, json=writing.json))


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
        row = find(session, place, change)
        fields = {"change_id": row["change_id"], "expected_version": row["version"]}
        root_keys, vault = bootstrap.root_keys(session.settings), bootstrap.open_vault(session.settings)()
        command, enclosed = answering(root_keys, vault, place.tenant_id, fields, answer, row["answers"] + 1)
        session.perform(place, command, writing, enclosed=enclosed)


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

    decide(change, RaiseCeiling, writing, seen=True, ceiling_mtok=ceiling)


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

    decide(change, CancelChange, writing, reason=reason)


def _wait_for_row(session: Session, place: TenantPlace, change_id: str, timeout_s: float = 10.0) -> None:
    """Until the read model knows a change that was just asked for."""
    import time

    from felix.projections import changes

    deadline = time.monotonic() + timeout_s
    while session.ask(place, lambda tx: changes.change_of(tx, change_id)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
