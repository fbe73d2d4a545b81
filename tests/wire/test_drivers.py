"""Drivers through the gateway behave as they do directly: each script runs both ways and must give the same."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pg8000.native
import psycopg
import psycopg2
import pytest
import sqlalchemy as sa

from tests.support.gateway import RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres

Script = Callable[[str, int, str], Any]


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres)) as running:
        yield running


@pytest.fixture
def both_ways(
    gateway: RunningGateway, postgres: Postgres, database: str
) -> Callable[[Script], Awaitable[tuple[Any, Any]]]:
    async def run(script: Script) -> tuple[Any, Any]:
        results = []
        for host, port in ((postgres.host, postgres.port), (gateway.host, gateway.port)):
            if asyncio.iscoroutinefunction(script):
                results.append(await script(host, port, database))
            else:
                results.append(await asyncio.to_thread(script, host, port, database))
        return results[0], results[1]

    return run


BothWays = Callable[[Script], Awaitable[tuple[Any, Any]]]


def psycopg_script(host: str, port: int, database: str) -> list[Any]:
    seen: list[Any] = []
    with psycopg.connect(host=host, port=port, dbname=database, user="postgres") as connection:
        connection.add_notice_handler(lambda notice: seen.append((notice.severity, notice.message_primary)))
        cursor = connection.cursor()
        seen.append(cursor.execute("SELECT 1, %s::text", ("x",)).fetchall())
        with connection.pipeline():
            for number in range(50):
                cursor.execute("SELECT %s::int", (number,))
            cursor.execute("SELECT 'last'")
        seen.append(cursor.fetchall())
        with cursor.copy("COPY artist (artist_id, name) FROM STDIN") as copy:
            copy.write_row((90001, "Somebody"))
        with cursor.copy("COPY (SELECT name FROM artist WHERE artist_id = 90001) TO STDOUT") as copy:
            seen.append(list(copy.rows()))
        named = connection.cursor(name="c", withhold=False)
        named.execute("SELECT generate_series(1, 1000)")
        seen.append(len(named.fetchmany(10)) + len(named.fetchall()))
        named.close()
        cursor.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
        connection.rollback()
        for bad in ("SELECT 1/0", "SELEC", "SELECT * FROM nosuch"):
            with pytest.raises(psycopg.Error) as raised:
                connection.execute(bad)
            seen.append((raised.value.sqlstate, str(raised.value)))
            connection.rollback()
        with pytest.raises(psycopg.Error) as raised, cursor.copy("COPY artist FROM STDIN") as copy:
            copy.write("not\ta\tnumber\n")
        seen.append(raised.value.sqlstate)
        connection.rollback()
        seen.append((connection.info.server_version, connection.info.encoding, connection.info.status))
    return seen


async def asyncpg_script(host: str, port: int, database: str) -> list[Any]:
    seen: list[Any] = []
    connection = await asyncpg.connect(host=host, port=port, database=database, user="postgres")
    try:
        seen.extend([await connection.fetchval("SELECT $1::int + 1", number) for number in range(3)])
        seen.append([tuple(row) for row in await connection.fetch("SELECT * FROM artist ORDER BY 1 LIMIT 3")])
        async with connection.transaction():
            seen.append(len([row async for row in connection.cursor("SELECT generate_series(1, 120)")]))
        await connection.executemany(
            "INSERT INTO artist (artist_id, name) VALUES ($1, $2)", [(91000 + i, "a") for i in range(20)]
        )
        await connection.execute("DELETE FROM artist WHERE artist_id >= 91000")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetch("SELECT 1/0")
        with pytest.raises(asyncio.TimeoutError):
            await connection.fetch("SELECT pg_sleep(30)", timeout=0.2)
        seen.append(await connection.fetchval("SELECT 'after the cancel'"))
        heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await connection.add_listener("news", lambda _c, _p, _n, payload: heard.set_result(str(payload)))
        await connection.execute("NOTIFY news, 'hello'")
        seen.append(await heard)
        seen.append(await connection.fetchval("SELECT ARRAY[[1, 2], [3, 4]]::int[]"))
        connection.get_server_pid()
    finally:
        await connection.close()
    return seen


def psycopg2_script(host: str, port: int, database: str) -> list[Any]:
    seen: list[Any] = []
    connection = psycopg2.connect(host=host, port=port, dbname=database, user="postgres")
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT %s, now() IS NOT NULL", ("x",))
        seen.append(cursor.fetchall())
        large = connection.lobject(0, "wb")
        large.write(b"x" * 100_000)
        oid = large.oid
        large.close()
        large = connection.lobject(oid, "rb")
        seen.append(len(large.read()))
        large.unlink()
        connection.rollback()
        with pytest.raises(psycopg2.Error) as raised:
            cursor.execute("INSERT INTO artist VALUES (1, 'again')")
        seen.append(raised.value.pgcode)
        connection.rollback()
    finally:
        connection.close()
    return seen


def pg8000_script(host: str, port: int, database: str) -> list[Any]:
    connection = pg8000.native.Connection("postgres", host=host, port=port, database=database)
    try:
        seen: list[Any] = [connection.run("SELECT :x::int + 1", x=4)]
        prepared = connection.prepare("SELECT name FROM artist WHERE artist_id = :i")
        seen.append([prepared.run(i=number) for number in (1, 2, 3)])
        prepared.close()
        with pytest.raises(pg8000.native.DatabaseError) as raised:
            connection.run("SELECT * FROM nosuch")
        seen.append(raised.value.args[0]["C"])
        return seen
    finally:
        connection.close()


def sqlalchemy_script(host: str, port: int, database: str) -> list[Any]:
    engine = sa.create_engine(f"postgresql+psycopg://postgres@{host}:{port}/{database}")
    try:
        inspector = sa.inspect(engine)
        seen: list[Any] = [sorted(inspector.get_table_names())]
        seen.append([column["name"] for column in inspector.get_columns("customer")])
        seen.append(inspector.get_foreign_keys("invoice"))
        with engine.begin() as connection:
            seen.append(connection.execute(sa.text("SELECT count(*) FROM artist")).scalar_one())
        return seen
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "script", [psycopg_script, asyncpg_script, psycopg2_script, pg8000_script, sqlalchemy_script]
)
async def test_a_driver_cannot_tell(both_ways: BothWays, script: Script) -> None:
    direct, through = await both_ways(script)
    assert direct
    assert through == direct


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
async def test_pgbench_runs_in_every_mode(
    gateway: RunningGateway, postgres: Postgres, empty_database: str, mode: str
) -> None:
    target = ("-h", gateway.host, "-p", str(gateway.port), "-U", "postgres", empty_database)
    pgbench = postgres.tool("pgbench")
    for arguments in (("-i", "-q", "-s", "1"), ("-n", "-M", mode, "-c", "4", "-t", "25")):
        process = await asyncio.create_subprocess_exec(
            pgbench, *arguments, *target, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    assert b"number of transactions actually processed: 100/100" in out
    assert b"number of failed transactions: 0" in out


async def test_a_dump_is_the_same(gateway: RunningGateway, postgres: Postgres, database: str) -> None:
    dumps = []
    for host, port in ((postgres.host, postgres.port), (gateway.host, gateway.port)):
        process = await asyncio.create_subprocess_exec(
            postgres.tool("pg_dump"),
            *("--restrict-key=test", "-h", host, "-p", str(port), "-U", "postgres", database),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        dumps.append(out)
    assert len(dumps[0]) > 10_000
    assert dumps[1] == dumps[0]
