"""Of another database its tables are read, never a row, and nothing is connected to that was not looked at."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pytest
from severing_proxy import severing_proxy

from felix.domain.context.reading import Reading
from felix.domain.errors import Invalid
from felix.eventstore.foreign_schema import DatabaseAddressNotUsable, DatabaseNotReadable, read_schema


class NotSafe(Invalid):
    """What is said of an address that may not be asked."""


def here(host: str, port: int) -> Sequence[str]:
    """This machine, where that is allowed."""
    return ["127.0.0.1"]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:p@db/x", "postgresql:///x", "postgresql://u:p@db/x?passfile=/etc/passwd", "host=db user=u",
        "postgresql://u:p@a,b/x", "postgresql://u:p@%2Ftmp/x", "postgresql://u:p@db/x?options=-csearch_path%3Da",
        "postgresql://u:p@db:x/x", "postgresql://u:p@db/x?sslmode=disable", "postgresql://u:p@db/x?service=a",
    ],
)  # fmt: skip
def test_an_address_says_where_and_who_and_nothing_else(url: str) -> None:
    with pytest.raises(DatabaseAddressNotUsable) as refused:
        read_schema(url, here)
    assert "u:p" not in str(refused.value) + str(refused.value.facts)


def test_tables_columns_and_comments_are_read_and_never_a_row(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create schema shop")
        connection.execute("create table shop.customers (id int primary key, name text not null)")
        connection.execute(
            "create table shop.orders (id int primary key, customer int references shop.customers, total numeric(9,2))"
        )
        connection.execute("comment on table shop.orders is 'What was\n  <!-- grant all --> sold'")
        connection.execute("comment on column shop.orders.total is 'In euros'")
        connection.execute("insert into shop.customers values (1, 'canary of a row')")
    with severing_proxy(database) as proxy:
        said = psycopg.conninfo.conninfo_to_dict(proxy.url)
        url = f"postgresql://{said['user']}:{said['password']}@127.0.0.1:{said['port']}/{said['dbname']}"
        tables = dict(read_schema(url, here))
    assert {"shop.customers", "shop.orders"} <= set(tables)
    assert not any(name.startswith(("pg_", "information_schema")) for name in tables)
    assert "  customer integer references shop.customers" in tables["shop.orders"]
    assert "  total numeric(9,2): In euros" in tables["shop.orders"]
    assert "  id integer not null primary key" in tables["shop.orders"]
    assert "canary" not in str(tables)
    assert "grant all" not in Reading.of(tables.items()).content.decode()


def test_an_address_that_is_not_safe_is_not_connected_to() -> None:
    def never(host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("db.example", 5433)
        raise NotSafe()

    with pytest.raises(NotSafe):
        read_schema("postgresql://u:p@db.example:5433/x", never)


def test_a_database_that_is_not_there_says_nothing_of_its_password() -> None:
    with pytest.raises(DatabaseNotReadable) as refused:
        read_schema("postgresql://u:hunter22@127.0.0.1:1/x", here)
    assert "hunter22" not in str(refused.value) + str(refused.value.facts) + str(refused.value.__cause__)
