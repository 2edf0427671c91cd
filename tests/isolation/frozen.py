"""One clock and one source of chance for every world, so that an answer depends on nothing but what a world holds.

Neither is a seam of the product: the clock of this process is replaced by time-machine, that of a database by functions
that its search path finds before its own, and chance by what Python draws all of it from.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import shake_256
from typing import Any

import psycopg
import pytest
import time_machine

from felix.api.key_uses import LastUses

#: A quarter past nothing: no day, hour or minute ends while a run is on.
BEGINNING = datetime.fromisoformat("2031-03-05T06:07:08.900+00:00")

_FREEZE = """
    create schema frozen;
    create table frozen.clock (at timestamptz not null);
    insert into frozen.clock values ('{at}');
    create function frozen.now() returns timestamptz language sql stable as 'select at from frozen.clock';
    create function frozen.clock_timestamp() returns timestamptz language sql stable as 'select at from frozen.clock';
    grant usage on schema frozen to public;
    grant select on frozen.clock to public;
    do $$
    declare
      each record;
    begin
      execute format('alter database %I set search_path = frozen, pg_catalog, public', current_database());
      for each in
        select d.adrelid::regclass as target, a.attname as name from pg_attrdef d
        join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
        where pg_get_expr(d.adbin, d.adrelid) in ('now()', 'clock_timestamp()')
      loop
        execute format('alter table %s alter column %I set default frozen.now()', each.target, each.name);
      end loop;
    end
    $$
"""


class Chance:
    """Bytes that follow from a seed alone. Whoever draws, in whatever thread, draws from here."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.seed("")

    def seed(self, text: str) -> None:
        """Begin anew: the same text, the same bytes."""
        with self._guard:
            self._text, self._drawn = text, 0

    def draw(self, size: int) -> bytes:
        """So many bytes, as ``os.urandom``."""
        with self._guard:
            self._drawn += 1
            return shake_256(f"{self._text}/{self._drawn}".encode()).digest(size)


class Clock:
    """The time of this process and of every database that it was given."""

    def __init__(self, traveller: time_machine.Coordinates) -> None:
        self.at = BEGINNING
        self._traveller = traveller
        self._databases: list[psycopg.Connection[Any]] = []

    def stop_in(self, owner: psycopg.Connection[Any]) -> None:
        """Let a database have this clock. Those who are connected to it already keep their own."""
        owner.execute(_FREEZE.format(at=self.at.isoformat()).encode())
        self._databases.append(owner)

    def advance(self, by: timedelta) -> None:
        """Let time pass, everywhere."""
        self.at += by
        self._traveller.move_to(self.at)
        for database in self._databases:
            database.execute("update frozen.clock set at = %s", (self.at,))

    def now_s(self) -> float:
        """Seconds, for what counts without a calendar."""
        return self.at.timestamp()


@contextmanager
def frozen() -> Iterator[tuple[Clock, Chance]]:
    """Stop the clock and take chance away, for as long as it lasts."""
    chance = Chance()
    patch = pytest.MonkeyPatch()
    patch.setattr(os, "urandom", chance.draw)
    # Where `secrets` and everything else that draws in Python has it from.
    patch.setattr(random, "_urandom", chance.draw)
    # Written down once a minute by the clock that is not stopped: in the midst of whatever is compared then.
    patch.setattr(LastUses, "start", lambda self: None)
    with time_machine.travel(BEGINNING, tick=False) as traveller:
        try:
            yield Clock(traveller), chance
        finally:
            patch.undo()
