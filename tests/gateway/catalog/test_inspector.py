"""The gateway's own login for looking, against real and scripted servers."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway.catalog import AskError
from gateway.catalog import inspector as module
from gateway.catalog.inspector import Inspector, InspectorUnavailable
from gateway.config import Database, Login
from gateway.link import Link
from gateway.upstream import Connector
from protocol.messages import authentication, message, ready_for_query
from tests.support.certificates import Authority
from tests.support.listening import listening
from tests.support.postgres import Postgres

PASSWORD = "look only"


@pytest.fixture
def reader(postgres: Postgres) -> Iterator[str]:
    role = postgres.create_role(password=PASSWORD)
    yield role
    postgres.drop_role(role)


def database_of(server: Postgres, role: str, password: str | None = PASSWORD, **options: Any) -> Database:
    settings = {"host": server.host, "port": server.port, "sslmode": "disable", **options}
    return Database(**settings, inspect=Login(role, password))


@contextlib.asynccontextmanager
async def looking(database: Database, name: str) -> AsyncIterator[Inspector]:
    inspector = await Inspector.connect(Connector(), database, name)
    try:
        yield inspector
    finally:
        inspector.close()


async def test_it_reads_as_its_own_login(postgres: Postgres, reader: str, empty_database: str) -> None:
    with postgres.hba("host all all all scram-sha-256"):
        async with looking(database_of(postgres, reader), empty_database) as inspector:
            assert await inspector.run(
                [
                    "SELECT current_user, current_database(), NULL, ''",
                    "SELECT i, 'Größe' FROM generate_series(1, 3) i",
                    "SELECT WHERE false",
                    "SELECT current_setting('search_path'), current_setting('transaction_isolation')",
                ]
            ) == [
                [(reader, empty_database, None, "")],
                [(str(i), "Größe") for i in (1, 2, 3)],
                [],
                [("pg_catalog, pg_temp", "repeatable read")],
            ]
            assert await inspector.run([]) == []


async def test_values_are_bound_and_a_failure_is_one(postgres: Postgres, empty_database: str) -> None:
    async with looking(database_of(postgres, postgres.superuser), empty_database) as inspector:
        await inspector.statements("BEGIN", "SET LOCAL lock_timeout = 7")
        assert await inspector.ask("SELECT current_setting('lock_timeout')") == [("7ms",)]
        three = (3).to_bytes(4, "big")
        assert await inspector.ask(
            "SELECT $1 + 1, $2 || $3", [(23, 1, three), (25, 0, b"'x"), (25, 0, None)]
        ) == [("4", None)]
        with pytest.raises(AskError) as refused:
            await inspector.ask("SELECT 1 / $1", [(23, 0, b"0")])
        assert refused.value.sqlstate == "22012"
        with pytest.raises(AskError):
            await inspector.statements("SELECT 1")
        await inspector.statements("ROLLBACK")
        assert await inspector.ask("SELECT 1") == [("1",)]


async def test_it_cannot_write(postgres: Postgres, empty_database: str) -> None:
    async with looking(database_of(postgres, postgres.superuser), empty_database) as inspector:
        with pytest.raises(AskError) as refused:
            await inspector.run(["CREATE TABLE t ()"])
        assert refused.value.sqlstate == "25006"


async def test_the_name_in_the_configuration_counts(
    postgres: Postgres, reader: str, empty_database: str
) -> None:
    database = database_of(postgres, reader, dbname=empty_database)
    async with looking(database, "shop") as inspector:
        assert await inspector.run(["SELECT current_database()"]) == [[(empty_database,)]]


async def test_an_error_leaves_it_usable(postgres: Postgres, reader: str, empty_database: str) -> None:
    async with looking(database_of(postgres, reader), empty_database) as inspector:
        with pytest.raises(AskError, match="division by zero") as failed:
            await inspector.run(["SELECT 2", "SELECT 1 / 0", "SELECT 3"])
        assert failed.value.sqlstate == "22012"
        assert await inspector.run(["SELECT 1"]) == [[("1",)]]


async def test_refusals_of_the_server_say_why(postgres: Postgres, reader: str, empty_database: str) -> None:
    with (
        postgres.hba("host all all all scram-sha-256"),
        pytest.raises(InspectorUnavailable, match="password"),
    ):
        await Inspector.connect(Connector(), database_of(postgres, reader, "wrong"), empty_database)
    with pytest.raises(InspectorUnavailable, match="no_such_database"):
        await Inspector.connect(Connector(), database_of(postgres, reader), "no_such_database")


async def test_a_password_that_is_not_configured(
    postgres: Postgres, reader: str, empty_database: str
) -> None:
    with postgres.hba("host all all all scram-sha-256"), pytest.raises(InspectorUnavailable):
        await Inspector.connect(Connector(), database_of(postgres, reader, None), empty_database)


async def test_the_words_of_sslmode_hold(tls_postgres: Postgres, authority: Authority) -> None:
    role = tls_postgres.create_role(password=PASSWORD)
    name = tls_postgres.create_database(None)
    with tls_postgres.hba("hostssl all all all scram-sha-256"):
        database = database_of(tls_postgres, role, sslmode="verify-full", sslrootcert=str(authority.cert))
        async with looking(database, name) as inspector:
            assert await inspector.run(["SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"]) == [
                [("t",)]
            ]
        with pytest.raises(InspectorUnavailable):
            await Inspector.connect(Connector(), database_of(tls_postgres, role), name)
    tls_postgres.drop_database(name)
    tls_postgres.drop_role(role)


async def test_a_server_process_that_ends(postgres: Postgres, reader: str, empty_database: str) -> None:
    async with looking(database_of(postgres, reader), empty_database) as inspector:
        ((row,),) = await inspector.run(["SELECT pg_backend_pid()"])
        postgres.execute(f"SELECT pg_terminate_backend({row[0]})")
        with pytest.raises(InspectorUnavailable):
            await inspector.run(["SELECT 1"])
        with pytest.raises(InspectorUnavailable):
            await inspector.run(["SELECT 1"])


async def test_a_question_given_up_ends_the_connection(
    postgres: Postgres, reader: str, empty_database: str
) -> None:
    async with looking(database_of(postgres, reader), empty_database) as inspector:
        asking = asyncio.ensure_future(inspector.run(["SELECT pg_sleep(60)"]))
        await asyncio.to_thread(
            postgres.wait_until,
            "EXISTS (SELECT FROM pg_stat_activity WHERE query ~ 'SELECT pg_sleep' AND pid <> pg_backend_pid())",
        )
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        with pytest.raises(InspectorUnavailable):
            await inspector.run(["SELECT 1"])


# --- servers that misbehave ---------------------------------------------------------------------------------

READY = ready_for_query(ord("I"))


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[Inspector]:
    """An inspector whose server lets it in and answers its first question with ``answers``, and then no more."""

    async def serve(link: Link) -> None:
        await link.read_startup(10_000)
        link.write(authentication(0) + READY)
        await link.read_message(10_000)
        link.write(b"".join(answers))
        await link.read_message(10_000)
        link.write(message(ord("C"), b"ROLLBACK\0") + READY)
        await link.read_message(10_000)

    async with listening(serve) as port:
        database = Database("127.0.0.1", port, sslmode="disable", inspect=Login("reader"))
        async with looking(database, "any") as inspector:
            yield inspector


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        message(ord("D"), b""),
        message(ord("D"), struct.pack("!Hi", 1, 5) + b"abc"),
        message(ord("D"), struct.pack("!Hi", 1, -2)),
        message(ord("D"), struct.pack("!H", 0) + b"left over"),
        message(ord("D"), struct.pack("!Hi", 1, 1) + b"\xff"),
        b"D\x7f\xff\xff\xff",
        message(ord("C"), b"SELECT 0\0"),
        b"",
    ],
)
async def test_answers_that_are_none(answer: bytes) -> None:
    async with answering(answer, READY) as inspector:
        with pytest.raises(InspectorUnavailable, match="broke"):
            await inspector.run(["SELECT 1"])


async def test_a_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    async with answering() as inspector:
        with pytest.raises(InspectorUnavailable, match="did not answer"):
            await inspector.run(["SELECT 1"])


async def test_an_error_without_fields() -> None:
    async with answering(message(ord("E"), b"\0"), READY) as inspector:
        with pytest.raises(AskError) as failed:
            await inspector.run(["SELECT 1"])
        assert failed.value.sqlstate == "58000"
