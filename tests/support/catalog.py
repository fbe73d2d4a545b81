"""The catalog of a test's database, read directly."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg

from gateway.catalog import Ask, AskError, read_catalog
from gateway.catalog.build import Row
from rules.catalog import SchemaSnapshot
from tests.support.postgres import Postgres

__all__ = ["ask_through", "snapshot_of"]


def ask_through(connection: psycopg.Connection[Any]) -> Ask:
    """The port through which a catalog is read, over a connection in autocommit."""

    async def ask(sql: str) -> Sequence[Row]:
        try:
            cursor = connection.execute(sql.encode())
        except psycopg.Error as error:
            raise AskError(error.sqlstate or "", str(error)) from error
        return cursor.fetchall() if cursor.description else []

    return ask


def snapshot_of(postgres: Postgres, database: str) -> SchemaSnapshot:
    """What the database's catalog says now."""
    with postgres.connect(database) as connection:
        return asyncio.run(read_catalog(ask_through(connection)))
