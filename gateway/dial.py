"""Opening a socket to a server and agreeing on TLS, before any message is spoken.

The first bytes are exchanged on the bare socket, one byte is read and no more: whatever an attacker sends
behind a server's answer to SSLRequest goes into the TLS handshake and breaks it, and is never taken for
something the server said (CVE-2021-23222).

Source: PostgreSQL documentation, "SSL Session Encryption".
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from gateway.config import Database
from protocol.errors import UpstreamViolation
from protocol.startup import ssl_request

__all__ = ["Endpoint", "endpoints", "open_socket", "request_tls"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a server. ``host`` is the name it was found by; ``address`` fits ``socket.connect``."""

    host: str
    family: int
    address: Any

    @property
    def local(self) -> bool:
        """Whether this is a unix socket."""
        return self.family == socket.AF_UNIX

    @property
    def private(self) -> bool:
        """Whether bytes sent there stay on this machine."""
        if self.local:
            return True
        return ipaddress.ip_address(str(self.address[0]).partition("%")[0]).is_loopback


async def endpoints(database: Database) -> list[Endpoint]:
    """Every address of the database's server, in the resolver's order. Raises :class:`OSError`."""
    if database.host.startswith("/"):
        path = f"{database.host.rstrip('/')}/.s.PGSQL.{database.port}"
        return [Endpoint(database.host, socket.AF_UNIX, path)]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(database.host, database.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(Endpoint(database.host, family, address) for family, _, _, _, address in found))


@contextlib.asynccontextmanager
async def open_socket(endpoint: Endpoint) -> AsyncIterator[socket.socket]:
    """A connected socket, closed when the block fails and left to whoever took it over when it does not."""
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if not endpoint.local:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(sock, endpoint.address)
        yield sock
    except BaseException:
        sock.close()
        raise


async def request_tls(sock: socket.socket) -> bool:
    """Ask for TLS; whether the server agrees. Raises :class:`UpstreamViolation` and :class:`OSError`."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, ssl_request())
    answer = await loop.sock_recv(sock, 1)
    if answer == b"S":
        return True
    if answer == b"N":
        return False
    if not answer:
        raise ConnectionResetError("the server closed the connection when asked for TLS")
    # An error text here is not to be believed or shown: anybody on the way could have written it
    # (CVE-2024-10977).
    raise UpstreamViolation("the server answered a request for TLS with something else")
