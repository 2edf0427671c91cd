"""The audit of the ledger: silent on what is right, and each of its checks finds what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from command_line import CommandLine

from felix.application.verification import CHECKS, PartitionAudit, Report, RetoldBalance
from felix.eventstore import audit
from felix.eventstore.connections import connect
from felix.eventstore.mapper import RecordedEvent, canonical_json
from felix.eventstore.reader import command_heads, heads


@dataclass
class Facts:
    """Everything that an audit of one partition compares."""

    events: list[RecordedEvent]
    commands: list[audit.CommandSpan]
    snapshots: list[audit.SnapshotDigest]
    balances: dict[tuple[UUID, str], RetoldBalance]
    head: int
    sequences: list[int]
    command_head: int

    def report(self) -> Report:
        """Audit it."""
        report = Report()
        check = PartitionAudit(
            report, 0, commands=self.commands, snapshots=self.snapshots, balances=self.balances, retold_until=self.head
        )
        for event in self.events:
            check.add(event)
        check.finish(self.head)
        report.check_command_feed(0, self.sequences, self.command_head)
        return report

    def rewrite(self, index: int, **changed: Any) -> None:
        """Change the payload of an event."""
        event = self.events[index]
        state = canonical_json(orjson.loads(event.state) | changed)
        self.events[index] = replace(event, state=state, _payload=None)


@pytest.fixture
def facts(felix: CommandLine, account: str) -> Facts:
    """A partition with grants, debits, a hold, an adjustment and a snapshot."""
    for number in range(3):
        felix.done("tokens", "debit", account, "1.5", "--meter", "api.calls", "--reference", f"call {number}")
    held = felix.done("tokens", "hold", account, "10", "--meter", "api.calls")["result"]["hold_id"]
    felix.done("tokens", "capture", account, held, "4")
    adjust(felix, account)
    felix.retell()
    with connect(felix.endpoints.as_role("felix_founder")) as connection:
        (partition,) = (at for at, head in heads(connection).items() if head)
        head = heads(connection)[partition]
        events = list(audit.every_event(connection, partition, head))
        last = command_heads(connection)[partition]
        sequences = list(audit.command_sequences(connection, partition, last))
        found = Facts(events, list(audit.command_spans(connection, partition, head)), [], {}, head, sequences, last)
    shown = felix.done("tokens", "balance", account)
    mine = [event for event in events if event.local_id == account]
    found.balances[mine[0].tenant_id, account] = RetoldBalance(
        max(event.version for event in mine if "adjustment_proposed" not in event.type), shown["balance"]
    )
    found.snapshots.append(snapshot(mine))
    return found


def adjust(felix: CommandLine, account: str) -> None:
    """Propose an adjustment that another founder has to approve, and approve it."""
    from felix.cli.options import Acting
    from felix.cli.session import open_session
    from felix.domain.ledger.messages import ApproveAdjustment, ProposeAdjustment

    with open_session() as session:
        place = session.tenant(None)
        proposal = ProposeAdjustment(account_id=account, amount_mtok=200_000_000, reason="an outage")
        proposed = session.send(place, proposal, Acting(actor="founder:ada")).result
        approval = ApproveAdjustment(account_id=account, adjustment_id=proposed["adjustment_id"])
        assert session.send(place, approval, Acting(actor="founder:bob")).accepted


def snapshot(events: list[RecordedEvent]) -> audit.SnapshotDigest:
    """What a lane would have stored after these events."""
    from felix.eventstore.snapshots import fold, snapshot_type

    account: Any = None
    for event in events[:3]:
        account = fold(account, event.type, event.state, event.stream, event.version, event.recorded_at, event.event_id)
    digest = hashlib.sha256(canonical_json(account.snapshot())).digest()
    return audit.SnapshotDigest(events[0].stream, account.version, snapshot_type(type(account)), digest)


def test_a_log_that_is_right_has_no_violations_and_every_check_was_made(facts: Facts) -> None:
    report = facts.report()
    assert report.violations == [] and report.consistent and report.events == facts.head
    assert {name for name, count in report.looked_at.items() if not count} == set()


def index_of(facts: Facts, type_: str) -> int:
    return next(at for at, event in enumerate(facts.events) if event.type == type_)


def lose_an_event(facts: Facts) -> None:
    del facts.events[index_of(facts, "ledger.tokens_debited")]


def lose_the_last_event(facts: Facts) -> None:
    facts.events.pop()


def skip_a_sequence(facts: Facts) -> None:
    facts.events[-1] = replace(facts.events[-1], tenant_sequence=facts.events[-1].tenant_sequence + 1)


def skip_a_version(facts: Facts) -> None:
    facts.events[-1] = replace(facts.events[-1], version=facts.events[-1].version + 1)


def forget_a_type(facts: Facts) -> None:
    facts.events[-1] = replace(facts.events[-1], type="ledger.tokens_vanished")


def spoil_bytes(facts: Facts) -> None:
    facts.events[-1] = replace(facts.events[-1], state=b"{", _payload=None)


def forget_the_actor(facts: Facts) -> None:
    facts.events[-1] = replace(facts.events[-1], actor=" ")


def give_it_to_another_tenant(facts: Facts) -> None:
    facts.events[-1] = replace(facts.events[-1], tenant_id=uuid4())


def forget_a_command(facts: Facts) -> None:
    del facts.commands[-1]


def refuse_a_command_that_had_an_effect(facts: Facts) -> None:
    facts.commands[-1] = replace(facts.commands[-1], accepted=False)


def claim_events_twice(facts: Facts) -> None:
    facts.commands.insert(-1, replace(facts.commands[-1], command_key="another"))


def claim_events_that_are_not_there(facts: Facts) -> None:
    facts.commands[-1] = replace(facts.commands[-1], last_position=facts.head + 1)


def lose_a_command_of_the_feed(facts: Facts) -> None:
    del facts.sequences[1]


def lose_the_last_command_of_the_feed(facts: Facts) -> None:
    facts.sequences.pop()


def charge_more_than_was_taken(facts: Facts) -> None:
    at = index_of(facts, "ledger.tokens_debited")
    lines = [[meter, quantity, mtok + 1, trace] for meter, quantity, mtok, trace in facts.events[at].payload["lines"]]
    facts.rewrite(at, lines=lines)


def take_more_than_there_is(facts: Facts) -> None:
    at = index_of(facts, "ledger.tokens_debited")
    lot, meter, _, cost = facts.events[at].payload["allocation"][0]
    facts.rewrite(at, allocation=[[lot, meter, 10**12, cost]], amount_mtok=10**12, lines=[["api.calls", 1, 10**12, ""]])


def approve_ones_own_adjustment(facts: Facts) -> None:
    facts.rewrite(index_of(facts, "ledger.adjustment_applied"), approver="founder:ada")


def adjust_without_a_reason(facts: Facts) -> None:
    facts.rewrite(index_of(facts, "ledger.adjustment_applied"), reason="")


def adjust_without_an_approver(facts: Facts) -> None:
    facts.rewrite(index_of(facts, "ledger.adjustment_applied"), approver=None)


def spoil_the_snapshot(facts: Facts) -> None:
    facts.snapshots[0] = replace(facts.snapshots[0], sha256=b"\0" * 32)


def snapshot_the_future(facts: Facts) -> None:
    facts.snapshots[0] = replace(facts.snapshots[0], version=1000)


def show_another_balance(facts: Facts) -> None:
    ((key, retold),) = facts.balances.items()
    facts.balances[key] = replace(retold, balance=dict(retold.balance) | {"available_mtok": 7})


def show_an_old_balance(facts: Facts) -> None:
    ((key, retold),) = facts.balances.items()
    facts.balances[key] = replace(retold, version=retold.version - 1)


def show_no_balance(facts: Facts) -> None:
    facts.balances.clear()


def show_a_balance_that_nobody_has(facts: Facts) -> None:
    facts.balances[uuid4(), "acct_" + "0" * 32] = RetoldBalance(1, {})


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lose_an_event, "positions"),
        (lose_the_last_event, "positions"),
        (skip_a_sequence, "tenant sequences"),
        (skip_a_version, "stream versions"),
        (forget_a_type, "event types"),
        (spoil_bytes, "event types"),
        (forget_the_actor, "actors"),
        (give_it_to_another_tenant, "actors"),
        (forget_a_command, "commands"),
        (refuse_a_command_that_had_an_effect, "commands"),
        (claim_events_twice, "commands"),
        (claim_events_that_are_not_there, "commands"),
        (lose_a_command_of_the_feed, "command feed"),
        (lose_the_last_command_of_the_feed, "command feed"),
        (charge_more_than_was_taken, "postings"),
        (charge_more_than_was_taken, "trial balance"),
        (take_more_than_there_is, "accounts"),
        (approve_ones_own_adjustment, "adjustments"),
        (adjust_without_a_reason, "adjustments"),
        (adjust_without_an_approver, "adjustments"),
        (spoil_the_snapshot, "snapshots"),
        (snapshot_the_future, "snapshots"),
        (show_another_balance, "read model"),
        (show_an_old_balance, "read model"),
        (show_no_balance, "read model"),
        (show_a_balance_that_nobody_has, "read model"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_each_check_finds_what_it_is_for(facts: Facts, spoil: Callable[[Facts], None], check: str) -> None:
    spoil(facts)
    report = facts.report()
    assert report.found[check], report.violations
    assert any(each.check == check for each in report.violations)


def test_every_check_has_a_case_above() -> None:
    cases = {mark.args[1][at][1] for mark in test_each_check_finds_what_it_is_for.pytestmark for at in range(26)}
    assert cases == set(CHECKS)


def test_a_violation_in_the_database_is_named_by_its_place(felix: CommandLine, account: str) -> None:
    felix.done("tokens", "debit", account, "1.5", "--meter", "api.calls")
    felix.retell()
    assert felix("verify", "ledger").code == 0
    with psycopg.connect(felix.endpoints.database_url, autocommit=True) as intruder:
        intruder.execute("alter table felix.events disable trigger events_append_only")
        intruder.execute(
            "update felix.events set state = convert_to(replace(convert_from(state, 'UTF8'), '1500', '1499'), 'UTF8')"
            " where type = 'ledger.tokens_debited'"
        )
        found = intruder.execute(
            "select partition || ':' || position from felix.events where type = 'ledger.tokens_debited'"
        )
        (place,) = found.fetchone() or ("",)
    said = felix("verify", "ledger")
    assert said.code == 1 and f"{place}  " in said.out and "NOT consistent" in said.out
    told = felix("verify", "ledger", "--json").told
    assert not told["consistent"] and place in {each["place"] for each in told["violations"]}
