"""Given / when / then for token accounts: frozen time, counted ids, and a journal that is checked at every step.

Each command is decided on an account that has stayed in memory all the time, with everything it keeps ready, and a
second time on one restored from its JSON snapshot. Both have to make the same events, and a replica that only sees
those as JSON has to arrive at the same state. So every test in this folder also tests that replay = state, that a
snapshot loses nothing, that nothing kept ready is stale, and that deciding again after a conflict changes nothing.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from hypothesis import settings

from felix.domain.base import DECISIONS, Command, CommandContext, FelixEvent
from felix.domain.errors import FelixError
from felix.domain.ledger import messages as m
from felix.domain.ledger.postings import TOKEN, postings_of
from felix.domain.ledger.reversals import debit_id_of
from felix.domain.ledger.token_account import TokenAccount

TENANT = UUID(int=0x7E)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENVELOPE = set(FelixEvent.model_fields)


def examples(quick: int, **more: Any) -> settings:
    """Hypothesis settings with ``quick`` examples; the profile named "deep" brings its own number."""
    deep = settings.get_current_profile_name() == "deep"
    return settings(deadline=None, max_examples=settings().max_examples if deep else quick, **more)


def through_json(event: FelixEvent) -> FelixEvent:
    """The event as a store would give it back."""
    cls = getattr(TokenAccount, type(event).__name__)
    return cls.model_validate_json(event.model_dump_json())


def state_of(event: FelixEvent) -> dict[str, Any]:
    """The event's state as a projection reads it from JSON."""
    return orjson.loads(orjson.dumps({k: v for k, v in event.model_dump().items() if k not in ENVELOPE}))


class Purse:
    """One account with its journal, its replica and its double-entry book."""

    def __init__(self, account: TokenAccount) -> None:
        self.events: list[FelixEvent] = []
        self.book: Counter[tuple[str, str]] = Counter()
        self.replica: TokenAccount = None  # type: ignore[assignment]
        self.live = account
        self.commit(account)

    def warm(self) -> TokenAccount:
        """A copy with everything the account keeps ready, to be thrown away if it refuses."""
        return deepcopy(self.live)

    def load(self) -> TokenAccount:
        """The account as a store would give it back."""
        state = orjson.loads(orjson.dumps(self.live.snapshot()))
        return TokenAccount.restore(
            stream=self.live.id,
            version=self.live.version,
            created_on=self.live.created_on,
            modified_on=self.live.modified_on,
            state=state,
        )

    def commit(self, account: TokenAccount) -> list[FelixEvent]:
        new = list(account.pending_events)
        account.pending_events.clear()
        for event in new:
            self.replica = through_json(event).mutate(self.replica)
            postings = postings_of(event.TOPIC, state_of(event))
            sums: Counter[str] = Counter()
            for name, asset, amount in postings:
                assert isinstance(amount, int) and amount, "a posting moves something"
                sums[asset] += amount
                self.book[name, asset] += amount
            assert not any(sums.values()), f"{event.TOPIC} does not sum to zero: {postings}"
        self.events += new
        self.live = account
        assert self.replica.snapshot() == account.snapshot(), "replay = state"
        assert self.load().snapshot() == account.snapshot(), "snapshot = state"
        self.check()
        return new

    def check(self) -> None:
        """The invariants, and that the book of postings says the same as the account."""
        account = self.live
        account.assert_invariants()
        tokens = {name: amount for (name, asset), amount in self.book.items() if asset == TOKEN and amount}
        lots = {"lot:" + lot.lot_id: lot.free_mtok for lot in account.book.lots.values() if lot.free_mtok}
        assert {name: amount for name, amount in tokens.items() if name.startswith("lot:")} == lots
        assert tokens.get("held", 0) == account.held_mtok
        assert tokens.get("frozen", 0) == account.frozen_mtok
        assert tokens.get("debt", 0) == -account.debt_mtok
        undelivered: Counter[str] = Counter()
        for lot in account.book.lots.values():
            undelivered[lot.currency or ""] += lot.cost_minor - lot.recognised_minor
        deferred = {
            asset: amount for (name, asset), amount in self.book.items() if name == "deferred_revenue" and amount
        }
        assert deferred == {currency: amount for currency, amount in undelivered.items() if amount}


class Ledger:
    """The accounts of one tenant, and the clock."""

    def __init__(self) -> None:
        self.now = START
        self.purses: dict[str, Purse] = {}
        self.commands = 0
        self.last: list[FelixEvent] = []
        self.main = ""

    def context(self, actor: str = "founder:ada") -> CommandContext:
        self.commands += 1
        return CommandContext(TENANT, f"key-{self.commands}", UUID(int=self.commands << 16), actor, self.now)

    def open(self, *, credit_limit_mtok: int = 0) -> str:
        """A new account; the first is the one that the other methods mean."""
        command = m.OpenTokenAccount(name="Main", credit_limit_mtok=credit_limit_mtok)
        account = TokenAccount.open(self.context(), command)
        self.purses[account.local_id] = Purse(account)
        self.main = self.main or account.local_id
        return account.local_id

    def account(self, account_id: str | None = None) -> TokenAccount:
        return self.purses[account_id or self.main].live

    def wait(self, **delta: float) -> None:
        self.now += timedelta(**delta)

    def decide(self, account_ids: list[str], context: CommandContext, decision: Any) -> Any:
        """Decide on warm accounts and again on restored ones; keep what happened unless it was refused."""
        accounts = [self.purses[account_id].warm().deciding(context) for account_id in account_ids]
        try:
            outcome, refusal = decision(*accounts), None
        except FelixError as error:
            outcome, refusal = None, error
        context.rewind()
        again = [self.purses[account_id].load().deciding(context) for account_id in account_ids]
        try:
            assert decision(*again) == outcome
            assert refusal is None
        except FelixError as error:
            assert (error.code, error.facts) == (refusal and refusal.code, refusal and refusal.facts)
        for first, second in zip(accounts, again, strict=True):
            assert first.pending_events == second.pending_events, "deciding again makes the same events"
        if refusal is not None:
            orjson.dumps(refusal.record())
            raise refusal
        self.last = []
        for account, account_id in zip(accounts, account_ids, strict=True):
            self.last += self.purses[account_id].commit(account)
        assert sum(purse.book["transfer", TOKEN] for purse in self.purses.values()) == 0
        return outcome

    def do(
        self, command_class: type[Command], *, account: str | None = None, actor: str = "founder:ada", **fields: Any
    ) -> Any:
        """Give a command that concerns one account; the answer is its outcome."""
        account_id = account or self.main
        command = command_class(account_id=account_id, **fields)
        _, by, method = DECISIONS[command_class]
        assert by == "account_id"
        outcome = self.decide([account_id], self.context(actor), lambda a: getattr(a, method)(command))
        assert orjson.loads(orjson.dumps(outcome)) == outcome, "outcomes are JSON-ready"
        assert outcome["balance"] == self.account(account_id).balance
        return outcome

    def grant(self, amount_mtok: int, *, account: str | None = None, **fields: Any) -> str:
        return self.do(m.GrantTokens, account=account, amount_mtok=amount_mtok, **fields)["lot_id"]

    def charge(self, *lines: tuple[str, int], account: str | None = None, **facts: Any) -> m.TokensDebited:
        """Debit lines of ``(meter, amount_mtok)``."""
        priced = [(meter, 1, amount_mtok, "") for meter, amount_mtok in lines]
        debit = self.decide([account or self.main], self.context(), lambda a: a.charge(lines=priced, **facts))
        return debit

    def reverse(self, debit: Any, amount_mtok: int | None = None, account: str | None = None) -> dict[str, Any]:
        command = m.ReverseDebit(
            account_id=account or self.main, debit_id=debit_id_of(debit), amount_mtok=amount_mtok, reason="mistake"
        )
        return self.decide([account or self.main], self.context(), lambda a: a.reverse(command, debit))

    def transfer(self, amount_mtok: int, sender: str, receiver: str) -> m.TokensReceived:
        return self.decide(
            [sender, receiver],
            self.context(),
            lambda a, b: b.receive(a.send(amount_mtok, receiver, "move")),
        )

    def happened(self) -> list[str]:
        """The names of what the last command made happen."""
        return [type(event).__name__ for event in self.last]

    def lot(self, lot_id: str, account: str | None = None) -> Any:
        return self.account(account).book.find(lot_id)
