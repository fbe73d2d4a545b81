"""One socket as an asyncio protocol: read by messages while it is set up, by callbacks while it relays.

Source: PostgreSQL documentation, "Message Formats" (framing).
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Final, Protocol, cast

from protocol.errors import ProtocolViolation
from protocol.tags import FrontendTag

__all__ = ["WRITE_HIGH", "Link", "LinkClosed", "Relay"]

WRITE_HIGH: Final = 256 * 1024
"""Bytes waiting to be written to one peer at which reading from the other pauses."""


class LinkClosed(ConnectionError):
    """The peer is gone."""


class Relay(Protocol):
    """Who is called while a link relays. None of these may wait."""

    @property
    def received(self) -> Callable[[bytes], None]:
        """What takes bytes when they come; asked for once."""

    def ended(self) -> None:
        """The peer will send no more; it may still read."""

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""

    def writable(self, ready: bool) -> None:
        """The write buffer passed its high (False) or low (True) mark."""


class Link(asyncio.Protocol):
    """A connection to a client or to a server.

    Until ``relay`` is called, bytes are kept and read with ``read_exactly`` and ``read_message`` by one
    coroutine, and no more than ``read_limit`` are kept: then reading pauses. ``lost`` is set when the
    connection is gone.
    """

    def __init__(self, read_limit: int = 64 * 1024) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._limit = read_limit
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._drain: asyncio.Future[None] | None = None
        self._relay: Relay | None = None
        self._received: Callable[[bytes], None] | None = None
        self._eof = False
        self._paused = False
        self._full = False
        self.lost = False

    # asyncio.Protocol ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._received is not None:
            self._received(data)
            return
        self._buffer += data
        if len(self._buffer) >= max(self._limit, self._wanted):
            self.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Keep the connection open for writing; TLS has no half-closed state."""
        self._eof = True
        if self._relay is not None:
            self._relay.ended()
        self._wake()
        return self.tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self.lost = self._eof = True
        if self._relay is not None:
            self._relay.lost(exc)
        self._wake()
        self._release_drain()

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._full = True
        if self._relay is not None:
            self._relay.writable(False)

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._full = False
        self._release_drain()
        if self._relay is not None:
            self._relay.writable(True)

    # Set-up --------------------------------------------------------------------------------------------

    @property
    def unread(self) -> bytes:
        """Bytes that came and were not read."""
        return bytes(self._buffer)

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session of this connection, if it has one."""
        return None if self._transport is None else self._transport.get_extra_info("ssl_object")

    @property
    def peername(self) -> str | None:
        """The peer's IP address; None for a unix socket."""
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) and peer else None

    async def read_exactly(self, size: int) -> bytes:
        """``size`` bytes; raises ``LinkClosed`` if the peer ends before."""
        self._wanted = size
        while len(self._buffer) < size:
            if self._eof:
                raise LinkClosed("the connection was closed")
            self.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._wanted = 0
        return data

    async def read_message(self, limit: int) -> tuple[int, bytes]:
        """One message as (tag, payload).

        Raises ``ProtocolViolation`` for a payload over ``limit`` bytes, before any of it is waited for, and
        ``LinkClosed``.
        """
        header = await self.read_exactly(5)
        return header[0], await self.read_exactly(_payload_size(header, limit))

    async def read_response(self, limit: int, kind: str) -> bytes:
        """The payload of a client's answer to a request for its password, or whatever ``kind`` names.

        Raises as ``read_message`` does, and ``ProtocolViolation`` for any other message.
        """
        header = await self.read_exactly(5)
        if header[0] != FrontendTag.PASSWORD:
            raise ProtocolViolation(f"expected {kind} response, got message type {header[0]}")
        return await self.read_exactly(_payload_size(header, limit))

    async def read_startup(self, limit: int) -> bytes:
        """One start-up packet, length word included. Raises as ``read_message`` does."""
        header = await self.read_exactly(4)
        length = int.from_bytes(header, "big")
        if not 8 <= length <= limit:
            raise ProtocolViolation("invalid length of startup packet")
        return header + await self.read_exactly(length - 4)

    def relay(self, relay: Relay) -> None:
        """Hand every further byte to ``relay``, beginning with what is unread."""
        self._relay = relay
        self._received = relay.received
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            relay.received(data)
        if self.lost:
            relay.lost(None)
            return
        if self._eof:
            relay.ended()
        self.resume_reading()

    # Writing -------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes; nothing happens once the connection is closed or the peer gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Queue several pieces, as ``write`` does."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(parts)

    async def drain(self) -> None:
        """Wait until the write buffer is below its mark; raises ``LinkClosed``."""
        while self._full and not self.lost:
            if self._drain is None:
                self._drain = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drain)
        if self.lost:
            raise LinkClosed("the connection was closed")

    def pause_reading(self) -> None:
        """Take no more bytes from the peer for now."""
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes again."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """Close after what is queued has been written."""
        if self._transport is not None:
            self._transport.close()

    def hang_up(self) -> None:
        """Close as the server does at a refusal: what was written is sent, TLS is ended, and then the stream.

        ``close`` keeps the stream open until the peer has ended TLS as well, and there are peers that read to the
        end of the connection but not through TLS. Nothing is cut off: only the sending side is shut down, and what
        the peer still sends is read, until it closes too or has been waited for as long as ``close`` would. Only
        for a connection on which no more was written than the kernel takes at once.
        """
        if self._transport is None or self._transport.is_closing():
            return
        plain = None if self.tls is None else self._transport.get_extra_info("socket")
        # The descriptor may be another connection's by the time of the last step.
        held = None if plain is None else socket.socket(fileno=os.dup(plain.fileno()))
        self._transport.close()
        if held is not None:
            # Writes are carried out at the end of the loop's turn, and TLS ends by writing.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, _end_of_stream, held)

    def abort(self) -> None:
        """Close now; what is queued is lost."""
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _release_drain(self) -> None:
        drain, self._drain = self._drain, None
        if drain is not None and not drain.done():
            drain.set_result(None)


def _end_of_stream(held: socket.socket) -> None:
    with held, contextlib.suppress(OSError):
        held.shutdown(socket.SHUT_WR)


def _payload_size(header: bytes, limit: int) -> int:
    length = int.from_bytes(header[1:], "big")
    if not 4 <= length <= limit + 4:
        raise ProtocolViolation("invalid message length")
    return length - 4
