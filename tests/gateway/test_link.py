"""One socket: read by messages while it is set up, by callbacks while it relays."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from gateway.link import WRITE_HIGH, Link, LinkClosed
from protocol.errors import ProtocolViolation
from tests.support.wire import Q, message

T = TypeVar("T")


@dataclass
class Peer:
    """The other end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@dataclass
class Heard:
    """What a relay was told."""

    data: bytearray = field(default_factory=bytearray)
    calls: list[object] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def received(self, data: bytes) -> None:
        self.data += data
        self.more.set()

    def ended(self) -> None:
        self.calls.append("ended")
        self.more.set()

    def lost(self, error: Exception | None) -> None:
        self.calls.append("lost")
        self.more.set()

    def writable(self, ready: bool) -> None:
        self.calls.append(ready)
        self.more.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once it is so."""
        async with asyncio.timeout(10):
            while not condition():
                self.more.clear()
                await self.more.wait()


@asynccontextmanager
async def linked(read_limit: int = 64 * 1024) -> AsyncIterator[tuple[Link, Peer]]:
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    for sock in (one, other):
        sock.setblocking(False)
    _, link = await loop.create_connection(lambda: Link(read_limit), sock=one)
    reader, writer = await asyncio.open_connection(sock=other)
    try:
        yield link, Peer(reader, writer)
    finally:
        link.abort()
        writer.transport.abort()
        await asyncio.sleep(0)


async def promptly(awaited: Awaitable[T]) -> T:
    async with asyncio.timeout(10):
        return await awaited


class TestReading:
    async def test_messages_come_as_they_were_cut(self) -> None:
        async with linked() as (link, peer):
            for byte in Q("SELECT 1") + Q("") + message("S"):
                await peer.send(bytes((byte,)))
            assert await promptly(link.read_message(100)) == (ord("Q"), b"SELECT 1\0")
            assert await promptly(link.read_message(100)) == (ord("Q"), b"\0")
            assert await promptly(link.read_message(100)) == (ord("S"), b"")

    @pytest.mark.parametrize("length", [b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\3", b"\xff\xff\xff\xff"])
    async def test_a_length_that_lies_is_not_waited_for(self, length: bytes) -> None:
        async with linked() as (link, peer):
            await peer.send(b"Q" + length)
            with pytest.raises(ProtocolViolation):
                await promptly(link.read_message(100))

    async def test_a_password_is_asked_for_and_nothing_else_is_taken(self) -> None:
        async with linked() as (link, peer):
            await peer.send(message("p", b"secret\0"))
            assert await promptly(link.read_response(100, "password")) == b"secret\0"
            await peer.send(Q("SELECT 1"))
            with pytest.raises(ProtocolViolation, match="expected password response, got message type 81"):
                await promptly(link.read_response(100, "password"))

    @pytest.mark.parametrize("length", [0, 7, 101, -1])
    async def test_a_startup_packet_of_a_size_that_none_has(self, length: int) -> None:
        async with linked() as (link, peer):
            await peer.send(length.to_bytes(4, "big", signed=True) + b"x" * 20)
            with pytest.raises(ProtocolViolation, match="invalid length of startup packet"):
                await promptly(link.read_startup(100))

    @pytest.mark.parametrize("sent", [b"", b"Q\0\0"])
    async def test_a_peer_that_leaves_before(self, sent: bytes) -> None:
        async with linked() as (link, peer):
            await peer.send(sent)
            peer.writer.write_eof()
            with pytest.raises(LinkClosed):
                await promptly(link.read_message(100))

    async def test_what_is_not_read_stays_with_the_peer(self) -> None:
        async with linked(read_limit=1000) as (link, peer):
            sending = asyncio.ensure_future(peer.send(b"x" * 10_000_000))
            await asyncio.wait({sending}, timeout=0.2)
            assert not sending.done()
            assert 1000 <= len(link.unread) < 1_000_000
            # Whoever reads on gets it all, however much is wanted at once.
            for _ in range(2):
                assert await promptly(link.read_exactly(5_000_000)) == b"x" * 5_000_000
            await promptly(sending)


class TestRelaying:
    async def test_it_begins_with_what_is_unread(self) -> None:
        async with linked() as (link, peer):
            await peer.send(Q("a") + b"rest")
            await promptly(link.read_message(100))
            heard = Heard()
            link.relay(heard)
            await peer.send(b" and more")
            await heard.until(lambda: heard.data == b"rest and more")
            assert link.unread == b""

    async def test_an_end_of_input_leaves_the_other_way_open(self) -> None:
        async with linked() as (link, peer):
            heard = Heard()
            link.relay(heard)
            peer.writer.write_eof()
            await heard.until(lambda: "ended" in heard.calls)
            link.write(b"still here")
            assert await promptly(peer.reader.readexactly(10)) == b"still here"
            assert not link.lost

    async def test_an_end_that_came_before_is_told(self) -> None:
        async with linked() as (link, peer):
            await peer.send(b"last")
            peer.writer.write_eof()
            with pytest.raises(LinkClosed):
                await promptly(link.read_exactly(5))
            heard = Heard()
            link.relay(heard)
            assert heard.data == b"last"
            assert heard.calls == ["ended"]

    async def test_a_loss_is_told_and_writing_is_no_error(self) -> None:
        async with linked() as (link, peer):
            heard = Heard()
            link.relay(heard)
            peer.writer.transport.abort()
            await heard.until(lambda: "ended" in heard.calls or "lost" in heard.calls)
            link.abort()
            await heard.until(lambda: "lost" in heard.calls)
            assert link.lost
            link.write(b"x")
            link.writelines([b"x", b"y"])
            with pytest.raises(LinkClosed):
                await promptly(link.drain())
            late = Heard()
            link.relay(late)
            assert late.calls == ["lost"]

    async def test_reading_stops_and_goes_on(self) -> None:
        async with linked() as (link, peer):
            heard = Heard()
            link.relay(heard)
            for _ in range(2):
                link.pause_reading()
            await peer.send(b"x")
            await asyncio.wait({asyncio.ensure_future(heard.more.wait())}, timeout=0.05)
            assert heard.data == b""
            for _ in range(2):
                link.resume_reading()
            await heard.until(lambda: heard.data == b"x")

    async def test_a_peer_that_does_not_read_is_told_of(self) -> None:
        async with linked() as (link, peer):
            heard = Heard()
            link.relay(heard)
            link.writelines([b"x" * 100_000] * 100)
            assert heard.calls == [False]
            draining = asyncio.ensure_future(link.drain())
            await asyncio.wait({draining}, timeout=0.05)
            assert not draining.done()
            await promptly(peer.reader.readexactly(10_000_000 - WRITE_HIGH // 8))
            await heard.until(lambda: True in heard.calls)
            await promptly(draining)

    async def test_what_is_queued_is_written_before_a_close_and_not_before_an_abort(self) -> None:
        async with linked() as (link, peer):
            link.write(b"x" * 1_000_000)
            link.close()
            assert len(await promptly(peer.reader.read(-1))) == 1_000_000
        async with linked() as (link, peer):
            link.write(b"x" * 10_000_000)
            link.abort()
            assert len(await promptly(peer.reader.read(-1))) < 10_000_000

    async def test_what_is_written_is_sent_before_hanging_up(self) -> None:
        async with linked() as (link, peer):
            link.write(b"sorry")
            link.hang_up()
            link.hang_up()
            link.write(b"not sent")
            assert await promptly(peer.reader.read(-1)) == b"sorry"


async def test_a_link_that_was_never_made() -> None:
    link = Link()
    link.hang_up()
    link.write(b"x")
    link.writelines([b"x"])
    link.pause_reading()
    link.resume_reading()
    link.close()
    link.abort()
    assert (link.tls, link.peername, link.unread) == (None, None, b"")


async def test_where_the_peer_is() -> None:
    async with linked() as (link, _):
        assert link.peername is None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        _, link = await asyncio.get_running_loop().create_connection(Link, *listening.getsockname())
        assert link.peername == "127.0.0.1"
        link.abort()
        await asyncio.sleep(0)
