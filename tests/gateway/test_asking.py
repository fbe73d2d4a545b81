"""Questions asked in a client's session: answered, unseen, and without a trace."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from gateway.asking import AskError, CannotAsk
from gateway.session import Session
from gateway.tasks import spawn
from tests.support.gateway import RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.relay import Relay
from tests.support.wire import B, C, D, E, H, P, Q, RawClient, S, X, send_cancel, tags

SLOW = "SELECT pg_catalog.pg_sleep(60)"
FAILS = "SELECT 1 / 0"


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres)) as running:
        yield running


@pytest.fixture
async def session(gateway: RunningGateway, client: RawClient) -> Session:
    """The session of ``client``, in which nobody asks anything."""
    session = only_session(gateway)
    assert await session.ask("SELECT 1") == [("1",)]
    return session


def only_session(gateway: RunningGateway) -> Session:
    (info,) = gateway.gateway.sessions.list()
    session = gateway.gateway.sessions.find(info.id)
    assert session is not None
    return session


async def runs(postgres: Postgres, sql: str) -> None:
    """Until the server runs ``sql``."""
    async with await psycopg.AsyncConnection.connect(
        host=postgres.host, port=postgres.port, user="postgres", dbname="postgres", autocommit=True
    ) as watcher:
        async with asyncio.timeout(20):
            while True:
                found = await watcher.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE query = %s AND state = 'active'", (sql,)
                )
                if await found.fetchone():
                    return


async def test_rows_are_text(session: Session) -> None:
    rows = await session.ask("SELECT 1, NULL, pg_catalog.chr(228) UNION ALL SELECT 2, true, '' ORDER BY 1")
    assert rows == [("1", None, "ä"), ("2", "t", "")]


async def test_megabytes_in_one_column(session: Session) -> None:
    ((text,),) = await session.ask("SELECT pg_catalog.repeat('x', 20000000)")
    assert text == "x" * 20_000_000


@pytest.mark.parametrize("transaction", [False, True])
async def test_several_questions_in_one_snapshot(
    session: Session, client: RawClient, transaction: bool
) -> None:
    if transaction:
        await client.query("BEGIN")
    settings = ["SET LOCAL search_path = pg_catalog, pg_temp", "SET LOCAL jit = off"]
    where = "SELECT pg_catalog.current_setting('search_path')"
    answers = await session.ask_together([where, "SELECT 1 WHERE false", where], settings)
    assert answers == [[("pg_catalog, pg_temp",)], [], [("pg_catalog, pg_temp",)]]
    with pytest.raises(AskError, match="read-only transaction"):
        await session.ask_together(["CREATE TABLE public.t ()"], settings)
    with pytest.raises(AskError, match="division by zero"):
        await session.ask_together([FAILS], settings)
    assert client.status == ("T" if transaction else "I")
    assert await session.ask(where) == [('"$user", public',)]
    assert tags(await client.query("CREATE TEMP TABLE t ()")) == "CZ"


async def test_several_questions_behind_a_statement_that_was_only_described(
    session: Session, client: RawClient
) -> None:
    await client.send(P("SELECT 7", "s"), D("S", "s"), H())
    assert tags(await client.read_until("T")) == "1tT"
    assert await session.ask_together(["SELECT 1"]) == [[("1",)]]
    assert tags(await client.exchange(B(statement="s"), E(), S())) == "2DCZ"


async def test_several_questions_are_not_asked_in_the_middle_of_a_series(
    session: Session, client: RawClient
) -> None:
    await client.send(P("SELECT 1"), B(), H())
    assert tags(await client.read_until("2")) == "12"
    with pytest.raises(CannotAsk, match="not finished"):
        await session.ask_together(["SELECT 1"])
    assert tags(await client.exchange(E(), S())) == "DCZ"


@pytest.mark.parametrize("sql", ["SELECT 'ä'", r"SELECT '\'"])
async def test_a_question_that_reads_in_two_ways_is_not_asked(session: Session, sql: str) -> None:
    with pytest.raises(ValueError, match="read the same"):
        await session.ask(sql)


async def test_an_error_harms_nothing(session: Session, client: RawClient) -> None:
    with pytest.raises(AskError, match="division by zero") as raised:
        await session.ask(FAILS)
    assert raised.value.report["C"] == "22012"
    assert tags(await client.query("SELECT 1")) == "TDCZ"


async def test_an_error_harms_no_transaction(session: Session, client: RawClient) -> None:
    await client.query("BEGIN; CREATE TEMP TABLE mine (a int); SAVEPOINT s")
    with pytest.raises(AskError, match="division by zero"):
        await session.ask(FAILS)
    assert await session.ask("SELECT 1") == [("1",)]
    assert client.status == "T"
    assert tags(await client.query("INSERT INTO mine VALUES (1); ROLLBACK TO s; COMMIT")) == "CCCZ"
    assert tags(await client.query("SELECT * FROM mine")) == "TCZ"


async def test_nothing_is_asked_in_a_failed_transaction(session: Session, client: RawClient) -> None:
    await client.query("BEGIN")
    await client.query("SELEC")
    assert client.status == "E"
    with pytest.raises(CannotAsk, match="failed transaction"):
        await session.ask("SELECT 1")
    await client.query("ROLLBACK")
    assert await session.ask("SELECT 1") == [("1",)]


async def test_what_the_client_prepared_stays(session: Session, client: RawClient) -> None:
    await client.exchange(P("SELECT 'unnamed'"), P("SELECT 'named'", "n"), S())
    assert await session.ask("SELECT 1") == [("1",)]
    for name in ("", "n"):
        assert tags(await client.exchange(B(statement=name), E(), S())) == "2DCZ"


async def test_portals_stay_in_a_transaction(session: Session, client: RawClient) -> None:
    await client.query("BEGIN")
    await client.exchange(P("SELECT generate_series(1, 3)"), B(), E("", 1), S())
    await session.ask("SELECT 1")
    with pytest.raises(AskError):
        await session.ask(FAILS)
    assert tags(await client.exchange(E(), S())) == "DDCZ"


async def test_nothing_of_it_is_left_to_see(session: Session, client: RawClient) -> None:
    await client.query("BEGIN")
    for sql in ("SELECT 1", FAILS):
        try:
            await session.ask(sql)
        except AskError:
            pass
    answer = await client.query(
        "SELECT name FROM pg_prepared_statements UNION ALL SELECT name FROM pg_cursors WHERE name <> ''"
    )
    assert tags(answer) == "TCZ"


async def test_the_middle_of_a_series_is_not_committed(
    session: Session, client: RawClient, postgres: Postgres, database: str
) -> None:
    await client.send(P("INSERT INTO artist VALUES (9000, 'x')"), B(), E(), H())
    assert tags(await client.read_until("C")) == "12C"
    assert await session.ask("SELECT pg_catalog.count(*) FROM public.artist WHERE artist_id = 9000") == [
        ("1",)
    ]
    assert postgres.scalar("SELECT count(*) FROM artist WHERE artist_id = 9000", database) == 0
    await client.send(P("SELEC"), S())
    assert tags(await client.read_until("Z")) == "EZ"
    assert postgres.scalar("SELECT count(*) FROM artist WHERE artist_id = 9000", database) == 0


async def test_a_failure_in_the_middle_of_a_series_is_told_to_the_client(
    session: Session, client: RawClient, postgres: Postgres, database: str
) -> None:
    await client.send(P("INSERT INTO artist VALUES (9000, 'x')"), B(), E(), H())
    assert tags(await client.read_until("C")) == "12C"
    with pytest.raises(AskError):
        await session.ask(FAILS)
    assert (await client.read()).sqlstate == "22012"
    await client.send(P("SELECT 1"), B(), E(), S())
    assert tags(await client.read_until("Z")) == "Z"
    assert client.status == "I"
    assert postgres.scalar("SELECT count(*) FROM artist WHERE artist_id = 9000", database) == 0


async def test_what_the_client_sends_meanwhile_waits(session: Session, client: RawClient) -> None:
    asked = spawn(session.ask("SELECT pg_catalog.pg_sleep(0.3), 'first'"), name="ask")
    await asyncio.sleep(0)
    await client.send(Q("SELECT 'second'"), P("SELECT 'third'"), D("S"), B(), E(), S())
    assert tags(await client.read_until("Z")) == "TDCZ"
    assert asked.done()
    assert tags(await client.read_until("Z")) == "1tT2DCZ"
    assert await asked == [("", "first")]


async def test_many_ask_at_once_while_the_client_is_busy(session: Session, client: RawClient) -> None:
    asked = [spawn(session.ask(f"SELECT {number}"), name="ask") for number in range(20)]
    await client.send(*[Q(f"SELECT {number}") for number in range(50)])
    for _ in range(50):
        assert tags(await client.read_until("Z")) == "TDCZ"
    assert [await each for each in asked] == [[(str(number),)] for number in range(20)]


async def test_a_question_waits_for_what_runs(session: Session, client: RawClient) -> None:
    await client.send(Q("SELECT pg_sleep(0.3)"))
    while session.info().state != "active":
        await asyncio.sleep(0)
    assert await session.ask("SELECT 'later'") == [("later",)]
    assert tags(await client.read_until("Z")) == "TDCZ"


async def test_notices_at_debug_level_do_not_give_it_away(session: Session, client: RawClient) -> None:
    await client.query("SET client_min_messages = debug5")
    assert await session.ask("SELECT 1") == [("1",)]
    await client.query("SET client_min_messages = notice")
    answer = await client.query("SELECT 2")
    assert tags(answer) == "TDCZ"


async def test_notifications_arrive_meanwhile(
    session: Session, client: RawClient, postgres: Postgres, database: str
) -> None:
    await client.query("LISTEN news")
    postgres.execute("NOTIFY news, 'hello'", database)
    await session.ask("SELECT 1")
    assert (await client.read()).tag == "A"


class TestCancel:
    async def canceled(self, client: RawClient, gateway: RunningGateway) -> None:
        await send_cancel(gateway.host, gateway.port, client.pid, client.secret)

    async def test_of_an_idle_client_hits_nothing(
        self, session: Session, client: RawClient, gateway: RunningGateway
    ) -> None:
        asked = spawn(session.ask("SELECT pg_catalog.pg_sleep(0.3), 1"), name="ask")
        await asyncio.sleep(0)
        await self.canceled(client, gateway)
        assert await asked == [("", "1")]
        assert tags(await client.query("SELECT 1")) == "TDCZ"

    @pytest.mark.parametrize("transaction", [False, True])
    async def test_of_a_statement_that_waits(
        self,
        session: Session,
        client: RawClient,
        gateway: RunningGateway,
        postgres: Postgres,
        transaction: bool,
    ) -> None:
        if transaction:
            await client.query("BEGIN")
        asked = asyncio.ensure_future(session.ask(SLOW))
        await runs(postgres, SLOW)
        await client.send(Q("SELECT 'mine'"))
        while not session._core.buffered:
            await asyncio.sleep(0)
        await self.canceled(client, gateway)
        with pytest.raises(AskError, match="canceling statement due to user request"):
            await asked
        answer = await client.read_until("Z")
        assert tags(answer) == "EZ"
        assert answer[0].sqlstate == "57014"
        assert client.status == ("E" if transaction else "I")
        await client.query("ROLLBACK")
        assert tags(await client.query("SELECT 1")) == "TDCZ"


class TestEnds:
    async def test_the_server_dies(self, postgres: Postgres, tmp_path: Path, database: str) -> None:
        async with Relay(postgres.host, postgres.port) as relay:
            behind = {"databases": {"*": {"host": relay.host, "port": relay.port}}}
            async with (
                running_gateway(tmp_path, make_config(postgres, behind)) as gateway,
                await gateway.raw(database) as client,
            ):
                asked = asyncio.ensure_future(only_session(gateway).ask(SLOW))
                await runs(postgres, SLOW)
                relay.cut()
                with pytest.raises(CannotAsk):
                    await asked
                assert await client.read_to_end() == []

    async def test_the_server_ends_the_session(
        self, session: Session, client: RawClient, postgres: Postgres
    ) -> None:
        asked = asyncio.ensure_future(session.ask(SLOW))
        await runs(postgres, SLOW)
        postgres.execute(f"SELECT pg_terminate_backend({client.pid})")
        with pytest.raises(CannotAsk):
            await asked
        assert [each.sqlstate for each in await client.read_to_end()] == ["57P01"]

    async def test_the_client_goes(self, gateway: RunningGateway, database: str) -> None:
        client = await gateway.raw(database)
        session = only_session(gateway)
        await session.ask("SELECT 1")
        asked = asyncio.ensure_future(session.ask("SELECT pg_catalog.pg_sleep(0.3), 1"))
        await asyncio.sleep(0)
        client.abort()
        assert await asked == [("", "1")]
        async with asyncio.timeout(10):
            while gateway.gateway.sessions.list():
                await asyncio.sleep(0.01)

    async def test_the_client_says_goodbye(
        self, gateway: RunningGateway, client: RawClient, session: Session
    ) -> None:
        asked = asyncio.ensure_future(session.ask("SELECT pg_catalog.pg_sleep(0.3), 1"))
        await asyncio.sleep(0)
        await client.send(C("S", "n"), X())
        assert await asked == [("", "1")]
        assert await client.read_to_end() == []

    async def test_who_asked_goes(self, session: Session, client: RawClient) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.ask("SELECT pg_catalog.pg_sleep(0.3)")
        assert await session.ask("SELECT 'next'") == [("next",)]
        assert tags(await client.query("SELECT 1")) == "TDCZ"
