"""Large and slow traffic: it passes as it does directly, and costs the gateway no more memory than it says.

``docs/architecture.md``, "Memory and back-pressure": a session costs what is read ahead, the request under way
and two write buffers, whatever the other side does not read.
"""

import asyncio
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.link import WRITE_HIGH
from tests.support.gateway import GatewayProcess, make_config
from tests.support.memory import Memory
from tests.support.postgres import Postgres
from tests.support.relay import Relay
from tests.support.wire import B, D, E, P, Q, RawClient, S, X, c, d, message, tags

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc"),
    pytest.mark.timeout(120),
]

MIB = 1 << 20
SLACK = 6 * MIB
"""What the interpreter, its allocator and the kernel's chunks take besides what the gateway means to hold."""


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    async with GatewayProcess(tmp_path, make_config(postgres)) as running:
        async with await connected(running) as client:
            await client.query("SELECT 1")
        yield running


async def connected(gateway: GatewayProcess, database: str = "postgres") -> RawClient:
    return await RawClient.connect(gateway.host, gateway.port, database=database)


async def read_for(client: RawClient, size: int) -> int:
    """Read ``size`` bytes and forget them; returns how many came before the end."""
    left = size
    while left and (data := await client.reader.read(min(left, 1 << 18))):
        left -= len(data)
    return size - left


class TestLarge:
    async def test_as_many_parameters_as_a_bind_can_hold(self, gateway: GatewayProcess) -> None:
        count = 65_535
        sql = "SELECT " + "+".join(f"${number}::int8" for number in range(1, 1001))
        async with await connected(gateway) as client:
            answer = await client.exchange(P(sql), B(["1"] * 1000), E(), S())
            assert answer[2].values == [b"1000"]
            sql = f"SELECT ${count}::int, cardinality(ARRAY[{','.join(f'${n}' for n in range(1, count))}]::int[])"
            answer = await client.exchange(P(sql), B([str(n) for n in range(1, count + 1)]), E(), S())
            assert answer[2].values == [b"65535", b"65534"]
            answer = await client.exchange(P("SELECT $1"), B(["1"] * count), E(), S())
            assert [each.sqlstate for each in answer if each.tag == "E"] == ["08P01"]

    async def test_a_statement_with_more_parameters_than_can_be_counted(
        self, gateway: GatewayProcess
    ) -> None:
        # PostgreSQL prepares it, and describes it with a count of 16 bits that has wrapped around.
        count = 65_536
        sql = f"SELECT cardinality(ARRAY[{','.join(f'${number}' for number in range(1, count + 1))}]::int[])"
        async with await connected(gateway) as client:
            answer = await client.exchange(P(sql, "many"), D("S", "many"), S())
            assert tags(answer) == "1tTZ"
            assert len(answer[1].payload) == 2 + 4 * count
            assert tags(await client.query("SELECT 1")) == "TDCZ"

    async def test_a_parameter_of_fifty_megabytes(self, gateway: GatewayProcess) -> None:
        value = b"x" * (50 * MIB)
        memory = Memory(gateway.pid)
        async with await connected(gateway) as client:
            answer = await client.exchange(P("SELECT length($1), md5($1)"), B([value]), E(), S())
            assert tags(answer) == "12DCZ"
            assert answer[2].values[0] == str(len(value)).encode()
        # The request itself, once as it came and once as the parameter an approver would be shown.
        assert memory.growth < 3 * len(value) + SLACK

    async def test_rows_of_sixty_four_megabytes(self, gateway: GatewayProcess) -> None:
        size = 64 * MIB
        async with await connected(gateway) as client:
            memory = Memory(gateway.pid)
            await client.send(Q(f"SELECT repeat('x', {size}) FROM generate_series(1, 3)"))
            assert (await client.read()).tag == "T"
            for _ in range(3):
                header = await client.reader.readexactly(5 + 2 + 4)
                assert header == b"D" + struct.pack("!ihi", size + 10, 1, size)
                assert await read_for(client, size) == size
            assert tags(await client.read_until("Z")) == "CZ"
            assert memory.growth < 2 * WRITE_HIGH + SLACK

    async def test_copy_of_a_hundred_megabytes_each_way(
        self, gateway: GatewayProcess, empty_database: str
    ) -> None:
        line = b"x" * 999 + b"\n"
        async with await connected(gateway, empty_database) as client:
            await client.query("CREATE TABLE t (s text)")
            memory = Memory(gateway.pid)
            await client.send(Q("COPY t FROM STDIN"))
            assert (await client.read()).tag == "G"
            for _ in range(100):
                await client.send(d(line * 1000))
            answer = await client.exchange(c())
            assert answer[0].text == "COPY 100000"
            await client.send(Q("COPY t TO STDOUT"))
            assert (await client.read()).tag == "H"
            each = len(message("d", line))
            assert await read_for(client, 100_000 * each) == 100_000 * each
            assert tags(await client.read_until("Z")) == "cCZ"
            assert memory.growth < 2 * WRITE_HIGH + SLACK


class TestSlow:
    async def test_a_client_that_stops_reading(self, gateway: GatewayProcess, postgres: Postgres) -> None:
        client = await connected(gateway)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        memory = Memory(gateway.pid)
        await client.send(Q("SELECT repeat('x', 10000) FROM generate_series(1, 50000)"))
        # The server can go on only as far as somebody takes what it sends.
        await asyncio.to_thread(
            postgres.wait_until,
            f"EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND wait_event = 'ClientWrite')",
        )
        async with await connected(gateway) as other:
            for _ in range(50):
                assert tags(await other.query("SELECT 1")) == "TDCZ"
        assert memory.growth < 2 * WRITE_HIGH + SLACK
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        row = len(message("D", struct.pack("!hi", 1, 10_000) + b"x" * 10_000))
        assert (await client.read()).tag == "T"
        assert await read_for(client, 50_000 * row) == 50_000 * row
        assert tags(await client.read_until("Z")) == "CZ"
        assert memory.growth < 2 * WRITE_HIGH + SLACK
        await client.close()

    async def test_a_client_that_never_reads_again(self, gateway: GatewayProcess, postgres: Postgres) -> None:
        client = await connected(gateway)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(Q("SELECT repeat('x', 10000) FROM generate_series(1, 50000)"))
        await asyncio.to_thread(
            postgres.wait_until,
            f"EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND wait_event = 'ClientWrite')",
        )
        client.abort()
        await asyncio.to_thread(
            postgres.wait_until, f"NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid})"
        )

    async def test_a_server_that_stops_reading(self, postgres: Postgres, tmp_path: Path) -> None:
        async with Relay(postgres.host, postgres.port) as relay:
            config = make_config(postgres, {"databases": {"*": {"host": "127.0.0.1", "port": relay.port}}})
            async with GatewayProcess(tmp_path, config) as gateway:
                client = await connected(gateway)
                await client.query("CREATE TEMP TABLE t (s text)")
                await client.send(Q("COPY t FROM STDIN"))
                assert (await client.read()).tag == "G"
                memory = Memory(gateway.pid)
                relay.pause()
                line = b"x" * 999 + b"\n"
                sending = asyncio.ensure_future(client.send(*[d(line * 100)] * 1000))
                # What fits between the client and the relay is in buffers now; the rest has to wait.
                await asyncio.wait({sending}, timeout=2)
                assert not sending.done()
                assert memory.growth < 2 * WRITE_HIGH + SLACK
                relay.resume()
                await sending
                answer = await client.exchange(c())
                assert answer[0].text == "COPY 100000"
                assert memory.growth < 2 * WRITE_HIGH + SLACK
                await client.close()

    async def test_a_client_that_writes_without_reading(self, gateway: GatewayProcess) -> None:
        # As much as would block a server that had nobody to take its answers.
        count = 20_000
        async with await connected(gateway) as client:
            memory = Memory(gateway.pid)
            series = P("SELECT $1::int", "s") + S() + (B(["1"], statement="s") + D("P") + E() + S()) * count

            async def read() -> None:
                for _ in range(count + 1):
                    await client.read_until("Z")

            reading = asyncio.ensure_future(read())
            await client.send(series)
            async with asyncio.timeout(25):
                await reading
            assert memory.growth < 2 * WRITE_HIGH + SLACK

    async def test_statements_that_a_client_writes_ahead_wait_in_its_own_buffers(
        self, gateway: GatewayProcess, postgres: Postgres
    ) -> None:
        async with await connected(gateway) as client:
            memory = Memory(gateway.pid)
            await client.send(Q("SELECT pg_sleep(30)"))
            await asyncio.to_thread(
                postgres.wait_until,
                f"EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND wait_event = 'PgSleep')",
            )
            sending = asyncio.ensure_future(client.send(Q("SELECT 1 -- " + "x" * 9000) * 5000))
            await asyncio.wait({sending}, timeout=2)
            assert not sending.done()
            assert memory.growth < 2 * WRITE_HIGH + SLACK
            sending.cancel()
            client.abort()


class TestClaims:
    @pytest.mark.parametrize("tag", "QPBFd")
    async def test_a_length_that_is_merely_claimed_costs_nothing(
        self, gateway: GatewayProcess, tag: str
    ) -> None:
        memory = Memory(gateway.pid)
        clients = [await connected(gateway) for _ in range(5)]
        for client in clients:
            await client.send(tag.encode() + struct.pack("!I", 0x3FFFFFFF) + b"x" * 1000)
            await client.send(b"y" * 1000)
        async with await connected(gateway) as other:
            assert tags(await other.query("SELECT 1")) == "TDCZ"
        assert memory.growth < SLACK + 5 * 2 * MIB
        for client in clients:
            client.abort()

    @pytest.mark.parametrize(
        "begun",
        [Q("DELETE FROM t")[:-3], P("DELETE FROM t") + B() + E(), Q("COPY t FROM STDIN") + d(b"1\n2\n")[:7]],
        ids=["query", "batch", "copy"],
    )
    async def test_a_client_gone_in_the_middle_ends_its_server_session(
        self, gateway: GatewayProcess, postgres: Postgres, empty_database: str, begun: bytes
    ) -> None:
        postgres.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (0)", empty_database)
        client = await connected(gateway, empty_database)
        await client.send(Q("BEGIN"), begun)
        await client.read_until("Z")
        client.abort()
        await asyncio.to_thread(
            postgres.wait_until, f"NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {client.pid})"
        )
        assert postgres.execute("TABLE t", empty_database) == [(0,)]

    async def test_every_session_of_the_server_is_new(self, gateway: GatewayProcess) -> None:
        seen = set()
        for _ in range(5):
            client = await connected(gateway)
            assert tags(await client.query("SELECT count(*) FROM pg_prepared_statements")) == "TDCZ"
            await client.exchange(P("SELECT 1", "left behind"), S())
            seen.add(client.pid)
            await client.send(X())
            assert await client.read_to_end() == []
            await client.close()
        assert len(seen) == 5
