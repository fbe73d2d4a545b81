"""The queue of replies the server still owes, and what becomes of each.

Every message sent upstream queues what the server will answer to it. An ErrorResponse settles everything up
to the next Sync, because the server skips what it reads until then. When the server asks for COPY data, a
Sync that was sent behind the COPY gets no answer (``copying``).

Source: PostgreSQL documentation, "Message Flow".
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from .errors import UpstreamViolation
from .request import Execution
from .state import REPLIES, Effect, Reply
from .statements import Change, Portal, PreparedStatement
from .tags import BackendTag

_READY: Final = int(BackendTag.READY_FOR_QUERY)
_END_A_SEGMENT: Final = (Reply.SYNC, Reply.QUERY, Reply.FUNCTION_CALL)


class Disposition(Enum):
    """What becomes of the messages that answer one expectation."""

    FORWARD = "to the client as they are"
    SKIP = "not shown to the client: it did not ask"
    REPLACE = "its error gives way to ours; what else comes is shown"
    COLLECT = "not shown to the client, but kept: the gateway asked"
    ENCLOSE = "not shown to the client unless it fails: it goes around what the client asked"


@dataclass(slots=True, eq=False)
class Expected:
    """One expectation: the reply, what becomes of it, and what its outcome settles."""

    reply: Reply
    disposition: Disposition = Disposition.FORWARD
    execution: Execution | None = None
    change: Change[PreparedStatement] | Change[Portal] | None = None
    statement: PreparedStatement | None = None
    replacement: bytes = b""
    redact: str = ""
    """The hint that reports get in place of what may hold values; empty: they pass as they are."""
    unready: bool = False
    """Its ReadyForQuery is not the client's yet: an enclosure is to be left first."""
    ends: Execution | None = None
    """Of a Sync: the enclosed Query or FunctionCall whose ReadyForQuery it is."""
    leaves: bool = False
    """It leaves an enclosure, behind the end of what is enclosed."""
    finished: int = 0
    """Statements of a Query that have ended so far."""
    copying: bool = False
    """The server asked for COPY data."""


class ReplyQueue:
    """Expectations in the order in which the server will settle them."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[Expected] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, expected: Expected) -> None:
        """A message was sent; ``expected`` is what the server owes for it."""
        self._queue.append(expected)

    def head(self) -> Expected | None:
        """The expectation the next reply belongs to."""
        return self._queue[0] if self._queue else None

    def advance(self, tag: int) -> tuple[Expected, Effect]:
        """Account for one reply. Raises ``UpstreamViolation`` for one that cannot come now."""
        head = self.head()
        if head is None:
            raise UpstreamViolation(f"the server sent message type {tag} though nothing was asked")
        effect = REPLIES[head.reply].get(tag)
        if effect is None:
            raise UpstreamViolation(
                f"the server sent message type {tag} while {head.reply.value} was being answered"
            )
        if effect is Effect.ANSWERS or effect is Effect.FINISHES:
            self._queue.popleft()
        return head, effect

    def ready(self) -> Expected | None:
        """Account for ReadyForQuery; None if the next reply due is another."""
        head = self.head()
        if head is None or REPLIES[head.reply].get(_READY) is None:
            return None
        return self._queue.popleft()

    def fail(self) -> list[Expected]:
        """Account for an ErrorResponse: the expectations it settled, the failing one first.

        A Query or FunctionCall stays, since its ReadyForQuery is still owed; so does a Sync (its commit can
        fail). Anything else settles itself and all up to the next Sync: the server skips those messages.
        Raises ``UpstreamViolation`` if nothing was asked.
        """
        head = self.head()
        if head is None:
            raise UpstreamViolation("the server sent an error though nothing was asked")
        if head.reply in _END_A_SEGMENT:
            return [head]
        settled: list[Expected] = []
        while self._queue and self._queue[0].reply is not Reply.SYNC:
            settled.append(self._queue.popleft())
        return settled

    def client_synced(self) -> bool:
        """Whether a Sync of the client is under way."""
        return any(e.reply is Reply.SYNC and e.disposition is Disposition.FORWARD for e in self._queue)

    def copy_starts(self) -> tuple[Expected, int]:
        """The server asked for COPY data. Returns the COPY and the number of Syncs behind it: they get no
        answer, and are forgotten."""
        queue = self._queue
        copying = queue.popleft()
        copying.copying = True
        ignored = 0
        while queue and queue[0].reply is Reply.SYNC:
            queue.popleft()
            ignored += 1
        queue.appendleft(copying)
        return copying, ignored
