"""The queue of replies the server still owes, and what becomes of each.

Every message sent upstream queues what the server will answer to it. An ErrorResponse settles everything up
to the next Sync, because the server skips what it reads until then. COPY needs care, since while the server
reads COPY data it swallows Sync and Flush and takes anything else for an error:

* a Sync that was sent *before* the server asked for data, and behind the COPY, gets no answer;
* a Sync sent *between* COPY data gets none if the COPY was still alive when the server read it, and an answer
  if the COPY had already failed: such an entry is ``uncertain``;
* CopyDone and CopyFail get no answer of their own, but end the stretch in which the above holds.

Source: ``src/backend/commands/copyfromparse.c`` (CopyGetData) and the documentation, "COPY Operations".
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


class Disposition(Enum):
    """What becomes of the messages that answer one expectation."""

    FORWARD = "to the client as they are"
    SKIP = "not shown to the client: it did not ask"
    REPLACE = "its error gives way to ours; what else comes is shown"


@dataclass(slots=True, eq=False)
class Expected:
    """One expectation: the reply, what becomes of it, and what its outcome settles."""

    reply: Reply
    disposition: Disposition = Disposition.FORWARD
    execution: Execution | None = None
    change: Change[PreparedStatement] | Change[Portal] | None = None
    statement: PreparedStatement | None = None
    replacement: bytes = b""
    finished: int = 0
    """Statements of a Query that have ended so far."""
    failed: bool = False
    copying: bool = False
    """The server asked for COPY data."""
    uncertain: bool = False


class ReplyQueue:
    """Expectations in the order in which the server will settle them."""

    __slots__ = ("_queue", "_spare")

    def __init__(self) -> None:
        self._queue: deque[Expected] = deque()
        self._spare = 0
        """ReadyForQuery messages that may yet come for Syncs whose fate was uncertain."""

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, expected: Expected) -> None:
        """A message was sent; ``expected`` is what the server owes for it."""
        self._queue.append(expected)

    def head(self) -> Expected | None:
        """The expectation the next reply belongs to."""
        queue = self._queue
        while queue and queue[0].reply is Reply.COPY_END:
            queue.popleft()
        return queue[0] if queue else None

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
        """Account for ReadyForQuery; None for one whose Sync had already been given up as swallowed.

        The server reports how many uncertain Syncs counted only by the number of its answers. The first
        answer settles all of them and the certain one behind, so that nobody waits for an answer that may
        never come; a further answer is accepted as spare.
        """
        head = self.head()
        if head is None or REPLIES[head.reply].get(_READY) is None:
            if not self._spare:
                raise UpstreamViolation("the server sent ReadyForQuery though nothing was asked")
            self._spare -= 1
            return None
        while head.uncertain:
            self._queue.popleft()
            behind = self.head()
            if behind is None or behind.reply is not Reply.SYNC:
                return head
            self._spare += 1
            head = behind
        self._queue.popleft()
        return head

    def give_up_uncertain(self) -> None:
        """Stop waiting for Syncs that were probably swallowed, if nothing else is owed."""
        if self._queue and all(e.uncertain or e.reply is Reply.COPY_END for e in self._queue):
            self._spare += sum(e.uncertain for e in self._queue)
            self._queue.clear()

    def fail(self) -> list[Expected]:
        """Account for an ErrorResponse: the expectations it settled, the failing one first.

        A Query or FunctionCall stays, since its ReadyForQuery is still owed; so does a Sync (its commit can
        fail). Anything else settles itself and all up to the next Sync: the server skips those messages.
        """
        head = self.head()
        if head is None:
            return []
        if head.reply in (Reply.QUERY, Reply.FUNCTION_CALL, Reply.SYNC):
            head.failed = True
            return [head]
        settled: list[Expected] = []
        while self._queue and self._queue[0].reply is not Reply.SYNC:
            settled.append(self._queue.popleft())
        for expected in settled:
            expected.failed = True
        return settled

    def copy_starts(self) -> bool:
        """The server asked for COPY data: drop what it swallows.

        Returns whether the client's data is still to come.
        """
        copying = self._queue.popleft()
        copying.copying = True
        try:
            while self._queue and self._queue[0].reply is Reply.SYNC:
                self._queue.popleft()
            if not self._queue:
                return True
            if self._queue[0].reply is Reply.COPY_END:
                self._queue.popleft()
                return False
            # The server takes this message for a fault in the COPY, and reads it no further.
            self._queue.popleft()
            return False
        finally:
            self._queue.appendleft(copying)

    def copy_succeeded(self) -> None:
        """The COPY was alive to its end, so every Sync between its data was swallowed."""
        kept = deque(e for e in self._queue if not e.uncertain)
        self._queue = kept

    def drop_all(self) -> list[Expected]:
        """The connection is gone: everything still owed."""
        owed = list(self._queue)
        self._queue.clear()
        return owed
