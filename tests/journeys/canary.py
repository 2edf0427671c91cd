"""Looks for words everywhere that a running Felix keeps anything: every table, Valkey, and every byte of its files."""

from __future__ import annotations

import base64
import json
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import redis
from psycopg import sql

TABLES = (
    "select format('%I.%I', schemaname, tablename) from pg_tables"
    " where schemaname not in ('pg_catalog', 'information_schema') order by 1"
)


class Canary:
    """Words that nobody else uses, in each form in which they could be kept."""

    def __init__(self, *words: str) -> None:
        self.forms = sorted({form for word in words for form in forms_of(word)})

    def is_in(self, text: bytes) -> bool:
        """Whether any form is in a text; upper and lower case are the same."""
        folded = text.lower()
        return any(form in folded for form in self.forms)


def forms_of(word: str) -> Iterator[bytes]:
    """Plain, in hex as the text of a ``bytea``, in a URL, escaped in JSON, in UTF-16, and in base64 at each offset."""
    plain = word.encode()
    yield from (form.lower() for form in (plain, plain.hex().encode(), quote(word).encode(), word.encode("utf-16-le")))
    yield json.dumps(word)[1:-1].encode().lower()
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + plain).decode()
        inner = whole[4 if before else 0 :].rstrip("=")[:-1]
        yield inner.encode().lower()


def everywhere(data_dir: Path, canary: Canary) -> list[str]:
    """Every place of a running Felix that has it."""
    run = json.loads((data_dir / "run.json").read_text())
    return [*in_tables(run["database_url"], canary), *in_valkey(run["redis_url"], canary), *in_files(data_dir, canary)]


def in_tables(database_url: str, canary: Canary) -> list[str]:
    """Tables with a row that has it in any column, also of a kind that nobody thought of."""
    found = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        for (table,) in connection.execute(TABLES).fetchall():
            name = sql.SQL(table)
            for (row,) in connection.execute(sql.SQL("select t::text from {} t").format(name)):
                if canary.is_in(row.encode()):
                    found.append(f"table {table}")
                    break
        connection.execute("checkpoint")  # so that the files have what the tables have
    return found


def in_valkey(url: str, canary: Canary) -> list[str]:
    """Keys that have it, in their name or their value."""
    found = []
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            if canary.is_in(key + b"\0" + b"\0".join(_parts(client, key))):
                found.append(f"valkey {key.decode(errors='replace')}")
    return found


def _parts(client: Any, key: bytes) -> Sequence[bytes]:
    match client.type(key):
        case b"string":
            return [client.get(key) or b""]
        case b"list":
            return list(client.lrange(key, 0, -1))
        case b"set":
            return list(client.smembers(key))
        case b"zset":
            return list(client.zrange(key, 0, -1))
        case b"hash":
            return [part for pair in client.hgetall(key).items() for part in pair]
        case other:
            return [client.dump(key) or b"", other]


def in_files(directory: Path, canary: Canary) -> list[str]:
    """Files that have it: logs, mails, backups, and those of the database with its log."""
    found = []
    for folder, _, names in os.walk(directory):
        for path in (Path(folder) / name for name in names):
            if path.is_file() and path.stat().st_size and _file_has(path, canary):
                found.append(f"file {path.relative_to(directory)}")
    return sorted(found)


def _file_has(path: Path, canary: Canary) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(canary.is_in(content[at : at + 2**20 + 4096]) for at in range(0, len(content), 2**20))
