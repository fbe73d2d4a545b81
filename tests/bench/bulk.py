"""Much data in one statement: a blocking client that does next to nothing with it, so that the way is measured."""

import socket
import time
from typing import Final

from tests.support.wire import Q, message, startup_message

__all__ = ["BULK", "bulk"]

READY: Final = b"Z\0\0\0\x05I"
CHUNK: Final = 1 << 18

BULK: Final = {
    "2M rows, SELECT": "SELECT n, 'row ' || n FROM generate_series(1, {rows}) AS n",
    "2M rows, COPY out": "COPY (SELECT n, 'row ' || n FROM generate_series(1, {rows}) AS n) TO STDOUT",
    "2M rows, COPY in": "COPY bulk FROM STDIN",
}
"""Statements by the names of their workloads."""

_ROWS: Final = 1000


def bulk(name: str, host: str, port: int, rows: int) -> tuple[float, float]:
    """Run a statement with so many rows; megabytes that went over the connection, and seconds."""
    with socket.create_connection((host, port)) as connection:
        connection.sendall(startup_message(user="postgres", database="postgres"))
        _until_ready(connection)
        if name.endswith("in"):
            connection.sendall(Q("CREATE TEMPORARY TABLE bulk (n integer, t text)"))
            _until_ready(connection)
        started = time.perf_counter()
        connection.sendall(Q(BULK[name].format(rows=rows)))
        moved = 0
        if name.endswith("in"):
            assert connection.recv(CHUNK)[:1] == b"G"
            data = message("d", b"".join(b"%d\trow %d\n" % (n, n) for n in range(_ROWS)))
            for _ in range(rows // _ROWS):
                connection.sendall(data)
                moved += len(data)
            connection.sendall(message("c"))
        moved += _until_ready(connection)
        return moved / 1e6, time.perf_counter() - started


def _until_ready(connection: socket.socket) -> int:
    """Bytes that came until the server was ready again."""
    received, tail = 0, b""
    while tail != READY:
        data = connection.recv(CHUNK)
        assert data, "the connection was closed"
        received += len(data)
        tail = (tail + data[-len(READY) :])[-len(READY) :]
    return received
