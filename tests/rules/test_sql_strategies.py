"""The wrappers are what they are named for: PostgreSQL runs each, deletes by it, shows by it."""

from collections.abc import Iterator

import pytest

from tests.redteam.__main__ import SCHEMA, SHIPPED
from tests.redteam.arena import Arena, run_arena
from tests.redteam.attempt import attempt
from tests.redteam.test_scoring import entry
from tests.rules.sql_strategies import AS_CTE, EXECUTING, EXPOSING, SHOWING


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with run_arena((SHIPPED / SCHEMA).read_text(encoding="utf-8"), None) as arena:
        yield arena


@pytest.mark.parametrize("wrapper", [*EXECUTING, *AS_CTE])
async def test_executing(arena: Arena, wrapper: str) -> None:
    arena.fresh()
    made = await attempt(
        entry(messages=(wrapper.format("DELETE FROM crm.orders").encode(),)),
        str(arena.postgres.socket_dir),
        arena.postgres.port,
        arena.database,
    )
    assert not made.errors
    assert arena.before["orders"] == 2000
    assert arena.personal_rows()["orders"] == 0


@pytest.mark.parametrize("outer", SHOWING)
async def test_showing(arena: Arena, outer: str) -> None:
    arena.fresh()
    kept = not outer.startswith("INSERT") and ("kept" in outer or "MERGE" in outer)
    look = b"SELECT name FROM public.feature_flags" if "MERGE" in outer else b"SELECT v FROM kept"
    messages = (
        b"SET search_path = scratch, crm, public",
        outer.format("SELECT email AS v FROM crm.customers_archive").encode(),
    )
    made = await attempt(
        entry(messages=(*messages, look) if kept else messages),
        str(arena.postgres.socket_dir),
        arena.postgres.port,
        arena.database,
    )
    assert not made.errors
    assert made.subjects >= (1 if "UPDATE" in outer else 50)


@pytest.mark.parametrize("wrapper", EXPOSING)
def test_exposing(arena: Arena, wrapper: str) -> None:
    arena.fresh()
    query = wrapper.format("SELECT email FROM crm.customers")
    rows = arena.postgres.execute(f"SELECT string_agg(a, ' ') FROM ({query}) AS q(a)", arena.database)
    assert (
        len({word.upper() for word in rows[0][0].replace(",", " ").replace('"', " ").split() if "@" in word})
        == 550
    )
    assert arena.postgres.execute(wrapper.format(query), arena.database)
