"""``felix projections``: how the read models are, rebuilding them, and trying again what they stopped for."""

from __future__ import annotations

import psycopg
from command_line import CommandLine


def stop_a_tenant(felix: CommandLine) -> None:
    """As if an event of the only client could not be folded into the balances."""
    with psycopg.connect(felix.endpoints.database_url) as connection:
        connection.execute(
            "insert into felix.poisoned (partition, projection, tenant_id, position, type, error, message, retry_at)"
            " select partition, 'balances', tenant_id, 2, 'ledger.tokens_lent', 'UnknownEventType', 'Not known.',"
            " now() + interval '1 hour' from felix.tenants where slug <> 'felix-platform'"
        )


def test_a_rebuild_ends_with_the_same_rows_and_says_so(felix: CommandLine, account: str) -> None:
    felix.retell()
    (done,) = felix.done("projections", "rebuild", "balances")
    assert done["state"] == "done" and done["differences"] == [] and "the same rows" in done["detail"]
    said = felix("projections", "rebuild", "usage", "tenants")
    assert said.code == 0 and "usage: done." in said.out and "tenants: done." in said.out
    assert "folding" in said.err
    felix.retell()
    assert felix.done("tokens", "balance", account)["account_id"] == account


def test_a_rebuild_without_a_worker_brings_what_is_read_along(felix: CommandLine, account: str) -> None:
    (done,) = felix.done("projections", "rebuild", "balances")
    assert done["state"] == "done" and "the same rows" in done["detail"]
    assert felix.done("tokens", "balance", account)["account_id"] == account


def test_a_difference_is_shown_and_can_be_accepted(felix: CommandLine, account: str) -> None:
    felix.retell()
    with psycopg.connect(felix.endpoints.database_url) as connection:
        connection.execute("update read.token_accounts set consumed_mtok = 7")
    said = felix("projections", "rebuild", "balances")
    assert said.code == 1
    assert "balances: refused." in said.out and "token_accounts differs for 1 tenant" in said.out
    listed = felix("projections", "list")
    assert listed.code == 1 and "the rebuild of balances refused" in listed.out
    (done,) = felix.done("projections", "rebuild", "balances", "--accept-difference")
    assert done["state"] == "done" and "accepted" in done["detail"]
    assert felix("projections", "list").code == 0


def test_the_list_names_whom_a_read_model_stopped_for(felix: CommandLine, account: str) -> None:
    felix.retell()
    stop_a_tenant(felix)
    said = felix("projections", "list", "--json")
    assert said.code == 1
    rows = {row["projection"]: row for row in said.told["projections"]}
    assert rows["balances"]["stopped"] == 1 and rows["usage"]["stopped"] == 0
    assert rows["balances"]["stopped_tenants"][0]["error"] == "UnknownEventType"
    assert "ledger.tokens_lent" in said.told["alarms"][0]
    assert felix.done("projections", "retry", "balances", "--tenant", "acme-ltd") == {
        "projection": "balances", "tried_again": 1,
    }  # fmt: skip
    assert "has not stopped for anybody" in felix("projections", "retry", "usage").out
    assert felix("projections", "retry", "ghosts").code == 1


def test_the_lag_is_shown_by_partition(felix: CommandLine, account: str) -> None:
    behind = felix.done("projections", "lag", "balances")
    assert len(behind) == 4 and sum(row["lag_events"] for row in behind) > 0
    felix.retell()
    assert not any(row["lag_events"] for row in felix.done("projections", "lag"))
    assert "lag events" in felix("projections", "lag").out


def test_wrong_names_are_refused(felix: CommandLine) -> None:
    assert felix("projections", "rebuild").code == 2
    said = felix("projections", "rebuild", "ghosts")
    assert said.code == 2 and "There is no read model ghosts" in said.err
