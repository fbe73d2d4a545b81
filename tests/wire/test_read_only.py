"""READ_ONLY on the wire: the client sees what it would see without it, and nothing it runs can write.

Every conversation is held twice, directly and through the gateway, and must be the same to the byte.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psycopg
import pytest

from tests.support.gateway import RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres, run_postgres, tls_bindir
from tests.support.wire import B, C, D, E, F, H, Message, P, Q, RawClient, S, c, d, send_cancel, tags

POLICY = {
    "rules": [
        {"name": "plain", "when": {"relation": "plain"}, "then": "allow"},
        {"name": "rest", "when": {}, "then": "allow", "obligations": ["read_only"]},
    ],
    "redact_errors": "none",
}
"""Everything runs read-only but what touches the relation plain."""

SCHEMA = """
CREATE TABLE plain (n int);
CREATE TABLE kept (n int PRIMARY KEY);
INSERT INTO kept SELECT generate_series(1, 5);
CREATE FUNCTION reads() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT count(*) FROM kept); END$$;
CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS $$BEGIN DELETE FROM kept; RETURN 1; END$$;
CREATE FUNCTION talks() RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'here'; RETURN 1; END$$;
CREATE PROCEDURE proceeds() LANGUAGE plpgsql AS $$BEGIN PERFORM count(*) FROM kept; END$$;
"""


@pytest.fixture(scope="module", params=["embedded", "installed"])
def server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """The embedded server, and the one that is installed: an older version reads READ ONLY less strictly."""
    if request.param == "embedded":
        yield request.getfixturevalue("postgres")
        return
    bindir = tls_bindir()
    if bindir is None:
        pytest.skip("no other PostgreSQL is installed")
    with run_postgres(bindir=bindir) as other:
        yield other


@pytest.fixture
def shop(server: Postgres) -> Iterator[str]:
    """The name of a fresh database with the schema above."""
    name = server.create_database(template=None, sql=SCHEMA)
    yield name
    server.drop_database(name)


@pytest.fixture
async def gateway(server: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(server, POLICY)) as running:
        yield running


@dataclass
class Both:
    """A direct connection and one through the gateway, to databases alike, to which the same is said."""

    direct: RawClient
    gated: RawClient

    async def say(self, *messages: bytes, readies: int = 1, last: str = "Z") -> list[Message]:
        """Send to both and read ``readies`` answers up to ``last``; they must be the same."""
        answers: list[list[Message]] = []
        for client in (self.direct, self.gated):
            await client.send(*messages)
            heard: list[Message] = []
            for _ in range(readies):
                heard += await client.read_until(last)
            answers.append(heard)
        assert answers[1] == answers[0]
        return answers[1]


@pytest.fixture
async def both(server: Postgres, gateway: RunningGateway, shop: str) -> AsyncIterator[Both]:
    twin = server.create_database(template=shop)
    async with (
        await RawClient.connect(server.host, server.port, database=twin) as direct,
        await gateway.raw(shop) as gated,
    ):
        # A place where the gateway can read the catalog comes first; not every conversation has one.
        await gated.query("TABLE kept")
        yield Both(direct, gated)
    server.drop_database(twin)


def run(sql: str, *parameters: str, rows: int = 0) -> bytes:
    """A statement by the extended protocol, without a Sync."""
    return P(sql) + B(parameters) + D("P") + E(rows=rows)


# --- the client notices nothing --------------------------------------------------------------------------


SIMPLE = [
    "SELECT n FROM kept ORDER BY n",
    "SELECT reads()",
    "SELECT 1; SELECT n FROM kept; SELECT reads()",
    "SELECT talks()",
    "CALL proceeds()",
    "DO $$BEGIN PERFORM reads(); END$$",
    "SELECT 1/0",
    "SELECT 1; SELECT 1/0; SELECT 2",
    "SELECT nothing FROM kept",
    "COPY kept TO STDOUT",
    "COPY (SELECT reads()) TO STDOUT",
    "EXPLAIN (COSTS OFF) SELECT n FROM kept",
    "SET application_name = 'x'; SELECT n FROM kept LIMIT 1",
    "SELECT set_config('application_name', 'y', false)",
    "SHOW application_name",
    "RESET application_name",
    "",
    ";",
    "SELECT",
    "PREPARE p AS SELECT reads()",
    "EXECUTE p",
    "DEALLOCATE p",
    "INSERT INTO plain VALUES (1)",
    "SELECT n FROM plain",
    "LISTEN a",
    "SET LOCAL application_name = 'z'",
    "DISCARD ALL",
]


async def test_queries_outside_and_inside_a_transaction(both: Both) -> None:
    for sql in SIMPLE:
        await both.say(Q(sql))
    for sql in SIMPLE[:-1]:
        await both.say(Q("BEGIN"))
        await both.say(Q(sql))
        await both.say(Q("SELECT n FROM kept LIMIT 1"))
        await both.say(Q("SELECT n FROM plain"))
        await both.say(Q("COMMIT"))


EXTENDED: Sequence[Sequence[bytes]] = [
    [run("SELECT n FROM kept ORDER BY n"), S()],
    [run("SELECT reads()"), S()],
    [run("SELECT talks()"), S()],
    [run("SELECT $1::int + count(*) FROM kept", "5"), S()],
    [run("SELECT $1::int", "five"), S()],
    [run("SELECT 1/0"), S()],
    [run("SELECT nothing"), S()],
    [run("SELECT reads()"), run("SELECT 2"), run("SELECT 1/0"), run("SELECT 3"), S()],
    [run("SELECT n FROM kept ORDER BY n", rows=2), S()],
    [run("SELECT reads()", rows=1), S()],
    [run("INSERT INTO plain VALUES (1)"), run("SELECT reads()"), run("INSERT INTO plain VALUES (2)"), S()],
    [run("INSERT INTO plain VALUES (3)"), run("SELECT 1/0"), run("INSERT INTO plain VALUES (4)"), S()],
    [run("SELECT n FROM plain ORDER BY n"), S()],
    [run("BEGIN"), run("SELECT reads()"), run("COMMIT"), S()],
    [run("BEGIN"), run("SELECT reads()"), S()],
    [run("INSERT INTO plain VALUES (5)"), run("SELECT reads()"), S()],
    [run("SAVEPOINT s"), run("SELECT 1/0"), S()],
    [run("SELECT 1"), S()],
    [run("ROLLBACK TO s"), run("SELECT reads()"), S()],
    [run("COMMIT"), S()],
    [P("SELECT reads()", "named"), D("S", "named"), S()],
    [B(statement="named"), E(), S()],
    [B(statement="named", portal="p"), D("P", "p"), S()],
    [C("S", "named"), S()],
    [P(""), B(), D("P"), E(), S()],
    [S()],
]


async def test_series(both: Both) -> None:
    for messages in EXTENDED:
        await both.say(*messages)


async def test_many_series_sent_at_once(both: Both) -> None:
    messages = [raw for series in EXTENDED for raw in series]
    await both.say(*messages, readies=len(EXTENDED))


async def test_the_unnamed_statement_outlives_what_goes_around_others(both: Both) -> None:
    await both.say(P("SELECT reads()"), S())
    await both.say(B(), E(), S())
    await both.say(P("SELECT 7", "other"), B(statement="other", portal="x"), E("x"), S())
    await both.say(B(), E(), S())


async def test_answers_by_flush(both: Both) -> None:
    for opening in ((), (Q("BEGIN"),)):
        if opening:
            await both.say(*opening)
        await both.say(P("SELECT n FROM kept ORDER BY n"), D("S"), H(), last="T")
        await both.say(B(portal="p"), E("p", 2), H(), last="s")
        await both.say(E("p", 2), H(), last="s")
        await both.say(E("p"), H(), last="C")
        await both.say(run("SELECT reads()"), H(), last="C")
        await both.say(run("INSERT INTO plain VALUES (1)"), H(), last="C")
        await both.say(run("SELECT n FROM plain"), S())
    await both.say(Q("ROLLBACK"))
    await both.say(Q("SELECT n FROM plain"))


async def test_an_error_behind_a_flush(both: Both) -> None:
    await both.say(run("INSERT INTO plain VALUES (1)"), run("SELECT reads()"), H(), last="C")
    for client in (both.direct, both.gated):
        heard = await client.read_until("C")
        assert tags(heard) == "12TDC"
    await both.say(run("SELECT 1/0"), H(), last="E")
    await both.say(run("SELECT 2"), S())
    await both.say(Q("SELECT n FROM plain"))


async def test_portals_that_stop_at_their_row_limit_go_on(both: Both) -> None:
    await both.say(Q("BEGIN"))
    await both.say(P("SELECT n FROM kept ORDER BY n"), B(portal="p"), E("p", 2), S())
    await both.say(run("INSERT INTO plain VALUES (1)"), E("p", 2), S())
    await both.say(E("p", 2), S())
    await both.say(E("p", 2), S())
    await both.say(Q("COMMIT"))


async def test_function_calls(both: Both, server: Postgres, shop: str) -> None:
    oid = server.scalar("SELECT 'reads()'::regprocedure::oid::int", shop)
    for messages in ([], [Q("BEGIN")], [Q("SELECT 1/0")], [Q("ROLLBACK")]):
        for raw in messages:
            await both.say(raw)
        await both.say(F(oid, []))
        await both.say(F(oid, [b"too many"]))


async def test_copy_from_the_client_beside_it(both: Both) -> None:
    await both.say(Q("COPY plain FROM STDIN"), d(b"1\n"), d(b"2\n"), c())
    await both.say(Q("SELECT reads()"))
    await both.say(Q("BEGIN"))
    await both.say(run("SELECT reads()"), S())
    await both.say(run("COPY plain FROM STDIN"), d(b"3\n"), c(), S())
    await both.say(run("SELECT reads()"), S())
    await both.say(Q("COMMIT"))
    await both.say(Q("SELECT n FROM plain"))


# --- nothing it runs can write ---------------------------------------------------------------------------


ESCAPES: dict[str, str] = {
    "plainly": "DELETE FROM kept",
    "by returning": "WITH x AS (DELETE FROM kept RETURNING n) SELECT n FROM x",
    "by a function": "SELECT writes()",
    "by truncate": "TRUNCATE kept",
    "by drop": "DROP TABLE kept",
    "by do": "DO $$BEGIN DELETE FROM kept; END$$",
    "set transaction": "DO $$BEGIN SET TRANSACTION READ WRITE; DELETE FROM kept; END$$",
    "set": "DO $$BEGIN SET transaction_read_only = off; DELETE FROM kept; END$$",
    "set local": "DO $$BEGIN SET LOCAL transaction_read_only = off; DELETE FROM kept; END$$",
    "reset": "DO $$BEGIN RESET transaction_read_only; DELETE FROM kept; END$$",
    "to default": "DO $$BEGIN SET transaction_read_only TO DEFAULT; DELETE FROM kept; END$$",
    "reset all": "DO $$BEGIN RESET ALL; DELETE FROM kept; END$$",
    "set_config": "DO $$BEGIN PERFORM set_config('transaction_read_only', 'off', true); DELETE FROM kept; END$$",
    "set_config null": "DO $$BEGIN PERFORM set_config('transaction_read_only', NULL, true); DELETE FROM kept; END$$",
    "session": "DO $$BEGIN SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; DELETE FROM kept; END$$",
    "default": "DO $$BEGIN SET default_transaction_read_only = off; DELETE FROM kept; END$$",
    "commit": "DO $$BEGIN COMMIT; DELETE FROM kept; END$$",
    "rollback": "DO $$BEGIN ROLLBACK; DELETE FROM kept; END$$",
    "chain": "DO $$BEGIN COMMIT AND CHAIN; DELETE FROM kept; END$$",
    "dynamic commit": "DO $$BEGIN EXECUTE 'COMMIT'; DELETE FROM kept; END$$",
    "caught": "DO $$BEGIN BEGIN RESET transaction_read_only; EXCEPTION WHEN OTHERS THEN END; DELETE FROM kept; END$$",
    "caught commit": "DO $$BEGIN BEGIN COMMIT; EXCEPTION WHEN OTHERS THEN END; DELETE FROM kept; END$$",
    "and hide it": "DO $$BEGIN RESET transaction_read_only; DELETE FROM kept; SET transaction_read_only = on; END$$",
    "by a large object": "DO $$BEGIN PERFORM lo_from_bytea(77777, 'x'); END$$",
    "by a sequence": "DO $$BEGIN PERFORM setval('counter', 999); END$$",
    "by a view": "SELECT n FROM deleting",
    "by an index": "SELECT n FROM kept WHERE lies(n) = 1",
}  # fmt: skip

TRAPS = """
CREATE SEQUENCE counter;
CREATE VIEW deleting AS SELECT writes() AS n;
CREATE FUNCTION lies(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN
    RESET transaction_read_only; DELETE FROM kept; RETURN 1; EXCEPTION WHEN OTHERS THEN DELETE FROM kept; RETURN 1;
END$$;
CREATE FUNCTION runs(sql text) RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE sql; RETURN 1; END$$;
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$BEGIN COMMIT; DELETE FROM kept; COMMIT; END$$;
"""
ESCAPES |= {"by a procedure": "CALL commits()"}
# Read by nobody: what it runs is spelt backwards.
ESCAPES |= {
    f"{name}, unread": "SELECT runs(reverse('{}'))".format(sql[::-1].replace("'", "''"))
    for name, sql in ESCAPES.items()
}


async def ended(client: RawClient) -> None:
    """Whatever the answer was: the client is idle again, or its transaction is rolled back."""
    if client.status != "I":
        await client.query("ROLLBACK")


@pytest.mark.parametrize("way", ["query", "series", "in a query's transaction", "in a series' transaction"])
async def test_no_way_out(gateway: RunningGateway, server: Postgres, shop: str, way: str) -> None:
    server.execute(TRAPS, shop)
    for name, sql in ESCAPES.items():
        async with await gateway.raw(shop) as client:
            if "transaction" in way:
                await client.query("BEGIN")
            try:
                async with asyncio.timeout(20):
                    if "query" in way:
                        await client.send(Q(sql))
                    else:
                        await client.send(run(sql), S())
                    # Held because it cannot be contained, or answered.
                    heard = await client.read_until("Z", "N")
            except TimeoutError:
                raise AssertionError(f"{name}: no answer") from None
            if heard[-1].tag == "Z" and "transaction" in way and client.status == "T":
                await client.query("COMMIT")
        assert server.scalar("SELECT to_regclass('kept') IS NOT NULL", shop), name
        assert server.scalar("SELECT count(*) FROM kept", shop) == 5, name
        assert server.scalar("SELECT count(*) FROM pg_largeobject_metadata", shop) == 0, name
        assert server.scalar("SELECT last_value FROM counter", shop) == 1, name


@pytest.mark.parametrize(
    "messages",
    [
        [Q("COMMIT; DELETE FROM kept")],
        [Q("SELECT 1; COMMIT; DELETE FROM kept")],
        [Q("SET TRANSACTION READ WRITE; DELETE FROM kept")],
        [Q("RESET transaction_read_only; DELETE FROM kept")],
        [Q("BEGIN; DELETE FROM kept; COMMIT")],
        [Q("SELECT set_config('transaction_read_only', NULL, true); DELETE FROM kept")],
        [run("SET TRANSACTION READ WRITE"), run("DELETE FROM kept"), S()],
        [run("RESET transaction_read_only"), run("DELETE FROM kept"), S()],
        [run("SELECT 1"), run("COMMIT"), run("DELETE FROM kept"), S()],
        [run("BEGIN READ WRITE"), run("DELETE FROM kept"), run("COMMIT"), S()],
        [P("COMMIT", "c"), S(), Q("EXECUTE c; DELETE FROM kept")],
        [P("DELETE FROM kept", "k"), B(statement="k", portal="k"), H(), run("SELECT 1"), E("k"), S()],
        [Q("VACUUM kept")],
        [Q("DECLARE cur CURSOR WITH HOLD FOR SELECT writes()")],
        [Q("CREATE INDEX CONCURRENTLY i ON kept (n)")],
        [Q("COPY kept FROM STDIN"), d(b"9\n"), c()],
    ],
)
async def test_no_way_out_by_what_stands_beside_it(
    gateway: RunningGateway, server: Postgres, shop: str, messages: list[bytes]
) -> None:
    async with await gateway.raw(shop) as client:
        await client.send(*messages)
        heard = await client.read_until("N", "E")
        while heard[-1].sqlstate == "25P01":  # a warning of the server's own: no transaction is open
            heard = await client.read_until("N", "E")
        if heard[-1].tag == "E":
            await client.read_until("Z")
            await ended(client)
        else:
            assert "waits for approval" in heard[-1].fields["M"]
            assert "to be run read-only, but" in heard[-1].fields["D"]
    assert server.scalar("SELECT count(*) FROM kept", shop) == 5
    assert server.scalar("SELECT count(*) FROM pg_indexes WHERE tablename = 'kept'", shop) == 1


@pytest.mark.parametrize(
    "call", ["SELECT reaches()", "SELECT runs(reverse('DO $$BEGIN PERFORM reaches(); END$$'))"]
)
async def test_code_does_not_reach_another_server(
    gateway: RunningGateway, server: Postgres, shop: str, call: str
) -> None:
    target = f"host={server.socket_dir} port={server.port} user=postgres dbname={shop}"
    server.execute(TRAPS, shop)
    server.execute(
        f"""CREATE EXTENSION dblink;
        CREATE FUNCTION reaches() RETURNS text LANGUAGE plpgsql AS
            $$BEGIN RETURN dblink_exec('{target}', reverse('tpek MORF ETELED')); END$$""",
        shop,
    )
    assert server.execute("SELECT 1 FROM pg_extension WHERE extname = 'dblink'", shop)
    async with await gateway.raw(shop) as client:
        for messages in ([Q(call)], [run(call), S()]):
            await client.send(*messages)
            heard = await client.read_until("N")
            assert "to be run read-only, but" in heard[-1].fields["D"]
            assert "reach" in heard[-1].fields["D"] or "does not stop it" in heard[-1].fields["D"]
            await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
            await client.read_until("Z")
    assert server.scalar("SELECT count(*) FROM kept", shop) == 5


async def test_what_goes_around_is_not_seen_afterwards(gateway: RunningGateway, shop: str) -> None:
    async with await gateway.raw(shop) as client:
        for opening in ([], [Q("BEGIN")]):
            await client.send(*opening, run("SELECT 1/0"), S())
            await client.read_until("Z")
            if opening:
                await client.read_until("Z")
            await ended(client)
            heard = await client.query("SELECT count(*) FROM pg_prepared_statements")
            assert heard[1].values == [b"0"]
            heard = await client.query("SELECT count(*) FROM pg_cursors WHERE name LIKE 'holdgate%'")
            assert heard[1].values == [b"0"]


# --- beside everything else ------------------------------------------------------------------------------


async def test_a_cancel_hits_what_is_enclosed(gateway: RunningGateway, shop: str, server: Postgres) -> None:
    sleeping = "EXISTS (SELECT FROM pg_stat_activity WHERE pid = {} AND wait_event = 'PgSleep')"
    async with await gateway.raw(shop) as client:
        for opening, status in (([], "I"), ([Q("BEGIN")], "E")):
            for messages in ([Q("SELECT pg_sleep(30)")], [run("SELECT pg_sleep(30)"), S()]):
                for raw in opening:
                    await client.send(raw)
                    await client.read_until("Z")
                await client.send(*messages)
                await asyncio.to_thread(server.wait_until, sleeping.format(client.pid))
                await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
                heard = await client.read_until("Z")
                assert [each.sqlstate for each in heard if each.tag == "E"] == ["57014"]
                assert client.status == status
                await ended(client)
                assert tags(await client.query("SELECT reads()")) == "TDCZ"


async def test_a_timeout_of_the_server_hits_it(both: Both) -> None:
    await both.say(Q("SET statement_timeout = '200ms'"))
    await both.say(Q("SELECT pg_sleep(30)"))
    await both.say(run("SELECT pg_sleep(30)"), S())
    await both.say(Q("SELECT reads()"))


async def test_isolation_levels_and_modes_of_the_client(both: Both) -> None:
    for mode in (
        "ISOLATION LEVEL SERIALIZABLE",
        "ISOLATION LEVEL REPEATABLE READ READ ONLY DEFERRABLE",
        "READ ONLY",
    ):
        await both.say(Q(f"BEGIN {mode}"))
        await both.say(Q("SELECT reads()"))
        await both.say(run("SELECT reads()"), S())
        await both.say(Q("COMMIT"))
    await both.say(Q("SET default_transaction_isolation = serializable"))
    await both.say(Q("SELECT reads()"))
    await both.say(Q("SET default_transaction_read_only = on"))
    await both.say(Q("INSERT INTO plain VALUES (1)"))
    await both.say(Q("SELECT reads()"))
    await both.say(Q("BEGIN"))
    await both.say(Q("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
    await both.say(Q("SELECT reads()"))
    await both.say(Q("SAVEPOINT mine"))
    await both.say(Q("SELECT 1/0"))
    await both.say(Q("ROLLBACK TO mine"))
    await both.say(Q("RELEASE mine"))
    await both.say(Q("COMMIT AND CHAIN"))
    await both.say(Q("SELECT reads()"))
    await both.say(Q("ROLLBACK"))


async def test_notifications_come_as_they_would(both: Both, server: Postgres, shop: str) -> None:
    for client, database in ((both.direct, None), (both.gated, shop)):
        await client.query("LISTEN a")
        name = database or server.scalar(f"SELECT datname FROM pg_stat_activity WHERE pid = {client.pid}")
        server.execute("NOTIFY a, 'hello'", name)
        heard = await client.query("SELECT reads()")
        assert sorted(tags(heard)) == sorted("ATDCZ")


async def test_an_approved_statement_still_cannot_write(server: Postgres, shop: str, tmp_path: Path) -> None:
    policy = {
        "rules": [
            {"name": "calls", "when": {"action": "call"}, "then": "hold", "obligations": ["read_only"]},
        ],
    }
    async with (
        running_gateway(tmp_path, make_config(server, policy)) as gateway,
        await gateway.raw(shop) as client,
    ):
        carol = await gateway.client("carol")
        for messages in (
            [Q("SELECT writes()")],
            [run("SELECT writes()"), S()],
            [Q("BEGIN"), Q("SELECT writes()")],
        ):
            await client.send(*messages)
            await client.read_until("N")
            hold = await carol.wait_for_hold()
            assert hold["obligations"] == ["read_only"]
            await carol.approve(hold["id"])
            heard = await client.read_until("E")
            assert heard[-1].sqlstate == "25006"
            await client.read_until("Z")
            (record,) = await gateway.recorded(kind="statement", hold_id=hold["id"])
            assert (record["obligations"], record["sqlstate"]) == (["read_only"], "25006")
            await ended(client)
        heard = await client.query("VACUUM kept")
        assert tags(heard) == "CZ"
        heard = await client.query("DO $$BEGIN END$$; COMMIT")
        assert heard[0].sqlstate == "42501"
        assert "to be run read-only, but COMMIT is in the same message" in heard[0].fields["D"]
    assert server.scalar("SELECT count(*) FROM kept", shop) == 5


async def test_what_cannot_be_enclosed_runs_as_it_is_once_somebody_has_approved(
    gateway: RunningGateway, server: Postgres, shop: str
) -> None:
    carol = await gateway.client("carol")
    async with await gateway.raw(shop) as client:
        await client.send(Q("BEGIN; DELETE FROM kept WHERE n = 1; COMMIT"))
        await client.read_until("N")
        hold = await carol.wait_for_hold()
        assert hold["obligations"] == []
        assert "to be run read-only, but BEGIN is in the same message" in hold["reason"]
        await carol.approve(hold["id"])
        assert tags(await client.read_until("Z")) == "CCCZ"
    assert server.scalar("SELECT count(*) FROM kept", shop) == 4


async def test_a_query_without_a_sync_behind_what_is_enclosed_is_refused(
    gateway: RunningGateway, shop: str
) -> None:
    async with await gateway.raw(shop) as client:
        for messages in ([Q("SELECT 1")], [run("BEGIN"), S()], [run("COPY plain FROM STDIN"), S()]):
            await client.send(run("INSERT INTO plain VALUES (1)"), run("SELECT reads()"), H())
            await client.read_until("C")
            await client.read_until("C")
            await client.send(*messages)
            heard = await client.read_until("E", "N")
            if heard[-1].tag == "N":
                # What would run read-only itself is held for the same reason.
                assert "to be run read-only, but" in heard[-1].fields["D"]
                await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
                await client.read_until("E")
            else:
                assert heard[-1].sqlstate == "0A000"
            await client.read_until("Z")
            assert client.status == "I"
            assert (await client.query("SELECT count(*) FROM plain"))[1].values == [b"0"]


async def test_psycopg_works_under_it(gateway: RunningGateway, shop: str) -> None:
    async with await gateway.psycopg(shop, autocommit=False) as connection:
        cursor = await connection.execute("SELECT n FROM kept WHERE n > %s ORDER BY n", (3,))
        assert await cursor.fetchall() == [(4,), (5,)]
        async with connection.transaction():
            await connection.execute("SELECT reads()")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await connection.execute("DELETE FROM kept")
        await connection.rollback()
        async with connection.pipeline():
            await connection.execute("INSERT INTO plain VALUES (1)")
            cursors = [await connection.execute("SELECT %s + 1", (n,)) for n in range(20)]
            assert [await each.fetchone() for each in cursors] == [(n + 1,) for n in range(20)]
        await connection.commit()
        for _ in range(7):  # prepared by name from the fifth on
            cursor = await connection.execute("SELECT n FROM kept WHERE n = %s", (1,))
            assert await cursor.fetchone() == (1,)
        copying = connection.cursor().copy("COPY (SELECT n FROM kept ORDER BY n) TO STDOUT")
        async with copying as copy:
            assert [row async for row in copy.rows()] == [(str(n),) for n in range(1, 6)]
        cursor = await connection.execute("SELECT n FROM plain")
        assert await cursor.fetchall() == [(1,)]


async def test_asyncpg_works_under_it(gateway: RunningGateway, shop: str) -> None:
    connection = await asyncpg.connect(host=gateway.host, port=gateway.port, user="postgres", database=shop)
    try:
        assert await connection.fetchval("SELECT reads()") == 5
        assert await connection.fetchval("SELECT $1::int + 1", 5) == 6
        statement = await connection.prepare("SELECT n FROM kept WHERE n > $1 ORDER BY n")
        assert [row["n"] for row in await statement.fetch(3)] == [4, 5]
        async with connection.transaction():
            assert [row["n"] async for row in connection.cursor("SELECT n FROM kept ORDER BY n", prefetch=2)] == [
                1, 2, 3, 4, 5,
            ]  # fmt: skip
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("SELECT writes()")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with connection.transaction():
                await connection.fetch("SELECT writes()")
        await connection.executemany("INSERT INTO plain VALUES ($1)", [(n,) for n in range(50)])
        assert await connection.fetchval("SELECT count(*) FROM plain") == 50
    finally:
        await connection.close()


# --- transactions that the gateway must not mistake for its own ------------------------------------------


async def test_a_failed_transaction_of_the_clients_stays_failed(both: Both) -> None:
    await both.say(Q("BEGIN"))
    await both.say(Q("SELECT 1/0"))
    await both.say(run("SHOW work_mem"), run("SHOW work_mem"), S())
    await both.say(run("SELECT reads()"), S())
    await both.say(Q("SELECT reads()"))
    await both.say(Q("ROLLBACK"))


async def test_a_transaction_that_a_series_began_without_a_sync(both: Both) -> None:
    await both.say(run("BEGIN"), H(), last="C")
    await both.say(run("INSERT INTO plain VALUES (1)"), run("SELECT reads()"), S())
    heard = await both.say(Q("SELECT n FROM plain"))
    assert heard[-1].payload == b"T"
    await both.say(Q("ROLLBACK"))
    await both.say(Q("SELECT n FROM plain"))


@pytest.mark.parametrize("front", [[], [Q("BEGIN")]])
async def test_where_it_cannot_be_told_whose_transaction_is_open_nothing_is_enclosed(
    gateway: RunningGateway, shop: str, front: list[bytes]
) -> None:
    async with await gateway.raw(shop) as client:
        await client.query("TABLE kept")
        for raw in front:
            await client.send(raw)
            await client.read_until("Z")
        await client.send(run("BEGIN"), run("COMMIT"), H())
        await client.read_until("C")
        await client.read_until("C")
        await client.send(run("SELECT reads()"), S())
        heard = await client.read_until("N")
        while "waits" not in heard[-1].fields["M"]:
            heard = await client.read_until("N")
        assert "it cannot be told in what transaction it would run" in heard[-1].fields["D"]
