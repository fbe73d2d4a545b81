"""Where one session stands with its server: what is owed, what is open, and what is on its way up.

Shared by the two halves of ``ProxyConnection``: what comes from the client, and what comes from the server.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from . import messages
from .ceiling import Trial
from .copying import FENCE, CopyIn
from .events import Event, StatementFinished
from .gather import Gatherer
from .hidden import Hidden, own_series
from .pipeline import Disposition, Expected, ReplyQueue
from .request import Delimiter, Execution, Kind
from .state import Reply
from .statements import SessionNames
from .tags import FrontendTag as F
from .tags import TransactionStatus

_LIGHT: Final = frozenset({int(F.PARSE), int(F.DESCRIBE), int(F.CLOSE), int(F.FLUSH)})
"""Messages after which a Sync changes nothing that the client could miss."""

POISON: Final = b"holdgate refused this statement"
"""Not SQL: the server answers it with a syntax error, in every transaction state, and so puts an open
transaction into status ``E`` by itself."""

_POISON_PARSE: Final = messages.parse(messages.OWN_NAME, POISON)
"""Under a name, so that the unnamed statement of the client survives its refusal."""

_BEGINS: Final = frozenset({"BEGIN", "START TRANSACTION"})
_ENDS: Final = frozenset({"COMMIT", "ROLLBACK", "PREPARE TRANSACTION"})


class Exchange:
    """The state of one session with its server, and what is to be written there."""

    __slots__ = (
        "closing",
        "copy",
        "events",
        "gatherer",
        "hidden",
        "names",
        "queue",
        "segment",
        "skipping",
        "status",
        "to_upstream",
        "trial",
        "unflushed",
        "unsynced",
        "unsynced_work",
        "within",
    )

    def __init__(self, status: int) -> None:
        self.status = status
        """The transaction status the server reported last."""
        self.queue = ReplyQueue()
        self.copy = CopyIn()
        self.names = SessionNames()
        self.gatherer = Gatherer(self.names)
        self.events: deque[Event] = deque()
        self.to_upstream: list[bytes] = []
        self.within: int | None = status
        """The same behind the statements of a series that were answered since; None where it cannot be told."""
        self.segment = 0
        """Counts what the client's Syncs, Querys and FunctionCalls delimit."""
        self.unsynced = False
        """Messages were sent behind the last Sync."""
        self.unsynced_work = False
        """Some of them did more than prepare and describe."""
        self.unflushed = False
        """The server may hold back answers to some of them."""
        self.skipping = False
        """The server skips what it reads up to a Sync that the client has yet to send."""
        self.closing = b""
        """What ends the transaction that the gateway opened around the client's series, behind its Sync."""
        self.hidden: Hidden | None = None
        """Statements of the gateway's own that are under way."""
        self.trial: Trial | None = None
        """The request whose answer is held back until it is known how many rows it changed."""

    @property
    def settled(self) -> bool:
        """Whether the server owes nothing."""
        return self.queue.head() is None and not self.copy.doubtful

    def send(self, data: bytes) -> None:
        """Write bytes for which the server owes nothing, or whose reply is pushed by the caller."""
        self.to_upstream.append(data)

    def send_expecting(self, raw: bytes, expected: Expected) -> None:
        """Write a message of the client's extended series."""
        self.to_upstream.append(raw)
        self.queue.push(expected)
        if expected.change is not None:
            expected.change.sent = True
        if raw[0] not in _LIGHT:
            self.unsynced_work = True

    def send_enclosing(self, statements: Sequence[bytes], *, leaves: bool = False) -> None:
        """Write statements that go around what the client asked."""
        if statements:
            for raw, expected in own_series(statements, disposition=Disposition.ENCLOSE):
                expected.leaves = leaves
                self.send(raw)
                self.queue.push(expected)

    def send_sync(
        self, disposition: Disposition = Disposition.FORWARD, *, ends: Execution | None = None
    ) -> None:
        """Write a Sync that ends the client's segment, and the transaction around it if there is one."""
        if self.closing and disposition is Disposition.FORWARD:
            self.send(messages.SYNC)
            self.queue.push(Expected(Reply.SYNC, disposition, unready=True))
            self.send_enclosing((self.closing,), leaves=True)
            self.closing = b""
        self.send(messages.SYNC)
        self.queue.push(Expected(Reply.SYNC, disposition, ends=ends))
        self.synced()

    def send_fence(self) -> None:
        """Write what tells the answers to Syncs around a failed COPY from those that follow, once."""
        if self.copy.fenced:
            return
        self.copy.fenced = True
        self.send(FENCE)
        self.queue.push(Expected(Reply.CLOSE, Disposition.SKIP))
        self.send_sync(Disposition.SKIP)

    def sent(self, kind: Kind) -> None:
        """A request was sent, up to what ends it."""
        if kind is Kind.BATCH:
            self.unsynced = self.unflushed = True
        else:
            self.synced()

    def send_delimiter(self, delimiter: Delimiter) -> None:
        """Write what ends a batch, for the client or for the gateway itself."""
        if delimiter is Delimiter.SYNC:
            self.send_sync()
        elif delimiter is Delimiter.BORDER:
            self.send_sync(Disposition.SKIP)
        elif delimiter is Delimiter.FLUSH or delimiter is Delimiter.CUT:
            self.send(messages.FLUSH)
            self.unflushed = False

    def sync_after_skipping(self) -> None:
        """Write the client's Sync, up to which the server skipped what it was sent."""
        self.skipping = False
        self.send_sync()
        if self.copy.doubtful:
            self.send_fence()

    def fail_query(self, error: bytes, ends: Execution | None = None) -> None:
        """Have the server fail the open transaction by a Query, and give the client ``error`` for it."""
        self.queue.push(Expected(Reply.QUERY, Disposition.REPLACE, replacement=error, ends=ends))
        self.send(messages.query(POISON))
        self.synced()

    def fail_batch(self, error: bytes) -> None:
        """The same in a series; its delimiter follows."""
        self.queue.push(Expected(Reply.PARSE, Disposition.REPLACE, replacement=error))
        self.send(_POISON_PARSE)
        self.unsynced = True

    def request_answers(self) -> None:
        """Write a Flush if the server may hold back answers."""
        if self.unflushed:
            self.send(messages.FLUSH)
            self.unflushed = False

    def synced(self) -> None:
        """A new segment begins."""
        self.nothing_open()
        self.segment += 1

    def nothing_open(self) -> None:
        """Nothing was sent behind the last Sync."""
        self.unsynced = self.unsynced_work = self.unflushed = False

    def completed(self, command: str) -> None:
        """A statement of the client's succeeded: it may have begun or ended a transaction."""
        if command in _BEGINS:
            self.within = TransactionStatus.IN_TRANSACTION
        elif command in _ENDS or self.within == TransactionStatus.FAILED:
            # The tag does not tell a transaction from a savepoint, nor whether the next one began at once.
            self.within = None

    def fail_series(self) -> None:
        """A message of the client's series failed; until its Sync, the server skips what it reads."""
        self.skipping = True
        self.gatherer.drop()
        self.nothing_open()

    def undo(self, expectations: list[Expected]) -> None:
        """The server will carry out none of these."""
        for expected in reversed(expectations):
            if expected.change is not None:
                expected.change.undo()

    def statement(self, event: StatementFinished) -> None:
        """A statement ended; whoever follows them hears of one on trial when that is over."""
        if self.trial is not None:
            self.trial.finished(event)
        else:
            self.events.append(event)

    def skipped(self, expectations: list[Expected]) -> None:
        """The server was not given these: an earlier message of their segment failed."""
        for expected in expectations:
            if expected.execution is not None:
                self.events.append(StatementFinished(expected.execution, 0, "", None, 0, {}, skipped=True))
