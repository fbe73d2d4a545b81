"""The raw client and the relay against a real server, without a gateway between."""

import ssl

import pytest

from tests.support.certificates import Authority
from tests.support.postgres import Postgres
from tests.support.relay import Relay, TlsRelay
from tests.support.wire import (
    PROTOCOL_3_2,
    B,
    ConnectionClosed,
    D,
    E,
    P,
    Q,
    RawClient,
    S,
    c,
    d,
    send_cancel,
    tags,
)


async def test_simple_and_extended_queries(postgres: Postgres) -> None:
    async with await RawClient.connect(postgres.host, postgres.port) as client:
        assert client.status == "I"
        assert client.parameters["server_encoding"] == "UTF8"
        replies = await client.query("SELECT 1, NULL, 'x'; SELECT 2")
        assert tags(replies) == "TDCTDCZ"
        assert replies[1].values == [b"1", None, b"x"]
        replies = await client.exchange(P("SELECT $1::int + 1"), B(["41"]), D("P"), E(), S())
        assert tags(replies) == "12TDCZ"
        assert replies[3].values == [b"42"]
        replies = await client.query("SELEKT")
        assert tags(replies) == "EZ"
        assert replies[0].sqlstate == "42601"


async def test_copy_in(postgres: Postgres, empty_database: str) -> None:
    async with await RawClient.connect(postgres.host, postgres.port, database=empty_database) as client:
        await client.query("CREATE TABLE t (n int)")
        replies = await client.exchange(Q("COPY t FROM STDIN"), d(b"1\n2"), d(b"3\n"), c())
        assert tags(replies) == "GCZ"
        assert replies[1].text == "COPY 2"


@pytest.mark.parametrize("version", [3 << 16, PROTOCOL_3_2])
async def test_cancel(postgres: Postgres, version: int) -> None:
    async with await RawClient.connect(postgres.host, postgres.port, version=version) as client:
        assert client.pid
        assert len(client.secret) == (4 if version == 3 << 16 else 32)
        await client.query("BEGIN")
        await client.send(Q("SELECT pg_sleep(9)"))
        postgres.wait_until(
            f"EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND wait_event = 'PgSleep')"
        )
        await send_cancel(postgres.host, postgres.port, client.pid, client.secret)
        replies = await client.read_until("Z")
        assert replies[-2].sqlstate == "57014"
        assert client.status == "E"


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
async def test_login_with_password(postgres: Postgres, method: str) -> None:
    encryption = "md5" if method == "md5" else "scram-sha-256"
    role = postgres.create_role()
    with postgres.connect() as connection:
        connection.execute(f"SET password_encryption = '{encryption}'".encode())
        connection.execute(f"ALTER ROLE {role} PASSWORD 'sësame'".encode())
    with postgres.hba(f"host all all 127.0.0.1/32 {method}"):
        client = await RawClient.connect(
            postgres.host, postgres.port, user=role, password="sësame", database="postgres"
        )
        await client.close()
        with pytest.raises(AssertionError, match="28P01"):
            await RawClient.connect(postgres.host, postgres.port, user=role, password="wrong")
    postgres.drop_role(role)


async def test_relay_passes_and_cuts(postgres: Postgres) -> None:
    async with Relay(postgres.host, postgres.port, chunk=1) as relay:
        client = await RawClient.connect(relay.host, relay.port)
        assert tags(await client.query("SELECT 1")) == "TDCZ"
        assert b"SELECT 1" in relay.received
        relay.cut()
        with pytest.raises(ConnectionClosed):
            await client.query("SELECT 1")
        await client.close()


async def test_tls_relay(postgres: Postgres, authority: Authority) -> None:
    issued = authority.issue("relay", names=("localhost",), addresses=("127.0.0.1",))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(issued.cert, issued.key)
    trusting = ssl.create_default_context(cafile=str(authority.cert))
    async with (
        TlsRelay(postgres.host, postgres.port, server) as relay,
        await RawClient.connect(relay.host, relay.port, context=trusting) as client,
    ):
        assert tags(await client.query("SELECT 1")) == "TDCZ"
