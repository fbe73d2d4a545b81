"""A fresh store of each kind."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.store.sql import SqlStore
from tests.gateway.store.samples import Place, postgresql_url, sqlite_url
from tests.support.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where a new store is to be: in a SQLite file, and in a database of a PostgreSQL server."""
    if request.param == "sqlite":
        yield Place("sqlite", sqlite_url(tmp_path))
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database(template=None)
    yield Place("postgresql", postgresql_url(postgres, name))
    postgres.drop_database(name)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[SqlStore]:
    """A new store, open."""
    async with place.open() as opened:
        yield opened
