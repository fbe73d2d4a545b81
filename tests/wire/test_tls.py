"""TLS on the client's side: real drivers log in over it with SCRAM, and what must not pass does not."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.support.certificates import Authority
from tests.support.gateway import RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import SSL_REQUEST

PASSWORD = "correct horse"
SCRAM_HBA = "host all all all scram-sha-256"


@pytest.fixture
def role(postgres: Postgres) -> str:
    return postgres.create_role(password=PASSWORD, attributes="LOGIN SUPERUSER")


@pytest.fixture
def listening(authority: Authority) -> Mapping[str, Any]:
    issued = authority.issue("gateway", addresses=("127.0.0.1",), names=("localhost",))
    return {"listen": {"tls": {"mode": "require", "cert": str(issued.cert), "key": str(issued.key)}}}


@pytest.fixture
async def gateway(
    postgres: Postgres, listening: Mapping[str, Any], tmp_path: Path
) -> AsyncIterator[RunningGateway]:
    with postgres.hba(SCRAM_HBA):
        async with running_gateway(tmp_path, make_config(postgres, listening)) as running:
            yield running


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """A client's context that believes the authority."""
    context = ssl.create_default_context(cafile=str(authority.cert))
    context.set_alpn_protocols(["postgresql"])
    return context


def settings(gateway: RunningGateway, authority: Authority, role: str, **more: Any) -> dict[str, Any]:
    return {
        "host": gateway.host,
        "port": gateway.port,
        "dbname": "postgres",
        "user": role,
        "password": PASSWORD,
        "sslmode": "verify-full",
        "sslrootcert": str(authority.cert),
        **more,
    }


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
async def test_libpq_logs_in_and_cancels(
    gateway: RunningGateway, authority: Authority, role: str, negotiation: str
) -> None:
    login = settings(gateway, authority, role, sslnegotiation=negotiation)
    connection = await psycopg.AsyncConnection.connect(**login, autocommit=True)
    async with connection:
        assert connection.pgconn.ssl_in_use
        cursor = await connection.execute("SELECT repeat('x', 10), generate_series(1, 20000)")
        assert len(await cursor.fetchall()) == 20_000
        sleeping = asyncio.get_running_loop().create_task(_sleep(connection))
        while not sleeping.done():
            # A cancel that comes before the statement is dropped by the server, as it should be.
            await connection.cancel_safe()
            await asyncio.wait({sleeping}, timeout=0.05)
        assert await sleeping == "57014"
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def _sleep(connection: psycopg.AsyncConnection[Any]) -> str | None:
    with pytest.raises(psycopg.errors.QueryCanceled) as raised:
        await connection.execute("SELECT pg_sleep(60)")
    return raised.value.sqlstate


async def test_asyncpg_logs_in(gateway: RunningGateway, trusting: ssl.SSLContext, role: str) -> None:
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=gateway.port,
        user=role,
        password=PASSWORD,
        database="postgres",
        ssl=trusting,
    )
    try:
        assert await connection.fetchval("SELECT $1::int + 1", 41) == 42
        assert len(await connection.fetch("SELECT repeat('x', 1000) FROM generate_series(1, 5000)")) == 5000
    finally:
        await connection.close()


async def test_who_comes_in_the_clear_is_turned_away(
    gateway: RunningGateway, authority: Authority, role: str
) -> None:
    login = settings(gateway, authority, role, sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        await psycopg.AsyncConnection.connect(**login)


async def test_a_wrong_password_reads_as_the_servers_own(
    gateway: RunningGateway, authority: Authority, role: str
) -> None:
    login = settings(gateway, authority, role, password="wrong")
    with pytest.raises(psycopg.OperationalError, match=f'password authentication failed for user "{role}"'):
        await psycopg.AsyncConnection.connect(**login)


async def test_channel_binding_is_to_the_gateways_certificate(
    postgres: Postgres, authority: Authority, listening: Mapping[str, Any], role: str, tmp_path: Path
) -> None:
    verifier = postgres.scalar(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")
    own = {
        "users": {role: {"verifier": verifier}},
        "databases": {"*": {"auth": "gateway", "login": {"user": role, "password": PASSWORD}}},
    }
    with postgres.hba(SCRAM_HBA):
        async with running_gateway(tmp_path, make_config(postgres, listening, own)) as running:
            login = settings(running, authority, role, channel_binding="require")
            async with await psycopg.AsyncConnection.connect(**login) as connection:
                assert connection.pgconn.used_password
                assert await (await connection.execute("SELECT current_user")).fetchone() == (role,)


async def test_both_ends_speak_tls(
    tls_postgres: Postgres, authority: Authority, listening: Mapping[str, Any], tmp_path: Path
) -> None:
    role = tls_postgres.create_role(password=PASSWORD)
    verifier = tls_postgres.scalar(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")
    verified = {"sslmode": "verify-full", "sslrootcert": str(authority.cert)}
    server = {"host": tls_postgres.host, "port": tls_postgres.port, "dbname": "postgres", **verified}
    own_login = {"auth": "gateway", "login": {"user": role, "password": PASSWORD}}
    config = make_config(
        tls_postgres,
        listening,
        {"users": {role: {"verifier": verifier}}},
        {"databases": {"*": verified, "own": {**server, **own_login}}},
    )
    with tls_postgres.hba("hostssl all all all scram-sha-256"):
        async with running_gateway(tmp_path, config) as running:
            own = settings(running, authority, role, dbname="own", channel_binding="require")
            passing = settings(running, authority, role, channel_binding="disable")
            for login in (own, passing):
                async with await psycopg.AsyncConnection.connect(**login) as connection:
                    cursor = await connection.execute(
                        "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                    )
                    assert await cursor.fetchone() == (True,)
            # A client that could bind says so, and the server could too: nobody in between can hide that.
            with pytest.raises(psycopg.OperationalError, match="channel_binding=disable"):
                await psycopg.AsyncConnection.connect(**settings(running, authority, role))


async def ends(reader: asyncio.StreamReader) -> bytes:
    """What is still said; the end must come at once and not with the time to log in."""
    said = b""
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1000):
                said += piece
    return said


@pytest.mark.parametrize(
    "packet",
    [
        struct.pack("!II", 4, 196608),
        struct.pack("!II", 0x7FFFFFFF, 196608),
        struct.pack("!II", 9, 196608) + b"\0",
        SSL_REQUEST,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_nonsense_inside_tls_ends_the_connection(
    gateway: RunningGateway, trusting: ssl.SSLContext, packet: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(SSL_REQUEST)
    assert await reader.readexactly(1) == b"S"
    await writer.start_tls(trusting, server_hostname="127.0.0.1")
    writer.write(packet)
    await ends(reader)
    writer.close()


async def test_bytes_behind_the_ssl_request_close_the_connection(gateway: RunningGateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(SSL_REQUEST + b"x")
    assert await ends(reader) == b""
    writer.close()
