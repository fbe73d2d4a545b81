"""The catalog of a test's database, read directly."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import psycopg

from gateway.catalog import Ask, AskError, Catalog, SessionCatalog, read_catalog
from gateway.catalog.build import Row
from gateway.metrics import Metrics
from rules.catalog import SchemaSnapshot
from tests.support.postgres import Postgres

__all__ = ["ask_through", "snapshot_of", "without_catalog"]


def ask_through(connection: psycopg.Connection[Any]) -> Ask:
    """The port through which a catalog is read, over a connection in autocommit."""

    async def ask(sql: str) -> Sequence[Row]:
        try:
            cursor = connection.execute(sql.encode())
        except psycopg.Error as error:
            raise AskError(error.sqlstate or "", str(error)) from error
        return cursor.fetchall() if cursor.description else []

    return ask


class _NoWay:
    """A session that cannot be asked."""

    in_transaction = False
    open = False

    async def run(self, queries: Sequence[str]) -> Sequence[Sequence[Row]]:
        raise OSError("there is no server")


def without_catalog(database: str) -> SessionCatalog:
    """A session's view of the catalog where nobody needs one: names stand for themselves."""
    generations = itertools.count(1)
    catalog = Catalog(database, poll=lambda: 30.0, generations=generations, metrics=Metrics())
    return SessionCatalog(catalog, generations, _NoWay(), wanted=lambda: False)


def snapshot_of(postgres: Postgres, database: str) -> SchemaSnapshot:
    """What the database's catalog says now."""
    with postgres.connect(database) as connection:
        return asyncio.run(read_catalog(ask_through(connection)))
