"""The short way for what most clients send most of the time: one request alone, and its whole answer at once.

A client that has nothing under way sends one Query, or one series ``[Parse] Bind [Describe] Execute Sync`` of the
unnamed portal; the server answers all of it without an incident. Such a request changes next to nothing of what the
core knows, and nothing of it needs to be built when it is known beforehand: somebody has judged an equal one.

Nothing here decides. The bytes of a request are kept until its answer is there, and whatever else anybody wants to know
or to do meanwhile goes through ``leave`` first: the core then reads these bytes as if they came now, and stands exactly
where it would without this module, with one request sent. So does every answer that is not the plainest.

Source: PostgreSQL documentation, "Message Flow" (Simple Query, Extended Query).
"""

from collections.abc import Callable
from typing import Final

from . import messages
from .errors import FrontendViolation
from .exchange import Exchange
from .framing import HEADER, HEADER_SIZE
from .frontend import FrontendReader, Limits
from .replies import Replies
from .statements import PreparedStatement
from .tags import BackendTag, FrontendTag, TransactionStatus

__all__ = ["FastPath", "Series", "bound_in", "expected_answers", "read_series"]

_LONGEST_BURST: Final = 16 << 10
"""Bytes of the longest request that takes the short way."""

_QUERY: Final = int(FrontendTag.QUERY)
_PARSE: Final = int(FrontendTag.PARSE)
_BIND: Final = int(FrontendTag.BIND)
_DESCRIBE: Final = int(FrontendTag.DESCRIBE)

_PARSE_COMPLETE: Final = int(BackendTag.PARSE_COMPLETE)
_BIND_COMPLETE: Final = int(BackendTag.BIND_COMPLETE)
_NO_DATA: Final = int(BackendTag.NO_DATA)
_ROW_DESCRIPTION: Final = int(BackendTag.ROW_DESCRIPTION)
_DATA_ROW: Final = int(BackendTag.DATA_ROW)
_COMMAND_COMPLETE: Final = int(BackendTag.COMMAND_COMPLETE)

_IDLE: Final = int(TransactionStatus.IDLE)
_FAILED: Final = int(TransactionStatus.FAILED)
_ORDINARY: Final = (b"SELECT ", b"INSERT ", b"UPDATE ", b"DELETE ")
"""Command tags of what neither ends a transaction nor does anything to the session."""

_READY: Final = b"Z\0\0\0\5"
_READY_SIZE: Final = 6
_LONGEST: Final = 0x3FFFFFFF

_DESCRIBE_PORTAL: Final = messages.describe_portal(b"")
_EXECUTE: Final = messages.execute(b"")
_RUN: Final = _EXECUTE + messages.SYNC
_DESCRIBED_RUN: Final = _DESCRIBE_PORTAL + _RUN


class Series:
    """A series that was read: its ``key``, which is all of it but the values bound, where its Bind begins, and where
    that ends."""

    __slots__ = ("bind", "end", "key")

    def __init__(self, key: bytes, bind: int, end: int) -> None:
        self.key = key
        self.bind = bind
        self.end = end


def read_series(data: bytes) -> Series | None:
    """``[Parse of the unnamed statement] Bind of the unnamed portal [Describe] Execute Sync``; None for all else.

    What is inside Parse and Bind is not looked at beyond their names."""
    size = len(data)
    at = 0
    if size < HEADER_SIZE:
        return None
    tag, length = HEADER.unpack_from(data, 0)
    if tag == _PARSE:
        at = 1 + length
        if length < 4 or at + HEADER_SIZE > size or data[HEADER_SIZE] != 0:
            return None
        tag, length = HEADER.unpack_from(data, at)
    if tag != _BIND or length < 6:
        return None
    end: int = at + 1 + length
    tail = data[end:]
    if (tail != _DESCRIBED_RUN and tail != _RUN) or data[at + HEADER_SIZE] != 0:
        return None
    name = data.find(0, at + HEADER_SIZE + 1, end)
    if name < 0:
        return None
    return Series(data[:at] + data[at + HEADER_SIZE : name + 1] + tail, at, end)


def expected_answers(data: bytes) -> bytes:
    """What answers a burst in front of its rows: a letter for each message of it but the last two."""
    if data[0] == _QUERY:
        return b"Q"
    series = read_series(data)
    assert series is not None, "a burst of another shape"
    described = b"D" if len(data) - series.end == len(_DESCRIBED_RUN) else b""
    return (b"PB" if series.bind else b"B") + described


class FastPath:
    """The state of the short way in one session. ``is_open``: nothing is under way, and a request may take it.
    ``entered``: it is open, or a request that took it is under way.

    ``resume`` is called with what was sent this way when it has to be known like everything else: it must bring about
    that the core has forwarded exactly that.
    """

    __slots__ = ("_burst", "_exchange", "_reader", "_replies", "_resume", "entered", "is_open", "longest")

    def __init__(
        self,
        exchange: Exchange,
        reader: FrontendReader,
        replies: Replies,
        limits: Limits,
        resume: Callable[[bytes], None],
    ) -> None:
        self._exchange = exchange
        self._reader = reader
        self._replies = replies
        self._resume = resume
        self._burst: bytes | None = None
        self.is_open = False
        self.entered = False
        self.longest = min(_LONGEST_BURST, limits.statement, limits.request, limits.batch)
        """Bytes of a request that may take this way; below all that the core has a limit for."""

    def leave(self) -> None:
        """Go on as usual, from where things stand."""
        self.is_open = self.entered = False
        burst, self._burst = self._burst, None
        if burst is not None:
            self._resume(burst)

    def enter(self) -> bool:
        """Open the short way if nothing at all is under way; whether it is open. The caller knows of more that must
        not be under way."""
        if self._burst is not None:
            return False
        exchange = self._exchange
        self.is_open = self.entered = (
            not exchange.events
            and not exchange.to_upstream
            and len(exchange.queue) == 0
            and not len(exchange.gatherer)
            and not exchange.gatherer.faulty
            and not (exchange.unsynced or exchange.unsynced_work or exchange.unflushed)
            and not (exchange.skipping or exchange.closing)
            and exchange.hidden is None
            and exchange.trial is None
            and exchange.status == exchange.within
            and exchange.status != _FAILED
            and exchange.copy.at_rest
            and self._reader.at_rest
            and self._replies.at_rest
        )
        return self.is_open

    def sent(self, burst: bytes) -> None:
        """A request was written to the server: one that ``read_series`` takes, or one whole Query."""
        self.is_open = False
        self._burst = burst

    @property
    def alone(self) -> bool:
        """Whether what is sent now is a transaction by itself: nothing of it lasts, no portal and no duty of it."""
        return self._exchange.status == _IDLE

    def answered(
        self, data: bytes, expects: bytes, parsed: PreparedStatement | None = None
    ) -> tuple[bytes, int] | None:
        """Take all of the answer to what was sent, if ``data`` is that and nothing happened.

        Returns the payload of its CommandComplete and the answer's size in bytes as ``StatementFinished`` has it; the
        way is open again then. ``parsed`` is what is prepared now, where something was. None: nothing was taken, and
        ``data`` has to go the usual way.
        """
        exchange = self._exchange
        start = _behind_rows(data, expects)
        if start < 0:
            return None
        size = len(data)
        end = size - _READY_SIZE
        if data[size - 1] != exchange.status or not data.startswith(_READY, end):
            return None
        if data[start] != _COMMAND_COMPLETE or not data.startswith(_ORDINARY, start + HEADER_SIZE, end):
            return None
        if HEADER.unpack_from(data, start)[1] != end - start - 1:
            return None
        self._burst = None
        exchange.segment += 1
        if parsed is not None:
            exchange.names.statements.put(b"", parsed)
        counted = self._replies.passed(end, size)
        self.is_open = True
        return data[start + HEADER_SIZE : end], counted


def _behind_rows(data: bytes, expects: bytes) -> int:
    """Where the answers to ``expects`` and all rows behind them end; negative if something else is among them."""
    size = len(data)
    at = 0
    unpack = HEADER.unpack_from
    for expected in expects:
        if at + HEADER_SIZE >= size:
            return -1
        tag, length = unpack(data, at)
        if expected == _BIND:
            fits = tag == _BIND_COMPLETE and length == 4
        elif expected == _DESCRIBE:
            fits = tag == _ROW_DESCRIPTION or (tag == _NO_DATA and length == 4)
        elif expected == _PARSE:
            fits = tag == _PARSE_COMPLETE and length == 4
        else:
            # A Query describes only what has rows.
            if tag != _ROW_DESCRIPTION:
                continue
            fits = True
        if not fits or length < 4 or length > _LONGEST:
            return -1
        at += 1 + length
    while at + HEADER_SIZE < size:
        tag, length = unpack(data, at)
        if tag != _DATA_ROW:
            return at
        if length < 4 or length > _LONGEST:
            return -1
        at += 1 + length
    return -1


def bound_in(data: bytes, series: Series) -> messages.Bind | None:
    """The Bind of a series; None if the server would not take it."""
    try:
        return messages.decode_bind(data[series.bind : series.end], HEADER_SIZE)
    except FrontendViolation:
        return None
