"""The socket between a supervisor and one worker: calls that are answered, and words that are not.

A frame is its length (4 bytes), its kind (1), the number of the call (8) and a body; a call's and a word's body begins
with a name and a line end. Both ends call and answer. When the other process is gone, every call that waits for it
fails, every call it made is cancelled, and ``closed`` is set: each side then ends what depended on the other. A caller
that is cancelled cancels what it called, as within one process.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Final, Self, cast

from gateway.tasks import spawn

__all__ = ["CallFailed", "Channel", "ChannelClosed"]

logger = logging.getLogger(__name__)

_HEADER: Final = struct.Struct("!IBQ")


class ChannelClosed(ConnectionError):
    """The other process is gone."""


class CallFailed(Exception):
    """The other process answered a call with an error: ``kind`` is its name, the text is for people."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class _Kind(IntEnum):
    CALL = 1
    ANSWER = 2
    FAILURE = 3
    WORD = 4
    CANCEL = 5


class Channel(asyncio.Protocol):
    """One end. ``answers`` and ``hears`` say what the other end may call and say, before anything is received."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._called: dict[int, asyncio.Task[None]] = {}
        self._number = 0
        self._answers: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}
        self._hears: dict[str, Callable[[bytes], None]] = {}

    @classmethod
    async def over(cls, sock: socket.socket) -> Self:
        """The end that has this socket, which it takes. Nothing is read before ``begin``."""
        _, channel = await asyncio.get_running_loop().create_unix_connection(cls, sock=sock)
        return channel

    def answer(self, name: str, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Let the other end call ``name``. What ``handler`` raises is the caller's error."""
        self._answers[name] = handler

    def hear(self, name: str, handler: Callable[[bytes], None]) -> None:
        """Let the other end say ``name``."""
        self._hears[name] = handler

    def begin(self) -> None:
        """Everything that is answered and heard is known: take what comes."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    async def call(self, name: str, body: bytes = b"") -> bytes:
        """What the other end answers. Raises :class:`CallFailed` and :class:`ChannelClosed`."""
        if self.closed.is_set():
            raise ChannelClosed("the other process is gone")
        self._number += 1
        number = self._number
        waiter = self._calls[number] = asyncio.get_running_loop().create_future()
        self._send(_Kind.CALL, number, name.encode() + b"\n" + body)
        try:
            answer: bytes = await waiter
            return answer
        except asyncio.CancelledError:
            self._send(_Kind.CANCEL, number, b"")
            raise
        finally:
            self._calls.pop(number, None)

    def say(self, name: str, body: bytes = b"") -> None:
        """Tell the other end, if it is still there; it answers nothing."""
        self._send(_Kind.WORD, 0, name.encode() + b"\n" + body)

    def close(self) -> None:
        """Close after what is queued was written."""
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _HEADER.size:
            size, kind, number = _HEADER.unpack_from(self._buffer, at)
            end = at + _HEADER.size + size
            if len(self._buffer) < end:
                break
            self._received(kind, number, bytes(self._buffer[at + _HEADER.size : end]))
            at = end
        del self._buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self.closed.set()
        calls, self._calls = self._calls, {}
        for waiter in calls.values():
            if not waiter.done():
                waiter.set_exception(ChannelClosed("the other process is gone"))
        for task in tuple(self._called.values()):
            task.cancel()

    # Inside --------------------------------------------------------------------------------------------

    def _send(self, kind: _Kind, number: int, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_HEADER.pack(len(body), kind, number) + body)

    def _received(self, kind: int, number: int, body: bytes) -> None:
        if kind in (_Kind.ANSWER, _Kind.FAILURE):
            waiter = self._calls.get(number)
            # Whoever asked may have left meanwhile.
            if waiter is not None and not waiter.done():
                if kind == _Kind.ANSWER:
                    waiter.set_result(body)
                else:
                    error, _, text = body.decode("utf-8", "backslashreplace").partition("\n")
                    waiter.set_exception(CallFailed(error, text))
            return
        if kind == _Kind.CANCEL:
            if number in self._called:
                self._called[number].cancel()
            return
        prefix, _, rest = body.partition(b"\n")
        name = prefix.decode()
        if kind == _Kind.WORD:
            self._hears[name](rest)
        else:
            self._called[number] = spawn(self._answer(name, number, rest), name=f"answer to {name}")

    async def _answer(self, name: str, number: int, body: bytes) -> None:
        try:
            answer = await self._answers[name](body)
        except Exception as error:
            if not isinstance(error, CallFailed):
                logger.exception("a call of %s failed", name)
                error = CallFailed(type(error).__name__, str(error))
            text = f"{error.kind}\n{error}".encode("utf-8", "backslashreplace")
            self._send(_Kind.FAILURE, number, text)
        else:
            self._send(_Kind.ANSWER, number, answer)
        finally:
            del self._called[number]
