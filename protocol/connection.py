"""One proxied session after start-up: both conversations, kept legal.

The gateway feeds bytes in, takes events with ``next_event``, answers each ``RequestReady`` with ``forward``
or ``refuse``, and writes what ``data_to_client`` and ``data_to_upstream`` return. Nothing reaches the server
before its request was forwarded; nothing reaches the client but what the reply queue passes, replaces or
invents. A ``ProtocolViolation`` ends the session; any other exception is a bug.

Source: PostgreSQL documentation, "Message Flow".
"""

from collections import deque
from typing import Final

from . import gather, messages
from .backend import BackendWalker
from .copying import FENCE, CopyIn
from .errors import FrontendViolation, ServerError, UpstreamViolation
from .events import (
    NEED_DATA,
    PAUSED,
    CommitFailed,
    Event,
    ParameterChanged,
    Ready,
    RequestReady,
    StatementFinished,
    Terminated,
    UpstreamFatal,
)
from .frontend import Frame, FrontendReader, Limits
from .gather import Gatherer, Resolved
from .pipeline import Disposition, Expected, ReplyQueue
from .request import Delimiter, Execution, Kind, Request
from .state import ANYTIME, REPLIES, Effect, Reply
from .statements import SessionNames
from .tags import BackendTag as B
from .tags import FrontendTag as F
from .tags import TransactionStatus

POISON: Final = b"holdgate refused this statement"
"""Not SQL: the server answers it with a syntax error, in every transaction state, and so puts an open
transaction into status ``E`` by itself."""

_POISON_PARSE: Final = messages.parse(b"holdgate", POISON)
"""Under a name, so that the unnamed statement of the client survives its refusal."""

_LIGHT: Final = frozenset({int(F.PARSE), int(F.DESCRIBE), int(F.CLOSE), int(F.FLUSH)})
"""Messages after which a Sync changes nothing that the client could miss."""

_STATUSES: Final = frozenset(int(status) for status in TransactionStatus)


class ProxyConnection:
    """The stateful face of the protocol core, for one session. Not for use by two threads."""

    def __init__(self, limits: Limits, status: int = TransactionStatus.IDLE) -> None:
        self._limits = limits
        self._reader = FrontendReader(limits)
        self._walker = BackendWalker(self)
        self._queue = ReplyQueue()
        self.names = SessionNames()
        self._gatherer = Gatherer(self.names)
        self._to_client: list[bytes] = []
        self._to_upstream: list[bytes] = []
        self._invented: list[bytes] = []
        self._events: deque[Event] = deque()
        self._outstanding: Resolved | None = None
        self._segment = 0
        self._status = status
        self._unsynced = False
        self._unsynced_work = False
        self._unflushed = False
        self._skipping = False
        self._faking = False
        self._copy = CopyIn()
        self._reported = 0

    # What the gateway asks -----------------------------------------------------------------------------

    @property
    def status(self) -> int:
        """The transaction status the server reported last."""
        return self._status

    @property
    def settled(self) -> bool:
        """Whether the server owes nothing: its state is then known exactly."""
        return self._queue.head() is None and not self._copy.doubtful

    @property
    def copying(self) -> bool:
        """Whether the server waits for COPY data of the client."""
        return self._copy.wanted

    @property
    def in_transaction(self) -> bool:
        """Whether a refusal now must fail a transaction that the server has open."""
        return self._status != TransactionStatus.IDLE or self._unsynced

    @property
    def at_client_boundary(self) -> bool:
        """Whether what was given to the client ends at a message's end, so that a message may follow."""
        return self._walker.at_boundary

    @property
    def buffered(self) -> int:
        """Bytes of the client that are read but not looked at."""
        return self._reader.buffered + self._gatherer.size

    # Bytes in and out ----------------------------------------------------------------------------------

    def receive_from_client(self, data: bytes) -> None:
        """Take bytes of the client; then call ``next_event`` until it returns a marker."""
        self._reader.feed(data)

    def receive_from_upstream(self, data: bytes) -> None:
        """Take bytes of the server; then write ``data_to_client`` and call ``next_event``."""
        if self._invented:
            # They come behind the message that was under way, and before all that the server sent after it.
            left = self._walker.left
            self._walker.walk(data[:left], self._to_client)
            if not self._walker.at_boundary:
                return
            self._to_client.extend(self._invented)
            self._invented.clear()
            data = data[left:]
        self._walker.walk(data, self._to_client)

    def data_to_client(self) -> list[bytes]:
        """What is to be written to the client; each call takes it away."""
        data, self._to_client = self._to_client, []
        return data

    def data_to_upstream(self) -> list[bytes]:
        """What is to be written to the server; each call takes it away."""
        data, self._to_upstream = self._to_upstream, []
        return data

    def notice(self, report: ServerError) -> None:
        """Tell the client something, at the next message boundary."""
        self._invent(messages.notice_response(report))

    # Events --------------------------------------------------------------------------------------------

    def next_event(self) -> Event:
        """The next event, or ``NEED_DATA`` or ``PAUSED``. Raises ``FrontendViolation``."""
        if self._events:
            return self._events.popleft()
        if self._copy.wanted and (self._outstanding is not None or len(self._gatherer)):
            raise _inside_copy()
        if self._outstanding is not None:
            return PAUSED
        while True:
            if self._gatherer.faulty or self._gatherer.size >= self._limits.batch:
                event = self._batch_ends(Delimiter.FAULT if self._gatherer.faulty else Delimiter.SIZE)
                if event is not None:
                    return event
            if self._copy.undecided:
                self.request_answers()
                return PAUSED
            frame = self._reader.next()
            if frame is None:
                return NEED_DATA
            event = self._take(*frame)
            if event is not None:
                return event

    def _take(self, frame: Frame, tag: int, raw: bytes) -> Event | None:
        if frame is Frame.COPY_REST:
            if self._copy.passing:
                self._send(raw)
            return None
        if tag == F.TERMINATE:
            return Terminated()
        if (self._skipping or self._faking) and frame is not Frame.COPY_PIECE:
            if tag == F.SYNC:
                self._sync_after_skipping()
            return None
        if gather.is_extended(tag):
            if self._copy.wanted:
                raise _inside_copy()
            if self._doubt_settled(raw):
                self._gather(frame, tag, raw)
            return None
        if len(self._gatherer):
            return self._ends_batch(frame, tag, raw)
        if tag == F.COPY_DATA:
            # A server that is not in COPY ignores it; with nothing under way there is no need to trouble it.
            self._copy.passing = self._copy.wanted or len(self._queue) > 0
            if self._copy.passing:
                self._send(raw)
            return None
        if tag == F.COPY_DONE or tag == F.COPY_FAIL:
            self._copy_ends(frame, raw)
            return None
        if tag == F.SYNC and self._copy.wanted:
            self._copy.ignored += 1
            self._send(raw)
            return None
        if tag == F.FLUSH:
            self._send(raw)
            self._unflushed = False
            return None
        return self._sync_or_query(frame, tag, raw)

    def _gather(self, frame: Frame, tag: int, raw: bytes) -> None:
        if frame is Frame.TOO_LARGE:
            self._gatherer.fail(gather.too_large(tag, self._limit(tag)))
        else:
            self._gatherer.add(tag, raw)

    def _limit(self, tag: int) -> int:
        return self._limits.statement if tag in (F.QUERY, F.PARSE) else self._limits.request

    def _sync_or_query(self, frame: Frame, tag: int, raw: bytes) -> Event | None:
        if tag != F.SYNC and self._copy.wanted:
            raise _inside_copy()
        if not self._doubt_settled(raw):
            return None
        if tag == F.SYNC:
            self._send_sync()
            return None
        if frame is Frame.TOO_LARGE:
            kind = Kind.QUERY if tag == F.QUERY else Kind.FUNCTION_CALL
            return self._ask(gather.faulty(kind, gather.too_large(tag, self._limit(tag))))
        return self._ask(gather.simple_query(raw) if tag == F.QUERY else gather.function_call(raw))

    def _ends_batch(self, frame: Frame, tag: int, raw: bytes) -> Event | None:
        """A message came that does not belong into the batch in front of it."""
        if frame is Frame.TOO_LARGE:
            # The batch in front never got its Sync; the server would run it and then refuse this message.
            self._gatherer.fail(gather.too_large(tag, self._limit(tag)))
            return None
        if tag == F.SYNC:
            return self._batch_ends(Delimiter.SYNC, raw)
        if tag == F.FLUSH:
            return self._batch_ends(Delimiter.FLUSH, raw)
        self._reader.put_back(raw)
        return self._batch_ends(Delimiter.OTHER)

    def _batch_ends(self, delimiter: Delimiter, raw: bytes = b"") -> Event | None:
        if not self._gatherer.settled(self._segment):
            if raw:
                self._reader.put_back(raw)
            self.request_answers()
            return PAUSED
        resolved = self._gatherer.resolve(delimiter, self._segment)
        if resolved.request.executions or resolved.request.fault:
            return self._ask(resolved)
        self._outstanding = resolved
        self.forward(resolved.request)
        return None

    def _ask(self, resolved: Resolved) -> Event:
        self._outstanding = resolved
        return RequestReady(resolved.request)

    # COPY ----------------------------------------------------------------------------------------------

    def _copy_ends(self, frame: Frame, raw: bytes) -> None:
        if frame is Frame.TOO_LARGE:
            raise FrontendViolation("invalid message length")
        if self._copy.wanted:
            self._copy.wanted = False
            # With Syncs ignored nobody knows whether the client will still ask for the outcome.
            self._unflushed = self._unsynced
            self._send(raw)
        elif len(self._queue):
            self._queue.push(Expected(Reply.COPY_END))
            self._send(raw)

    def _copy_starts(self) -> None:
        start = self._queue.copy_starts()
        self._copy.started(wanted=start.wanted, ignored=start.ignored)
        if start.open:
            # The Sync behind the COPY, if there was one, was none.
            self._unsynced = self._unsynced_work = self._unflushed = True
        if start.broken is not None:
            self._undo([start.broken])
            self._skipped([start.broken])

    def _doubt_settled(self, raw: bytes) -> bool:
        """Whether the server's next ReadyForQuery can be told from one for a Sync around a failed COPY.

        If not, ``raw`` is put back until it has answered the fence.
        """
        if not self._copy.doubtful:
            return True
        self._reader.put_back(raw)
        self._send_fence()
        return False

    def _send_fence(self) -> None:
        self._copy.fenced = True
        self._send(FENCE)
        self._queue.push(Expected(Reply.CLOSE, Disposition.SKIP))
        self._send_sync(Disposition.SKIP)

    # Rulings -------------------------------------------------------------------------------------------

    def forward(self, request: Request) -> None:
        """Send an outstanding request upstream, exactly its bytes."""
        resolved = self._claim(request)
        assert request.fault is None, "a request with a fault can only be refused"
        if self._moot(request, resolved):
            return
        self._send_messages(resolved, len(request.messages))
        self._send_delimiter(request.delimiter)

    def refuse(self, request: Request, error: ServerError, at: int = 0) -> None:
        """Refuse an outstanding request at its message ``at``; call it only when ``settled``.

        Messages in front of ``at`` may be sent: it must not be behind the ``since`` of anything not allowed.
        With nothing open, the server hears nothing of it and the client is answered from here. With a
        transaction open, or work in front of message ``at``, that work is sent and then a statement that
        fails, so that the server itself lets nothing of the transaction commit.
        """
        resolved = self._claim(request)
        if self._moot(request, resolved):
            return
        assert self.settled, "a refusal while the server may still change its state"
        encoded = messages.error_response(error)
        work = any(execution.at < at for execution in request.executions)
        if not self.in_transaction and not work:
            self._undo(resolved.expected)
            self._invent(encoded)
            if request.kind is not Kind.BATCH or request.delimiter is Delimiter.SYNC:
                self._fake_ready()
            else:
                self._faking = True
            return
        if request.kind is not Kind.BATCH:
            self._queue.push(Expected(Reply.QUERY, Disposition.REPLACE, replacement=encoded))
            self._send(messages.query(POISON))
            self._synced()
            return
        self._send_messages(resolved, at)
        self._undo(resolved.expected[at:])
        self._queue.push(Expected(Reply.PARSE, Disposition.REPLACE, replacement=encoded))
        self._send(_POISON_PARSE)
        self._unsynced = True
        self._send_delimiter(Delimiter.SYNC if request.delimiter is Delimiter.SYNC else Delimiter.FLUSH)

    def release_locks(self) -> bool:
        """Before a hold: end what only Parse and Describe opened, so that the server keeps no locks and no
        timer for it. Returns whether a Sync was sent; its answer is not shown to the client.

        Only when ``settled``: a message that failed before this Sync must make the server skip what follows up
        to the client's own. With a Bind or Execute behind it, a Sync would commit work that a refusal must
        still undo, so there it is not sent.
        """
        if not self._unsynced or self._unsynced_work or self._status != TransactionStatus.IDLE:
            return False
        if not self.settled or self._reader.inside_copy_data:
            return False
        self._send_sync(Disposition.SKIP)
        return True

    def request_answers(self) -> None:
        """Make the server send what it may still hold back: nobody else might flush it."""
        if self._unflushed and not self._reader.inside_copy_data:
            self._send(messages.FLUSH)
            self._unflushed = False

    def _claim(self, request: Request) -> Resolved:
        resolved = self._outstanding
        assert resolved is not None, "a ruling though no request is outstanding"
        assert resolved.request is request, "a ruling for another request than the outstanding one"
        if self._copy.wanted:
            raise _inside_copy()
        self._outstanding = None
        return resolved

    def _moot(self, request: Request, resolved: Resolved) -> bool:
        """An earlier message of the segment failed meanwhile: the server would skip these, so they are."""
        if not self._skipping:
            return False
        self._undo(resolved.expected)
        self._skipped(resolved.expected)
        if request.delimiter is Delimiter.SYNC:
            self._sync_after_skipping()
        return True

    def _send_messages(self, resolved: Resolved, count: int) -> None:
        for i in range(count):
            raw = resolved.request.messages[i]
            self._send(raw)
            self._queue.push(resolved.expected[i])
            if raw[0] not in _LIGHT:
                self._unsynced_work = True
        if resolved.request.kind is Kind.BATCH:
            self._unsynced = self._unflushed = True
        else:
            self._synced()

    def _send_delimiter(self, delimiter: Delimiter) -> None:
        if delimiter is Delimiter.SYNC:
            self._send_sync()
        elif delimiter is Delimiter.FLUSH:
            self._send(messages.FLUSH)
            self._unflushed = False

    def _send_sync(self, disposition: Disposition = Disposition.FORWARD) -> None:
        self._send(messages.SYNC)
        self._queue.push(Expected(Reply.SYNC, disposition))
        self._synced()

    def _synced(self) -> None:
        self._unsynced = self._unsynced_work = self._unflushed = False
        self._segment += 1

    def _sync_after_skipping(self) -> None:
        if self._faking:
            self._faking = False
            self._fake_ready()
            return
        self._skipping = False
        self._send_sync()
        if self._copy.doubtful:
            self._send_fence()

    def _fake_ready(self) -> None:
        self._invent(messages.ready_for_query(self._status))
        self._segment += 1

    def _invent(self, data: bytes) -> None:
        """Give the client a message that is not the server's, behind the one that is under way."""
        if self._walker.at_boundary:
            self._to_client.append(data)
        else:
            self._invented.append(data)

    def _send(self, data: bytes) -> None:
        self._to_upstream.append(data)

    def _undo(self, expectations: list[Expected]) -> None:
        for expected in reversed(expectations):
            if expected.change is not None:
                expected.change.undo()

    def _skipped(self, expectations: list[Expected]) -> None:
        for expected in expectations:
            if expected.execution is not None:
                self._events.append(StatementFinished(expected.execution, 0, "", None, 0, {}, skipped=True))

    # The server's messages (called by the walker) ------------------------------------------------------

    def row_allowed(self, tag: int) -> None:
        """See ``backend.Observer``."""
        head = self._queue.head()
        if head is None or tag not in REPLIES[head.reply] or head.disposition is not Disposition.FORWARD:
            raise UpstreamViolation(f"the server sent message type {tag} though no result is due")

    def backend_message(self, tag: int, payload: bytes) -> bytes | None:
        """See ``backend.Observer``."""
        if tag == B.READY_FOR_QUERY:
            return self._ready(payload)
        if tag == B.ERROR_RESPONSE:
            return self._error(payload)
        if tag in ANYTIME:
            if tag == B.PARAMETER_STATUS:
                self._events.append(ParameterChanged(*messages.decode_parameter_status(payload)))
            return None
        expected, effect = self._queue.advance(tag)
        if expected.disposition is Disposition.SKIP:
            self._copy.fence_passed()
            return b""
        if expected.disposition is Disposition.REPLACE:
            raise UpstreamViolation(f"the server accepted what was meant to fail (message type {tag})")
        if effect is Effect.FINISHES or effect is Effect.FINISHES_ONE:
            self._finished(expected, tag, payload)
        elif effect is Effect.ANSWERS:
            if expected.change is not None:
                expected.change.confirm()
        elif effect is Effect.ASKS_DATA:
            self._copy_starts()
        elif effect is Effect.BOTH_WAYS:
            expected.copying = self._copy.wanted = True
        elif tag == B.PARAMETER_DESCRIPTION and expected.statement is not None:
            expected.statement.parameter_types = messages.decode_parameter_description(payload)
        return None

    def _finished(self, expected: Expected, tag: int, payload: bytes) -> None:
        if expected.copying:
            expected.copying = False
            self._copy.succeeded()
        execution = expected.execution
        if execution is None:
            return
        text, rows = messages.decode_command_tag(payload) if tag == B.COMMAND_COMPLETE else ("", None)
        self._events.append(
            StatementFinished(
                execution,
                expected.finished,
                text,
                rows,
                self._answer_size(),
                {},
                suspended=tag == B.PORTAL_SUSPENDED,
            )
        )
        expected.finished += 1

    def _answer_size(self) -> int:
        """Bytes of the server since the last statement was reported."""
        size = self._walker.position - self._reported
        self._reported = self._walker.position
        return size

    def _ready(self, payload: bytes) -> bytes | None:
        if len(payload) != 1 or payload[0] not in _STATUSES:
            raise UpstreamViolation("malformed ReadyForQuery")
        expected = self._queue.ready()
        if expected is None:
            if not self._copy.answered():
                raise UpstreamViolation("the server sent ReadyForQuery though it was not due")
            # The Sync ended the skipping, too.
            self._skipping = False
        elif expected.disposition is Disposition.REPLACE:
            raise UpstreamViolation("the server accepted what was meant to fail")
        self._status = payload[0]
        if self._status == TransactionStatus.IDLE:
            # Portals live no longer than their transaction.
            self.names.portals.clear()
        self._events.append(Ready(self._status, expected.execution if expected is not None else None))
        return b"" if expected is not None and expected.disposition is Disposition.SKIP else None

    def _error(self, payload: bytes) -> bytes | None:
        report = messages.decode_report(payload)
        if report.get("V", report.get("S")) in ("FATAL", "PANIC"):
            self._events.append(UpstreamFatal(report))
            return None
        settled = self._queue.fail()
        head = settled[0]
        if head.copying:
            self._copy.failed()
            if self._copy.doubtful and not self._queue.only_ready_due():
                raise UpstreamViolation("what the server answers after this failed COPY cannot be told apart")
        if head.reply is Reply.CLOSE and head.disposition is Disposition.SKIP:
            self._copy.fence_passed()
            return b""
        if head.reply is Reply.SYNC:
            self._events.append(CommitFailed(report))
            # A Sync the client did not send: it waits for its own before it goes on.
            self._skipping = head.disposition is Disposition.SKIP
        elif head.reply is not Reply.QUERY and head.reply is not Reply.FUNCTION_CALL:
            # Only a Sync of the client's that is under way ends the skipping; without one, its next will.
            self._skipping = not self._queue.client_synced()
            if self._skipping:
                self._gatherer.drop()
                self._unsynced = self._unsynced_work = self._unflushed = False
        self._undo(settled)
        self._report_failure(settled, report)
        if head.disposition is Disposition.REPLACE:
            head.disposition = Disposition.FORWARD
            return head.replacement
        return None

    def _report_failure(self, settled: list[Expected], report: dict[str, str]) -> None:
        failing = True
        for expected in settled:
            execution: Execution | None = expected.execution
            if execution is None:
                continue
            self._events.append(
                StatementFinished(
                    execution,
                    expected.finished,
                    "",
                    None,
                    self._answer_size(),
                    report if failing else {},
                    skipped=not failing,
                )
            )
            failing = False


def _inside_copy() -> FrontendViolation:
    return FrontendViolation("unexpected message during COPY from stdin")
