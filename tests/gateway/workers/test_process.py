"""``holdgate serve`` with two workers, as its operator sees it: signals, ends, restarts."""

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from gateway.audit import verify
from tests.support.gateway import SHOP_POLICY, GatewayProcess, held, make_config, merged, write_config
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.wire import ConnectionClosed, Q, RawClient, tags

pytestmark = pytest.mark.timeout(300)

HELD = "DELETE FROM customer WHERE customer_id = 7"
TWO = {"listen": {"workers": 2}}


async def logged(gateway: GatewayProcess, pattern: str, times: int = 1) -> list[str]:
    """What matches a pattern, once another process's log has it so many times; it is only a file."""
    async with asyncio.timeout(90):
        while len(found := re.findall(pattern, gateway.log_text())) < times:
            await asyncio.sleep(0.02)
    return found


async def workers(gateway: GatewayProcess) -> list[int]:
    """The process IDs of the workers."""
    return [int(pid) for pid in await logged(gateway, r"worker \d \(process (\d+)\) accepts clients", 2)]


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return False


async def ended(pids: list[int]) -> None:
    """Until these processes are gone, which nobody announces."""
    async with asyncio.timeout(20):
        while any(map(running, pids)):
            await asyncio.sleep(0.02)


async def test_a_supervisor_that_dies_takes_its_workers_with_it(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    config = make_config(postgres, SHOP_POLICY, TWO)
    async with GatewayProcess(tmp_path, config, patience=120) as gateway:
        pids = await workers(gateway)
        clients = [
            await RawClient.connect(gateway.host, gateway.port, database=database, user="postgres")
            for _ in range(4)
        ]
        async with await gateway.client() as carol:
            hold = await held(clients[0], carol, Q(HELD))
        await clients[1].query("BEGIN")
        await clients[1].query("UPDATE genre SET name = 'never' WHERE genre_id = 1")
        await gateway.kill()
        for client in clients:
            assert [one.tag for one in await client.read_to_end()] == []
            client.abort()
        await ended(pids)
        assert len(await logged(gateway, "the supervisor is gone", 2)) == 2
        gone = "NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY (ARRAY[{}]))"
        await asyncio.to_thread(postgres.wait_until, gone.format(",".join(str(one.pid) for one in clients)))
        assert postgres.scalar("SELECT count(*) FROM genre WHERE name = 'never'", database) == 0
        # The port, the store and the audit are free for the next one.
        await gateway.start()
        async with await gateway.client() as carol:
            assert (await carol.hold(hold["id"]))["state"] == "interrupted"
    assert verify(tmp_path / "audit.jsonl").ok


async def test_a_stop_lets_what_runs_finish_in_every_worker(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    config = make_config(postgres, SHOP_POLICY, TWO, {"shutdown": {"grace": "15s"}})
    async with GatewayProcess(tmp_path, config, patience=120) as gateway:
        pids = await workers(gateway)
        busy = [await RawClient.connect(gateway.host, gateway.port, database=database) for _ in range(4)]
        idle = [await RawClient.connect(gateway.host, gateway.port, database=database) for _ in range(4)]
        waiting = await RawClient.connect(gateway.host, gateway.port, database=database)
        async with await gateway.client() as carol:
            hold = await held(waiting, carol, Q(HELD))
        with postgres.connect(database) as blocker:
            blocker.execute("SELECT pg_advisory_lock(4711)")
            for client in busy:
                await client.send(Q("SELECT 1 FROM pg_advisory_xact_lock(4711)"))
            queued = "SELECT count(*) = 4 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            await asyncio.to_thread(postgres.wait_until, f"({queued})")
            gateway.signal(signal.SIGTERM)
            for client in (*idle, waiting):
                assert [one.sqlstate for one in await client.read_to_end() if one.tag == "E"][-1] == "57P01"
            with pytest.raises(OSError, match="Connect"):
                await RawClient.connect(gateway.host, gateway.port, database=database)
        for client in busy:
            assert tags(await client.read_to_end()) == "TDCZE"
        assert await gateway.wait() == 0
        await ended(pids)
        for client in (*busy, *idle, waiting):
            client.abort()
        assert [one["tag"] for one in gateway.audit(kind="gateway")] == ["start", "stop"]
        assert len(gateway.audit(kind="session", tag="end")) == 9
        assert [one["tag"] for one in gateway.audit(kind="hold")] == ["opened", "interrupted"]
        assert gateway.audit(kind="hold")[0]["hold_id"] == hold["id"]
        assert verify(tmp_path / "audit.jsonl").ok


async def test_a_configuration_is_taken_by_all_and_a_bad_one_by_none(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    config = make_config(postgres, SHOP_POLICY, TWO)
    async with GatewayProcess(tmp_path, config, patience=120) as gateway:
        await workers(gateway)
        clients = [await RawClient.connect(gateway.host, gateway.port, database=database) for _ in range(6)]
        deny = {"rules": [{"name": "nothing", "when": {"action": "delete"}, "then": "deny"}]}
        write_config(tmp_path, merged(config, deny, {"listen": {"workers": 3}}))
        gateway.signal(signal.SIGHUP)
        await logged(gateway, "configuration reloaded, policy [0-9a-f]{12}")
        await logged(gateway, "count only after a restart: listen.workers")
        gateway.config_path.write_text("rules: [")
        gateway.signal(signal.SIGHUP)
        await logged(gateway, "the old one stays in force")
        # Not even a worker that begins now reads what is in the file.
        os.kill((await workers(gateway))[0], signal.SIGKILL)
        await logged(gateway, "accepts clients", 3)
        answers: list[str] = []
        clients += [await RawClient.connect(gateway.host, gateway.port, database=database) for _ in range(6)]
        for client in clients:
            # Some of the first six have ended with their worker.
            with contextlib.suppress(ConnectionError, ConnectionClosed):
                answers.append((await client.query(HELD))[0].fields["M"])
            client.abort()
        assert len(answers) >= 6
        assert set(answers) == {"statement denied by rule nothing"}


async def test_signals_are_the_supervisors(tmp_path: Path, postgres: Postgres, database: str) -> None:
    async with GatewayProcess(tmp_path, make_config(postgres, SHOP_POLICY, TWO), patience=120) as gateway:
        pids = await workers(gateway)
        clients = [await RawClient.connect(gateway.host, gateway.port, database=database) for _ in range(4)]
        for pid in pids:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
        for client in clients:
            assert tags(await client.query("SELECT 1")) == "TDCZ"
        # Ctrl-C in a terminal reaches all of them at once.
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        gateway.signal(signal.SIGINT)
        for client in clients:
            assert (await client.read_to_end())[-1].sqlstate == "57P01"
            client.abort()
        assert await gateway.wait() == 0
        await ended(pids)


async def test_a_port_that_is_taken_is_one_line_and_exit_code_1(tmp_path: Path, postgres: Postgres) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    config = make_config(postgres, TWO)
    async with GatewayProcess(tmp_path / "one", config, patience=120) as first:
        other = merged(config, {"admin": {"port": free_port()}})
        process = await asyncio.create_subprocess_exec(
            *first.command("serve")[:-1],
            str(write_config(tmp_path / "other", other)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 1
        port = config["listen"]["port"]
        assert f"holdgate: cannot listen on 127.0.0.1:{port}: the port is taken" in said.decode()
