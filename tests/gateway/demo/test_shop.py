from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.demo.sample import CUSTOMERS
from gateway.demo.server import PostgresServer
from gateway.demo.settings import DATABASE, Passwords
from gateway.demo.shop import prepare_shop

PASSWORDS = Passwords("super", "app", "carols")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    made = PostgresServer(tmp_path / "postgres", password=PASSWORDS.superuser, settings={"fsync": "off"})
    made.start()
    yield made
    made.destroy()


def _as_app(server: PostgresServer) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=server.host, port=server.port, user="app", password="app", dbname=DATABASE, autocommit=True
    )


def test_the_shop_is_made_once_and_belongs_to_the_application(server: PostgresServer) -> None:
    assert prepare_shop(server, PASSWORDS) is True
    with _as_app(server) as connection:
        connection.execute("DELETE FROM customer WHERE customer_id = 42")
    assert prepare_shop(server, PASSWORDS) is False
    with _as_app(server) as connection:
        assert connection.execute("SELECT count(*) FROM customer").fetchone() == (CUSTOMERS - 1,)
        superuser = connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert superuser == (False,)


def test_a_preparation_that_was_interrupted_begins_anew(server: PostgresServer) -> None:
    settings = {"host": server.host, "port": str(server.port), "user": "postgres", "password": "super"}
    text = " ".join(f"{key}={value}" for key, value in settings.items())
    with psycopg.connect(text, dbname="postgres", autocommit=True) as connection:
        connection.execute("CREATE ROLE app")
        connection.execute(f"CREATE DATABASE {DATABASE} OWNER app".encode())
    assert prepare_shop(server, PASSWORDS) is True
    with _as_app(server) as connection:
        assert connection.execute("SELECT count(*) FROM customer").fetchone() == (CUSTOMERS,)
