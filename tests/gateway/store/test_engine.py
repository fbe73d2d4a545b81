"""How the store's database is opened, and how its schema comes to be what this version needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

import gateway.store.engine
from gateway.store import StoreUnavailable, open_store
from gateway.store.engine import WRITE, make_engine
from gateway.store.schema import metadata
from tests.gateway.store.samples import Place, hold, sqlite_url
from tests.support.certificates import Authority
from tests.support.postgres import Postgres

MIGRATIONS = Path(gateway.store.engine.__file__).parent / "migrations"
REVISIONS = list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())[::-1]
"""From the oldest to the newest."""


async def in_transaction(engine: AsyncEngine, sql: str) -> object:
    async with engine.connect() as connection:
        await connection.execution_options(**WRITE)
        async with connection.begin():
            result = await connection.execute(sa.text(sql))
            return result.scalar() if result.returns_rows else None


async def test_sqlite_keeps_what_it_said_it_kept(tmp_path: Path) -> None:
    engine = make_engine(sqlite_url(tmp_path))
    try:
        settings = {
            name: await in_transaction(engine, f"PRAGMA {name}")
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    finally:
        await engine.dispose()
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


async def test_a_writer_that_declared_itself_waits_for_the_other(tmp_path: Path) -> None:
    engine = make_engine(sqlite_url(tmp_path))
    try:
        await in_transaction(engine, "CREATE TABLE t (x int)")
        async with engine.connect() as reader, reader.begin():
            assert await reader.scalar(sa.text("SELECT count(*) FROM t")) == 0
            await in_transaction(engine, "INSERT INTO t VALUES (1)")
            # A reader goes on seeing what it saw.
            assert await reader.scalar(sa.text("SELECT count(*) FROM t")) == 0
        assert await in_transaction(engine, "SELECT count(*) FROM t") == 1
    finally:
        await engine.dispose()


async def test_the_store_goes_through_tls_when_it_is_told_to(
    tls_postgres: Postgres, authority: Authority, tmp_path: Path
) -> None:
    name = tls_postgres.create_database(template=None)
    server = f"postgresql://{tls_postgres.superuser}@localhost:{tls_postgres.port}/{name}"
    for options in (
        f"sslmode=verify-full&sslrootcert={authority.cert}",
        f"sslmode=verify-ca&sslrootcert={authority.cert}",
        "sslmode=require",
    ):
        async with Place("postgresql", f"{server}?{options}").open() as store:
            await store.ping()
            encrypted = tls_postgres.scalar(
                "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                "WHERE application_name = 'holdgate'"
            )
            assert encrypted is True
    stranger = Authority(tmp_path)
    for mode in ("verify-ca", "verify-full"):
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            await open_store(f"{server}?sslmode={mode}&sslrootcert={stranger.cert}")
    tls_postgres.drop_database(name)


async def test_a_file_of_certificates_that_is_not_there_is_one_line() -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        await open_store("postgresql://a@db/x?sslmode=verify-full&sslrootcert=/nowhere")


Schema = tuple[str | None, list[object], Mapping[str, object]]
"""The revision, how the tables differ from what the code expects, and all there is of each, whatever the order."""


def _schema(connection: Connection) -> Schema:
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    inspector = sa.inspect(connection)

    def described(table: str) -> object:
        columns: list[Any] = [
            {**column, "type": str(column["type"])} for column in inspector.get_columns(table)
        ]
        parts = (
            columns,
            inspector.get_indexes(table),
            inspector.get_foreign_keys(table),
            inspector.get_unique_constraints(table),
            [inspector.get_pk_constraint(table)],
        )
        return [sorted(str(sorted(one.items(), key=str)) for one in part) for part in parts]

    tables = {table: described(table) for table in inspector.get_table_names()}
    differences: list[object] = compare_metadata(context, metadata)
    return context.get_current_revision(), differences, tables


async def _schema_at(url: str) -> Schema:
    engine = make_engine(url)
    try:
        async with engine.connect() as connection, connection.begin():
            return await connection.run_sync(_schema)
    finally:
        await engine.dispose()


async def test_the_migrations_make_what_an_empty_store_is_given(place: Place) -> None:
    async with place.open():
        pass
    fresh = await _schema_at(place.url)
    revision, differences, described = fresh
    assert revision == REVISIONS[-1].revision
    assert differences == []
    assert described.keys() == {*metadata.tables, "alembic_version"}
    assert await take_back(place.url, 1) != []
    assert await _schema_at(place.url) != fresh
    async with place.open():
        pass
    assert await _schema_at(place.url) == fresh


async def test_opening_twice_changes_nothing(place: Place) -> None:
    async with place.open() as store:
        await store.add_hold(hold(), limit=9, limit_per_user=9)
        async with place.open() as again:
            assert await again.hold(hold().id) == hold()


async def test_a_store_of_a_newer_version_is_refused_and_left_alone(place: Place) -> None:
    async with place.open():
        pass
    engine = make_engine(place.url)
    try:
        await in_transaction(engine, "UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StoreUnavailable, match="the store has schema 9999, which this version does not"):
            await open_store(place.url)
        assert await in_transaction(engine, "SELECT version_num FROM alembic_version") == "9999"
    finally:
        await engine.dispose()


async def take_back(url: str, to: int) -> list[str]:
    """Take back all migrations after the first ``to``; the names of the tables that are left."""

    def down(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            for revision in reversed(REVISIONS[to:]):
                revision.module.downgrade()
        version = f"'{REVISIONS[to - 1].revision}'"
        connection.execute(
            sa.text(
                f"UPDATE alembic_version SET version_num = {version}" if to else "DELETE FROM alembic_version"
            )
        )
        return sa.inspect(connection).get_table_names()

    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(**WRITE)
            async with connection.begin():
                return await connection.run_sync(down)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("number", range(1, len(REVISIONS)))
async def test_a_store_of_an_older_version_is_brought_up_to_date(place: Place, number: int) -> None:
    async with place.open() as store:
        await store.add_hold(hold(), limit=9, limit_per_user=9)
    await take_back(place.url, number)
    async with place.open() as store:
        assert await store.hold(hold().id) == hold()


async def test_every_migration_can_be_taken_back(place: Place) -> None:
    async with place.open():
        pass
    assert await take_back(place.url, 0) == ["alembic_version"]
    async with place.open() as store:
        assert await store.hold(hold().id) is None
