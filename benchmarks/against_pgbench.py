"""Bulk usage against ``pgbench``, which inserts single rows and commits each, at 32 clients on the same server.

The peer's table has the columns of ``felix.events``, a state as long as the average of ours, and one primary key where
ours has four unique indexes; its statement is prepared. Rounds alternate: pgbench, bulk over HTTP through one API
process, bulk in process. All are durable: a transaction counts when it is on disk.
"""

from __future__ import annotations

import os
import re
import subprocess

from benchmarks import in_process
from benchmarks.books import open_books, performing
from benchmarks.bulk_usage import over_http
from benchmarks.report import Row
from benchmarks.server import PARTITIONS, Bench
from felix.bootstrap import Endpoints, connect_owner
from felix.embedded import postgres_bin_dir

CLIENTS = 32
_TABLE = """
    create table pgbench_events (position bigserial primary key, partition int, tenant_id uuid, tenant_sequence bigint,
      version bigint, recorded_at timestamptz, event_id uuid, stream text, type text, command_key text, actor text,
      metadata json, state bytea, dedupe_key bytea)
"""
_SCRIPT = """\\set n random(1, 1000000000)
insert into pgbench_events (partition, tenant_id, tenant_sequence, version, recorded_at, event_id, stream, type,
  command_key, actor, metadata, state, dedupe_key)
values (1, '0192f0c1-2b3c-7d4e-8f5a-6b7c8d9e0f1a', :n, :n, now(), gen_random_uuid(),
  '0192f0c1-2b3c-7d4e-8f5a-6b7c8d9e0f1a/token_account/acct_0192f0c12b3c7d4e8f5a6b7c8d9e0f1a', 'ledger.tokens_debited',
  gen_random_uuid()::text, 'client/key_0123456789abcdef', '{{"correlation_id":"0192f0c1-2b3c-7d4e-8f5a-6b7c8d9e0f1a"}}',
  '{state}', '0123456789abcdef');
"""


def run(bench: Bench) -> list[Row]:
    """Measure."""
    in_process.collect_as_served()
    endpoints = bench.database("against_pgbench")
    books = open_books(endpoints, tenants=PARTITIONS, accounts=200)
    batches = bench.amount(80, 4)
    peer, http, process = [], [], []
    with bench.api(endpoints) as api:
        over_http(bench, endpoints, api, books, bench.amount(16, 4))
        length = int(bench.query(endpoints, "select avg(length(state)) from felix.events where dedupe_key is not null"))
        with connect_owner(endpoints) as owner:
            owner.execute(_TABLE)
        bench.settle(endpoints)
        for _ in range(bench.rounds):
            peer.append(pgbench(bench, endpoints, length, seconds=bench.amount(3, 1)))
            # The process below wrote to the same partitions: the API has to load its accounts again first.
            over_http(bench, endpoints, api, books, bench.amount(16, 4))
            http.append(over_http(bench, endpoints, api, books, batches)[0])
            with performing(endpoints) as performer:
                in_process.bulk(performer, books, 4)
                process.append(in_process.bulk(performer, books, batches))
    note = f"state of {length} bytes"
    return [
        Row(f"pgbench, single-row insert and commit, {CLIENTS} clients", "/s", peer, note=note),
        Row("bulk over HTTP against pgbench", "x", [a / b for a, b in zip(http, peer, strict=True)], at_least=1.5),
        Row("bulk in process against pgbench", "x", [a / b for a, b in zip(process, peer, strict=True)], at_least=1.5),
    ]


def pgbench(bench: Bench, endpoints: Endpoints, state_length: int, *, seconds: int) -> float:
    """Inserts a second."""
    script = bench.directory / "insert.sql"
    script.write_text(_SCRIPT.format(state="x" * state_length))
    address = bench.postgres
    done = subprocess.run(
        [
            *(postgres_bin_dir() / "pgbench", "--no-vacuum", "--protocol=prepared", f"--file={script}"),
            *(f"--client={CLIENTS}", "--jobs=2", f"--time={seconds}"),
            *(f"--host={address.socket_dir}", f"--port={address.port}", f"--username={address.user}"),
            str(bench.query(endpoints, "select current_database()")),
        ],
        env=os.environ | {"PGPASSWORD": address.password},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench said: {done.stdout}{done.stderr}")
    return float(found[1])
