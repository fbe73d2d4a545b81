"""Cancel keys, and cancel requests that reach a real server."""

import asyncio
import contextlib
import secrets
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.cancel import CancelKey, CancelRegistry, CancelTarget, send_cancel
from gateway.config import Database
from gateway.dial import Endpoint
from gateway.upstream import Connector, UpstreamSession
from protocol.errors import UpstreamViolation
from protocol.messages import decode_report, message
from protocol.startup import CancelRequest, StartupMessage, parse_first_packet
from tests.support.postgres import Postgres


class Session:
    def __init__(self) -> None:
        self.cancelled = 0

    async def cancel(self) -> None:
        self.cancelled += 1


async def test_key_cancels_its_session_only() -> None:
    registry = CancelRegistry()
    one, other = Session(), Session()
    key = registry.register(7, one, minor=0)
    registry.register(7, other, minor=0)
    assert await registry.cancel(key.pid, key.secret)
    assert (one.cancelled, other.cancelled) == (1, 0)


@pytest.mark.parametrize(("minor", "length"), [(0, 4), (1, 4), (2, 32)])
def test_length_of_the_secret(minor: int, length: int) -> None:
    assert len(CancelRegistry().register(1, Session(), minor=minor).secret) == length


async def test_a_key_that_nobody_has_here_is_asked_for_elsewhere() -> None:
    registry, asked = CancelRegistry(), list[tuple[int, bytes]]()

    async def elsewhere(pid: int, secret: bytes) -> bool:
        asked.append((pid, secret))
        return pid == 8

    registry.elsewhere = elsewhere
    key = registry.register(7, Session(), minor=0)
    assert await registry.cancel(7, key.secret)
    assert asked == []
    assert await registry.cancel(8, b"abcd")
    assert not await registry.cancel(9, b"abcd")
    assert asked == [(8, b"abcd"), (9, b"abcd")]
    assert not await registry.cancel_here(8, b"abcd")
    assert len(asked) == 2


async def test_unknown_keys_cancel_nothing() -> None:
    registry = CancelRegistry()
    session = Session()
    key = registry.register(7, session, minor=2)
    for pid, secret in (
        (8, key.secret),
        (7, b""),
        (7, key.secret[:-1]),
        (7, key.secret + b"\0"),
        (7, bytes(32)),
    ):
        assert not await registry.cancel(pid, secret)
    assert session.cancelled == 0


async def test_removed_key() -> None:
    registry = CancelRegistry()
    key, second = registry.register(7, Session(), minor=0), registry.register(7, Session(), minor=0)
    assert len(registry) == 2
    registry.remove(key)
    registry.remove(key)
    assert not await registry.cancel(key.pid, key.secret)
    assert len(registry) == 1
    registry.remove(second)
    registry.remove(second)
    assert len(registry) == 0


def test_secret_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter([b"aaaa", b"aaaa", b"bbbb"])
    monkeypatch.setattr(secrets, "token_bytes", lambda _: next(given))
    registry = CancelRegistry()
    assert registry.register(7, Session(), minor=0).secret == b"aaaa"
    assert registry.register(7, Session(), minor=0).secret == b"bbbb"


def test_secret_stays_out_of_texts() -> None:
    assert "secret" not in repr(CancelKey(1, b"secret"))


def startup(minor: int) -> StartupMessage:
    body = b"user\0postgres\0\0"
    parsed = parse_first_packet((len(body) + 8).to_bytes(4, "big") + bytes((0, 3, 0, minor)) + body)
    assert isinstance(parsed, StartupMessage)
    return parsed


@contextlib.asynccontextmanager
async def session_of(database: Database, minor: int = 0) -> AsyncIterator[UpstreamSession]:
    session = await Connector().connect(database, startup(minor))
    try:
        yield session
    finally:
        session.link.abort()


async def sleeping(server: Postgres, session: UpstreamSession) -> None:
    """Return once the server executes the session's long query."""
    assert session.cancel is not None
    pid = session.cancel.pid
    session.link.write(message(ord("Q"), b"SELECT pg_sleep(60)\0"))
    wait = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"
    while await asyncio.to_thread(server.scalar, wait) == 0:
        pass


async def outcome(session: UpstreamSession) -> str:
    while True:
        tag, payload = await session.link.read_message(1000)
        if tag == ord("E"):
            return decode_report(payload)["C"]


@pytest.mark.parametrize("minor", [0, 2])
@pytest.mark.parametrize("place", ["tcp", "unix"])
async def test_cancel_reaches_the_server(postgres: Postgres, place: str, minor: int) -> None:
    host = "127.0.0.1" if place == "tcp" else str(postgres.socket_dir)
    database = Database(host, postgres.port, dbname="postgres", sslmode="disable")
    async with session_of(database, minor) as session:
        await sleeping(postgres, session)
        assert session.cancel is not None
        await send_cancel(replace(session.cancel, secret=bytes(len(session.cancel.secret))), timeout=5)
        await send_cancel(session.cancel, timeout=5)
        assert await outcome(session) == "57014"


async def test_cancel_over_tls(tls_postgres: Postgres) -> None:
    database = Database("127.0.0.1", tls_postgres.port, dbname="postgres", sslmode="require")
    with tls_postgres.hba("hostssl all all all trust"):
        async with session_of(database) as session:
            await sleeping(tls_postgres, session)
            assert session.cancel is not None
            assert session.cancel.context is not None
            await send_cancel(session.cancel, timeout=5)
            assert await outcome(session) == "57014"


@contextlib.asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[tuple[CancelTarget, list[bytes]]]:
    """A server that answers with ``answer`` and closes, or with None stays silent and open."""
    seen: list[bytes] = []
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))
        if answer is None:
            await done.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        address = server.sockets[0].getsockname()
        yield CancelTarget(Endpoint("127.0.0.1", socket.AF_INET, address), 7, b"key!"), seen
        done.set()


async def test_what_is_sent_and_what_is_ignored() -> None:
    async with answering(b"whatever") as (target, seen):
        await send_cancel(target, timeout=5)
    assert parse_first_packet(seen[0]) == CancelRequest(7, b"key!")


async def test_connection_that_is_reset_was_served_all_the_same() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        # Without lingering, closing sends a reset.
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        address = server.sockets[0].getsockname()
        await send_cancel(CancelTarget(Endpoint("127.0.0.1", socket.AF_INET, address), 7, b"key!"), timeout=5)


async def test_server_that_does_not_close_in_time() -> None:
    async with answering(None) as (target, _):
        with pytest.raises(TimeoutError):
            await send_cancel(target, timeout=0.1)


@pytest.mark.parametrize(("answer", "error"), [(b"N", ConnectionError), (b"E", UpstreamViolation)])
async def test_key_is_not_sent_in_the_clear_where_the_session_is_encrypted(
    answer: bytes, error: type[Exception]
) -> None:
    async with answering(answer) as (target, seen):
        with pytest.raises(error):
            await send_cancel(replace(target, context=ssl.create_default_context()), timeout=5)
    assert b"key!" not in b"".join(seen)


async def test_server_that_is_gone() -> None:
    async with answering(b"") as (target, _):
        pass
    with pytest.raises(OSError):
        await send_cancel(target, timeout=5)
