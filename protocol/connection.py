"""One proxied session after start-up: both conversations, kept legal.

The gateway feeds bytes in, takes events with ``next_event``, answers each ``RequestReady`` with ``forward``
or ``refuse``, and writes what ``data_to_client`` and ``data_to_upstream`` return. Nothing reaches the server
before its request was forwarded; nothing reaches the client but what the reply queue passes, replaces or
invents. A ``ProtocolViolation`` ends the session; any other exception is a bug.

Source: PostgreSQL documentation, "Message Flow".
"""

from collections.abc import Callable, Sequence

from . import gather, messages
from .ceiling import Ceiling
from .copying import may_copy
from .enclosure import NOTHING_AROUND, Enclosure, Standing
from .errors import FrontendViolation, ServerError
from .events import NEED_DATA, PAUSED, Event, RequestReady, Terminated
from .exchange import Exchange
from .fastpath import FastPath
from .frontend import Frame, FrontendReader, Limits
from .gather import Resolved
from .hidden import Analysis, Hidden, Place
from .pipeline import Disposition
from .replies import Replies
from .request import Delimiter, Kind, Request
from .state import Reply
from .statements import SessionNames
from .tags import FrontendTag as F
from .tags import TransactionStatus
from .trials import Trials


class ProxyConnection:
    """The stateful face of the protocol core, for one session. Not for use by two threads."""

    def __init__(self, limits: Limits, status: int = TransactionStatus.IDLE) -> None:
        self._limits = limits
        self._whole = whole = Exchange(status)
        self._gatherer = whole.gatherer
        self._copy = whole.copy
        self._reader = FrontendReader(limits)
        self._replies = Replies(whole)
        self._walker = self._replies.walker
        self._trials = Trials(whole, self._walker)
        self._names = whole.names
        self._fast = FastPath(whole, self._reader, self._replies, limits, self._resume)
        self._resumed: Callable[[Request], None] | None = None
        self._to_client: list[bytes] = []
        self._invented: list[bytes] = []
        self._outstanding: Resolved | None = None
        self._rest: Resolved | None = None
        self._faking = False
        self._terminated = False

    @property
    def names(self) -> SessionNames:
        """The prepared statements and portals of the session."""
        return self._names

    # The short way -------------------------------------------------------------------------------------

    @property
    def _exchange(self) -> Exchange:
        """Where the session stands; whoever looks sees everything, and so ends the short way."""
        if self._fast.entered:
            self._fast.leave()
        return self._whole

    def fast_path(self, resumed: Callable[[Request], None]) -> FastPath:
        """The short way for requests that are known. It is left by whatever else is done here, at once.

        ``resumed`` is called with a request that was sent that way once it has to be known like any other; it must
        ``forward`` it, without anything around it, and do nothing else here.
        """
        self._resumed = resumed
        return self._fast

    def leave_fast_path(self) -> None:
        """Go on as usual, from where things stand."""
        self._fast.leave()

    def enter_fast_path(self) -> bool:
        """Open the short way, if nothing at all is under way; whether it is open."""
        if self._outstanding is not None or self._rest is not None or self._faking or self._terminated:
            return False
        return not self._invented and not self._to_client and self._fast.enter()

    def _resume(self, burst: bytes) -> None:
        """Take what was sent the short way as if it came, and was forwarded, now."""
        assert self._resumed is not None, "nobody would have sent anything"
        self._reader.feed(burst)
        event = self.next_event()
        assert isinstance(event, RequestReady), "one request"
        self._resumed(event.request)
        sent, self._whole.to_upstream = b"".join(self._whole.to_upstream), []
        if sent != burst or self._outstanding is not None or not self._reader.at_rest:
            raise RuntimeError("what was sent the short way is not what would have been sent")

    # What the gateway asks -----------------------------------------------------------------------------

    @property
    def status(self) -> int:
        """The transaction status the server reported last."""
        return self._exchange.status

    @property
    def settled(self) -> bool:
        """Whether the server owes nothing: its state is then known exactly."""
        return self._exchange.settled

    @property
    def synced(self) -> bool:
        """Whether the status and the settings the server reported last are those it has now, once ``settled``."""
        return not self._exchange.unsynced_work

    @property
    def skipping(self) -> bool:
        """Whether the server skips what it is sent: an earlier message of the client's series failed."""
        return self._exchange.skipping

    @property
    def copying(self) -> bool:
        """Whether the server waits for COPY data of the client."""
        return self._exchange.copy.wanted

    @property
    def in_transaction(self) -> bool:
        """Whether a refusal now must fail a transaction that the server has open."""
        return self._exchange.status != TransactionStatus.IDLE or self._exchange.unsynced

    @property
    def at_client_boundary(self) -> bool:
        """Whether what was given to the client ends at a message's end, so that a message may follow."""
        self._fast.leave()
        return self._walker.at_boundary

    @property
    def buffered(self) -> int:
        """Bytes of the client that are read but not looked at."""
        return self._reader.buffered + self._gatherer.size

    # Bytes in and out ----------------------------------------------------------------------------------

    def receive_from_client(self, data: bytes) -> None:
        """Take bytes of the client; then call ``next_event`` until it returns a marker."""
        self._fast.leave()
        if not self._terminated:
            self._reader.feed(data)

    def receive_from_upstream(self, data: bytes) -> None:
        """Take bytes of the server; then write ``data_to_client`` and call ``next_event``."""
        self._fast.leave()
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
        if self._exchange.trial is not None:
            pieces, behind = self._trials.decided()
            self._to_client.extend(pieces)
            if behind:
                self._invent(behind)

    def data_to_client(self) -> list[bytes]:
        """What is to be written to the client; each call takes it away."""
        data, self._to_client = self._to_client, []
        return data

    def data_to_upstream(self) -> list[bytes]:
        """What is to be written to the server; each call takes it away."""
        data, self._exchange.to_upstream = self._exchange.to_upstream, []
        return data

    def notice(self, report: ServerError) -> None:
        """Tell the client something, at the next message boundary."""
        self._invent(messages.notice_response(report))

    # Events --------------------------------------------------------------------------------------------

    def next_event(self) -> Event:
        """The next event, or ``NEED_DATA`` or ``PAUSED``. Raises ``FrontendViolation``."""
        if self._exchange.events:
            return self._exchange.events.popleft()
        if self._copy.broken or (
            self._copy.wanted and (self._outstanding is not None or len(self._gatherer))
        ):
            raise _inside_copy()
        if (
            self._outstanding is not None
            or self._exchange.hidden is not None
            or self._exchange.trial is not None
        ):
            return PAUSED
        if self._rest is not None:
            rest, self._rest = self._rest, None
            if not self._faking:
                return self._ask(rest)
            # The part in front was refused from here: the server has heard nothing, and hears nothing of it.
            self._exchange.undo(rest.expected)
            if rest.request.delimiter is Delimiter.SYNC:
                self._sync_after_skipping()
        while True:
            if self._gatherer.faulty or self._gatherer.size >= self._limits.batch:
                event = self._batch_ends(Delimiter.FAULT if self._gatherer.faulty else Delimiter.SIZE)
                if event is not None:
                    return event
            if self._copy.doubtful and not self._exchange.skipping and not self._reader.inside_copy_data:
                # The server's next ReadyForQuery cannot be told from one for a Sync around a failed COPY.
                self._exchange.send_fence()
            if len(self._exchange.queue) >= self._limits.owed:
                self.request_answers()
                return PAUSED
            if self._copy.possible and self.settled:
                self._copy.possible = False
            if self._copy.undecided:
                self.request_answers()
                return PAUSED
            frame = self._reader.next() if not self._terminated else None
            if frame is None:
                return NEED_DATA
            event = self._take(*frame)
            if event is not None:
                return event

    def _take(self, frame: Frame, tag: int, raw: bytes) -> Event | None:
        if frame is Frame.COPY_REST:
            if self._copy.passing:
                self._exchange.send(raw)
            return None
        if tag == F.TERMINATE:
            self._terminated = True
            return Terminated()
        if (self._exchange.skipping or self._faking) and frame is not Frame.COPY_PIECE:
            if tag == F.SYNC:
                self._sync_after_skipping()
            return None
        if gather.is_extended(tag):
            if self._copy.wanted:
                raise _inside_copy()
            self._gather(frame, tag, raw)
            return None
        if len(self._gatherer):
            return self._ends_batch(frame, tag, raw)
        if tag == F.COPY_DATA:
            # A server that does not wait for it ignores it.
            self._copy.passing = self._copy.wanted
            if self._copy.passing:
                self._exchange.send(raw)
            return None
        if tag == F.COPY_DONE or tag == F.COPY_FAIL:
            self._copy_ends(frame, raw)
            return None
        if tag == F.SYNC and self._copy.wanted:
            self._copy.ignored += 1
            self._exchange.send(raw)
            return None
        if tag == F.FLUSH:
            self._exchange.send(raw)
            self._exchange.unflushed = False
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
        if tag == F.SYNC:
            self._exchange.send_sync()
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
        if not self._gatherer.settled(self._exchange.segment):
            if raw:
                self._reader.put_back(raw)
            self.request_answers()
            return PAUSED
        resolved = self._gatherer.resolve(delimiter, self._exchange.segment)
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
            head = self._exchange.queue.head()
            # Of several COPYs in one Query, the next may ask for data now.
            self._copy.ended(more=head is not None and head.reply is Reply.QUERY)
            # With Syncs ignored nobody knows whether the client will still ask for the outcome.
            self._exchange.unflushed = self._exchange.unsynced
            self._exchange.send(raw)

    # Statements of the gateway's own -------------------------------------------------------------------

    @property
    def place(self) -> Place:
        """Where the session stands, for ``hide``."""
        exchange = self._exchange
        if not exchange.settled or exchange.skipping or exchange.within == TransactionStatus.FAILED:
            return Place.NOWHERE
        if self._copy.wanted or self._copy.undecided or self._reader.inside_copy_data:
            return Place.NOWHERE
        if exchange.unsynced_work:
            # Whether a transaction is open, and whose, is known again only behind the client's next Sync.
            return Place.SERIES
        return Place.TRANSACTION if exchange.status == TransactionStatus.IN_TRANSACTION else Place.IDLE

    @property
    def hiding(self) -> bool:
        """Whether statements of the gateway's own are under way."""
        return self._exchange.hidden is not None

    def hide(
        self, statements: Sequence[bytes | Analysis], *, guarded: bool = False, passing: bool = False
    ) -> Hidden:
        """Run statements of the gateway's own, in order, of whose answers the client sees nothing.

        Call it only while ``place`` is not ``NOWHERE``; what the client sends meanwhile waits, and a
        ``HiddenFinished`` event follows. None of them may be a COPY. Statements that may fail belong inside a
        transaction only ``guarded`` by a savepoint, and into a series not at all. ``passing`` ones are guarded,
        and inside a transaction undone although they succeeded. What the server reports meanwhile of its own
        accord goes to the client, except what it tells of the course of statements.
        """
        place = self.place
        assert place is not Place.NOWHERE, "statements that the server would not run"
        hidden = Hidden(
            tuple(statements),
            guarded=(guarded or passing) and place is Place.TRANSACTION,
            passing=passing,
            in_series=place is Place.SERIES,
            began_idle=place is Place.IDLE,
        )
        self._replies.hide(hidden)
        return hidden

    # Rulings -------------------------------------------------------------------------------------------

    @property
    def standing(self) -> Standing:
        """Where the session stands, for ``enclosure.enclose``; certain only when ``settled``."""
        exchange = self._exchange
        return Standing(exchange.within, exchange.unsynced_work, bool(exchange.closing))

    def forward(
        self,
        request: Request,
        *,
        redact: str = "",
        enclosure: Enclosure = NOTHING_AROUND,
        ceiling: Ceiling | None = None,
    ) -> None:
        """Send an outstanding request upstream, exactly its bytes, and around them what ``enclosure`` says.

        With ``redact``, errors and notices reach the client without values and with that hint, from the first
        answer to this request to the end of the transaction it runs in: a deferred constraint or a cursor may
        report on its rows as late as that.

        With a ``ceiling`` it is a trial: its answer is held back, and it does not commit, before it is known how many
        rows were changed. Only when ``settled``, without an enclosure, and for what keeps to the transaction it runs in
        and is no COPY from the client; nothing more of the client is looked at until it is decided.
        """
        resolved = self._claim(request)
        if self._moot(request, resolved):
            return
        assert request.fault is None, "a request with a fault can only be refused"
        self._copy.possible = any(map(may_copy, request.executions))
        for expected in resolved.expected:
            expected.redact = redact
        if ceiling is not None:
            assert enclosure is NOTHING_AROUND, "what is enclosed is not tried"
            self._trials.begin(resolved, ceiling)
            return
        if request.kind is not Kind.BATCH and enclosure is not NOTHING_AROUND:
            self._send_enclosed(resolved, enclosure)
            return
        self._send_messages(resolved, len(request.messages), enclosure)
        self._exchange.closing = self._exchange.closing or enclosure.closing
        self._exchange.send_delimiter(request.delimiter)

    def cut(self, request: Request, at: int, *, ends: bool = False) -> Request:
        """Cut an outstanding batch in front of its message ``at``: what is returned takes its place, as if there
        were a Flush, and what is left becomes the next request once that is ruled on.

        ``ends``: if a transaction ends anywhere in the part in front, it does so with its last execution. Where
        one was open, a Sync of the gateway's own behind it then tells how the session stands, and commits nothing.
        """
        resolved = self._outstanding
        assert resolved is not None, "nothing is outstanding to be cut"
        assert resolved.request is request, "another request is outstanding than the one to be cut"
        assert self._rest is None, "what is left of an earlier cut is not ruled on yet"
        border = ends and self.synced and self.settled and self.status != TransactionStatus.IDLE
        self._outstanding, self._rest = resolved.cut(at, Delimiter.BORDER if border else Delimiter.CUT)
        return self._outstanding.request

    def refuse(self, request: Request, error: ServerError, at: int = 0, *, redact: str = "") -> None:
        """Refuse an outstanding request at its message ``at``; call it only when ``settled``.

        Messages in front of ``at`` may be sent, with ``redact`` as for ``forward``: it must not be behind the
        ``since`` of anything that does not run as it is.
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
            self._exchange.undo(resolved.expected)
            self._invent(encoded)
            if request.kind is not Kind.BATCH or request.delimiter is Delimiter.SYNC:
                self._fake_ready()
            else:
                self._faking = True
            return
        if request.kind is not Kind.BATCH and not self._exchange.closing:
            self._exchange.fail_query(encoded)
            return
        for expected in resolved.expected:
            expected.redact = redact
        self._send_messages(resolved, at)
        self._exchange.undo(resolved.expected[at:])
        self._exchange.fail_batch(encoded)
        ends = request.kind is not Kind.BATCH or request.delimiter is Delimiter.SYNC
        self._exchange.send_delimiter(Delimiter.SYNC if ends else Delimiter.FLUSH)

    def release_locks(self) -> bool:
        """Before a hold: end what only Parse and Describe opened, so that the server keeps no locks and no
        timer for it. Returns whether a Sync was sent; its answer is not shown to the client.

        Only when ``settled``: a message that failed before this Sync must make the server skip what follows up
        to the client's own. With a Bind or Execute behind it, a Sync would commit work that a refusal must
        still undo, so there it is not sent.
        """
        exchange = self._exchange
        if not exchange.unsynced or exchange.unsynced_work or exchange.status != TransactionStatus.IDLE:
            return False
        if not self.settled or self._reader.inside_copy_data:
            return False
        exchange.send_sync(Disposition.SKIP)
        return True

    def request_answers(self) -> None:
        """Make the server send what it may still hold back: nobody else might flush it."""
        if not self._reader.inside_copy_data:
            self._exchange.request_answers()

    def _claim(self, request: Request) -> Resolved:
        resolved = self._outstanding
        assert resolved is not None, "a ruling though no request is outstanding"
        assert resolved.request is request, "a ruling for another request than the outstanding one"
        assert self._exchange.hidden is None, "a ruling while statements of the gateway's own are under way"
        if self._copy.wanted:
            raise _inside_copy()
        self._outstanding = None
        return resolved

    def _moot(self, request: Request, resolved: Resolved) -> bool:
        """An earlier message of the segment failed meanwhile: the server would skip these, so they are."""
        if not self._exchange.skipping:
            return False
        self._exchange.undo(resolved.expected)
        self._exchange.skipped(resolved.expected)
        if request.delimiter is Delimiter.SYNC:
            self._sync_after_skipping()
        return True

    def _send_messages(self, resolved: Resolved, count: int, enclosure: Enclosure = NOTHING_AROUND) -> None:
        exchange = self._exchange
        for i in range(count):
            exchange.send_enclosing(enclosure.before.get(i, ()))
            exchange.send_expecting(resolved.request.messages[i], resolved.expected[i])
            exchange.send_enclosing(enclosure.after.get(i, ()))
        exchange.sent(resolved.request.kind)

    def _send_enclosed(self, resolved: Resolved, enclosure: Enclosure) -> None:
        """Send a Query or FunctionCall with what goes around it, and the Sync that all of it needs then."""
        exchange = self._exchange
        (expected,) = resolved.expected
        expected.unready = True
        exchange.send_enclosing(enclosure.before[0])
        exchange.send_expecting(resolved.request.messages[0], expected)
        exchange.send_enclosing(enclosure.after[0], leaves=True)
        exchange.send_sync(ends=expected.execution)

    def _sync_after_skipping(self) -> None:
        if self._faking:
            self._faking = False
            self._fake_ready()
            return
        self._exchange.sync_after_skipping()

    def _fake_ready(self) -> None:
        self._invent(messages.ready_for_query(self._exchange.status))
        self._exchange.segment += 1

    def _invent(self, data: bytes) -> None:
        """Give the client a message that is not the server's, behind the one that is under way."""
        self._fast.leave()
        if self._walker.at_boundary:
            self._to_client.append(data)
        else:
            self._invented.append(data)


def _inside_copy() -> FrontendViolation:
    return FrontendViolation("unexpected message during COPY from stdin")
