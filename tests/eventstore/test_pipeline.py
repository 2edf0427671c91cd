"""Prepared statements in one round trip."""

from __future__ import annotations

import time

import psycopg
import pytest

from felix.eventstore import rows
from felix.eventstore.pipeline import Pipeline, Statement

DOUBLE = Statement(b"double", b"select 2 * $1::bigint")
DIVIDE = Statement(b"divide", b"select 1 / $1::bigint")
SLEEP = Statement(b"sleep", b"select pg_sleep(3)")


def number(result: psycopg.pq.abc.PGresult) -> int:
    return int.from_bytes(result.get_value(0, 0) or b"", "big", signed=True)


def test_the_answers_come_in_the_order_of_the_steps_prepared_or_not(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        pipeline = Pipeline(connection)
        for _ in range(3):
            answers = pipeline.run([(DOUBLE, [rows.bigint(n)]) for n in (1, -2, 3)])
            assert [number(answer) for answer in answers] == [2, -4, 6]
        assert connection.execute("select count(*) from pg_prepared_statements").fetchone() == (1,)


def test_an_error_is_raised_and_leaves_the_connection_usable(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        pipeline = Pipeline(connection)
        for _ in range(2):
            with pytest.raises(psycopg.errors.DivisionByZero):
                pipeline.run([(DOUBLE, [rows.bigint(1)]), (DIVIDE, [rows.bigint(0)]), (DOUBLE, [rows.bigint(2)])])
        assert number(pipeline.run([(DIVIDE, [rows.bigint(1)])])[0]) == 1
        assert connection.execute("select 7").fetchone() == (7,), "the driver's turn"


def test_a_server_that_says_nothing_is_given_up(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        began_at = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="said nothing"):
            Pipeline(connection, answer_timeout_s=0.2).run([(SLEEP, ())])
        assert time.monotonic() - began_at < 2
        connection.close()


def test_a_large_batch_flows_both_ways(database: str) -> None:
    """More than the sockets hold: sending must not wait for a server that waits to be read."""
    echo = Statement(b"echo", b"select $1::bytea")
    blob = bytes(1_000_000)
    with psycopg.connect(database, autocommit=True) as connection:
        answers = Pipeline(connection).run([(echo, [blob]) for _ in range(8)])
        assert [answer.get_value(0, 0) == blob for answer in answers] == [True] * 8
