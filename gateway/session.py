"""One client session: two links, the protocol core between them, and what becomes of its events."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway import clock
from gateway.arbiter import Arbiter
from gateway.asking import Asking, Row
from gateway.audit import Kind
from gateway.cancel import CancelKey
from gateway.catalog import Catalog, SessionCatalog
from gateway.config import Config
from gateway.conversation import Conversation
from gateway.criteria import Checks
from gateway.criteria.rule import RuleCriteria
from gateway.following import Following
from gateway.hold_port import HoldPort
from gateway.holds import HoldState
from gateway.intents import Intents
from gateway.legal_holds import LegalHolds
from gateway.link import Link
from gateway.looking import Looking
from gateway.obligations import Obligations
from gateway.outcomes import Outcomes
from gateway.previews import Previews
from gateway.readers.pool import ParsePool
from gateway.recorder import Recorder
from gateway.resolving import Resolving
from gateway.rulings import INTERNAL_ERROR, Rulings
from gateway.shortcut import Shortcut
from gateway.tasks import spawn
from gateway.waiting import Waiting
from protocol import sqlstate
from protocol.connection import ProxyConnection
from protocol.errors import FrontendViolation, ServerError, UpstreamViolation
from protocol.events import (
    NEED_DATA,
    PAUSED,
    CommitFailed,
    HiddenFinished,
    ParameterChanged,
    Ready,
    RequestReady,
    StatementFinished,
    Terminated,
    UpstreamFatal,
    Withheld,
)
from protocol.tags import TransactionStatus
from rules import Judge

__all__ = ["Session", "SessionInfo"]

logger = logging.getLogger(__name__)

AFTER_CLIENT_SECONDS: Final = 30.0
"""How long the server may go on with a statement whose client is gone, so that its outcome is recorded."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session as people see it."""

    id: str
    user: str
    groups: tuple[str, ...]
    database: str
    client_addr: str | None
    application_name: str
    state: str
    started_at: datetime
    transaction_status: str
    current_sql: str | None
    hold_id: str | None
    backend_pid: int | None


class _ClientSide:
    """The relay callbacks of the client's link."""

    __slots__ = ("_session", "received")

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.received = session.from_client

    def ended(self) -> None:
        self._session.client_ended()

    def lost(self, error: Exception | None) -> None:
        self._session.client_lost()

    def writable(self, ready: bool) -> None:
        self._session.client_writable(ready)


class _UpstreamSide:
    """The relay callbacks of the server's link."""

    __slots__ = ("_session", "received")

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.received = session.from_upstream

    def ended(self) -> None:
        self._session.upstream_lost()

    def lost(self, error: Exception | None) -> None:
        self._session.upstream_lost()

    def writable(self, ready: bool) -> None:
        self._session.upstream_writable(ready)


class Session:
    """A client and its server connection, until one of them ends."""

    def __init__(
        self,
        *,
        config: Callable[[], Config],
        judge: Judge,
        pool: ParsePool,
        holds: HoldPort,
        recorder: Recorder,
        client: Link,
        upstream: Link,
        core: ProxyConnection,
        backend_pid: int | None,
        cancel_upstream: Callable[[], Awaitable[None]],
        catalog: Catalog,
        generations: Iterator[int],
        previews: Previews,
        checks: Checks,
        legal_holds: LegalHolds,
    ) -> None:
        self.id = recorder.session_id
        self.cancel_key: CancelKey | None = None
        self._config = config
        self._recorder = recorder
        self._core = core
        self._talk = Conversation(core, client, upstream)
        self._backend_pid = backend_pid
        self._cancel_upstream = cancel_upstream
        self._asking = Asking(self._talk)
        self._following = Following(
            self._asking,
            core,
            recorder.state,
            policy=lambda: self._arbiter.policy,
            own=lambda: self._catalog.own,
            version=lambda: self._catalog.version,
            is_in=lambda identity: self._catalog.is_in(identity),
        )
        self._catalog = SessionCatalog(
            catalog, generations, Looking(self._asking, core), lambda: self._following.wanted
        )
        self._arbiter = Arbiter(
            judge, recorder.metrics, recorder.who, recorder.state, core.names, self._catalog
        )
        self._waiting = Waiting(
            config,
            holds,
            recorder,
            self._talk.notify,
            lambda request: self._rulings.judged_again(request),
            previews,
            RuleCriteria(checks, holds, recorder),
            legal_holds,
            backend_pid,
            lambda: core.standing,
        )
        self._outcomes = Outcomes(holds, recorder, core.names, self._catalog)
        obligations = Obligations(config)
        self._rulings = Rulings(
            self._talk,
            self._asking,
            self._following,
            self._arbiter,
            self._catalog,
            pool,
            self._waiting,
            Intents(self._asking, holds, recorder.who.user),
            obligations,
            recorder,
            self._pump,
            lambda request, ruling: self._shortcut.learn(request, ruling),
            Resolving(self._asking, self._arbiter, catalog, self._resolves),
        )
        self._shortcut = Shortcut(
            core,
            self._talk,
            self._arbiter,
            self._following,
            self._catalog,
            self._rulings,
            obligations,
            recorder,
        )
        self._started_at = clock.now()
        self._read_ahead_full = False
        self._bytes_up = self._bytes_down = 0

    def _resolves(self) -> bool:
        """Whether the server is asked which code a statement leads to."""
        database = self._config().database(self._recorder.who.database)
        return database is not None and database.resolve == "server"

    # Life ----------------------------------------------------------------------------------------------

    @property
    def recorder(self) -> Recorder:
        """What this session records."""
        return self._recorder

    @property
    def catalog(self) -> Catalog:
        """The catalog of its database, as everybody sees it."""
        return self._catalog.catalog

    async def run(self) -> str:
        """Relay until the session is over; returns why it ended."""
        talk = self._talk
        self._recorder.audit.append(self._recorder.base(Kind.SESSION, tag="start"))
        talk.upstream.relay(_UpstreamSide(self))
        talk.client.relay(_ClientSide(self))
        if self._following.wanted:
            # Before anybody needs to know: the client may think about its first statement meanwhile.
            spawn(self._following.ask(), name=f"following {self.id}")
        try:
            return await talk.over
        finally:
            self._waiting.end(HoldState.INTERRUPTED, "the session ended")
            await self._rulings.done()
            if self._waiting.queueing.running and not self._core.settled:
                # Others are about to get its place: it must not be at work then.
                await self._cancel()
            await self._outcomes.lost(talk.why)
            await self._waiting.queueing.close()
            self._catalog.close()
            self._count_bytes()
            self._recorder.audit.append(self._recorder.base(Kind.SESSION, tag="end", reason=talk.why))

    def info(self) -> SessionInfo:
        """How the session stands."""
        self._core.leave_fast_path()
        who, core = self._recorder.who, self._core
        if self._waiting.waiting:
            state = "held"
        elif self._rulings.reading or (not core.settled and not core.hiding):
            state = "active"
        elif core.status == TransactionStatus.IDLE:
            state = "idle"
        else:
            state = "idle in transaction"
        current = next((run.ruled.execution for run in self._recorder.runs.values()), None)
        request = self._rulings.current
        if current is None and request is not None and request.executions:
            current = request.executions[0]
        sql = b";\n".join(current.sql).decode("utf-8", "backslashreplace") if current is not None else None
        return SessionInfo(
            id=self.id,
            user=who.user,
            groups=tuple(sorted(who.groups)),
            database=who.database,
            client_addr=who.client_addr,
            application_name=self._recorder.state.application_name,
            state=state,
            started_at=self._started_at,
            transaction_status=chr(core.status),
            current_sql=sql,
            hold_id=self._waiting.hold_id,
            backend_pid=self._backend_pid,
        )

    def use(self, judge: Judge) -> None:
        """Judge by another policy from the next request on."""
        self._core.leave_fast_path()
        self._arbiter.use(judge)

    async def ask(self, sql: str) -> list[Row]:
        """The rows of a statement run in this session unseen by its client: text columns, None for NULL.

        ``sql`` is one statement that changes nothing, in ASCII and without a backslash, with every name
        qualified. It runs once the server owes nothing, and what the client sends meanwhile waits. In an open
        transaction a savepoint guards it, so it may fail there; in the middle of a series of the extended
        protocol its failure is the client's. Raises ``CannotAsk`` where nothing could be asked, and
        ``AskError`` with what the server reported.
        """
        return await self._asking.ask(sql)

    async def ask_together(self, queries: Sequence[str], settings: Sequence[str] = ()) -> list[list[Row]]:
        """The rows of each query, all from one read-only transaction and one round trip.

        ``settings`` are ``SET LOCAL`` statements for it. In a transaction of the client's it is a subtransaction
        that is rolled back, and reads at that transaction's isolation level. Otherwise as ``ask``, but in the
        middle of a series it raises ``CannotAsk``.
        """
        return await self._asking.ask_together(queries, settings)

    def kill(self, by: str) -> None:
        """End the session for an administrator."""
        why = self._talk.why = f"ended by {by}"
        self._waiting.end(HoldState.INTERRUPTED, why)
        self._talk.say_goodbye(
            ServerError(
                sqlstate.ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
                detail=f"Session {self.id} was ended by {by} on the management port.",
                severity="FATAL",
            )
        )
        self._talk.finish()

    def drain(self) -> None:
        """End the session as soon as the statement it runs has finished; a hold ends now."""
        self._talk.why = "the gateway stopped"
        self._talk.farewell = ServerError(
            sqlstate.ADMIN_SHUTDOWN,
            "terminating connection due to administrator command",
            detail="The gateway is shutting down.",
            hint="Connect again in a moment.",
            severity="FATAL",
        )
        self._waiting.end(HoldState.INTERRUPTED, "the gateway stopped")
        self._rulings.stop_reading()
        self._pump()

    async def cancel(self) -> None:
        """Carry out a CancelRequest: withdraw what is held or read, or cancel what the server runs now."""
        if self._waiting.end(HoldState.WITHDRAWN, "canceled by the user"):
            return
        if self._core.settled and self._rulings.withdraw_reading():
            return
        if self._core.settled or self._rulings.cancelling is not None:
            return
        if self._core.hiding:
            if self._rulings.current is None and not self._core.buffered:
                # What runs is not the client's, and it waits for nothing.
                return
            self._rulings.withdrawn = True
        self._rulings.cancelling = spawn(self._cancel(), name=f"cancel {self.id}")
        await asyncio.wait({self._rulings.cancelling})

    async def _cancel(self) -> None:
        try:
            await self._cancel_upstream()
        except OSError as error:
            logger.warning("session %s: the server could not be asked to cancel: %s", self.id, error)
        finally:
            self._rulings.cancelling = None

    # Callbacks of the links ----------------------------------------------------------------------------

    def from_client(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._shortcut.take(data):
            return
        self._bytes_up += len(data)
        self._core.receive_from_client(data)
        self._pump()

    def from_upstream(self, data: bytes) -> None:
        """Bytes of the server."""
        if self._shortcut.answered(data):
            return
        self._bytes_down += len(data)
        try:
            self._core.receive_from_upstream(data)
        except UpstreamViolation as violation:
            logger.error("session %s: %s", self.id, violation.message)
            self._recorder.metrics.upstream_errors_total.labels("protocol").inc()
            self._talk.flush()
            self._talk.finish(f"the server broke the protocol: {violation.message}")
            return
        self._pump()

    def client_ended(self) -> None:
        """The client sends no more: what is held will not run, what went before is still answered."""
        self._talk.half_closed = True
        if self._waiting.abandon():
            self._talk.client_gone = True
        self._pump()

    def client_lost(self) -> None:
        """The client's connection is gone."""
        talk = self._talk
        talk.client_gone = talk.half_closed = True
        self._waiting.abandon()
        self._rulings.stop_reading()
        talk.upstream.resume_reading()
        if self._core.copying or self._core.settled:
            talk.finish()
        elif not talk.over.done():
            asyncio.get_running_loop().call_later(AFTER_CLIENT_SECONDS, talk.finish)
            self._pump()

    def upstream_lost(self) -> None:
        """The server's connection is gone."""
        talk = self._talk
        if talk.over.done():
            return
        talk.why = "the server closed the connection"
        self._recorder.metrics.upstream_errors_total.labels("lost").inc()
        if self._waiting.end(HoldState.INTERRUPTED, talk.why):
            talk.farewell = ServerError(
                sqlstate.CONNECTION_FAILURE,
                "server closed the connection unexpectedly",
                detail="A statement of this session was waiting for approval. Nothing of it was run.",
                hint="Connect again and run the statement again.",
                severity="FATAL",
            )
            talk.say_goodbye(talk.farewell)
        talk.finish()

    def client_writable(self, ready: bool) -> None:
        """Back-pressure: what the client does not read is not read from the server."""
        if ready:
            self._talk.upstream.resume_reading()
        else:
            self._talk.upstream.pause_reading()

    def upstream_writable(self, ready: bool) -> None:
        """Back-pressure the other way."""
        if not ready:
            self._talk.client.pause_reading()
        elif not self._read_ahead_full:
            self._talk.client.resume_reading()

    # The pump ------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Handle every event that is there, write what came of it, and wake who waits for that."""
        if self._talk.over.done():
            return
        self._arbiter.refill()
        try:
            marker = self._handle_events()
        except FrontendViolation as violation:
            self._talk.flush()
            self._talk.say_goodbye(ServerError(violation.sqlstate, violation.message, severity="FATAL"))
            self._talk.finish(f"the client broke the protocol: {violation.message}")
            return
        except Exception:
            # A bug must not leave a session in a state nobody knows: it ends, and nothing unjudged was sent.
            logger.exception("session %s failed", self.id)
            self._talk.say_goodbye(INTERNAL_ERROR)
            self._talk.finish("internal error")
            return
        self._talk.flush()
        if self._core.settled:
            self._settled()
        self._mind_read_ahead(marker)
        if marker is NEED_DATA:
            self._shortcut.enter()

    def _handle_events(self) -> object:
        core = self._core
        while True:
            event = core.next_event()
            if event is NEED_DATA or event is PAUSED:
                return event
            if isinstance(event, RequestReady):
                self._rulings.request(event.request)
            elif isinstance(event, StatementFinished):
                self._outcomes.finished(event)
                self._following.finished(event)
            elif isinstance(event, Ready):
                self._recorder.state.transaction(open_=event.status != TransactionStatus.IDLE)
                self._following.ready(event.status)
                if event.execution is not None:
                    self._outcomes.ended(event.execution)
                if event.status == TransactionStatus.IDLE:
                    self._catalog.idle()
                    self._outcomes.idle()
                    self._waiting.queueing.idle()
            elif isinstance(event, ParameterChanged):
                self._recorder.state.parameter(event.name, event.value)
            elif isinstance(event, HiddenFinished):
                self._asking.finished(event.hidden)
            elif isinstance(event, UpstreamFatal):
                self._talk.why = f"the server ended the session: {event.report.get('M', '')}"
            elif isinstance(event, CommitFailed):
                self._recorder.commit_failed(event.report.get("C"))
                self._outcomes.commit_failed()
            elif isinstance(event, Withheld):
                self._recorder.withheld(event.report)
            elif isinstance(event, Terminated):
                # As with a half-closed connection, what was asked before is still answered.
                self._talk.half_closed = True

    def _settled(self) -> None:
        """The server owes nothing: wake who waits for that, and end a session that was waiting to end."""
        talk = self._talk
        self._rulings.settled()
        self._recorder.report_withheld()
        self._count_bytes()
        if talk.settled() or self._rulings.busy or talk.over.done():
            return
        if talk.farewell is not None:
            talk.say_goodbye(talk.farewell)
            talk.finish()
        elif talk.half_closed:
            talk.finish()

    def _mind_read_ahead(self, marker: object) -> None:
        talk = self._talk
        if marker is NEED_DATA and not self._rulings.busy:
            # What was canceled was no whole request.
            self._rulings.withdrawn = False
        full = marker is PAUSED and self._core.buffered >= self._config().limits.read_ahead_bytes
        if full and not self._read_ahead_full:
            talk.client.pause_reading()
        elif self._read_ahead_full and not full:
            talk.client.resume_reading()
        self._read_ahead_full = full
        if talk.half_closed and marker is NEED_DATA and not self._rulings.busy and not talk.over.done():
            if self._core.copying:
                talk.finish()
            else:
                self._core.request_answers()
                talk.flush()

    def _count_bytes(self) -> None:
        if self._bytes_up or self._bytes_down:
            self._recorder.metrics.relayed(to_upstream=self._bytes_up, to_client=self._bytes_down)
            self._bytes_up = self._bytes_down = 0
