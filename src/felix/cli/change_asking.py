"""What somebody who wants a change says: what it should be, what was meant, and how much it may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from felix.cli import change_operations
from felix.cli.change_following import watch
from felix.cli.change_operations import File
from felix.cli.errors import UsageError
from felix.cli.one_change import LAST, Environment, Named, Why, decide, find
from felix.cli.options import Amount, Reading, Writing
from felix.cli.session import Session, open_session

if TYPE_CHECKING:
    from felix.eventstore.tenants import TenantPlace


def ask(
    prompt: str | None = None,
    *,
    app: str | None = None,
    repository: str | None = None,
    operations: File | None = None,
    environment: Environment = "production",
    ceiling: Amount | None = None,
    account: str | None = None,
    planner: str | None = None,
    model: str | None = None,
    wait: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    writing: Writing | None = None,
) -> int:
    """Ask for a change of an app or a repository, in plain words or exactly; the answer says what it costs at most.

    Nothing is different before somebody else has looked at the diff and agreed.

    Operations say it exactly and need no planner. A file of them is JSON:
    [{"op": "rename_entity", "entity": "deal", "title": "Order", "plural": "Orders"}]
    Of a repository they are edits of its files:
    [{"edit": "replace", "path": "README.md", "search": "9 to 5", "replace": "9 to 6"}]

    Parameters
    ----------
    prompt
        What should be different, such as "Add a required due date to deals". With --operations it is only remembered.
    app
        Which app.
    repository
        Which of the connected GitHub repositories, as owner/name, in the place of an app.
    operations
        What should be different, exactly: a JSON file, or - for standard input.
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
    from felix.application.changes.exactly import said
    from felix.application.records import NoTokenAccount
    from felix.projections import balances

    writing = writing or Writing()
    if prompt is None and operations is None:
        raise UsageError('Say what should be different: felix changes ask "…", or --operations FILE.')
    if (app is None) == (repository is None):
        raise UsageError("Say what is to be different: --app shop, or --repository owner/name.")
    exactly = None if operations is None else change_operations.read_file(operations, of_files=repository is not None)
    with open_session() as session:
        place = session.tenant(writing.tenant)
        paying = session.account_id(place, account) if account else session.ask(place, balances.paying_account)
        if paying is None:
            raise NoTokenAccount()
        fields: dict[str, Any] = {"app": app, "environment": environment, "account_id": paying, "channel": "cli"}
        fields |= {"planner": planner, "model": model, "ceiling_mtok": ceiling}
        fields |= {"default_model": session.settings.planner_model}
        if repository is not None:
            fields |= _connected(session, place, repository)
        if exactly is not None:
            fields |= {"kind": "operations", "operations": change_operations.keep(session, place, exactly, writing)}
            prompt = said(exactly) if prompt is None else prompt
        root_keys, vault = bootstrap.root_keys(session.settings), bootstrap.open_vault(session.settings)()
        change_operations.refuse_own_secrets(session, place, prompt=prompt or "")
        command, enclosed = asking(root_keys, vault, place.tenant_id, fields, prompt)
        asked = session.perform(place, command, writing, enclosed=enclosed)
        if asked is None or not wait:
            return 0
        _wait_for_row(session, place, asked["change_id"])
    return watch(asked["change_id"], until_it_waits=True, reading=Reading(tenant=place.slug, json=writing.json))


def answer(change: Named, answer: str, *, writing: Writing | None = None) -> None:
    """Answer what was asked about a change; it is planned anew with the answer.

    Parameters
    ----------
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
        change_operations.refuse_own_secrets(session, place, answer=answer)
        command, enclosed = answering(root_keys, vault, place.tenant_id, fields, answer, row["answers"] + 1)
        session.perform(place, command, writing, enclosed=enclosed)


def revise(change: Named, operations: File, *, reason: Why | None = None, writing: Writing | None = None) -> None:
    """Put other operations in the place of those that were planned; every approval begins anew.

    felix changes plan --json > plan.json writes down those that were planned, to be edited.

    Parameters
    ----------
    operations
        A JSON file, as felix changes ask takes it or felix changes plan prints it, or - for standard input.
    """
    from felix.domain.changes.messages import RevisePlan

    writing = writing or Writing()
    with open_session() as session:
        place = session.tenant(writing.tenant)
        row = find(session, place, change)
        exactly = change_operations.read_file(operations, of_files=row["repository"] is not None)
        command = RevisePlan(
            change_id=row["change_id"],
            expected_version=row["version"],
            operations=change_operations.keep(session, place, exactly, writing),
            reason=reason,
        )
        session.perform(place, command, writing)


def raise_ceiling(change: Named, ceiling: Amount, *, writing: Writing | None = None) -> None:
    """Let a change cost more, before anybody has approved what it costs.

    Parameters
    ----------
    ceiling
        Tokens that it may cost at the most from now on.
    """
    from felix.domain.changes.messages import RaiseCeiling

    decide(change, RaiseCeiling, writing, seen=True, ceiling_mtok=ceiling)


def cancel(change: Named = LAST, *, reason: Why | None = None, writing: Writing | None = None) -> None:
    """Let a change be that does not run anywhere yet; what it holds is given back."""
    from felix.domain.changes.messages import CancelChange

    decide(change, CancelChange, writing, reason=reason)


def _connected(session: Session, place: TenantPlace, repository: str) -> dict[str, str]:
    """The repository that is changed in the place of an app. Raises NotConnected."""
    from felix.domain.changes.code_tree import slug_of
    from felix.domain.changes.errors import NotConnected
    from felix.projections import documents

    source = session.ask(place, lambda tx: documents.connected(tx, repository))
    if source is None:
        raise NotConnected(repository=repository)
    return {"app": slug_of(repository), "source": source}


def _wait_for_row(session: Session, place: TenantPlace, change_id: str, timeout_s: float = 10.0) -> None:
    """Until the read model knows a change that was just asked for."""
    import time

    from felix.projections import changes

    deadline = time.monotonic() + timeout_s
    while session.ask(place, lambda tx: changes.change_of(tx, change_id)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
