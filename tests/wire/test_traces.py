"""What libpq itself sees (``PQtrace``): message by message and field by field the same through the gateway."""

import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from psycopg import pq
from psycopg.pq.abc import PGconn

from tests.support.gateway import GatewayProcess, make_config
from tests.support.postgres import Postgres

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PQtrace needs a file number")

Script = Callable[[PGconn], None]


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    async with GatewayProcess(tmp_path, make_config(postgres)) as running:
        yield running


def drain(connection: PGconn) -> None:
    """Take every result; COPY gets one row, and gives what it has."""
    while (result := connection.get_result()) is not None:
        if result.status == pq.ExecStatus.COPY_IN:
            connection.put_copy_data(b"1\n")
            connection.put_copy_end()
        elif result.status == pq.ExecStatus.COPY_OUT:
            while connection.get_copy_data(0)[0] > 0:
                pass


def simple_queries(connection: PGconn) -> None:
    for sql in (
        b"SELECT 1, 'x', NULL",
        b"",
        b";",
        b"CREATE TEMP TABLE t (i int); INSERT INTO t VALUES (1), (2); UPDATE t SET i = 3; DELETE FROM t",
        b"SELECT 1; SELECT 1/0; SELECT 2",
        b"SELEC",
        b"SELECT * FROM nosuch",
        b"SELECT '\xff'",
        b"BEGIN",
        b"SELECT 1/0",
        b"SELECT 1",
        b"COMMIT",
        b"BEGIN; SAVEPOINT a; ROLLBACK TO a; COMMIT",
        b"DO $$BEGIN RAISE NOTICE 'n'; RAISE WARNING 'w'; END$$",
        b"SET TIME ZONE 'Europe/Paris'; SET datestyle = 'German'; SET application_name = 'x'",
        b"LISTEN news; NOTIFY news, 'hello'",
        b"SELECT repeat('x', 100000), generate_series(1, 100)",
        b"DECLARE c CURSOR FOR SELECT 1",
        b"SELECT $1",
        b"PREPARE p AS SELECT 1",
        b"EXECUTE p",
        b"DEALLOCATE p",
        b"DISCARD ALL",
    ):
        connection.exec_(sql)


def prepared_statements(connection: PGconn) -> None:
    connection.exec_params(b"SELECT $1::int, $2", [b"1", None])
    connection.exec_params(b"SELECT $1::int / 0", [b"1"])
    for sql in (b"SELEC", b"", b"SELECT 1; SELECT 2", b"BEGIN", b"SELECT 1/0", b"SELECT 1", b"COMMIT"):
        connection.exec_params(sql, [])
    connection.prepare(b"s", b"SELECT $1::int4")
    connection.describe_prepared(b"s")
    connection.exec_prepared(b"s", [b"7"])
    connection.exec_prepared(b"s", [b"x"])
    connection.exec_prepared(b"s", [b"\0\0\0\7"], [pq.Format.BINARY], pq.Format.BINARY)
    connection.exec_prepared(b"s", [])
    connection.prepare(b"s", b"SELECT 2")
    connection.exec_prepared(b"nosuch", [])
    connection.exec_params(b"DECLARE c CURSOR WITH HOLD FOR SELECT 1", [])
    connection.describe_portal(b"c")
    connection.describe_portal(b"nosuch")
    connection.send_query_params(b"SELECT generate_series(1, 5)", [])
    connection.set_single_row_mode()
    drain(connection)


def a_pipeline(connection: PGconn) -> None:
    connection.exec_(b"CREATE TEMP TABLE t (i int PRIMARY KEY)")
    connection.enter_pipeline_mode()
    for number in range(5):
        connection.send_query_params(b"INSERT INTO t VALUES ($1::int)", [str(number).encode()])
    connection.pipeline_sync()
    connection.send_query_params(b"INSERT INTO t VALUES ($1::int)", [b"1"])
    connection.send_query_params(b"SELECT 1", [])
    connection.pipeline_sync()
    connection.send_query_params(b"SELECT count(*) FROM t", [])
    connection.send_flush_request()
    connection.flush()
    connection.send_prepare(b"q", b"SELECT $1::int")
    connection.send_describe_prepared(b"q")
    connection.send_query_prepared(b"q", [b"1"])
    connection.pipeline_sync()
    connection.send_query_params(b"BEGIN", [])
    connection.pipeline_sync()
    connection.send_query_params(b"COMMIT", [])
    connection.pipeline_sync()
    syncs = 0
    while syncs < 5:
        result = connection.get_result()
        syncs += result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC
    connection.exit_pipeline_mode()


def copies(connection: PGconn) -> None:
    connection.exec_(b"CREATE TEMP TABLE t (i int)")
    for sql in (
        b"COPY t FROM STDIN",
        b"COPY t TO STDOUT",
        b"COPY (SELECT 1) TO STDOUT (FORMAT binary)",
        b"COPY nosuch FROM STDIN",
        b"SELECT 1; COPY t FROM STDIN; SELECT 2; COPY t TO STDOUT",
    ):
        connection.send_query(sql)
        drain(connection)
    connection.send_query(b"COPY t FROM STDIN")
    connection.get_result()
    connection.put_copy_end(b"enough")
    drain(connection)
    connection.send_query_params(b"COPY t FROM STDIN", [])
    drain(connection)


def the_end_of_the_session(connection: PGconn) -> None:
    connection.exec_(b"SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize(
    "script", [simple_queries, prepared_statements, a_pipeline, copies, the_end_of_the_session]
)
async def test_the_trace_is_the_same(gateway: GatewayProcess, postgres: Postgres, script: Script) -> None:
    direct, through = (trace(end.host, end.port, script) for end in (postgres, gateway))
    assert len(direct) > 2
    assert through == direct


def trace(host: str, port: int, script: Script) -> list[str]:
    """The trace of ``script`` in lines, without what differs between any two sessions."""
    connection = pq.PGconn.connect(f"host={host} port={port} user=postgres dbname=postgres".encode())
    assert connection.status == pq.ConnStatus.OK, connection.error_message
    # Notices go to the trace only.
    connection.notice_handler = lambda _: None
    with tempfile.TemporaryFile() as file:
        connection.trace(file.fileno())
        connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        try:
            script(connection)
        finally:
            connection.untrace()
            connection.finish()
        file.seek(0)
        text = file.read().decode("utf-8", "replace")
    text = re.sub(r"(NotificationResponse\s+)\d+", r"\1PID", text)
    text = re.sub(r"^([BF]\t)(\d+)(\t.*)$", _without_numbers, text, flags=re.MULTILINE)
    return re.sub(r"pg_temp_\d+", "pg_temp", text).splitlines()


def _without_numbers(line: re.Match[str]) -> str:
    """The line with the length that the message has without the number of the session's temporary schema."""
    numbers = "".join(re.findall(r"pg_temp(_\d+)", line[3]))
    return f"{line[1]}{int(line[2]) - len(numbers)}{line[3]}"
