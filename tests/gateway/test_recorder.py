"""What a session leaves behind: one record for each statement, with what became of it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.recorder import new_session_id
from tests.support.gateway import SHOP_POLICY, RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import B, C, E, F, P, Q, RawClient, S, c, d, f, send_cancel

HELD = "DELETE FROM invoice_line WHERE invoice_line_id = 7"


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    deny = {"rules": [{"name": "no-index", "when": {"action": "ddl"}, "then": "deny"}, *SHOP_POLICY["rules"]]}
    opaque = {"defaults": {**SHOP_POLICY["defaults"], "opaque_function": "allow"}}
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, deny, opaque)) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway, database: str) -> AsyncIterator[RawClient]:
    async with await gateway.raw(database, application_name="a tool") as raw:
        yield raw


async def statements(gateway: RunningGateway, *fields: str) -> list[Any]:
    """These fields of the records of statements, oldest first; one field alone is not in a tuple."""
    await gateway.written()
    found = gateway.audit(kind="statement")
    if len(fields) == 1:
        return [record[fields[0]] for record in found]
    return [tuple(record[name] for name in fields) for record in found]


async def test_a_statement_with_what_became_of_it(
    gateway: RunningGateway, client: RawClient, database: str
) -> None:
    sql = "SELECT email FROM customer WHERE customer_id = 5"
    rows = [each for each in await client.query(sql) if each.tag == "D"]
    await gateway.written()
    (record,) = gateway.audit(kind="statement")
    assert {
        "user": "postgres",
        "database": database,
        "client_addr": "127.0.0.1",
        "application_name": "a tool",
        "sql": sql,
        "sql_digest": hashlib.sha256(sql.encode()).hexdigest(),
        "parameters": None,
        "actions": ["read"],
        "relations": ["public.customer"],
        "row_bound": "POINT",
        "verdict": "allow",
        "hold_id": None,
        "approved_by": [],
        "tag": "SELECT 1",
        "rows": 1,
        "sqlstate": None,
        "held_ms": None,
    }.items() <= record.items()
    assert record["bytes"] >= len(rows[0].payload)
    assert 0 < record["duration_ms"] < 10_000
    (started,) = gateway.audit(kind="session", tag="start")
    assert started["session_id"] == record["session_id"]
    assert record["statement_id"] == f"{record['session_id']}.1"


async def test_a_statement_that_fails(gateway: RunningGateway, client: RawClient) -> None:
    await client.query("SELECT 1/0")
    assert await statements(gateway, "sqlstate", "tag", "verdict") == [("22012", "", "allow")]


async def test_several_statements_have_a_record_each(gateway: RunningGateway, client: RawClient) -> None:
    await client.query("SELECT 1; SELECT 2, 'two'; SELECT 1/0; SELECT 4")
    found = await statements(gateway, "sql", "tag", "sqlstate")
    assert [(sql.strip(), tag, code) for sql, tag, code in found] == [
        ("SELECT 1", "SELECT 1", None),
        ("SELECT 2, 'two'", "SELECT 1", None),
        ("SELECT 1/0", "", "22012"),
        # The server ran nothing of what came after the error, so nothing of it is on record.
    ]
    ids = await statements(gateway, "statement_id")
    assert [each.rpartition(".")[2] for each in ids] == ["1", "2", "3"]


async def test_nothing_to_run_is_recorded_as_nothing(gateway: RunningGateway, client: RawClient) -> None:
    await client.query("")
    assert await statements(gateway, "sql", "tag", "rows") == [("", "", None)]


async def test_parameters_are_recorded_as_people_read_them(
    gateway: RunningGateway, client: RawClient
) -> None:
    sql = "SELECT $1::text, $2::int, $3::text"
    await client.exchange(
        P(sql, types=[25, 23, 25]), B(["x", b"\0\0\0\x2a", None], formats=[0, 1, 0]), E(), S()
    )
    assert await statements(gateway, "sql", "parameters", "tag") == [(sql, ["x", "42", None], "SELECT 1")]


async def test_each_execution_of_a_prepared_statement(gateway: RunningGateway, client: RawClient) -> None:
    await client.exchange(P("SELECT $1::text", "s"), S())
    for value in ("a", "b"):
        await client.exchange(B([value], statement="s"), E(), S())
    await client.exchange(C("S", "s"), S())
    assert await statements(gateway, "parameters") == [["a"], ["b"]]


async def test_a_portal_in_pieces(gateway: RunningGateway, client: RawClient) -> None:
    series = "SELECT generate_series(1, 5)"
    await client.exchange(P(series), B(), E(rows=2), E(rows=2), E(rows=2), S())
    assert await statements(gateway, "tag", "sqlstate") == [
        ("(suspended at its row limit)", None),
        ("(suspended at its row limit)", None),
        ("SELECT 1", None),
    ]


async def test_what_the_server_skips_says_so(gateway: RunningGateway, client: RawClient) -> None:
    await client.exchange(P("SELECT 1/0"), B(), E(), P("SELECT 2"), B(), E(), S())
    assert await statements(gateway, "sql", "tag", "sqlstate") == [
        ("SELECT 1/0", "", "22012"),
        ("SELECT 2", "(not run: an earlier statement failed)", None),
    ]


async def test_a_function_called_by_its_number(gateway: RunningGateway, client: RawClient) -> None:
    abs_int4 = 1397
    await client.exchange(F(abs_int4, [b"\xff\xff\xff\xfe"]))
    (found,) = await statements(gateway, "sql")
    assert found == f"FunctionCall of the function with OID {abs_int4}"


async def test_copies_are_counted(gateway: RunningGateway, client: RawClient) -> None:
    await client.query("COPY artist TO STDOUT")
    await client.exchange(Q("COPY artist (artist_id, name) FROM STDIN"), d(b"90001\tX\n90002\tY\n"), c())
    await client.exchange(Q("COPY artist (artist_id, name) FROM STDIN"), f("no"))
    found = await statements(gateway, "tag", "rows", "sqlstate", "bytes")
    assert found[0][0].startswith("COPY ")
    assert found[0][1] == int(found[0][0].split()[1])
    assert found[0][3] > 100
    assert [each[:3] for each in found[1:]] == [("COPY 2", 2, None), ("", None, "57014")]


async def test_a_denial(gateway: RunningGateway, client: RawClient) -> None:
    await client.query("CREATE INDEX ON artist (name)")
    fields = ("verdict", "rule", "tag", "sqlstate", "duration_ms")
    assert await statements(gateway, *fields) == [("deny", "no-index", None, "42501", None)]
    assert (await statements(gateway, "reason"))[0]


async def test_a_hold_that_was_approved_and_one_that_was_not(
    gateway: RunningGateway, client: RawClient
) -> None:
    carol = await gateway.client()
    holds = []
    for decide in (carol.approve, carol.reject):
        await client.send(Q(HELD))
        hold = await carol.wait_for_hold()
        await decide(hold["id"], "because")
        await client.read_until("Z")
        holds.append(hold["id"])
    await gateway.written()
    approved, rejected = gateway.audit(kind="statement")
    for record, hold_id in zip((approved, rejected), holds, strict=True):
        assert (record["verdict"], record["rule"], record["hold_id"]) == ("hold", "erasure", hold_id)
        assert record["held_ms"] > 0
        about = [one["tag"] for one in gateway.audit(statement_id=record["statement_id"])]
        assert about[0] == "opened"
        assert len(about) == 3
    assert (approved["approved_by"], approved["tag"], approved["rows"]) == (["carol"], "DELETE 1", 1)
    assert (rejected["approved_by"], rejected["tag"], rejected["sqlstate"]) == ([], "(rejected)", "42501")
    assert rejected["reason"] == "statement rejected by carol: because"
    # The wait for people is not the server's time.
    assert approved["duration_ms"] < approved["held_ms"] + 1000


async def test_a_cancelled_statement(gateway: RunningGateway, client: RawClient, postgres: Postgres) -> None:
    await client.send(Q("SELECT pg_sleep(60)"))
    await asyncio.to_thread(postgres.wait_for_backend, client.pid, "pg_sleep")
    await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
    await client.read_until("Z")
    assert await statements(gateway, "sqlstate") == ["57014"]


async def test_a_statement_nobody_will_hear_the_end_of(
    gateway: RunningGateway, database: str, postgres: Postgres
) -> None:
    client = await gateway.raw(database)
    await client.send(Q("SELECT pg_sleep(60)"))
    await asyncio.to_thread(postgres.wait_for_backend, client.pid, "pg_sleep")
    (session,) = gateway.gateway.sessions.list()
    gateway.gateway.sessions.kill(session.id, "root")
    await client.read_to_end()
    client.abort()
    async with asyncio.timeout(10):
        while len(gateway.gateway.sessions):
            await asyncio.sleep(0.005)
    postgres.execute(f"SELECT pg_terminate_backend({client.pid})")
    assert await statements(gateway, "tag", "sqlstate") == [("(no answer: ended by root)", "08006")]
    (end,) = gateway.audit(kind="session", tag="end")
    assert end["reason"] == "ended by root"


async def test_how_a_session_began_and_ended(gateway: RunningGateway, database: str) -> None:
    async with await gateway.raw(database, application_name="first"):
        pass
    async with asyncio.timeout(10):
        while len(gateway.gateway.sessions):
            await asyncio.sleep(0.005)
    await gateway.written()
    records = gateway.audit(kind="session")
    assert [(one["tag"], one["reason"], one["application_name"]) for one in records] == [
        ("start", None, "first"),
        ("end", "client disconnected", "first"),
    ]


async def test_a_name_that_changes_counts_from_then_on(gateway: RunningGateway, client: RawClient) -> None:
    await client.query("SET application_name = 'another'")
    await client.query("SELECT 1")
    assert (await statements(gateway, "application_name"))[-1] == "another"


def test_no_two_sessions_have_one_id() -> None:
    made = {new_session_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(each) == 18 and each.startswith("S-") for each in made)
