"""Cutting a client's bytes into messages, holding no more of them than has arrived.

Messages are handed out whole, except CopyData, which is handed out as it comes, and a message over its limit,
whose payload is read and dropped so that the conversation can go on behind it.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from .framing import HEADER, HEADER_SIZE, check_frontend_length
from .tags import FrontendTag

_COPY_DATA: Final = int(FrontendTag.COPY_DATA)
_QUERY: Final = int(FrontendTag.QUERY)
_PARSE: Final = int(FrontendTag.PARSE)

_SMALL_PIECE: Final = 4096
"""Pieces below this are collected in one buffer: a list of them would take many times their size."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a client is taken, in bytes.

    ``statement`` bounds a Query or Parse, ``request`` any other single message, ``batch`` is where a batch of
    extended-protocol messages is passed on without waiting for its Sync. ``owed`` is the number of replies the
    server may owe before more of the client is looked at: what is noted for each takes many times the bytes of the
    shortest messages.
    """

    statement: int = 1 << 20
    request: int = 256 << 20
    batch: int = 256 << 10
    owed: int = 4096


class Frame(Enum):
    """What ``FrontendReader.next`` hands out."""

    MESSAGE = "a whole message"
    COPY_PIECE = "the beginning of a CopyData, as much as is there, header included"
    COPY_REST = "a further piece of the same CopyData"
    TOO_LARGE = "the header of a message over its limit; its payload is dropped"


class FrontendReader:
    """The client's bytes, cut at message boundaries.

    ``next`` returns (frame, tag, bytes) or None when more bytes are needed. It raises ``FrontendViolation``
    when the boundaries are lost.
    """

    __slots__ = ("_data", "_dropping", "_left", "_limits", "_more", "_more_size", "_pos")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._data = b""
        self._pos = 0
        self._more: deque[bytes | bytearray] = deque()
        self._more_size = 0
        self._left = 0
        self._dropping = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        if self._pos == len(self._data) and not self._more:
            self._data = data
            self._pos = 0
        else:
            self._more_size += len(data)
            if len(data) >= _SMALL_PIECE:
                self._more.append(data)
            elif self._more and isinstance(self._more[-1], bytearray):
                self._more[-1] += data
            else:
                self._more.append(bytearray(data))

    @property
    def inside_copy_data(self) -> bool:
        """Whether what was handed out so far ends inside a CopyData message."""
        return self._left > 0 and not self._dropping

    @property
    def at_rest(self) -> bool:
        """Whether all that came was handed out, up to the end of a message."""
        return not self._left and self._pos == len(self._data) and not self._more

    @property
    def buffered(self) -> int:
        """Bytes held."""
        return len(self._data) - self._pos + self._more_size

    def _have(self, size: int) -> bool:
        """Whether ``size`` bytes are here; if so, they are joined. Joining only then keeps a message that
        comes in many pieces linear, and joining no more than a large message needs spares it another copy."""
        here = len(self._data) - self._pos
        if here >= size:
            return True
        if here + self._more_size < size:
            return False
        parts: list[bytes | bytearray] = [self._data[self._pos :]]
        while here < size:
            piece = self._more.popleft()
            self._more_size -= len(piece)
            over = here + len(piece) - size
            if over > 0 and size > _SMALL_PIECE:
                self._more.appendleft(piece[-over:])
                self._more_size += over
                piece = piece[:-over]
            parts.append(piece)
            here += len(piece)
        self._data = b"".join(parts)
        self._pos = 0
        return True

    def _take(self, size: int) -> bytes:
        start = self._pos
        end = start + size
        data = self._data
        if end == len(data):
            # Nothing is kept of it here: a message may be large, and the next one far away.
            self._data, self._pos = b"", 0
            return data[start:] if start else data
        self._pos = end
        return data[start:end]

    def _limit(self, tag: int) -> int:
        return self._limits.statement if tag in (_QUERY, _PARSE) else self._limits.request

    def next(self) -> tuple[Frame, int, bytes] | None:
        """The next frame, or None when more bytes are needed."""
        while self._left:
            if not self._have(1):
                return None
            piece = self._take(min(self._left, len(self._data) - self._pos))
            self._left -= len(piece)
            if not self._dropping:
                return Frame.COPY_REST, _COPY_DATA, piece
        self._dropping = False
        if not self._have(HEADER_SIZE):
            return None
        tag, length = HEADER.unpack_from(self._data, self._pos)
        check_frontend_length(tag, length)
        total = 1 + length
        if tag == _COPY_DATA:
            piece = self._take(min(total, len(self._data) - self._pos))
            self._left = total - len(piece)
            return Frame.COPY_PIECE, tag, piece
        if length - 4 > self._limit(tag):
            header = self._take(HEADER_SIZE)
            self._left = total - HEADER_SIZE
            self._dropping = True
            return Frame.TOO_LARGE, tag, header
        if not self._have(total):
            return None
        return Frame.MESSAGE, tag, self._take(total)

    def put_back(self, raw: bytes) -> None:
        """Return the message or the beginning of CopyData just taken, to be read again later."""
        self._data = raw + self._data[self._pos :]
        self._pos = self._left = 0
