"""The same messages sent to a server directly and through a gateway, and the answers side by side.

A *series* is a coroutine that talks over a :class:`Recorder`. What the recorder noted is compared byte for byte
once everything is taken out that differs between any two sessions of one server: process ids, secrets, salts,
and the OIDs of objects that are not built in.
"""

import re
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.wire import ConnectionClosed, Message, RawClient

__all__ = ["Recorder", "Series", "recorded"]

_FIRST_OWN_OID = 16_384


class Recorder(RawClient):
    """A client that notes all it receives. ``log`` has a line for each message, ``(closed)`` at the end."""

    def __init__(self, *streams: Any) -> None:
        super().__init__(*streams)
        self.log: list[str] = []

    async def read(self, patience: float = 20.0) -> Message:
        try:
            received = await super().read(patience)
        except ConnectionClosed as closed:
            self.log.append(f"(closed) {closed.rest!r}")
            raise
        self.log.append(f"{received.tag} {self._comparable(received)!r}")
        return received

    def _comparable(self, received: Message) -> bytes | str:
        payload = received.payload
        if received.tag == "K":
            return f"a secret of {len(payload) - 4} bytes"
        if received.tag == "A":
            return payload[4:]
        if received.tag == "R" and len(payload) > 4:
            return payload[:4]
        if received.tag == "T":
            return _without_oids(payload)
        if received.tag == "t":
            count = len(payload) // 4
            return b"".join(_built_in(payload[2 + 4 * i : 6 + 4 * i]) for i in range(count))
        if received.tag == "D" and self.pid:
            pid = str(self.pid).encode()
            return payload.replace(struct.pack("!i", len(pid)) + pid, b"<pid>")
        if received.tag == "E":
            return re.sub(rb"pg_temp_\d+", b"pg_temp", payload)
        if len(payload) > 10_000:
            return f"{payload[:100]!r} and so on, {len(payload)} bytes, hash {hash(payload)}"
        return payload


def _without_oids(payload: bytes) -> bytes:
    """A RowDescription with OIDs of tables and types zeroed where they are not built in."""
    (count,) = struct.unpack_from("!H", payload)
    at, parts = 2, [payload[:2]]
    for _ in range(count):
        end = payload.index(0, at) + 1
        parts += [payload[at:end], _built_in(payload[end : end + 4]), payload[end + 4 : end + 6]]
        parts += [_built_in(payload[end + 6 : end + 10]), payload[end + 10 : end + 18]]
        at = end + 18
    assert at == len(payload), "a RowDescription with bytes left over"
    return b"".join(parts)


def _built_in(oid: bytes) -> bytes:
    return oid if int.from_bytes(oid, "big") < _FIRST_OWN_OID else bytes(4)


Series = Callable[[Recorder], Awaitable[None]]


async def recorded(series: Series, host: str, port: int, **options: Any) -> list[str]:
    """What a client reads in ``series``, from its login on. ``options`` are those of ``RawClient.connect``."""
    client = await Recorder.connect(host, port, **options)
    try:
        await series(client)
    finally:
        client.abort()
    return client.log
