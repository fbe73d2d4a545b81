"""Links for tests: a listener that serves each with a coroutine, and a connection to one. Both leave nothing
open behind them."""

import asyncio
import contextlib
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.link import Link, LinkClosed

__all__ = ["dialled", "listening"]

Serve = Callable[[Link], Awaitable[None]]


class _Observed(Link):
    """A link whose end can be awaited."""

    def __init__(self, made: Callable[["_Observed"], None] = lambda link: None) -> None:
        super().__init__()
        self.gone = asyncio.Event()
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gone.set()


@contextlib.asynccontextmanager
async def listening(serve: Serve, *, context: tls.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a listener on 127.0.0.1 whose every connection is served by ``serve``, then closed.

    A peer that leaves in the middle ends ``serve`` quietly; whatever else it raises is raised at the end of
    the block, which waits for every connection.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def conduct(link: _Observed) -> None:
        try:
            with contextlib.suppress(LinkClosed):
                await serve(link)
        finally:
            link.close()
        await link.gone.wait()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Observed(lambda link: tasks.add(loop.create_task(conduct(link)))),
        "127.0.0.1",
        0,
        ssl=context,
    )
    try:
        yield int(server.sockets[0].getsockname()[1])
        await asyncio.gather(*tasks)
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def dialled(port: int) -> AsyncIterator[Link]:
    """A link to a port of 127.0.0.1, aborted at the end of the block."""
    _, link = await asyncio.get_running_loop().create_connection(_Observed, "127.0.0.1", port)
    try:
        yield link
    finally:
        link.abort()
        await link.gone.wait()
