"""``python -m tests.bench.stand_in``: something that greets like a server and then waits for its client to leave.

It prints its port, and ends when its standard input does.
"""

import asyncio
import os
import struct
import sys

from tests.support.wire import message

__all__ = ["serve"]

GREETING = b"".join(
    (
        message("R", struct.pack("!i", 0)),
        *(
            message("S", f"{name}\0{value}\0".encode())
            for name, value in {
                "server_version": "17.0",
                "client_encoding": "UTF8",
                "standard_conforming_strings": "on",
            }.items()
        ),
        message("K", struct.pack("!ii", os.getpid(), 1)),
        message("Z", b"I"),
    )
)


async def serve() -> None:
    """Serve until the end of standard input."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(size - 4)
        writer.write(GREETING)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, backlog=1024)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(serve())
