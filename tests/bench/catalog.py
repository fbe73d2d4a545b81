"""``make bench-catalog``: what it costs to know a large database: time, memory, and how long the event loop is held.

A database of ``--tables`` tables (each with a key, a reference, a sequence and an index, one in twenty with a view,
and a function for every hundred) is read as the gateway reads it, by a login of its own. Then a table is made and a
column is added, and it is brought up to date each time; then one definition after the other is changed. How long the
loop is held is told by a ticker on it, in time of the processor, so that others on the machine do not count.
"""

import argparse
import asyncio
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from gateway.catalog import Catalog
from gateway.catalog.kept import Looker
from gateway.collector import spare_what_stays
from gateway.config import Database, Login
from gateway.metrics import Metrics
from gateway.tasks import spawn
from gateway.upstream import Connector
from tests.support.memory import resident
from tests.support.postgres import Postgres, run_postgres

__all__ = ["Measured", "main", "measure"]

TICK = 0.001

_TABLES = """
DO $$ BEGIN
  FOR i IN {first}..{last} LOOP
    EXECUTE format('CREATE TABLE t%s (id bigserial PRIMARY KEY, parent bigint %s, name text NOT NULL, email text,
      amount numeric DEFAULT 0, note text, created_at timestamptz DEFAULT now(), state int)', i,
      CASE WHEN i % 10 > 0 THEN format('REFERENCES t%s ON DELETE CASCADE', i - i % 10) ELSE '' END);
    EXECUTE format('CREATE INDEX ON t%s (parent)', i);
    IF i % 20 = 0 THEN
      EXECUTE format('CREATE VIEW v%s AS SELECT id, lower(email) AS mail FROM t%s WHERE state > 0', i, i);
    END IF;
    IF i % 100 = 0 THEN
      EXECUTE format('CREATE FUNCTION f%s(p int) RETURNS text LANGUAGE sql STABLE AS
        ''SELECT email FROM t%s WHERE id = p''', i, i);
    END IF;
  END LOOP;
END $$
"""
_AT_ONCE = 500
"""Tables made in one transaction: each takes locks."""

_CHANGES: Mapping[str, str] = {
    "after CREATE TABLE": "CREATE TABLE made (id int PRIMARY KEY, name text)",
    "after ADD COLUMN": "ALTER TABLE t0 ADD added text",
    "after CREATE VIEW": "CREATE VIEW made_view AS SELECT id FROM made",
    "after DROP TABLE": "DROP TABLE made CASCADE",
}


_MIGRATION = 20
"""Definitions that are changed one after the other, each followed by a statement that waits to be judged."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds that a reading took, the longest that the loop was held meanwhile, the longest pause of the garbage
    collector in it, and the bytes that were added to the process."""

    what: str
    seconds: float
    held: float
    collected: float
    bytes_added: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="make bench-catalog")
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    with run_postgres() as postgres:
        name = postgres.create_database(None)
        made = make_tables(postgres, name, options.tables)
        print(
            f"{options.tables} tables made in {made:.0f} s; read by a login of the gateway's own:", flush=True
        )
        figures = uvloop.run(measure(postgres, name))
    print(f"{'':20} {'seconds':>8} {'loop held ms':>13} {'of it gc ms':>12} {'added MB':>9}")
    for one in figures:
        row = (one.seconds, one.held * 1000, one.collected * 1000, one.bytes_added / 1e6)
        print(f"{one.what:20} {row[0]:8.3f} {row[1]:13.1f} {row[2]:12.1f} {row[3]:9.1f}")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in figures], indent=1) + "\n")
    return 0


def make_tables(postgres: Postgres, database: str, tables: int) -> float:
    """Make them; how many seconds it took."""
    started = time.perf_counter()
    for first in range(0, tables, _AT_ONCE):
        postgres.execute(_TABLES.format(first=first, last=min(first + _AT_ONCE, tables) - 1), database)
    postgres.execute("VACUUM ANALYZE", database)
    return time.perf_counter() - started


async def measure(postgres: Postgres, database: str) -> list[Measured]:
    """The first reading, a comparison, and a reading after each of some changes."""
    place = Database(postgres.host, postgres.port, sslmode="disable", inspect=Login(postgres.superuser))
    catalog = Catalog(database, poll=lambda: 3600.0, generations=itertools.count(1), metrics=Metrics())
    catalog.looker = Looker(Connector(), place, database)
    # As the gateway does when it has started.
    spare_what_stays()
    figures = [await _measured("first", catalog.ready)]
    figures.append(await _measured("unchanged", catalog.poll))
    for what, sql in _CHANGES.items():
        await asyncio.to_thread(postgres.execute, sql, database)
        catalog.changed()
        figures.append(await _measured(what, catalog.ready))

    async def migrate() -> None:
        for number in range(_MIGRATION):
            await asyncio.to_thread(postgres.execute, f"ALTER TABLE t{number} ADD more text", database)
            catalog.changed()
            await catalog.ready()

    figures.append(await _measured(f"{_MIGRATION} definitions", migrate))
    catalog.looker.close()
    return figures


async def _measured(what: str, work: Callable[[], Awaitable[object]]) -> Measured:
    before = resident(os.getpid())
    async with _ticking() as late:
        with _collecting() as pauses:
            started = time.perf_counter()
            await work()
            seconds = time.perf_counter() - started
    return Measured(
        what, seconds, max(late, default=0.0), max(pauses, default=0.0), resident(os.getpid()) - before
    )


@asynccontextmanager
async def _ticking() -> AsyncIterator[list[float]]:
    """How long the loop's thread worked each time between two turns of a task that wants one every :data:`TICK`."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(TICK)
            late.append(time.thread_time() - before)

    ticker = spawn(tick(), name="ticker")
    try:
        yield late
        # What held the loop to the end shows in the next tick.
        await asyncio.sleep(2 * TICK)
    finally:
        ticker.cancel()


@contextmanager
def _collecting() -> Iterator[list[float]]:
    """How long each run of the garbage collector took."""
    pauses: list[float] = []
    began = 0.0

    def note(phase: str, _: Mapping[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            pauses.append(time.thread_time() - began)

    gc.callbacks.append(note)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(note)


if __name__ == "__main__":
    sys.exit(main())
