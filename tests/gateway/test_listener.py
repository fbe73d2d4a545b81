"""The listening socket: who gets in, who is turned away and in which words, and what is counted."""

import asyncio
import contextlib
import logging
import os
import re
import resource
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

import gateway.listener
from protocol.scram import build_verifier
from tests.support.gateway import GatewayProcess, RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.relay import Relay
from tests.support.wire import ConnectionClosed, Message, Q, RawClient, startup_message, tags


@pytest.fixture
async def running(tmp_path: Path, postgres: Postgres) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, make_config(postgres)) as started:
        yield started


async def refusal(running: RunningGateway, database: str, **options: Any) -> Message:
    """The error that a login ends with; the connection is closed after it."""
    client = await RawClient.connect(running.host, running.port, login=False)
    try:
        user = str(options.pop("user", "postgres"))
        await client.send(startup_message(user=user, database=database, **options))
        messages = await client.read_to_end()
    finally:
        client.abort()
    # The gateway may have let the client in before it heard of the server.
    assert tags(messages) in ("E", "RE")
    assert messages[-1].fields["S"] == messages[-1].fields["V"] == "FATAL"
    return messages[-1]


def counted(running: RunningGateway, name: str, **labels: str) -> float:
    """The value of a metric."""
    shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
    text = running.gateway.metrics.render()[0].decode()
    found = re.search(rf"^{re.escape(f'{name}{{{shown}}}')} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def eventually(running: RunningGateway, name: str, **labels: str) -> None:
    """Return once a metric counts one; the end of a connection is announced to nobody."""
    async with asyncio.timeout(10):
        while counted(running, name, **labels) != 1:
            await asyncio.sleep(0.005)


class TestAddresses:
    @pytest.mark.parametrize(
        "address", ["127.0.0.1", "localhost", pytest.param("::1", id="v6"), pytest.param("0.0.0.0", id="all")]
    )
    async def test_clients_are_met_there(
        self, tmp_path: Path, postgres: Postgres, database: str, address: str
    ) -> None:
        async with running_gateway(
            tmp_path, make_config(postgres, {"listen": {"address": address}})
        ) as started:
            host = "127.0.0.1" if address == "0.0.0.0" else address
            async with await RawClient.connect(host, started.port, database=database) as client:
                assert tags(await client.query("SELECT 1")) == "TDCZ"

    async def test_any_free_port(self, tmp_path: Path, postgres: Postgres, database: str) -> None:
        config = make_config(postgres, {"listen": {"address": "localhost", "port": 0}})
        async with (
            running_gateway(tmp_path, config) as started,
            await RawClient.connect("localhost", started.port, database=database) as client,
        ):
            assert tags(await client.query("SELECT 1")) == "TDCZ"


class TestTurnedAway:
    async def test_a_database_nobody_configured(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        config = make_config(postgres)
        config["databases"] = {database: config["databases"]["*"]}
        async with running_gateway(tmp_path, config) as running:
            error = await refusal(running, "nosuch")
            assert (error.sqlstate, error.fields["M"]) == ("3D000", 'database "nosuch" does not exist')
            assert error.fields["H"] == "The gateway's configuration does not list it under databases."
            await eventually(running, "holdgate_sessions_total", outcome="refused")
            async with await running.raw(database) as client:
                assert tags(await client.query("SELECT 1")) == "TDCZ"

    async def test_a_database_the_server_does_not_know(self, running: RunningGateway) -> None:
        error = await refusal(running, "nosuch")
        assert (error.sqlstate, error.fields["M"]) == ("3D000", 'database "nosuch" does not exist')
        await eventually(running, "holdgate_sessions_total", outcome="refused")

    async def test_one_session_too_many(self, tmp_path: Path, postgres: Postgres, database: str) -> None:
        config = make_config(postgres, {"limits": {"sessions": 1}})
        async with running_gateway(tmp_path, config) as running:
            async with await running.raw(database) as client:
                error = await refusal(running, database)
                assert (error.sqlstate, error.fields["M"]) == ("53300", "sorry, too many clients already")
                assert tags(await client.query("SELECT 1")) == "TDCZ"
            async with asyncio.timeout(10):
                while len(running.gateway.sessions):
                    await asyncio.sleep(0.005)
            async with await running.raw(database):
                pass

    async def test_logins_under_way_count_too(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        async with Relay(postgres.host, postgres.port) as relay:
            upstream = {
                "databases": {"*": {"host": relay.host, "port": relay.port}},
                "limits": {"sessions": 1},
            }
            async with running_gateway(tmp_path, make_config(postgres, upstream)) as running:
                relay.pause()
                first = asyncio.ensure_future(running.raw(database))
                await relay.connected.wait()
                assert (await refusal(running, database)).sqlstate == "53300"
                relay.resume()
                async with await first as client:
                    assert tags(await client.query("SELECT 1")) == "TDCZ"

    async def test_a_replication_connection_without_a_rule(self, tmp_path: Path, postgres: Postgres) -> None:
        rules = {"defaults": {"replication": "deny"}}
        async with running_gateway(tmp_path, make_config(postgres, rules)) as running:
            error = await refusal(running, "postgres", replication="database")
            assert error.sqlstate == "42501"
            assert error.fields["M"] == "replication connection denied by rule default:replication"
            assert "A rule for the action replication can allow it" in error.fields["H"]

    async def test_a_login_while_nothing_can_be_recorded(
        self, running: RunningGateway, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(type(running.gateway.audit), "healthy", property(lambda self: False))
        error = await refusal(running, database)
        assert (error.sqlstate, error.fields["M"]) == ("58000", "the gateway cannot record sessions now")
        assert "operator" in error.fields["H"]

    async def test_a_login_while_the_gateway_stops(self, running: RunningGateway, database: str) -> None:
        waiting = await RawClient.connect(running.host, running.port, login=False)
        # Its first byte is waited for now.
        async with await running.raw(database):
            await running.gateway.front.stop_listening()
            await waiting.send(startup_message(user="postgres", database=database))
            (error,) = await waiting.read_to_end()
        waiting.abort()
        assert (error.sqlstate, error.fields["M"]) == ("57P03", "the database system is shutting down")

    async def test_a_login_that_the_stop_overtakes(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        async with Relay(postgres.host, postgres.port) as relay:
            upstream = {"databases": {"*": {"host": relay.host, "port": relay.port}}}
            async with running_gateway(tmp_path, make_config(postgres, upstream)) as running:
                relay.pause()
                client = await RawClient.connect(running.host, running.port, login=False)
                await client.send(startup_message(user="postgres", database=database))
                await relay.connected.wait()
                await running.gateway.front.stop_listening()
                relay.resume()
                messages = await client.read_to_end()
                client.abort()
                assert tags(messages)[-2:] == "ZE"
                assert messages[-1].sqlstate == "57P01"
                await running.written()
                assert [one["tag"] for one in running.audit(kind="session")] == ["start", "end"]


class TestUpstream:
    @asynccontextmanager
    async def before(
        self, tmp_path: Path, postgres: Postgres, upstream: Mapping[str, Any], **limits: str
    ) -> AsyncIterator[RunningGateway]:
        config = make_config(postgres, {"databases": {"*": upstream}, "limits": limits})
        async with running_gateway(tmp_path, config) as running:
            yield running

    async def test_a_server_that_is_not_there(
        self, tmp_path: Path, postgres: Postgres, caplog: pytest.LogCaptureFixture
    ) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
        async with self.before(tmp_path, postgres, {"host": "127.0.0.1", "port": port}) as running:
            error = await refusal(running, "shop")
            assert error.sqlstate == "08001"
            # The client learns that, the operator also where.
            assert str(port) not in error.fields["M"]
            assert f"database server 127.0.0.1, port {port}: " in caplog.text
            await eventually(running, "holdgate_upstream_errors_total", kind="connect")

    async def test_a_name_that_leads_nowhere(self, tmp_path: Path, postgres: Postgres) -> None:
        async with self.before(tmp_path, postgres, {"host": "no.such.host.invalid"}) as running:
            assert (await refusal(running, "shop")).sqlstate == "08001"
            await eventually(running, "holdgate_upstream_errors_total", kind="connect")

    async def test_a_server_that_says_nothing(
        self, tmp_path: Path, postgres: Postgres, caplog: pytest.LogCaptureFixture
    ) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            upstream = {"host": "127.0.0.1", "port": silent.getsockname()[1]}
            async with self.before(tmp_path, postgres, upstream, startup_seconds="0.5s") as running:
                error = await refusal(running, "shop")
                assert error.sqlstate == "08006"
                assert error.fields["M"] == "the gateway could not connect to the database server"
                assert error.fields["H"] == "The gateway's log says why; ask its operator."
                assert "no answer to the login within 0.4" in caplog.text
                await eventually(running, "holdgate_upstream_errors_total", kind="timeout")

    @pytest.mark.parametrize(
        "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"R\0\0\0\x08\0\0\0\x63", b"\xff" * 50]
    )
    async def test_a_server_that_is_something_else(
        self, tmp_path: Path, postgres: Postgres, answer: bytes
    ) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(4096)
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            upstream = {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1], "sslmode": "disable"}
            async with self.before(tmp_path, postgres, upstream) as running:
                assert (await refusal(running, "shop")).sqlstate in ("08006", "08001")

    async def test_a_password_that_the_server_does_not_accept(
        self, tmp_path: Path, postgres: Postgres
    ) -> None:
        role = postgres.create_role(password="right")
        upstream = {"auth": "gateway", "login": {"user": role, "password": "wrong"}}
        with postgres.hba("host all all 127.0.0.1/32 scram-sha-256"):
            people = {"users": {"alice": {"trust": True}}}
            config = make_config(postgres, {"databases": {"*": upstream}}, people)
            async with running_gateway(tmp_path, config) as running:
                error = await refusal(running, "postgres", user="alice")
                assert error.sqlstate == "08006"
                assert error.fields["M"] == "the gateway could not log in to the database server"
                assert "ask the operator of the gateway" in error.fields["H"]
        postgres.drop_role(role)

    async def test_a_server_that_dies_in_the_middle(
        self, tmp_path: Path, postgres: Postgres, database: str
    ) -> None:
        async with Relay(postgres.host, postgres.port) as relay:
            upstream = {"host": relay.host, "port": relay.port}
            async with self.before(tmp_path, postgres, upstream) as running:
                idle, busy = await running.raw(database), await running.raw(database)
                await busy.send(Q("SELECT pg_sleep(60)"))
                await asyncio.to_thread(postgres.wait_for_backend, busy.pid, "pg_sleep")
                relay.cut()
                for client in (idle, busy):
                    assert await client.read_to_end() == []
                    client.abort()
                async with asyncio.timeout(10):
                    while len(running.gateway.sessions):
                        await asyncio.sleep(0.005)
                await running.written()
                (record,) = running.audit(kind="statement")
                assert record["sqlstate"] == "08006"
                assert record["tag"] == "(no answer: the server closed the connection)"
                assert {one["reason"] for one in running.audit(kind="session", tag="end")} == {
                    "the server closed the connection"
                }
                assert counted(running, "holdgate_upstream_errors_total", kind="lost") == 2
                # Others are not disturbed, and the next one gets in.
                async with await running.raw(database) as client:
                    assert tags(await client.query("SELECT 1")) == "TDCZ"
        postgres.execute(f"SELECT pg_terminate_backend({busy.pid})")


class TestStrangers:
    async def test_somebody_who_says_nothing_is_not_waited_for_long(
        self, tmp_path: Path, postgres: Postgres
    ) -> None:
        config = make_config(postgres, {"limits": {"startup_seconds": "0.2s"}})
        async with running_gateway(tmp_path, config) as running:
            client = await RawClient.connect(running.host, running.port, login=False)
            assert await client.read_to_end() == []
            client.abort()
            await eventually(running, "holdgate_sessions_total", outcome="timeout")

    async def test_nor_is_somebody_who_does_not_say_the_password(
        self, tmp_path: Path, postgres: Postgres
    ) -> None:
        role = postgres.create_role(password="right")
        config = make_config(postgres, {"limits": {"startup_seconds": "0.5s"}})
        config["databases"]["*"] = {
            **config["databases"]["*"],
            "auth": "gateway",
            "login": {"user": "postgres"},
        }
        config["users"][role] = {"verifier": str(build_verifier("right", b"0123456789abcdef"))}
        async with running_gateway(tmp_path, config) as running:
            error = await refusal(running, "postgres", user=role)
            assert (error.sqlstate, error.fields["M"]) == ("57014", "canceling authentication due to timeout")
            await eventually(running, "holdgate_sessions_total", outcome="timeout")
        postgres.drop_role(role)

    @pytest.mark.parametrize(
        "sent",
        [
            b"\0\0\0\0",
            b"\xff\xff\xff\xff",
            struct.pack("!i", 7),
            struct.pack("!ii", 100_000, 196608),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            struct.pack("!ii", 8, 80877102),
        ],
    )
    async def test_junk_ends_its_connection_and_disturbs_nobody(
        self, running: RunningGateway, database: str, sent: bytes
    ) -> None:
        async with await running.raw(database) as other:
            client = await RawClient.connect(running.host, running.port, login=False)
            await client.send(sent)
            client.end_of_input()
            # At most an error, or the single letter that an SSLRequest is answered with.
            with contextlib.suppress(ConnectionClosed):
                assert tags(await client.read_to_end()) in ("", "E")
            client.abort()
            assert tags(await other.query("SELECT 1")) == "TDCZ"
        assert not [
            one for one in running.gateway.metrics.render()[0].decode().splitlines() if 'failed"} 1' in one
        ]

    async def test_names_that_speak_to_terminals_are_harmless_in_the_log(
        self, tmp_path: Path, postgres: Postgres
    ) -> None:
        config = make_config(postgres)
        config["databases"] = {"shop": config["databases"]["*"]}
        async with GatewayProcess(tmp_path, config) as process:
            client = await RawClient.connect(process.host, process.port, login=False)
            name = "x\n2030-01-01 00:00:00,000 INFO gateway.app: forged \x1b[2J"
            await client.send(startup_message(user="postgres", database=name))
            await client.read_to_end()
            client.abort()
            lines = process.log_text().splitlines()
            (line,) = [line for line in lines if "forged" in line]
            assert "WARNING gateway.listener" in line
            assert r"\x1b[2J" in line
            assert "\x1b" not in process.log_text()


async def test_out_of_files_it_waits_and_goes_on(
    running: RunningGateway, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gateway.listener, "OUT_OF_FILES_PAUSE", 0.02)
    caplog.set_level(logging.ERROR, "gateway.listener")
    probe = socket.socket()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    # Every descriptor below the limit is taken; the one of the probe is already there.
    spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest + 3 - len(os.listdir("/proc/self/fd")))]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(*spare, highest, probe.fileno()) + 1, hard))
    try:
        probe.setblocking(False)
        await asyncio.get_running_loop().sock_connect(probe, (running.host, running.port))
        async with asyncio.timeout(10):
            while "a connection could not be accepted" not in caplog.text:
                await asyncio.sleep(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in spare:
            os.close(descriptor)
        probe.close()
    async with await running.raw(database) as client:
        assert tags(await client.query("SELECT 1")) == "TDCZ"
