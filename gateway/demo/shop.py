"""The database of the demonstration: made once, found again at the next start."""

import psycopg
from psycopg import sql

from gateway.demo.sample import sample_sql
from gateway.demo.server import PostgresServer
from gateway.demo.settings import DATABASE, Passwords

__all__ = ["prepare_shop"]

_DONE = "holdgate demonstration"
"""Comment on the database once it is complete; an interrupted preparation begins anew."""


def prepare_shop(server: PostgresServer, passwords: Passwords) -> bool:
    """Make the role ``app`` and the sample database in the running ``server``; True if they were new.

    Blocks. Raises psycopg.Error when the server refuses.
    """
    with _connect(server, "postgres") as connection:
        done = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [DATABASE]
        ).fetchone()
        if done == (_DONE,):
            return False
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE))
        )
        connection.execute("DROP ROLE IF EXISTS app")
        connection.execute(sql.SQL("CREATE ROLE app LOGIN PASSWORD {}").format(sql.Literal(passwords.app)))
        # The application's role owns the shop, as in most shops: the gateway is what stands between.
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER app").format(sql.Identifier(DATABASE)))
    with _connect(server, DATABASE) as connection:
        connection.execute("ALTER SCHEMA public OWNER TO app")
        connection.execute("SET ROLE app")
        connection.execute(sample_sql().encode())
    with _connect(server, "postgres") as connection:
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(DATABASE), sql.Literal(_DONE))
        )
    return True


def _connect(server: PostgresServer, database: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=server.host,
        port=server.port,
        user=server.superuser,
        password=server.password,
        dbname=database,
        autocommit=True,
        connect_timeout=10,
    )
