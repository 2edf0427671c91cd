"""``felix tokens``: token accounts, and what is granted, held, debited and left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from felix.cli.errors import UsageError
from felix.cli.options import Amount, Moment, Reading, Writing, day_of
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.session import Session, open_session
from felix.domain.base import Command
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.projections.tenant_tx import TenantTx

app = App(name="tokens", help="Open token accounts, and grant, hold, debit and show tokens.")

Kind = Literal["purchased", "promo", "goodwill", "restitution", "migration"]
Overshoot = Literal["deny", "take_available", "debt"]


def _perform(account: str | None, make: Any, writing: Writing | None) -> None:
    """Perform the command that ``make(account_id)`` returns."""
    writing = writing or Writing()
    with open_session() as session:
        place = session.tenant(writing.tenant)
        account_id = session.account_id(place, account) if account is not None else ""
        command: Command = make(account_id)
        session.perform(place, command, writing)


@app.command
def accounts(*, as_of: Moment | None = None, reading: Reading | None = None) -> None:
    """List the token accounts of a client with their balances.

    Parameters
    ----------
    as_of
        At another moment, in the past or (a forecast: lots expire, holds end) in the future.
    """
    from felix.projections import balances, past_balances

    reading = reading or Reading()

    async def question(tx: TenantTx) -> list[dict[str, Any]]:
        if as_of is None or as_of > datetime.now(UTC):
            return await balances.accounts(tx, "", 10_000, as_of)
        rows = await past_balances.accounts(tx, "", 10_000, as_of)
        for row in rows:
            row["consumed_mtok"] = await past_balances.consumed_mtok(tx, row["account_id"], row["tenant_sequence"])
        return rows

    with open_session() as session:
        rows = session.ask(session.tenant(reading.tenant), question)
    if reading.json:
        print_json(rows)
    else:
        headings = {"name": "account", "available_mtok": "available", "held_mtok": "held", "debt_mtok": "debt"}
        headings |= {"consumed_mtok": "consumed", "status": "status", "account_id": "id"}
        print_table(rows, headings, empty="There are no token accounts yet. Open one: felix tokens open NAME")


@app.command(name="open")
def open_account(name: str, *, credit_limit: Amount = 0, writing: Writing | None = None) -> None:
    """Open a token account.

    Parameters
    ----------
    name
        What it is for, such as the app's name.
    credit_limit
        How many tokens it may owe when its own are used up.
    """
    from felix.domain.ledger.messages import OpenTokenAccount

    _perform(None, lambda _: OpenTokenAccount(name=name, credit_limit_mtok=credit_limit), writing)


@app.command
def grant(
    account: str,
    amount: Amount,
    *,
    kind: Kind = "purchased",
    expires: Moment | None = None,
    meter: Annotated[list[str] | None, Parameter(negative="")] = None,
    priority: int = 100,
    cost_minor: int = 0,
    currency: str | None = None,
    reason: str | None = None,
    reference: str | None = None,
    writing: Writing | None = None,
) -> None:
    """Give an account a new lot of tokens; debt is repaid from it first.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    amount
        Tokens, such as 5000 or 0.25, or millitokens: 250mtok.
    kind
        What the lot is.
    expires
        When what is left of it is gone, such as 2027-01-31 or 2027-01-31T12:00+01:00. Default: never.
    meter
        A meter that it may pay for; may be given several times. Default: all.
    priority
        Lots with a smaller number burn first.
    cost_minor
        What was paid for it, in cents.
    currency
        The currency of that, such as EUR.
    reason
        Why, for the log.
    reference
        An invoice or payment, for the log.
    """
    from felix.domain.ledger.messages import GrantTokens

    def make(account_id: str) -> Command:
        return GrantTokens(
            account_id=account_id,
            amount_mtok=amount,
            kind=kind,
            priority=priority,
            expires_at=expires,
            meters=meter or [],
            cost_minor=cost_minor,
            currency=currency,
            reason=reason,
            reference=reference,
        )

    _perform(account, make, writing)


@app.command
def debit(
    account: str,
    amount: Amount | None = None,
    *,
    meter: str,
    quantity: int | None = None,
    model: str | None = None,
    app: str | None = None,
    person: str | None = None,
    reference: str | None = None,
    writing: Writing | None = None,
) -> None:
    """Take tokens for usage that has happened: an amount, or a quantity that the rate card prices.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    amount
        Tokens, such as 5000 or 0.25, or millitokens: 250mtok. Leave it out to have the quantity priced.
    meter
        What was used, such as llm.input_tokens.
    quantity
        How much of it.
    model
        The model that was used, if its price depends on that.
    app
        The app that used it.
    person
        Whose usage it was.
    reference
        What it belongs to, for the log.
    """
    from felix.domain.ledger.messages import DebitTokens

    if (amount is None) == (quantity is None):
        raise UsageError("Give an amount, or --quantity to have it priced.")

    def make(account_id: str) -> Command:
        return DebitTokens(
            account_id=account_id,
            meter=meter,
            amount_mtok=amount,
            quantity=quantity,
            model=model,
            app=app,
            person=person,
            reference=reference,
        )

    _perform(account, make, writing)


@app.command
def hold(
    account: str,
    amount: Amount,
    *,
    meter: str,
    ttl: int = 900,
    purpose: str | None = None,
    writing: Writing | None = None,
) -> None:
    """Set tokens aside before work begins.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    amount
        Tokens, such as 5000 or 0.25, or millitokens: 250mtok.
    meter
        What the work will be charged as.
    ttl
        Seconds after which the hold gives the tokens back by itself.
    purpose
        What for, for the log.
    """
    from felix.domain.ledger.messages import HoldTokens

    _perform(
        account,
        lambda account_id: HoldTokens(
            account_id=account_id, amount_mtok=amount, meter=meter, ttl_s=ttl, purpose=purpose
        ),
        writing,
    )


@app.command
def capture(
    account: str, hold_id: str, amount: Amount, *, overshoot: Overshoot = "deny", writing: Writing | None = None
) -> None:
    """Debit what held work really cost, and give the rest back.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    hold_id
        The hold (hold_…).
    amount
        What it cost, in tokens.
    overshoot
        What to do when that is more than was held: refuse, take what is there and forgive the rest, or book debt.
    """
    from felix.domain.ledger.messages import CaptureHold

    _perform(
        account,
        lambda account_id: CaptureHold(account_id=account_id, hold_id=hold_id, amount_mtok=amount, overshoot=overshoot),
        writing,
    )


@app.command
def release(account: str, hold_id: str, *, writing: Writing | None = None) -> None:
    """Give back everything that a hold has set aside.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    hold_id
        The hold (hold_…).
    """
    from felix.domain.ledger.messages import ReleaseHold

    _perform(account, lambda account_id: ReleaseHold(account_id=account_id, hold_id=hold_id), writing)


def _account_now(session: Session, named: str, tenant: str | None, at: datetime | None) -> dict[str, Any]:
    from felix.domain.ledger.token_account import TokenAccount
    from felix.projections.history import aggregate_at

    place = session.tenant(tenant)
    account_id = session.account_id(place, named)
    account = session.ask(place, lambda tx: aggregate_at(tx, TokenAccount, account_id, at=at))
    if account is None:
        raise NotFound(f"There is no token account {named}" + (" at that moment." if at else "."))
    return account.describe(at or datetime.now(UTC))


@app.command
def balance(account: str, *, as_of: Moment | None = None, reading: Reading | None = None) -> None:
    """Show what an account has, holds and owes, straight from the log.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    as_of
        At another moment, in the past or (a forecast: lots expire, holds end) in the future.
    """
    reading = reading or Reading()
    with open_session() as session:
        found = _account_now(session, account, reading.tenant, as_of)
    if reading.json:
        print_json(found)
        return
    known = {name: found[name] for name in ("account_id", "name", "status")} | found["balance"]
    known["credit_limit_mtok"] = found["credit_limit_mtok"]
    print_facts(known | {"lots": len(found["lots"]), "open holds": len(found["holds"])})


@app.command
def lots(account: str, *, as_of: Moment | None = None, reading: Reading | None = None) -> None:
    """Show the lots of an account in the order in which they burn.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    as_of
        At another moment.
    """
    reading = reading or Reading()
    with open_session() as session:
        rows = _account_now(session, account, reading.tenant, as_of)["lots"]
    if reading.json:
        print_json(rows)
        return
    headings = {"kind": "kind", "available_mtok": "available", "held_mtok": "held", "amount_mtok": "granted"}
    headings |= {"expires_at": "expires", "priority": "priority", "meters": "only for", "lot_id": "id"}
    print_table(rows, headings, empty="Nothing is left of any lot.")


@app.command
def transactions(
    account: str,
    *,
    limit: int = 20,
    before: int | None = None,
    oldest_first: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    reading: Reading | None = None,
) -> None:
    """Show what changed an account's balance, newest first, with the running balance.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    limit
        How many lines.
    before
        Go on from this event: the last one of the page before.
    oldest_first
        Begin with the oldest.
    """
    from felix.projections import token_transactions

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        account_id = session.account_id(place, account)
        rows = session.ask(
            place,
            lambda tx: token_transactions.transactions(
                tx, account_id, before, limit, "oldest" if oldest_first else "newest"
            ),
        )
    if reading.json:
        print_json(rows)
        return
    headings = {"recorded_at": "at", "type": "what", "amount_mtok": "amount", "balance_mtok": "balance"}
    headings |= {"actor": "actor", "reason": "reason", "reference": "reference", "tenant_sequence": "event"}
    print_table(rows, headings, empty="Nothing has changed this balance yet.")


@app.command
def history(
    account: str, *, since: str | None = None, until: str | None = None, reading: Reading | None = None
) -> None:
    """Show with what an account closed on every day; days are UTC.

    Parameters
    ----------
    account
        Account id (acct_…) or a name that only one account has.
    since
        First day, such as 2026-01-31. Default: 30 days ago.
    until
        Last day. Default: today.
    """
    from felix.projections.balance_snapshots import balance_history

    reading = reading or Reading()
    today = datetime.now(UTC).date()
    first, last = day_of(since, today - timedelta(days=30)), day_of(until, today)
    with open_session() as session:
        place = session.tenant(reading.tenant)
        account_id = session.account_id(place, account)
        rows = session.ask(place, lambda tx: balance_history(tx, account_id, first, last))
    if reading.json:
        print_json(rows)
        return
    headings = {"day": "day", "balance_mtok": "balance", "available_mtok": "available", "held_mtok": "held"}
    headings |= {"debt_mtok": "debt", "granted_mtok": "granted", "consumed_mtok": "consumed"}
    headings |= {"expired_mtok": "expired", "events": "events"}
    print_table(rows, headings, empty=f"The account has no days from {first} to {last}.")
