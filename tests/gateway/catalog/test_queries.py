"""The queries' text: what depends on the server's version and on locks. What they find is tested by reading."""

import pytest

from gateway.catalog.queries import catalog_queries
from tests.support.catalog import ask_through
from tests.support.postgres import Postgres

VERSIONS = tuple(major * 10_000 for major in (13, 14, 15, 16, 17, 18))

ADDED = {
    140_000: ("typsubscript", "stxexprs", "prosqlbody"),
    180_000: ("conenforced",),
}
"""Columns of the catalog by the version that brought them; PostgreSQL's release notes."""


@pytest.mark.parametrize("beside_locks", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_no_column_is_asked_for_before_it_existed(version: int, beside_locks: bool) -> None:
    text = "".join(catalog_queries(version, beside_locks=beside_locks).values())
    for since, columns in ADDED.items():
        for column in columns:
            wanted = version >= since and (beside_locks or column != "prosqlbody")
            assert (column in text) == wanted, column


@pytest.mark.parametrize("beside_locks", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
async def test_an_older_servers_queries_run_on_a_newer_one(
    postgres: Postgres, empty_database: str, version: int, beside_locks: bool
) -> None:
    with postgres.connect(empty_database) as connection:
        if version > connection.info.server_version:
            return
        ask = ask_through(connection)
        for query in catalog_queries(version, beside_locks=beside_locks).values():
            assert all(len(row) == 1 for row in await ask(query))


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_looks_at_locks_unless_told_to(version: int) -> None:
    assert "pg_locks" not in "".join(catalog_queries(version).values())
    beside = catalog_queries(version, beside_locks=True)
    asking = {name for name, query in beside.items() if "pg_locks" in query}
    functions = {"functions"} if version >= 140_000 else set()
    assert asking == {"views", "rules", "triggers", "code"} | functions
