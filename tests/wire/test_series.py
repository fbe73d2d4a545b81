"""Series of raw messages: the answers through a gateway are, byte for byte, those of the server itself.

Each runs directly, and then through a gateway that allows everything: as it is, with the client's bytes one at
a time, and with the server's bytes one at a time. Those that touch nothing personal run under the policy of
the shop as well. What a session does to the database it does to temporary tables.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.support.gateway import SHOP_POLICY, GatewayProcess, make_config
from tests.support.postgres import Postgres
from tests.support.relay import Relay
from tests.support.series import Recorder, Series, recorded
from tests.support.wire import B, C, D, E, F, H, P, Q, S, c, d, f, message

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
"""The first test starts two gateways."""

SERIES: dict[str, Series] = {}
INNOCENT: set[str] = set()


def series(*, innocent: bool = True) -> Callable[[Series], Series]:
    def register(one: Series) -> Series:
        name = getattr(one, "__name__", "").replace("_", " ")
        SERIES[name] = one
        if innocent:
            INNOCENT.add(name)
        return one

    return register


# --- simple queries -------------------------------------------------------------------------------------


@series()
async def empty_queries(client: Recorder) -> None:
    for sql in ("", " ", ";", ";;", "-- nothing", "/* nothing */;"):
        await client.query(sql)


@series()
async def results_of_every_shape(client: Recorder) -> None:
    for sql in (
        "SELECT 1",
        "SELECT",
        "SELECT NULL, '', 'x', 1::numeric, '\\x00ff'::bytea, ARRAY[1, NULL]",
        "SELECT 1 WHERE false",
        "SELECT 1; SELECT 2, 3; SELECT",
        "VALUES (1, 'a'), (2, NULL)",
        "SHOW server_version",
    ):
        await client.query(sql)


@series(innocent=False)
async def errors_of_every_kind(client: Recorder) -> None:
    for sql in (
        "SELEKT",
        "SELECT 1/0",
        "SELECT * FROM nosuch",
        "SELECT 'x'::int",
        "SELECT 1; SELECT 1/0; SELECT 2",
    ):
        await client.query(sql)
        await client.query("SELECT 'goes on'")


@series()
async def transactions(client: Recorder) -> None:
    for sql in (
        "BEGIN",
        "SELECT 1",
        "SELECT 1/0",
        "SELECT 2",
        "COMMIT",
        "BEGIN",
        "SAVEPOINT a",
        "SELECT 1/0",
        "ROLLBACK TO a",
        "SELECT 3",
        "COMMIT",
        "COMMIT",
        "BEGIN; BEGIN; SELECT 1; ROLLBACK",
    ):
        await client.query(sql)


@series(innocent=False)
async def notices_and_parameters_inside_results(client: Recorder) -> None:
    await client.query(
        "DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two' USING DETAIL = 'd', HINT = 'h'; END $$"
    )
    await client.query("SET TimeZone = 'Asia/Tokyo'; SELECT 1; SET application_name = 'süß'; RESET ALL")
    await client.query("BEGIN; SET LOCAL DateStyle = 'German'; SHOW DateStyle; ROLLBACK")
    await client.query("SELECT set_config('IntervalStyle', 'iso_8601', false)")
    await client.query("SET client_encoding = 'LATIN1'")
    await client.query(b"SELECT '\xe4'")
    await client.query("RESET client_encoding")
    await client.query("DISCARD ALL")


@series(innocent=False)
async def reports_about_what_may_touch_anything(client: Recorder) -> None:
    for sql in (
        "DROP DATABASE IF EXISTS nosuch",
        "DROP OWNED BY nosuch",
        "DROP SCHEMA nosuch CASCADE",
        "DROP SCHEMA IF EXISTS nosuch CASCADE",
        "SELECT (schemaname || 'x')::int FROM pg_stats WHERE tablename = 'pg_class' LIMIT 1",
        "SELECT query::int FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    ):
        await client.query(sql)


@series(innocent=False)
async def notifications(client: Recorder) -> None:
    await client.query("LISTEN news")
    await client.query("NOTIFY news, 'to myself'")
    await client.query("BEGIN; NOTIFY news, 'later'; SELECT 1")
    await client.query("COMMIT")
    await client.query("SELECT pg_notify('news', 'by function')")
    await client.query("UNLISTEN *")


@series()
async def many_queries_without_waiting(client: Recorder) -> None:
    await client.send(*[Q(f"SELECT {number}") for number in range(200)], Q("SELECT 1/0"), Q("SELECT 'last'"))
    for _ in range(202):
        await client.read_until("Z")


# --- extended queries -----------------------------------------------------------------------------------


@series()
async def extended_queries(client: Recorder) -> None:
    await client.exchange(P("SELECT $1::int + $2"), D("S"), B(["1", "2"]), D("P"), E(), S())
    await client.exchange(B(["1", None]), E(), S())
    await client.exchange(
        B([b"\0\0\0\1", b"\0\0\0\2"], formats=(1,), results=(1,)), D("P"), E(), C("P"), E(), S()
    )
    await client.exchange(P("", "empty"), B(statement="empty"), D("P"), E(), C("S", "empty"), S())
    await client.exchange(P("SELECT 1; SELECT 2"), S())
    await client.exchange(
        P("SELECT $1", "typed", (23,)), D("S", "typed"), B(["x"], statement="typed"), E(), S()
    )
    await client.exchange(P("SELECT 1", "typed"), S())
    await client.exchange(C("S", "typed"), C("S", "nosuch"), C("P", "nosuch"), S())


@series()
async def names_that_are_not_there(client: Recorder) -> None:
    await client.exchange(B(), E(), S())
    await client.exchange(B(statement="nosuch"), E(), S())
    await client.exchange(E(), S())
    await client.exchange(E("nosuch"), S())
    await client.exchange(D("S", "nosuch"), S())
    await client.exchange(D("P"), S())
    await client.exchange(P("SELECT 1"), S())
    await client.query("SELECT 'a Query ends the unnamed statement'")
    await client.exchange(B(), E(), S())


@series(innocent=False)
async def errors_at_every_step(client: Recorder) -> None:
    behind = (P("SELECT 'skipped'"), B(), E(), S())
    for batch in (
        (P("SELEKT"), B(), E()),
        (P("SELECT $1::int"), B(["x"]), E()),
        (P("SELECT $1::int"), B(), E()),
        (P("SELECT $1::int"), B(["1", "2"]), E()),
        (P("SELECT 1, 2"), B(results=(0, 1, 1)), E()),
        (P("SELECT 1"), B(formats=(7,)), D("P"), E()),
        (P("SELECT 1/(SELECT 0)"), B(), E()),
        (P("SELECT 1"), B(), D("P", "nosuch"), E()),
        (P("SELECT 1", "same"), P("SELECT 2", "same"), E()),
        (P("SELECT 1"), B(portal="same"), B(portal="same"), E("same")),
    ):
        await client.exchange(*batch, *behind)
        await client.exchange(C("S", "same"), S())


@series()
async def flush_without_sync(client: Recorder) -> None:
    await client.send(P("SELECT 1"), D("S"), H())
    await client.read_until("T")
    await client.send(B(), H())
    await client.read_until("2")
    await client.send(E(), H())
    await client.read_until("C")
    await client.send(B(), E(), H(), H())
    await client.read_until("C")
    await client.exchange(S())


@series()
async def an_error_after_a_flush_skips_to_the_sync(client: Recorder) -> None:
    await client.send(P("SELECT 1/(SELECT 0)"), B(), E(), H())
    await client.read_until("E")
    await client.send(P("SELECT 1"), B(), E(), H(), Q("SELECT 'skipped'"), S())
    await client.read_until("Z")
    await client.query("SELECT 'goes on'")


@series()
async def suspended_portals(client: Recorder) -> None:
    await client.exchange(P("SELECT generate_series(1, 5)"), B(), E("", 2), E("", 2), E("", 2), E("", 2), S())
    await client.query("BEGIN")
    await client.exchange(P("SELECT generate_series(1, 5)"), B(portal="p"), E("p", 2), S())
    await client.exchange(P("SELECT 'between'"), B(), E(), S())
    await client.exchange(E("p", 2), S())
    await client.exchange(E("p"), E("p"), C("P", "p"), E("p"), S())
    await client.query("ROLLBACK")
    await client.exchange(P("SELECT generate_series(1, 3)"), B(portal="q"), E("q", 1), S())
    await client.exchange(E("q", 1), S())


@series()
async def a_query_inside_an_extended_series(client: Recorder) -> None:
    await client.send(P("SELECT 1"), B(), E(), Q("SELECT 2"), P("SELECT 3"), B(), E(), S())
    await client.read_until("Z")
    await client.read_until("Z")
    await client.send(P("SELECT 1/(SELECT 0)"), B(), E(), Q("SELECT 'skipped'"), S())
    await client.read_until("Z")
    await client.exchange(P("SELECT 1"), B(), F(1344, [b"\0\0\0\x04"]), S())
    await client.read_until("Z")


@series()
async def a_thousand_executions_in_one_sync(client: Recorder) -> None:
    each = (B(["7"], statement="s"), E())
    await client.exchange(P("SELECT $1::int", "s"), *each * 1000, S())


@series()
async def two_hundred_syncs_without_waiting(client: Recorder) -> None:
    await client.send(*[P("SELECT $1::int"), B(["7"]), D("P"), E(), S()] * 200)
    for _ in range(200):
        await client.read_until("Z")


@series()
async def names_reused_in_one_pipeline(client: Recorder) -> None:
    batch = (
        P("SELECT 'one'", "s"),
        B(statement="s"),
        E(),
        C("S", "s"),
        P("SELECT 'two'", "s"),
        B(statement="s"),
        E(),
    )
    await client.send(*batch, S(), B(statement="s"), E(), S(), C("S", "s"), S(), B(statement="s"), E(), S())
    for _ in range(4):
        await client.read_until("Z")


@series()
async def prepared_by_sql_and_run_by_protocol(client: Recorder) -> None:
    await client.query("PREPARE s(int) AS SELECT $1 + 1")
    await client.exchange(D("S", "s"), B(["1"], statement="s"), E(), S())
    await client.exchange(P("SELECT 2", "t"), S())
    await client.query("EXECUTE t")
    await client.query("DEALLOCATE t")
    await client.exchange(B(statement="t"), E(), S())
    await client.query("DEALLOCATE ALL")
    await client.exchange(B(["1"], statement="s"), E(), S())


@series()
async def cursors_across_both_protocols(client: Recorder) -> None:
    await client.query("BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 5)")
    await client.query("FETCH 2 FROM c")
    await client.exchange(P("FETCH 1 FROM c"), B(), D("P"), E(), S())
    await client.query("CLOSE c; COMMIT")


@series(innocent=False)
async def deferred_constraints_fail_at_the_sync(client: Recorder) -> None:
    await client.query("CREATE TEMP TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
    await client.exchange(P("INSERT INTO t VALUES (1), (1)"), B(), E(), S())
    await client.query("INSERT INTO t VALUES (2), (2)")
    await client.query("BEGIN; INSERT INTO t VALUES (3), (3)")
    await client.query("COMMIT")
    await client.query("TABLE t")


@series(innocent=False)
async def function_calls(client: Recorder) -> None:
    await client.exchange(F(1344, [b"\0\0\0\x04"]))  # dsqrt wants 8 bytes
    await client.exchange(F(1344, [b"@\x10\0\0\0\0\0\0"]))
    await client.exchange(F(1344, [None]))
    await client.exchange(F(1344, []))
    await client.exchange(F(1344, [b"16"], formats=(0,), result=0))
    await client.exchange(F(1, []))
    await client.query("BEGIN")
    await client.exchange(F(1344, [b"x"]))
    await client.query("ROLLBACK")


# --- COPY -----------------------------------------------------------------------------------------------

TABLE = "CREATE TEMP TABLE t (n int, s text)"
COPY = "COPY t FROM STDIN"


@series(innocent=False)
async def copy_in(client: Recorder) -> None:
    await client.query(TABLE)
    await client.send(Q(COPY))
    await client.read_until("G")
    for piece in (b"1\ton", b"e\n2\t", b"", b"two\n", b"3\tthree\n"):
        await client.send(d(piece))
    await client.exchange(c())
    await client.query("TABLE t")


@series(innocent=False)
async def copy_in_without_waiting(client: Recorder) -> None:
    await client.query(TABLE)
    await client.exchange(Q(COPY), d(b"1\tone\n"), c())
    await client.send(
        Q(COPY), d(b"2\ttwo\n"), c(), Q("SELECT 1"), Q(COPY), d(b"3\tx\n"), f("no"), Q("TABLE t")
    )
    for _ in range(4):
        await client.read_until("Z")


@series(innocent=False)
async def copy_in_that_fails(client: Recorder) -> None:
    await client.query(TABLE)
    await client.exchange(Q(COPY), f("I would rather not"))
    await client.exchange(Q(COPY), d(b"not a number\n"), c())
    await client.exchange(Q(COPY), d(b"1\tx\n2\n"), d(b"3\tx\n"), c())
    await client.exchange(Q("COPY nosuch FROM STDIN"), d(b"1\n"), c())
    await client.query("SELECT count(*) FROM t")
    await client.query("BEGIN")
    await client.exchange(Q(COPY), d(b"x\ty\n"), c())
    await client.query("COMMIT")


@series(innocent=False)
async def several_copies_in_one_query(client: Recorder) -> None:
    await client.query(TABLE)
    await client.exchange(
        Q(f"{COPY}; SELECT 1; {COPY}; COPY t TO STDOUT"), d(b"1\ta\n"), c(), d(b"2\tb\n"), c()
    )
    await client.exchange(Q(f"{COPY}; {COPY}"), d(b"3\tc\n"), c(), f("not the second"))
    await client.exchange(Q(f"{COPY}; {COPY}"), f("not the first"), d(b"4\td\n"), c())
    await client.query("SELECT count(*) FROM t")


@series(innocent=False)
async def copy_in_by_extended_protocol(client: Recorder) -> None:
    await client.query(TABLE)
    await client.send(P(COPY), B(), E(), H())
    await client.read_until("G")
    await client.exchange(d(b"1\tone\n"), c(), S())
    # As libpq does: its Sync goes with the COPY, and another behind the data.
    await client.send(P(COPY), B(), D("P"), E(), S())
    await client.read_until("G")
    await client.exchange(d(b"2\ttwo\n"), c(), S())
    await client.send(P(COPY), B(), E(), S())
    await client.read_until("G")
    await client.exchange(d(b"3\tthree\n"), f("no"), S())
    await client.query("TABLE t")


@series(innocent=False)
async def syncs_and_flushes_inside_copy(client: Recorder) -> None:
    await client.query(TABLE)
    await client.send(Q(COPY))
    await client.read_until("G")
    await client.exchange(d(b"1\ta\n"), S(), d(b"2\tb\n"), H(), S(), d(b"3\tc\n"), c())
    await client.send(P(COPY), B(), E(), S())
    await client.read_until("G")
    await client.exchange(S(), d(b"4\td\n"), S(), d(b"5\te\n"), c(), S())
    await client.send(P(COPY), B(), E(), S())
    await client.read_until("G")
    await client.send(d(b"bad\n"))
    await client.read_until("E")
    await client.exchange(d(b"6\tf\n"), c(), P("SELECT 'skipped'"), S())
    await client.send(P(COPY), B(), E(), S(), S(), d(b"7\tg\n"), S(), c(), S(), Q("SELECT count(*) FROM t"))
    await client.read_until("Z")
    await client.read_until("Z")


@series(innocent=False)
async def stray_copy_data(client: Recorder) -> None:
    await client.send(d(b"x"), c(), f("why"))
    await client.query("SELECT 1")
    await client.exchange(d(b"x"), P("SELECT 1"), d(b"y"), B(), c(), E(), f(""), S())
    await client.exchange(S())
    await client.query(TABLE)
    await client.exchange(Q(COPY), d(b"bad\n"), d(b"1\ta\n"), c(), c(), d(b"2\tb\n"))
    await client.query("SELECT count(*) FROM t")


@series()
async def copy_out(client: Recorder) -> None:
    await client.query("COPY (SELECT generate_series(1, 100), 'x') TO STDOUT")
    await client.query("COPY (VALUES (1, NULL), (2, 'a b')) TO STDOUT (FORMAT csv, HEADER)")
    await client.query("COPY (SELECT 1) TO STDOUT (FORMAT binary)")
    await client.query("COPY (SELECT 1) TO STDOUT; SELECT 2; COPY (SELECT 3) TO STDOUT")
    await client.query("COPY (SELECT 1/(3 - g) FROM generate_series(1, 5) g) TO STDOUT")
    await client.exchange(P("COPY (SELECT 1) TO STDOUT"), B(), D("P"), E(), S())


# --- ends and edges -------------------------------------------------------------------------------------


@series()
async def half_close_still_gets_its_answer(client: Recorder) -> None:
    await client.send(Q("SELECT 1"), P("SELECT 2"), B(), E(), S())
    client.end_of_input()
    await client.read_to_end()


@series()
async def half_close_without_a_sync(client: Recorder) -> None:
    await client.send(P("SELECT 2"), B(), E(), H())
    client.end_of_input()
    await client.read_to_end()


@series()
async def terminate_and_more(client: Recorder) -> None:
    await client.send(Q("SELECT 1"), message("X"), Q("SELECT 'after Terminate'"))
    await client.read_to_end()


@series()
async def rows_of_many_sizes(client: Recorder) -> None:
    await client.query("SELECT repeat('x', n) FROM unnest(ARRAY[0, 1, 10, 1000, 8191, 8192, 8193, 70000]) n")


@dataclass(frozen=True)
class Way:
    """Where a client connects, and which database it asks for."""

    host: str
    port: int
    database: str = "postgres"


@dataclass(frozen=True)
class Ways:
    """How the server can be reached; ``direct`` is the server itself, ``answers`` what it said."""

    direct: Way
    through: dict[str, Way]
    answers: dict[str, list[str]]


WAYS = ("whole", "client's bytes chopped", "server's bytes chopped", "shop policy")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ways(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:

        async def gateway(*overrides: Mapping[str, Any]) -> GatewayProcess:
            directory = tmp_path_factory.mktemp("gateway")
            process = GatewayProcess(directory, make_config(postgres, *overrides))
            return await stack.enter_async_context(process)

        async def chopped(host: str, port: int) -> Relay:
            return await stack.enter_async_context(Relay(host, port, chunk=1))

        server = await chopped(postgres.host, postgres.port)
        behind = {"host": server.host, "port": server.port, "dbname": "postgres", "sslmode": "disable"}
        allowing, shop = await asyncio.gather(
            gateway({"databases": {"chopped": behind}}), gateway(SHOP_POLICY)
        )
        client = await chopped(allowing.host, allowing.port)
        through = {
            "whole": Way(allowing.host, allowing.port),
            "client's bytes chopped": Way(client.host, client.port),
            "server's bytes chopped": Way(allowing.host, allowing.port, "chopped"),
            "shop policy": Way(shop.host, shop.port),
        }
        yield Ways(Way(postgres.host, postgres.port), through, {})


LONG = {"rows of many sizes", "a thousand executions in one sync", "two hundred syncs without waiting"}
"""Too many bytes to send them one at a time."""


@pytest.mark.parametrize(
    ("name", "way"),
    [
        (name, way)
        for name in SERIES
        for way in WAYS
        if (way != "shop policy" or name in INNOCENT) and not (name in LONG and "chopped" in way)
    ],
)
async def test_the_answers_are_the_servers(ways: Ways, name: str, way: str) -> None:
    if name not in ways.answers:
        ways.answers[name] = await _recorded(name, ways.direct)
    direct = ways.answers[name]
    assert len(direct) > 5
    through = await _recorded(name, ways.through[way])
    if way == "shop policy":
        # A name that the gateway does not know is refused by the gateway, in its own words.
        direct, through = _sqlstates(direct), _sqlstates(through)
    assert through == direct


async def _recorded(name: str, way: Way) -> list[str]:
    return await recorded(SERIES[name], way.host, way.port, database=way.database)


def _sqlstates(log: list[str]) -> list[str]:
    return [re.sub(r"^E .*?\\x00C(\w{5})\\x00.*", r"E \1", line) for line in log]
