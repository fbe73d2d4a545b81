"""Before a session: one accepted socket, up to its StartupMessage.

The first packets are read from the bare socket, exactly as many bytes as belong to them. So nothing that came
in the clear can be taken for something that came encrypted: if bytes wait behind an SSLRequest, somebody put
them there, and the connection is closed.

Source: PostgreSQL documentation, "Start-up", "SSL Session Encryption"; CVE-2021-23214.
"""

import asyncio
import socket
from dataclasses import dataclass
from typing import Final

from gateway.link import Link, LinkClosed
from gateway.tls import ServerTls, came_by_alpn
from protocol.startup import (
    MAX_STARTUP_BYTES,
    CancelRequest,
    FirstPacket,
    GssEncRequest,
    SslRequest,
    StartupMessage,
    StartupRefused,
    packet_length,
    parse_first_packet,
)

__all__ = ["Arrival", "receive"]

_TLS_HANDSHAKE: Final = 0x16


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection that said what it wants. ``link`` is None for a CancelRequest that came in the clear."""

    link: Link | None
    asks: StartupMessage | CancelRequest


async def receive(sock: socket.socket, tls: ServerTls | None) -> Arrival | None:
    """Read up to the StartupMessage or CancelRequest; the socket belongs to the link afterwards.

    Returns None for a connection that is to be closed without a word. A refusal the client can read is sent
    before. Raises ``OSError`` when the client is gone.
    """
    loop = asyncio.get_running_loop()
    if await _peek(sock) == _TLS_HANDSHAKE:
        if tls is None:
            return None
        link = await _encrypted(sock, tls)
        if link.tls is None or not came_by_alpn(link.tls):
            link.abort()
            return None
        return await _over_tls(link)
    gss_done = ssl_done = False
    while True:
        packet = await _packet(sock)
        try:
            asks = parse_first_packet(packet, ssl_done=ssl_done, gss_done=gss_done)
        except StartupRefused as refused:
            await loop.sock_sendall(sock, refused.encoded())
            return None
        if isinstance(asks, SslRequest | GssEncRequest) and _waiting(sock):
            return None
        if isinstance(asks, SslRequest):
            if tls is not None:
                await loop.sock_sendall(sock, b"S")
                return await _over_tls(await _encrypted(sock, tls))
            ssl_done = True
            await loop.sock_sendall(sock, b"N")
        elif isinstance(asks, GssEncRequest):
            gss_done = True
            await loop.sock_sendall(sock, b"N")
        elif isinstance(asks, CancelRequest):
            return Arrival(None, asks)
        else:
            _, link = await loop.connect_accepted_socket(Link, sock)
            return Arrival(link, asks)


async def _over_tls(link: Link) -> Arrival | None:
    try:
        packet = await link.read_startup(MAX_STARTUP_BYTES + 4)
    except BaseException:
        # The socket is the link's by now: nobody else can close it.
        link.abort()
        raise
    try:
        asks: FirstPacket = parse_first_packet(packet, ssl_done=True, gss_done=True)
    except StartupRefused as refused:
        link.write(refused.encoded())
        link.hang_up()
        return None
    if isinstance(asks, SslRequest | GssEncRequest):
        link.abort()
        return None
    return Arrival(link, asks)


async def _encrypted(sock: socket.socket, tls: ServerTls) -> Link:
    # With TLS, uvloop returns a protocol of its own where asyncio returns what the factory made.
    link = Link()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: link, sock, ssl=tls.context)
    return link


async def _packet(sock: socket.socket) -> bytes:
    header = await _exactly(sock, 4)
    return header + await _exactly(sock, packet_length(header) - 4)


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise LinkClosed("the connection was closed")
        data += piece
    return data


async def _peek(sock: socket.socket) -> int:
    """The first byte, left where it is."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            first = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            readable: asyncio.Future[None] = loop.create_future()
            loop.add_reader(sock, _resolve, readable)
            try:
                await readable
            finally:
                loop.remove_reader(sock)
            continue
        if not first:
            raise LinkClosed("the connection was closed")
        return first[0]


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _waiting(sock: socket.socket) -> bool:
    """Whether bytes have come that nobody may have sent yet."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
