"""Listening sockets: for every address of a name, and for every worker that shares them."""

import asyncio
import errno
import socket
from typing import Any, Final

__all__ = ["ListenerError", "listen_on", "listening_sockets"]

BACKLOG: Final = 1024


class ListenerError(OSError):
    """The address cannot be listened on; the text says why and what to do."""


async def listening_sockets(address: str, port: int, workers: int | None = None) -> list[list[socket.socket]]:
    """The sockets of each worker; None: of one process, which shares the port with nobody.

    With port 0 all of them get the same free one. Raises ``ListenerError``, and then nothing is open.
    """
    loop = asyncio.get_running_loop()
    opened: list[list[socket.socket]] = []
    try:
        found = await loop.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        places: list[tuple[int, tuple[Any, ...]]] = [
            (family, place) for family, *_, place in dict.fromkeys(found)
        ]
        if workers is None:
            return [listen_on(places)]
        if port:
            # Shared ports are shared with everybody of this account. Nobody else may have it when we begin.
            for sock in listen_on(places):
                sock.close()
        for _ in range(workers):
            opened.append(listen_on(places, shared=True))
            if not port:
                places = [(sock.family, sock.getsockname()) for sock in opened[0]]
    except OSError as error:
        for sock in (one for some in opened for one in some):
            sock.close()
        raise ListenerError(_explain(error, address, port)) from error
    return opened


def listen_on(places: list[tuple[int, tuple[object, ...]]], *, shared: bool = False) -> list[socket.socket]:
    """A socket for each address of a name; for one of them if any port will do.

    ``shared``: other sockets may listen there too. An address family that this machine lacks is left out as long as
    another one is there. Raises OSError, and then nothing is open.
    """
    opened: list[socket.socket] = []
    lacking: OSError | None = None
    for family, address in places:
        try:
            opened.append(_listening(family, address, shared=shared))
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                lacking = error
                continue
            for sock in opened:
                sock.close()
            raise
        if address[1] == 0:
            break
    if not opened and lacking is not None:
        raise lacking
    return opened


def _listening(family: int, address: tuple[Any, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _explain(error: OSError, address: str, port: int) -> str:
    place = f"{address}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {place}: the port is taken; stop what listens there, or set listen.port"
    if error.errno == errno.EACCES:
        return f"cannot listen on {place}: not permitted; ports below 1024 need privileges"
    return f"cannot listen on {place}: {error.strerror or error}"
