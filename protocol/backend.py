"""Walking the server's messages by their headers.

``BackendWalker`` cuts a stream of server bytes into runs that go on untouched and the few messages somebody
has to look at. A run is one slice of the chunk it came in, whole where nothing in it is of interest: no
object is made for a row.

Source: PostgreSQL documentation, "Message Formats".
"""

from typing import Final, Protocol

from .ceiling import Trial
from .errors import UpstreamViolation
from .framing import HEADER, HEADER_SIZE, check_backend_length
from .tags import BackendTag as B

_PASSED: Final = frozenset(int(tag) for tag in (B.DATA_ROW, B.COPY_DATA))
"""Changes nothing, wherever it is legal; by far the most frequent."""

_OPENED: Final = frozenset(
    int(tag)
    for tag in (
        B.COMMAND_COMPLETE,
        B.ERROR_RESPONSE,
        B.NOTICE_RESPONSE,
        B.PARAMETER_STATUS,
        B.READY_FOR_QUERY,
        B.PARAMETER_DESCRIPTION,
        B.COPY_IN_RESPONSE,
        B.COPY_BOTH_RESPONSE,
    )
)
"""Messages that are needed whole (a report: its beginning): their payload is looked at, or what they begin must
not be answered by anything inside them."""

_REPORTS: Final = frozenset({int(B.ERROR_RESPONSE), int(B.NOTICE_RESPONSE)})
_REPORT_HEAD: Final = 16 << 10
"""How much of an ErrorResponse or NoticeResponse is looked at; a longer one is passed on as it comes."""


_OPENED_LIMIT: Final = 1 << 20
"""No message that is waited for until it is whole is longer than this, whatever its header claims."""

_COLLECTED_LIMIT: Final = 256 << 20
"""The same for a row that is collected."""

_COLLECTED: Final = _OPENED | {int(B.DATA_ROW)}


class Observer(Protocol):
    """Who is asked about each message that is not a row."""

    def row_allowed(self, tag: int) -> None:
        """A first DataRow or CopyData of a run; raises ``UpstreamViolation`` if none can come now."""

    def backend_message(self, tag: int, payload: bytes) -> bytes | None:
        """One message; ``payload`` is empty unless its tag is looked at. Returns None to pass it on, or the
        bytes that take its place."""


class BackendWalker:
    """Cuts server bytes; feed it chunks, it gives what goes to the client."""

    __slots__ = (
        "_base",
        "_held",
        "_keep",
        "_left",
        "_missing",
        "_observer",
        "_stash",
        "collecting",
        "position",
        "trial",
    )

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._stash: list[bytes] = []
        self._missing = 0
        self.collecting = False
        """Whether rows are looked at like other messages: nothing the client asked for is being answered."""
        self.trial: Trial | None = None
        """What holds back the answer that is coming, message by message."""
        self._left = 0
        self._keep = True
        self._held = False
        """The beginning of the message that is under way was held back."""
        self._base = 0
        self.position = 0
        """Bytes of the server up to and including the message an observer is being asked about."""

    @property
    def left(self) -> int:
        """Bytes that are missing of the message that what was given so far ends in; 0 at a boundary."""
        return self._left

    @property
    def at_boundary(self) -> bool:
        """Whether what was given so far ends at a message's end."""
        return self._left == 0 or not self._keep or self._held

    @property
    def at_rest(self) -> bool:
        """Whether what was given so far ends at a message's end, and nothing is looked at out of the ordinary."""
        return not (self._left or self._stash or self.collecting) and self.trial is None

    def passed(self, size: int) -> int:
        """Whole messages of so many bytes went by without being walked; returns what ``position`` was in front."""
        before = self._base
        self._base = self.position = before + size
        return before

    def let_go(self) -> None:
        """What was held back has been given to the client, with the beginning of a message that is under way."""
        self.trial = None
        self._held = False

    def walk(self, data: bytes, out: list[bytes]) -> None:
        """Append to ``out`` what the client gets for ``data``.

        Raises ``UpstreamViolation``; what came in front of the fault is in ``out`` then.
        """
        if self._stash:
            # Joined only when it is whole: a message may come in very many pieces.
            self._stash.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._stash)
            self._stash.clear()
        if self.trial is not None:
            self._hold_back(data, self.trial, out)
            return
        size = len(data)
        start = pos = 0
        if self._left:
            pos = min(self._left, size)
            self._left -= pos
            if not self._keep:
                start = pos
        observer = self._observer
        unpack = HEADER.unpack_from
        rows = 0
        need = HEADER_SIZE
        collecting = self.collecting
        try:
            while size - pos >= HEADER_SIZE:
                tag, length = unpack(data, pos)
                if tag in _PASSED and not collecting and 4 <= length <= 0x3FFFFFFF:
                    if tag != rows:
                        observer.row_allowed(tag)
                        rows = tag
                    pos += 1 + length
                    if pos > size:
                        self._left, self._keep, self._held = pos - size, True, False
                        pos = size
                    continue
                check_backend_length(tag, length)
                rows = 0
                end = pos + 1 + length
                payload = b""
                if tag in (_COLLECTED if collecting else _OPENED):
                    need = 1 + length
                    if tag in _REPORTS:
                        need = min(need, HEADER_SIZE + _REPORT_HEAD)
                    elif length > (_COLLECTED_LIMIT if tag == B.DATA_ROW else _OPENED_LIMIT):
                        raise UpstreamViolation(f"the server sent message type {tag} with length {length}")
                    if pos + need > size:
                        break
                    payload = data[pos + HEADER_SIZE : pos + need]
                self.position = self._base + end
                instead = observer.backend_message(tag, payload)
                need, collecting = HEADER_SIZE, self.collecting
                if instead is not None:
                    if pos > start:
                        out.append(data[start:pos])
                    if instead:
                        out.append(instead)
                    start = min(end, size)
                if end > size:
                    self._left, self._keep, self._held = end - size, instead is None, False
                    end = size
                pos = end
        finally:
            if pos > start:
                out.append(data if start == 0 and pos == size else data[start:pos])
        self._base += pos
        if pos < size:
            self._stash.append(data[pos:])
            self._missing = need - (size - pos)

    def _hold_back(self, data: bytes, trial: Trial, out: list[bytes]) -> None:
        """As ``walk``, but what the client is to get goes to the trial.

        What is left of a message that the client was given the beginning of goes on to the client.
        """
        size, pos = len(data), 0
        if self._left:
            pos = min(self._left, size)
            self._left -= pos
            if self._keep and not self._held:
                out.append(data[:pos])
            elif self._keep:
                trial.continue_(data[:pos])
        need = HEADER_SIZE
        while size - pos >= HEADER_SIZE:
            tag, length = HEADER.unpack_from(data, pos)
            check_backend_length(tag, length)
            end = pos + 1 + length
            payload = b""
            if tag in _OPENED:
                need = 1 + length
                if tag in _REPORTS:
                    need = min(need, HEADER_SIZE + _REPORT_HEAD)
                elif length > _OPENED_LIMIT:
                    raise UpstreamViolation(f"the server sent message type {tag} with length {length}")
                if pos + need > size:
                    break
                payload = data[pos + HEADER_SIZE : pos + need]
            self.position = self._base + end
            instead: bytes | None = None
            if tag in _PASSED:
                self._observer.row_allowed(tag)
            else:
                instead = self._observer.backend_message(tag, payload)
            trial.take(tag, data[pos : min(end, size)] if instead is None else instead)
            need = HEADER_SIZE
            if end > size:
                self._left, self._keep, self._held = end - size, instead is None, True
                end = size
            pos = end
        self._base += pos
        if pos < size:
            self._stash.append(data[pos:])
            self._missing = need - (size - pos)
