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
        self._notices: list[bytes] = []
        self._events: deque[Event] = deque()
        self._outstanding: Resolved | None = None
        self._segment = 0
        self._status = status
        self._unsynced = False
        self._unsynced_work = False
        self._unflushed = False
        self._skipping = False
        self._faking = False
        self._copy_in = False
        self._reported = 0

    # What the gateway asks -----------------------------------------------------------------------------

    @property
    def status(self) -> int:
        """The transaction status the server reported last."""
        return self._status

    @property
    def settled(self) -> bool:
        """Whether the server owes nothing: its state is then known exactly."""
        self._queue.give_up_uncertain()
        return not self._queue

    @property
    def copying(self) -> bool:
        """Whether the server waits for COPY data of the client."""
        return self._copy_in

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
        self._to_client.extend(self._walker.walk(data))
        if self._notices and self._walker.at_boundary:
            self._to_client.extend(self._notices)
            self._notices.clear()

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
        encoded = messages.notice_response(report)
        if self._walker.at_boundary:
            self._to_client.append(encoded)
        else:
            self._notices.append(encoded)

    # Events --------------------------------------------------------------------------------------------

    def next_event(self) -> Event:
        """The next event, or ``NEED_DATA`` or ``PAUSED``. Raises ``FrontendViolation``."""
        if self._events:
            return self._events.popleft()
        if self._outstanding is not None:
            return PAUSED
        while True:
            if self._gatherer.faulty:
                event = self._batch_ends(Delimiter.FAULT)
                if event is not None:
                    return event
            frame = self._reader.next()
            if frame is None:
                return NEED_DATA
            event = self._take(*frame)
            if event is not None:
                return event

    def _take(self, frame: Frame, tag: int, raw: bytes) -> Event | None:
        if frame is Frame.COPY_PIECE:
            self._copy_message(raw)
            return None
        if tag == F.TERMINATE:
            return Terminated()
        if self._skipping or self._faking:
            if tag == F.SYNC:
                self._sync_after_skipping(raw)
            return None
        if frame is Frame.TOO_LARGE:
            return self._too_large(tag)
        if gather.is_extended(tag):
            self._gatherer.add(tag, raw)
            if self._gatherer.size >= self._limits.batch:
                return self._batch_ends(Delimiter.SIZE)
            return None
        if tag == F.QUERY or tag == F.FUNCTION_CALL:
            if len(self._gatherer):
                self._reader.put_back(raw)
                return self._batch_ends(Delimiter.OTHER)
            return self._ask(gather.simple_query(raw) if tag == F.QUERY else gather.function_call(raw))
        if tag == F.SYNC or tag == F.FLUSH:
            return self._sync_or_flush(tag, raw)
        self._copy_ends(tag, raw)
        return None

    def _too_large(self, tag: int) -> Event | None:
        statement = tag in (F.QUERY, F.PARSE)
        error = gather.too_large(tag, self._limits.statement if statement else self._limits.request)
        if gather.is_extended(tag):
            self._gatherer.fail(error)
            return None
        if tag == F.COPY_FAIL:
            raise FrontendViolation("invalid message length")
        if len(self._gatherer):
            # The batch in front never got its Sync; the server would run it and then refuse this message.
            self._gatherer.fail(error)
            return None
        return self._ask(gather.faulty(Kind.QUERY if tag == F.QUERY else Kind.FUNCTION_CALL, error))

    def _sync_or_flush(self, tag: int, raw: bytes) -> Event | None:
        if not len(self._gatherer):
            self._send(raw)
            if tag == F.SYNC:
                self._expect_sync(uncertain=self._copy_in)
            else:
                self._unflushed = False
            return None
        return self._batch_ends(Delimiter.SYNC if tag == F.SYNC else Delimiter.FLUSH, raw)

    def _batch_ends(self, delimiter: Delimiter, raw: bytes = b"") -> Event | None:
        if not self._gatherer.settled(self._segment) and len(self._queue):
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

    def _copy_message(self, raw: bytes) -> None:
        # A server that is not in COPY ignores these; with nothing under way there is no need to trouble it.
        if self._copy_in or len(self._queue):
            self._send(raw)

    def _copy_ends(self, tag: int, raw: bytes) -> None:
        if tag not in (F.COPY_DONE, F.COPY_FAIL):
            raise FrontendViolation(f"invalid frontend message type {tag}")
        if self._copy_in:
            self._copy_in = False
            self._send(raw)
        elif len(self._queue):
            self._queue.push(Expected(Reply.COPY_END))
            self._send(raw)

    # Rulings -------------------------------------------------------------------------------------------

    def forward(self, request: Request) -> None:
        """Send an outstanding request upstream, exactly its bytes."""
        resolved = self._claim(request)
        if self._moot(request, resolved):
            return
        self._send_messages(resolved, len(request.messages))
        self._send_delimiter(request.delimiter)

    def refuse(self, request: Request, error: ServerError, at: int = 0) -> None:
        """Refuse an outstanding request at its message ``at``; call it only when ``settled``.

        With nothing open, the server hears nothing of it and the client is answered from here. With a
        transaction open, or work in front of message ``at``, that work is sent and then a statement that
        fails, so that the server itself lets nothing of the transaction commit.
        """
        resolved = self._claim(request)
        if self._moot(request, resolved):
            return
        encoded = messages.error_response(error)
        if self._copy_in:
            self._refuse_in_copy(encoded, resolved)
            return
        work = any(execution.at < at for execution in request.executions)
        if not self.in_transaction and not work:
            self._undo(resolved.expected)
            self._to_client.append(encoded)
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
        self._send(messages.parse(b"", POISON))
        self._unsynced = True
        self._send_delimiter(Delimiter.SYNC if request.delimiter is Delimiter.SYNC else Delimiter.FLUSH)

    def release_locks(self) -> bool:
        """Before a hold: end what only Parse and Describe opened, so that the server keeps no locks and no
        timer for it. Returns whether a Sync was sent; its answer is not shown to the client.

        With a Bind or Execute behind it, a Sync would commit work that a refusal must still undo, so there
        it is not sent.
        """
        if not self._unsynced or self._unsynced_work or self._status != TransactionStatus.IDLE:
            return False
        self._send(messages.SYNC)
        self._queue.push(Expected(Reply.SYNC, Disposition.SKIP))
        self._synced()
        return True

    def request_answers(self) -> None:
        """Make the server send what it may still hold back: nobody else might flush it."""
        if self._unflushed and self._unsynced:
            self._send(messages.FLUSH)
        self._unflushed = False

    def _claim(self, request: Request) -> Resolved:
        resolved = self._outstanding
        assert resolved is not None, "a ruling though no request is outstanding"
        assert resolved.request is request, "a ruling for another request than the outstanding one"
        self._outstanding = None
        return resolved

    def _moot(self, request: Request, resolved: Resolved) -> bool:
        """An earlier message of the segment failed meanwhile: the server would skip these, so they are."""
        if not self._skipping:
            return False
        self._undo(resolved.expected)
        self._skipped(resolved.expected)
        if request.delimiter is Delimiter.SYNC:
            self._sync_after_skipping(messages.SYNC)
        return True

    def _refuse_in_copy(self, encoded: bytes, resolved: Resolved) -> None:
        copying = self._queue.head()
        assert copying is not None, "COPY data is asked for by an expectation"
        copying.disposition, copying.replacement = Disposition.REPLACE, encoded
        self._undo(resolved.expected)
        self._copy_in = False
        self._send(messages.copy_fail("refused by the gateway"))
        if resolved.request.delimiter is Delimiter.SYNC:
            self._send(messages.SYNC)
            self._expect_sync()

    def _send_messages(self, resolved: Resolved, count: int) -> None:
        swallowed = self._copy_in
        for i in range(count):
            raw, expected = resolved.request.messages[i], resolved.expected[i]
            self._send(raw)
            if swallowed and expected is not None:
                # Inside COPY the server takes the first of these for a fault of the COPY and drops it.
                swallowed = self._copy_in = False
                self._undo([expected])
            elif expected is not None:
                self._queue.push(expected)
                if raw[0] not in _LIGHT:
                    self._unsynced_work = True
        if resolved.request.kind is Kind.BATCH:
            self._unsynced = self._unflushed = True
        else:
            self._synced()

    def _send_delimiter(self, delimiter: Delimiter) -> None:
        if delimiter is Delimiter.SYNC:
            self._send(messages.SYNC)
            self._expect_sync()
        elif delimiter in (Delimiter.FLUSH, Delimiter.FAULT):
            self._send(messages.FLUSH)
            self._unflushed = False

    def _expect_sync(self, *, uncertain: bool = False) -> None:
        self._queue.push(Expected(Reply.SYNC, uncertain=uncertain))
        self._synced()

    def _synced(self) -> None:
        self._unsynced = self._unsynced_work = self._unflushed = False
        self._segment += 1

    def _sync_after_skipping(self, raw: bytes) -> None:
        if self._faking:
            self._faking = False
            self._fake_ready()
            return
        self._skipping = False
        self._send(raw)
        self._expect_sync()

    def _fake_ready(self) -> None:
        self._to_client.append(messages.ready_for_query(self._status))
        self._segment += 1

    def _send(self, data: bytes) -> None:
        self._to_upstream.append(data)

    def _undo(self, expectations: list[Expected | None] | list[Expected]) -> None:
        for expected in reversed(expectations):
            if expected is not None and expected.change is not None:
                expected.change.undo()

    def _skipped(self, expectations: list[Expected | None]) -> None:
        for expected in expectations:
            if expected is not None and expected.execution is not None:
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
        if expected.disposition is not Disposition.FORWARD:
            raise UpstreamViolation(f"the server accepted what was meant to fail (message type {tag})")
        if effect is Effect.FINISHES or effect is Effect.FINISHES_ONE:
            self._finished(expected, tag, payload)
        elif effect is Effect.ANSWERS:
            if expected.change is not None:
                expected.change.confirm()
        elif effect is Effect.ASKS_DATA:
            self._copy_in = self._queue.copy_starts()
        elif effect is Effect.BOTH_WAYS:
            expected.copying = self._copy_in = True
        elif tag == B.PARAMETER_DESCRIPTION and expected.statement is not None:
            expected.statement.parameter_types = messages.decode_parameter_description(payload)
        return None

    def _finished(self, expected: Expected, tag: int, payload: bytes) -> None:
        self._copy_over(expected)
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

    def _copy_over(self, expected: Expected) -> None:
        if expected.copying:
            expected.copying = self._copy_in = False
            self._queue.copy_succeeded()

    def _ready(self, payload: bytes) -> bytes | None:
        if len(payload) != 1 or payload[0] not in _STATUSES:
            raise UpstreamViolation("malformed ReadyForQuery")
        expected = self._queue.ready()
        self._status = payload[0]
        self._copy_in = False
        self._events.append(Ready(self._status, expected.execution if expected is not None else None))
        return b"" if expected is not None and expected.disposition is Disposition.SKIP else None

    def _error(self, payload: bytes) -> bytes | None:
        report = messages.decode_report(payload)
        if report.get("V", report.get("S")) in ("FATAL", "PANIC"):
            self._events.append(UpstreamFatal(report))
            return None
        settled = self._queue.fail()
        if not settled:
            return None
        head = settled[0]
        self._copy_in = False
        if head.reply is Reply.SYNC:
            self._events.append(CommitFailed(report))
        elif head.reply not in (Reply.QUERY, Reply.FUNCTION_CALL):
            # Only a Sync still in the queue ends the server's skipping; without one, the client's next will.
            self._skipping = not len(self._queue)
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
