"""Before a session: one accepted socket, up to what it asks for."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import pytest

from gateway.config import ListenTls
from gateway.link import LinkClosed
from gateway.reception import Arrival, receive
from gateway.tls import ServerTls, server_tls
from protocol.errors import ProtocolViolation
from protocol.startup import CancelRequest, StartupMessage
from tests.support.certificates import Authority
from tests.support.wire import SSL_REQUEST, cancel_request, startup_message

GSS_REQUEST = struct.pack("!ii", 8, 80877104)
STARTUP = startup_message(user="alice", database="shop")

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def tls(authority: Authority) -> ServerTls:
    issued = authority.issue("localhost", addresses=["127.0.0.1"])
    made = server_tls(ListenTls("prefer", issued.cert, issued.key, None))
    assert made is not None
    return made


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.cert))


@asynccontextmanager
async def arriving(
    tls: ServerTls | None = None,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, "asyncio.Future[Arrival | None]"]]:
    """A client's two ends, and what becomes of it."""
    loop = asyncio.get_running_loop()
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.setblocking(False)
        accepting = asyncio.ensure_future(loop.sock_accept(listening))
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
        sock, _ = await accepting
    sock.setblocking(False)
    received = asyncio.ensure_future(receive(sock, tls))
    try:
        yield reader, writer, received
    finally:
        writer.transport.abort()
        found = (await asyncio.gather(received, return_exceptions=True))[0]
        if isinstance(found, Arrival) and found.link is not None:
            found.link.abort()
        sock.close()
        await asyncio.sleep(0)


async def promptly(received: "asyncio.Future[Arrival | None]") -> Arrival | None:
    async with asyncio.timeout(10):
        return await received


async def test_a_startup_message_and_what_comes_behind_it() -> None:
    async with arriving() as (_, writer, received):
        writer.write(STARTUP + b"Q\0\0\0\5\0")
        arrival = await promptly(received)
        assert arrival is not None
        assert isinstance(arrival.asks, StartupMessage)
        assert (arrival.asks.user, arrival.asks.database) == ("alice", "shop")
        assert arrival.link is not None
        assert arrival.link.peername == "127.0.0.1"
        # What the client sent ahead belongs to the session.
        assert await arrival.link.read_message(100) == (ord("Q"), b"\0")


async def test_byte_by_byte() -> None:
    async with arriving() as (reader, writer, received):
        for packet in (GSS_REQUEST, SSL_REQUEST, STARTUP):
            for byte in packet:
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            if packet is not STARTUP:
                assert await reader.readexactly(1) == b"N"
        arrival = await promptly(received)
        assert arrival is not None
        assert isinstance(arrival.asks, StartupMessage)


async def test_encryption_that_is_not_there_is_declined_and_the_client_goes_on() -> None:
    async with arriving() as (reader, writer, received):
        for request in (GSS_REQUEST, SSL_REQUEST):
            writer.write(request)
            assert await reader.readexactly(1) == b"N"
        writer.write(STARTUP)
        arrival = await promptly(received)
        assert arrival is not None
        assert arrival.link is not None
        assert arrival.link.tls is None


async def test_a_cancel_request() -> None:
    async with arriving() as (_, writer, received):
        writer.write(cancel_request(4711, b"\1\2\3\4"))
        arrival = await promptly(received)
        assert arrival is not None
        assert arrival.link is None
        assert arrival.asks == CancelRequest(4711, b"\1\2\3\4")


class TestTls:
    async def test_asked_for(self, tls: ServerTls, trusting: ssl.SSLContext) -> None:
        async with arriving(tls) as (reader, writer, received):
            writer.write(GSS_REQUEST)
            assert await reader.readexactly(1) == b"N"
            writer.write(SSL_REQUEST)
            assert await reader.readexactly(1) == b"S"
            await writer.start_tls(trusting, server_hostname="localhost")
            writer.write(STARTUP)
            arrival = await promptly(received)
            assert arrival is not None
            assert arrival.link is not None
            assert arrival.link.tls is not None
            assert isinstance(arrival.asks, StartupMessage)

    async def test_direct(self, tls: ServerTls, trusting: ssl.SSLContext) -> None:
        trusting.set_alpn_protocols(["postgresql"])
        async with arriving(tls) as (_, writer, received):
            await writer.start_tls(trusting, server_hostname="localhost")
            writer.write(cancel_request(4711, b"\1\2\3\4"))
            arrival = await promptly(received)
            assert arrival is not None
            assert arrival.link is not None
            assert isinstance(arrival.asks, CancelRequest)

    @pytest.mark.parametrize("offers", [[], ["h2"]])
    async def test_direct_without_the_protocols_name_is_closed(
        self, tls: ServerTls, trusting: ssl.SSLContext, offers: list[str]
    ) -> None:
        if offers:
            trusting.set_alpn_protocols(offers)
        async with arriving(tls) as (reader, writer, received):
            try:
                await writer.start_tls(trusting, server_hostname="localhost")
            except (ssl.SSLError, ConnectionError):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await promptly(received)
                return
            writer.write(STARTUP)
            assert await promptly(received) is None
            with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)

    async def test_direct_where_there_is_none(self) -> None:
        async with arriving() as (_, writer, received):
            writer.write(b"\x16\x03\x01\x02\x00\x01")
            assert await promptly(received) is None

    async def test_asked_for_inside(self, tls: ServerTls, trusting: ssl.SSLContext) -> None:
        for request in (SSL_REQUEST, GSS_REQUEST):
            async with arriving(tls) as (reader, writer, received):
                writer.write(SSL_REQUEST)
                await reader.readexactly(1)
                await writer.start_tls(trusting, server_hostname="localhost")
                writer.write(request)
                # No second layer, and no word about it.
                assert await promptly(received) is None

    async def test_a_refusal_inside_can_be_read(self, tls: ServerTls, trusting: ssl.SSLContext) -> None:
        async with arriving(tls) as (reader, writer, received):
            writer.write(SSL_REQUEST)
            await reader.readexactly(1)
            await writer.start_tls(trusting, server_hostname="localhost")
            writer.write(startup_message(0x00020000, user="alice"))
            assert await promptly(received) is None
            assert (await reader.readexactly(1)) == b"E"

    async def test_bytes_that_were_slipped_in_before_it_end_the_connection(self, tls: ServerTls) -> None:
        async with arriving(tls) as (_, writer, received):
            writer.write(SSL_REQUEST + STARTUP)
            assert await promptly(received) is None

    async def test_a_handshake_that_is_none(self, tls: ServerTls) -> None:
        async with arriving(tls) as (reader, writer, received):
            writer.write(SSL_REQUEST)
            await reader.readexactly(1)
            writer.write(b"this is no handshake")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await promptly(received)


class TestJunk:
    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            b"\0",
            STARTUP[:-1],
            struct.pack("!i", 8),
        ],
    )
    async def test_a_client_that_leaves_in_the_middle(self, sent: bytes) -> None:
        async with arriving() as (_, writer, received):
            writer.write(sent)
            writer.write_eof()
            with pytest.raises(LinkClosed):
                await promptly(received)

    async def test_a_client_that_is_torn_away(self) -> None:
        async with arriving() as (_, writer, received):
            writer.transport.abort()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await promptly(received)

    @pytest.mark.parametrize("length", [0, 1, 7, -1, 10_005, 2**31 - 1])
    async def test_a_length_that_lies(self, length: int) -> None:
        async with arriving() as (_, writer, received):
            writer.write(struct.pack("!ii", length, 196608))
            with pytest.raises(ProtocolViolation):
                await promptly(received)

    @pytest.mark.parametrize("again", [SSL_REQUEST, GSS_REQUEST])
    async def test_encryption_asked_for_again(self, again: bytes) -> None:
        async with arriving() as (reader, writer, received):
            writer.write(again)
            assert await reader.readexactly(1) == b"N"
            writer.write(again)
            # An error, as the server answers, and the end.
            assert await promptly(received) is None
            assert await reader.readexactly(1) == b"E"
