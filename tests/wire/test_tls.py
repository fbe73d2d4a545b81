"""TLS on the client's side: real drivers log in over it with SCRAM, and what must not pass does not."""

import asyncio
import contextlib
import select
import socket
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
from tests.support.wire import SSL_REQUEST, Q, cancel_request, message, messages_in, startup_message

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


class TestRefusals:
    """A connection that never becomes a session ends as the server ends it: the error, the end of TLS, the end of
    the stream, and nothing of it is waited for or cut off."""

    @pytest.mark.parametrize(
        "packet",
        [cancel_request(1, b"none"), startup_message(database="x"), startup_message(1 << 16, user="x")],
        ids=["cancel", "no user", "version"],
    )
    async def test_who_waits_for_the_end_outside_tls_sees_it(
        self, gateway: RunningGateway, trusting: ssl.SSLContext, packet: bytes
    ) -> None:
        # As Go's pq does after a CancelRequest: TLS is never ended by the client, so nobody may wait for that.
        await asyncio.to_thread(read_past_tls, gateway.port, trusting, packet)

    @pytest.mark.parametrize("late", [False, True], ids=["at once", "when the stream has ended"])
    async def test_none_is_lost(self, gateway: RunningGateway, trusting: ssl.SSLContext, late: bool) -> None:
        some = asyncio.Semaphore(20)

        async def one(packet: bytes) -> str:
            async with some:
                return await asyncio.to_thread(refusal, gateway.port, trusting, packet, late=late)

        kinds = list(REFUSED) * 50
        answers = await asyncio.gather(*(one(REFUSED[kind]) for kind in kinds))
        assert len(answers) == 200
        assert list(zip(kinds, answers, strict=True)) == [(kind, kind) for kind in kinds]

    async def test_a_client_that_sends_on_regardless_reads_why(
        self, gateway: RunningGateway, trusting: ssl.SSLContext
    ) -> None:
        packet = startup_message(database="x") + Q("SELECT 1") * 1000
        assert await asyncio.to_thread(refusal, gateway.port, trusting, packet, late=True) == "28000"


REFUSED = {
    "28000": startup_message(database="x"),
    "0A000": startup_message(4 << 16, user="x"),
    "08P01": startup_message(user="x", database="x") + message("p", b"no SASL\0"),
    "42501": startup_message(user="x", database="x", replication="database"),
}
"""First packets by the SQLSTATE they are answered with."""


def refusal(port: int, context: ssl.SSLContext, packet: bytes, *, late: bool) -> str:
    """The SQLSTATE of the error that answers ``packet`` sent through TLS, read to the end of TLS.

    ``late``: nothing is read before the whole stream is there. Raises ``SSLError`` if TLS did not end in order.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        plain.sendall(SSL_REQUEST)
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as encrypted:
            encrypted.sendall(packet)
            if late:
                poller = select.poll()
                poller.register(encrypted, select.POLLRDHUP)
                assert poller.poll(20_000), "the stream did not end"
            data = b"".join(iter(lambda: encrypted.recv(4096), b""))
    return next(each.sqlstate for each in messages_in(data) if each.tag == "E")


def read_past_tls(port: int, context: ssl.SSLContext, packet: bytes) -> None:
    """Send ``packet`` through TLS and read the bare socket to its end. Raises TimeoutError without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        plain.sendall(SSL_REQUEST)
        assert plain.recv(1) == b"S"
        encrypted = context.wrap_socket(plain, server_hostname="127.0.0.1")
        encrypted.sendall(packet)
        with socket.socket(fileno=encrypted.detach()) as bare:
            bare.settimeout(5)
            with contextlib.suppress(ConnectionError):
                while bare.recv(4096):
                    pass
