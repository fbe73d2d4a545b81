"""The sessions of a gateway: listed, killed, and gone before the gateway is."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import gateway.sessions
import gateway.store.engine
from gateway.audit import verify
from tests.support.gateway import SHOP_POLICY, RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.relay import Relay
from tests.support.wire import Q

HELD = "DELETE FROM customer WHERE customer_id = 7"


@pytest.fixture
async def running(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY)) as started:
        yield started


async def test_a_session_is_listed_as_it_stands(
    running: RunningGateway, database: str, postgres: Postgres
) -> None:
    registry = running.gateway.sessions
    carol = await running.client()
    assert registry.list() == []
    async with (
        await running.raw(database, user="postgres", application_name="first") as first,
        await running.raw(database) as second,
    ):
        one, other = registry.list()
        assert len(registry) == 2
        assert (one.user, one.database, one.application_name, one.client_addr) == (
            "postgres",
            database,
            "first",
            "127.0.0.1",
        )
        assert (one.state, one.transaction_status, one.current_sql, one.hold_id) == ("idle", "I", None, None)
        assert (one.backend_pid, other.backend_pid) == (first.pid, second.pid)
        assert one.id != other.id

        await first.query("BEGIN")
        await second.send(Q(HELD))
        hold = await carol.wait_for_hold()
        one, other = registry.list()
        assert (one.state, one.transaction_status) == ("idle in transaction", "T")
        assert (other.state, other.current_sql, other.hold_id) == ("held", HELD, hold["id"])

        await first.send(Q("SELECT pg_sleep(60)"))
        await asyncio.to_thread(postgres.wait_for_backend, first.pid, "pg_sleep")
        one, _ = registry.list()
        assert (one.state, one.current_sql) == ("active", "SELECT pg_sleep(60)")
        assert registry.kill(one.id, "root")
        assert registry.kill(other.id, "root")
        assert (await first.read_to_end())[-1].sqlstate == "57P01"
        last = (await second.read_to_end())[-1]
        assert "was ended by root" in last.fields["D"]
    postgres.execute(f"SELECT pg_terminate_backend({first.pid})")


async def test_nobody_kills_a_session_that_is_not_there(running: RunningGateway) -> None:
    assert not running.gateway.sessions.kill("S-none", "root")


async def test_a_drain_with_nobody_there_is_over_at_once(running: RunningGateway) -> None:
    async with asyncio.timeout(1):
        await running.gateway.sessions.drain(60.0)


async def test_a_drain_ends_idle_sessions_at_once(running: RunningGateway, database: str) -> None:
    async with await running.raw(database) as client:
        async with asyncio.timeout(5):
            await running.gateway.sessions.drain(60.0)
        answer = (await client.read_to_end())[-1]
        assert (answer.sqlstate, answer.fields["H"]) == ("57P01", "Connect again in a moment.")
    await running.written()
    assert running.audit(kind="session", tag="end", reason="the gateway stopped")


async def test_a_store_that_hangs_does_not_keep_the_gateway_from_stopping(
    postgres: Postgres,
    tmp_path: Path,
    database: str,
    empty_database: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(gateway.sessions, "KILL_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(gateway.store.engine, "COMMAND_SECONDS", 0.5)
    monkeypatch.setattr(gateway.store.engine, "CONNECT_SECONDS", 0.5)
    async with Relay(postgres.host, postgres.port) as relay:
        store = f"postgresql://{postgres.superuser}@{relay.host}:{relay.port}/{empty_database}"
        config = make_config(postgres, SHOP_POLICY, {"store": {"url": store}, "shutdown": {"grace": "0.1s"}})
        async with running_gateway(tmp_path, config) as started:
            carol = await started.client()
            client = await started.raw(database)
            await client.send(Q(HELD))
            await carol.wait_for_hold()
            await started.close_clients()
            relay.pause()
        assert "57P01" in [each.sqlstate for each in await client.read_to_end() if each.tag in "EN"]
        client.abort()
        relay.resume()
    assert "1 sessions did not end" in caplog.text
    assert started.audit(kind="gateway", tag="stop")
    assert verify(tmp_path / "audit.jsonl").ok
