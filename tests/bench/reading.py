"""``make bench-reading``: what it costs to judge a statement that was not seen before, with the catalog at hand.

Medians in microseconds, all of one run: libpg_query's own parse (the C call alone, then with its JSON made into
Python), sqlglot's own parse, and the judge: the facts, the verdict from the facts, both together, and a verdict
taken from the cache.
"""

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable

import sqlglot

from rules import Judge, compile_policy
from rules.catalog import SchemaSnapshot
from tests.bench.statements import STATEMENTS
from tests.redteam.__main__ import SCHEMA, SHIPPED
from tests.redteam.arena import TEMPLATE, run_arena
from tests.rules.policies import STRICT, context
from tests.support.catalog import snapshot_of
from tests.support.pg_query import parse_json

__all__ = ["main", "measure"]

ROUNDS = 200


def main(rounds: int = ROUNDS) -> int:
    """Measure and print the table."""
    with run_arena((SHIPPED / SCHEMA).read_text(encoding="utf-8"), None) as arena:
        catalog = snapshot_of(arena.postgres, TEMPLATE)
    columns = (
        "bytes",
        "libpg_query",
        "+ json",
        "sqlglot",
        "facts",
        "verdict",
        "miss",
        "hit",
        "/ json",
        "/ sqlglot",
    )
    print(" ".join(f"{name:>11}" for name in ("statement", *columns)))
    for name, sql in STATEMENTS.items():
        row = measure(sql, catalog, rounds)
        ratios = (row["miss"] / row["+ json"], row["miss"] / row["sqlglot"])
        figures = [
            f"{len(sql):>11}",
            *(f"{row[column]:>11.1f}" for column in columns[1:8]),
            *(f"{r:>11.2f}" for r in ratios),
        ]
        print(" ".join([f"{name:>11}", *figures]))
    return 0


def measure(sql: str, catalog: SchemaSnapshot, rounds: int = ROUNDS) -> dict[str, float]:
    """The medians for one statement, in microseconds. They are taken in turns, so that all see the same machine."""
    raw = sql.encode()
    around = context(catalog=catalog)
    cold = Judge(compile_policy(STRICT), cache_size=0)
    warm = Judge(compile_policy(STRICT))
    facts = warm.judge(raw, around).facts
    calls: dict[str, Callable[[], object]] = {
        "libpg_query": lambda: parse_json(raw),
        "+ json": lambda: json.loads(parse_json(raw) or b"null"),
        "sqlglot": lambda: sqlglot.parse(sql, dialect="postgres"),
        "verdict": lambda: cold.policy.decide(facts, around),
        "miss": lambda: cold.judge(raw, around),
        "hit": lambda: warm.judge(raw, around),
    }
    taken: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                started = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - started)
    finally:
        gc.enable()
    medians = {name: statistics.median(seconds) * 1e6 for name, seconds in taken.items()}
    return {**medians, "facts": medians["miss"] - medians["verdict"]}


if __name__ == "__main__":
    sys.exit(main())
