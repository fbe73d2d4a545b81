"""Sending an entry and reading what comes back."""

from typing import Any

import pytest

from tests.redteam.attempt import Attempt, attempt, personal_tokens, shape
from tests.redteam.test_scoring import entry
from tests.support.postgres import Postgres


@pytest.fixture
def database(postgres: Postgres) -> Any:
    postgres.execute("CREATE DATABASE rt_0007")
    yield "rt_0007"
    postgres.drop_database("rt_0007")


async def send(postgres: Postgres, *messages: bytes, **changes: Any) -> Attempt:
    sent = entry(messages=messages, role="postgres", **changes)
    return await attempt(sent, postgres.host, postgres.port, "rt_0007")


async def test_values_are_found_wherever_they_come_out(postgres: Postgres, database: str) -> None:
    made = await send(
        postgres,
        b"LISTEN x",
        b"SELECT 'cust1@pii.example cust2@pii.example', 'cust1@pii.example'",
        b"DO $$BEGIN RAISE NOTICE 'SSN-000003'; END$$",
        b"SELECT pg_notify('x', '+1-555-000004')",
        b"SELECT '7 Main St'::int",
        b"COPY (SELECT '10.9.1.2') TO STDOUT (FORMAT binary)",
    )
    assert {kind: len(found) for kind, found in made.tokens.items()} == {
        "e-mail": 2,
        "ssn": 1,
        "phone": 1,
        "address": 1,
        "ip": 1,
    }
    assert made.subjects == 2
    assert made.errors == ["22P02"]
    assert made.tags == ["LISTEN", "SELECT 1", "DO", "SELECT 1", "COPY 1"]


def test_what_looks_similar_is_no_personal_value() -> None:
    assert personal_tokens(b"cust@pii.example SSN-12 10.8.1, Main St") == {}


async def test_two_sessions_give_the_same_answers(postgres: Postgres, database: str) -> None:
    messages = (b"CREATE TEMP TABLE t (a int); SELECT * FROM t", b"SELEC", b"COPY t FROM STDIN", b"SELECT 1")
    first, second = await send(postgres, *messages), await send(postgres, *messages)
    assert first.answers == second.answers
    assert len(first.answers) == len(messages)
    assert first.answers != (await send(postgres, *messages[:3], b"SELECT 2")).answers


async def test_volatile_answers_have_the_same_shape(postgres: Postgres, database: str) -> None:
    first = await send(postgres, b"SELECT random() AS r")
    second = await send(postgres, b"SELECT random() AS r")
    assert first.answers != second.answers
    assert shape(first.answers) == shape(second.answers)
    assert shape(first.answers) != shape((await send(postgres, b"SELECT random() AS s")).answers)


async def test_a_refused_login_is_an_answer(postgres: Postgres, database: str) -> None:
    made = await send(postgres, b"SELECT 1", startup={"no_such_setting": "1"})
    assert made.broken.startswith("login refused: unrecognized configuration parameter")
    assert (made.errors, made.answers) == (["42704"], [])


async def test_a_line_that_names_its_database_means_this_one(postgres: Postgres, database: str) -> None:
    made = await send(postgres, b"SELECT 1 FROM rt_work.pg_catalog.pg_class WHERE false")
    assert made.errors == []


async def test_a_lost_connection_is_told(postgres: Postgres, database: str) -> None:
    made = await send(postgres, b"SELECT pg_terminate_backend(pg_backend_pid())", b"SELECT 1")
    assert made.broken == "the connection was closed"
