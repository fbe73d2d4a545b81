"""Cancel requests on the wire: they work however the client sends them, and never hit what comes later."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.gateway import RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import (
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    SSL_REQUEST,
    B,
    E,
    P,
    Q,
    RawClient,
    S,
    c,
    cancel_request,
    d,
    send_cancel,
    tags,
)

SLEEP = "SELECT pg_sleep(30)"


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres)) as running:
        yield running


async def asleep(postgres: Postgres, client: RawClient) -> None:
    """Returns once the client's server session sleeps."""
    await asyncio.to_thread(
        postgres.wait_until,
        f"EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND wait_event = 'PgSleep')",
    )


async def cancel_and_wait(host: str, port: int, pid: int, secret: bytes) -> None:
    """As libpq's PQcancelBlocking: until the other side has closed the connection."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(cancel_request(pid, secret))
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("version", [PROTOCOL_3_0, PROTOCOL_3_2])
async def test_a_client_that_closes_right_after_writing(
    gateway: RunningGateway, postgres: Postgres, version: int
) -> None:
    async with await gateway.raw("postgres", version=version) as client:
        # A server that does not speak the version talks its clients down to one with short keys.
        long = version != PROTOCOL_3_0 and postgres.major >= 18
        assert len(client.secret) == (32 if long else 4)
        for _ in range(3):
            await client.send(Q(SLEEP))
            await asleep(postgres, client)
            await send_cancel(gateway.host, gateway.port, client.pid, client.secret)
            assert (await client.read_until("Z"))[-2].sqlstate == "57014"
            assert tags(await client.query("SELECT 1")) == "TDCZ"


async def test_in_every_kind_of_request(gateway: RunningGateway, postgres: Postgres) -> None:
    async with await gateway.raw("postgres") as client:
        for request in (
            (Q(SLEEP),),
            (Q(f"SELECT 1; {SLEEP}; SELECT 2"),),
            (P(SLEEP), B(), E(), S()),
            (P("SELECT 1"), B(), E(), P(SLEEP), B(), E(), P("SELECT 2"), B(), E(), S()),
            (Q(f"COPY ({SLEEP}) TO STDOUT"),),
        ):
            await client.send(*request)
            await asleep(postgres, client)
            await cancel_and_wait(gateway.host, gateway.port, client.pid, client.secret)
            assert (await client.read_until("Z"))[-2].sqlstate == "57014"
        await client.query("CREATE TEMP TABLE t (n int)")
        await client.send(Q("COPY t FROM STDIN"))
        await client.read_until("G")
        await client.send(d(b"1\n"))
        await cancel_and_wait(gateway.host, gateway.port, client.pid, client.secret)
        # As directly: the server waits for data and looks at the request when some comes.
        await client.send(d(b"2\n"), c())
        assert (await client.read_until("Z"))[-2].sqlstate == "57014"
        assert tags(await client.query("SELECT 1")) == "TDCZ"


async def test_a_hundred_races_hit_nothing_later(gateway: RunningGateway) -> None:
    """A cancel that was answered before the next query was sent belongs to the one before, or to none."""
    chance = random.Random(57014)
    hit = 0
    async with await gateway.raw("postgres") as client:
        for number in range(100):
            await client.send(Q("SELECT pg_sleep(0.005)"))
            await asyncio.sleep(chance.uniform(0, 0.008))
            cancelling = asyncio.ensure_future(
                cancel_and_wait(gateway.host, gateway.port, client.pid, client.secret)
            )
            answer = await client.read_until("Z")
            hit += tags(answer)[-2] == "E"
            await cancelling
            later = await client.exchange(P("SELECT $1::int"), B([str(number)]), E(), S())
            assert tags(later) == "12DCZ"
            assert later[2].values == [str(number).encode()]
    assert 0 < hit < 100, "races that were none"


async def test_queries_sent_behind_the_canceled_one_run(gateway: RunningGateway, postgres: Postgres) -> None:
    async with await gateway.raw("postgres") as client:
        for _ in range(10):
            await client.send(Q(SLEEP), Q("SELECT 1"), P("SELECT 2"), B(), E(), S())
            await asleep(postgres, client)
            await cancel_and_wait(gateway.host, gateway.port, client.pid, client.secret)
            assert (await client.read_until("Z"))[-2].sqlstate == "57014"
            assert tags(await client.read_until("Z")) == "TDCZ"
            assert tags(await client.read_until("Z")) == "12DCZ"


async def test_what_is_not_known_is_closed_without_a_word(
    gateway: RunningGateway, postgres: Postgres
) -> None:
    async with await gateway.raw("postgres") as client:
        await client.send(Q(SLEEP))
        await asleep(postgres, client)
        guesses = [bytes(4), bytes(32), client.secret[:-1], client.secret + b"\0", client.secret[::-1] + b"x"]
        for guess in guesses:
            await cancel_and_wait(gateway.host, gateway.port, client.pid, guess)
        await cancel_and_wait(gateway.host, gateway.port, client.pid + 1, client.secret)
        # The server's own key is none of ours, and ours is none of the server's.
        await cancel_and_wait(postgres.host, postgres.port, client.pid, client.secret)
        assert await client.silent(0.2)
        await cancel_and_wait(gateway.host, gateway.port, client.pid, client.secret)
        assert (await client.read_until("Z"))[-2].sqlstate == "57014"


async def test_a_key_ends_with_its_session(gateway: RunningGateway, postgres: Postgres) -> None:
    client = await gateway.raw("postgres")
    await client.close()
    await asyncio.to_thread(
        postgres.wait_until, f"NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid})"
    )
    await cancel_and_wait(gateway.host, gateway.port, client.pid, client.secret)


async def test_an_idle_session_is_not_troubled(gateway: RunningGateway) -> None:
    async with await gateway.raw("postgres") as client:
        await client.query("BEGIN")
        await cancel_and_wait(gateway.host, gateway.port, client.pid, client.secret)
        assert tags(await client.query("SELECT 1")) == "TDCZ"
        assert client.status == "T"


@pytest.mark.parametrize("mode", ["prefer", "require"])
async def test_over_tls_and_in_the_clear(
    postgres: Postgres, authority: Authority, tmp_path: Path, mode: str
) -> None:
    issued = authority.issue("gateway", names=("localhost",), addresses=("127.0.0.1",))
    tls = {"listen": {"tls": {"mode": mode, "cert": str(issued.cert), "key": str(issued.key)}}}
    trusting = ssl.create_default_context(cafile=str(authority.cert))
    async with (
        running_gateway(tmp_path, make_config(postgres, tls)) as gateway,
        await gateway.raw("postgres", context=trusting) as client,
    ):
        for encrypted in (True, False, True):
            await client.send(Q(SLEEP))
            await asleep(postgres, client)
            reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
            if encrypted:
                writer.write(SSL_REQUEST)
                assert await reader.readexactly(1) == b"S"
                await writer.start_tls(trusting, server_hostname="127.0.0.1")
            writer.write(cancel_request(client.pid, client.secret))
            writer.close()
            assert (await client.read_until("Z"))[-2].sqlstate == "57014"
