"""Opening the store's database: SQLite, set for durability, or PostgreSQL through asyncpg."""

import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.store.port import StoreUnavailable
from gateway.store.schema import metadata

__all__ = ["WRITE", "make_engine", "migrate"]

WRITE: Mapping[str, Any] = {"holdgate_write": True}
"""Execution options of a transaction that will write."""

BUSY_MS = 5_000
CONNECT_SECONDS = 5
COMMAND_SECONDS = 10
POOL_SIZE = 4

_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}


def make_engine(url: str) -> AsyncEngine:
    """An engine for ``sqlite:///FILE`` or ``postgresql://...``; nothing is opened yet. Raises ValueError."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    return _postgresql(parsed)


def _sqlite(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"), pool_size=POOL_SIZE, pool_timeout=COMMAND_SECONDS
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        # The driver's own transactions begin too late for DDL and as readers; BEGIN is ours, below.
        connection.isolation_level = None
        try:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.close()
        except BaseException:
            # The pool forgets a connection that could not be prepared, and with it a file and a thread.
            connection.close()
            raise

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that turns writer fails at once when another wrote meanwhile; a declared writer waits.
        writes = connection.get_execution_options().get("holdgate_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> AsyncEngine:
    query = dict(url.query)
    arguments: dict[str, Any] = {
        "timeout": CONNECT_SECONDS,
        "command_timeout": COMMAND_SECONDS,
        "server_settings": {"application_name": "holdgate"},
    }
    mode = query.pop("sslmode", None)
    if mode is not None:
        if mode not in _SSL_MODES:
            raise ValueError(f"store.url: sslmode must be one of {', '.join(sorted(_SSL_MODES))}")
        arguments["ssl"] = str(mode)
    root = query.pop("sslrootcert", None)
    if root is not None and mode in ("verify-ca", "verify-full"):
        context = ssl.create_default_context(cafile=str(root))
        context.check_hostname = mode == "verify-full"
        arguments["ssl"] = context
    if query.keys() - {"host", "port"}:
        raise ValueError(f"store.url: unknown options {', '.join(sorted(query.keys() - {'host', 'port'}))}")
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=query),
        connect_args=arguments,
        pool_size=POOL_SIZE,
        pool_timeout=COMMAND_SECONDS,
        pool_pre_ping=True,
    )


def migrate(connection: Connection) -> None:
    """Bring the schema to the newest revision, inside the transaction of ``connection``.

    Raises :class:`StoreUnavailable` when the store was written by a newer version.
    """
    config, script = _migrations()
    context = MigrationContext.configure(connection)
    current = context.get_current_revision()
    head = script.get_current_head()
    if current == head:
        return
    if current is None and not set(inspect(connection).get_table_names()) & metadata.tables.keys():
        # What an empty store gets is what the migrations lead to, and takes a tenth of their time.
        metadata.create_all(connection)
        context.stamp(script, "head")
        return
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise StoreUnavailable(f"the store has schema {current}, which this version does not know")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    finally:
        del config.attributes["connection"]


@cache
def _migrations() -> tuple[AlembicConfig, ScriptDirectory]:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config, ScriptDirectory.from_config(config)
