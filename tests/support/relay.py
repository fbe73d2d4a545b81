"""A TCP relay between a client and a server that does to the stream what networks do, and a little more."""

import asyncio
import contextlib
import ssl as tls
import struct
from types import TracebackType
from typing import Self

__all__ = ["Relay", "TlsRelay"]

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class Relay:
    """Listens on a free port of 127.0.0.1 and passes every connection on to ``host``:``port``.

    ``chunk``   bytes written at a time in either direction (0: as they come). Small values split messages at
                every boundary.
    ``received``, ``sent``   all bytes from clients and all bytes to clients, over all connections.
    """

    def __init__(self, host: str, port: int, *, chunk: int = 0) -> None:
        self.upstream = (host, port)
        self.chunk = chunk
        self.host = "127.0.0.1"
        self.port = 0
        self.received = bytearray()
        self.sent = bytearray()
        self.connected = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self.cut()
        self._flowing.set()
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection on both sides."""
        for writer in list(self._writers):
            writer.transport.abort()

    def refuse(self, refusing: bool = True) -> None:
        """Close new connections at once (True), or serve them again (False)."""
        self._refusing = refusing

    def pause(self) -> None:
        """Stop reading on both sides, as a stalled network does."""
        self._flowing.clear()

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if not self._refusing and await self._greet(reader, writer):
                upstream_reader, upstream_writer = await self._open()
                self._writers.add(upstream_writer)
                self.connected.set()
                try:
                    await asyncio.gather(
                        self._pump(reader, upstream_writer, self.received),
                        self._pump(upstream_reader, writer, self.sent),
                    )
                finally:
                    self._writers.discard(upstream_writer)
                    await _close(upstream_writer)
        finally:
            self._writers.discard(writer)
            await _close(writer)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        return True

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.upstream
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, record: bytearray
    ) -> None:
        with contextlib.suppress(ConnectionError, tls.SSLError):
            while True:
                await self._flowing.wait()
                data = await source.read(65_536)
                await self._flowing.wait()
                if not data:
                    break
                record += data
                size = self.chunk or len(data)
                for start in range(0, len(data), size):
                    target.write(data[start : start + size])
                    await target.drain()
                    await asyncio.sleep(0)
        # The end of one direction is passed on; the other may have an answer under way.
        with contextlib.suppress(OSError, RuntimeError, NotImplementedError):
            if target.can_write_eof():
                target.write_eof()
            else:
                target.close()


class TlsRelay(Relay):
    """A relay that speaks PostgreSQL's TLS (SSLRequest) to clients and nothing to the server behind it.

    What a client sees is a server with TLS; channel binding cannot work through it.
    """

    def __init__(self, host: str, port: int, context: tls.SSLContext, *, chunk: int = 0) -> None:
        super().__init__(host, port, chunk=chunk)
        self.context = context

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            request = await reader.readexactly(len(_SSL_REQUEST))
            if request != _SSL_REQUEST:
                return False
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self.context)
        except (asyncio.IncompleteReadError, ConnectionError, tls.SSLError):
            return False
        return True


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, tls.SSLError):
        await writer.wait_closed()
