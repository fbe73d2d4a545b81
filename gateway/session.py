"""One client session: two links, the protocol core between them, and a ruling for every request.

What is allowed never leaves the callback it came in: read, judged, written. Only a request that must wait
(for a person, for the server's answer, for the audit) gets a coroutine, and then only this session waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway import clock
from gateway.arbiter import Arbiter, Release, Ruling
from gateway.audit import AuditUnavailable, Kind
from gateway.cancel import CancelKey
from gateway.config import Config
from gateway.holds import Holds, HoldState
from gateway.link import Link
from gateway.recorder import Recorder, Run
from gateway.store import StoreUnavailable
from gateway.tasks import spawn
from gateway.waiting import Released, Waiting, unavailable
from protocol import messages, sqlstate
from protocol.connection import ProxyConnection
from protocol.errors import FrontendViolation, ProtocolViolation, ServerError, UpstreamViolation
from protocol.events import (
    NEED_DATA,
    PAUSED,
    CommitFailed,
    ParameterChanged,
    Ready,
    RequestReady,
    StatementFinished,
    Terminated,
    UpstreamFatal,
)
from protocol.request import Execution, Request, Step
from protocol.tags import TransactionStatus
from rules import Decision, Judge

__all__ = ["Session", "SessionInfo"]

logger = logging.getLogger(__name__)

AFTER_CLIENT_SECONDS: Final = 30.0
"""How long the server may go on with a statement whose client is gone, so that its outcome is recorded."""

_INTERNAL_ERROR: Final = ServerError(
    sqlstate.INTERNAL_ERROR, "internal error in the gateway", severity="FATAL"
)

LINGER_SECONDS: Final = 10.0
"""How long what is queued for a peer may take to be written after the session ended."""


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

    def __init__(self, session: "Session") -> None:
        self._session = session

    def received(self, data: bytes) -> None:
        self._session.from_client(data)

    def ended(self) -> None:
        self._session.client_ended()

    def lost(self, error: Exception | None) -> None:
        self._session.client_lost()

    def writable(self, ready: bool) -> None:
        self._session.client_writable(ready)


class _UpstreamSide:
    """The relay callbacks of the server's link."""

    def __init__(self, session: "Session") -> None:
        self._session = session

    def received(self, data: bytes) -> None:
        self._session.from_upstream(data)

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
        holds: Holds,
        recorder: Recorder,
        client: Link,
        upstream: Link,
        core: ProxyConnection,
        backend_pid: int | None,
        cancel_upstream: Callable[[], Awaitable[None]],
    ) -> None:
        self.id = recorder.session_id
        self.cancel_key: CancelKey | None = None
        self._config = config
        self._holds = holds
        self._recorder = recorder
        self._client = client
        self._upstream = upstream
        self._core = core
        self._backend_pid = backend_pid
        self._cancel_upstream = cancel_upstream
        self._arbiter = Arbiter(judge, recorder.metrics, recorder.who, recorder.state, core.names)
        self._waiting = Waiting(config, holds, recorder, self._notify)
        self._started_at = clock.now()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._settling: list[asyncio.Future[None]] = []
        self._cancelling: asyncio.Task[None] | None = None
        self._ruling: asyncio.Task[None] | None = None
        self._current: Request | None = None
        self._context_unsettled = False
        self._read_ahead_full = False
        self._client_gone = False
        self._half_closed = False
        self._farewell: ServerError | None = None
        self._why = "client disconnected"
        self._bytes_up = self._bytes_down = 0

    # Life ----------------------------------------------------------------------------------------------

    @property
    def recorder(self) -> Recorder:
        """What this session records."""
        return self._recorder

    async def run(self) -> str:
        """Relay until the session is over; returns why it ended."""
        self._recorder.audit.append(self._recorder.base(Kind.SESSION, tag="start"))
        self._upstream.relay(_UpstreamSide(self))
        self._client.relay(_ClientSide(self))
        try:
            return await self._over
        finally:
            self._waiting.end(HoldState.INTERRUPTED, "the session ended")
            if self._ruling is not None:
                await asyncio.wait({self._ruling})
            for release in self._recorder.lost(self._why):
                await self._save_outcome(release)
            self._count_bytes()
            self._recorder.audit.append(self._recorder.base(Kind.SESSION, tag="end", reason=self._why))

    def info(self) -> SessionInfo:
        """How the session stands."""
        who, core = self._recorder.who, self._core
        if self._waiting.waiting:
            state = "held"
        elif not core.settled:
            state = "active"
        elif core.status == TransactionStatus.IDLE:
            state = "idle"
        else:
            state = "idle in transaction"
        current = next((run.ruled.execution for run in self._recorder.runs.values()), None)
        if current is None and self._current is not None and self._current.executions:
            current = self._current.executions[0]
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
        self._arbiter.use(judge)

    def kill(self, by: str) -> None:
        """End the session for an administrator."""
        self._why = f"ended by {by}"
        self._waiting.end(HoldState.INTERRUPTED, self._why)
        self._say_goodbye(
            ServerError(
                sqlstate.ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
                detail=f"Session {self.id} was ended by {by} on the management port.",
                severity="FATAL",
            )
        )
        self._finish()

    def drain(self) -> None:
        """End the session as soon as the statement it runs has finished; a hold ends now."""
        self._why = "the gateway stopped"
        self._farewell = ServerError(
            sqlstate.ADMIN_SHUTDOWN,
            "terminating connection due to administrator command",
            detail="The gateway is shutting down.",
            hint="Connect again in a moment.",
            severity="FATAL",
        )
        self._waiting.end(HoldState.INTERRUPTED, "the gateway stopped")
        self._pump()

    async def cancel(self) -> None:
        """Carry out a CancelRequest: withdraw the hold, or cancel what the server runs now."""
        if self._waiting.end(HoldState.WITHDRAWN, "canceled by the user"):
            return
        if self._core.settled or self._cancelling is not None:
            return
        self._cancelling = spawn(self._cancel(), name=f"cancel {self.id}")
        await asyncio.wait({self._cancelling})

    async def _cancel(self) -> None:
        try:
            await self._cancel_upstream()
        except OSError as error:
            logger.warning("session %s: the server could not be asked to cancel: %s", self.id, error)
        finally:
            self._cancelling = None

    # Callbacks of the links ----------------------------------------------------------------------------

    def from_client(self, data: bytes) -> None:
        """Bytes of the client."""
        self._bytes_up += len(data)
        self._core.receive_from_client(data)
        self._pump()

    def from_upstream(self, data: bytes) -> None:
        """Bytes of the server."""
        self._bytes_down += len(data)
        try:
            self._core.receive_from_upstream(data)
        except UpstreamViolation as violation:
            logger.error("session %s: %s", self.id, violation.message)
            self._recorder.metrics.upstream_errors_total.labels("protocol").inc()
            self._why = f"the server broke the protocol: {violation.message}"
            self._flush()
            self._finish()
            return
        self._pump()

    def client_ended(self) -> None:
        """The client sends no more: what is held will not run, what went before is still answered."""
        self._half_closed = True
        if self._waiting.end(HoldState.ABANDONED, "the client went away"):
            self._client_gone = True
        self._pump()

    def client_lost(self) -> None:
        """The client's connection is gone."""
        self._client_gone = self._half_closed = True
        self._waiting.end(HoldState.ABANDONED, "the client went away")
        self._upstream.resume_reading()
        if self._core.copying or self._core.settled:
            self._finish()
        elif not self._over.done():
            asyncio.get_running_loop().call_later(AFTER_CLIENT_SECONDS, self._finish)
            self._pump()

    def upstream_lost(self) -> None:
        """The server's connection is gone."""
        if self._over.done():
            return
        self._why = "the server closed the connection"
        self._recorder.metrics.upstream_errors_total.labels("lost").inc()
        if self._waiting.end(HoldState.INTERRUPTED, self._why):
            self._farewell = ServerError(
                sqlstate.CONNECTION_FAILURE,
                "server closed the connection unexpectedly",
                detail="A statement of this session was waiting for approval. Nothing of it was run.",
                hint="Connect again and run the statement again.",
                severity="FATAL",
            )
            self._say_goodbye(self._farewell)
        self._finish()

    def client_writable(self, ready: bool) -> None:
        """Back-pressure: what the client does not read is not read from the server."""
        if ready:
            self._upstream.resume_reading()
        else:
            self._upstream.pause_reading()

    def upstream_writable(self, ready: bool) -> None:
        """Back-pressure the other way."""
        if not ready:
            self._client.pause_reading()
        elif not self._read_ahead_full:
            self._client.resume_reading()

    # The pump ------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Handle every event that is there, write what came of it, and wake who waits for that."""
        if self._over.done():
            return
        try:
            marker = self._handle_events()
        except FrontendViolation as violation:
            self._protocol_fault(violation)
            return
        except Exception:
            # A bug must not leave a session in a state nobody knows: it ends, and nothing unjudged was sent.
            logger.exception("session %s failed", self.id)
            self._why = "internal error"
            self._say_goodbye(_INTERNAL_ERROR)
            self._finish()
            return
        self._flush()
        if self._core.settled:
            self._settled()
        self._mind_read_ahead(marker)

    def _handle_events(self) -> object:
        core = self._core
        while True:
            event = core.next_event()
            if event is NEED_DATA or event is PAUSED:
                return event
            if isinstance(event, RequestReady):
                self._request(event.request)
            elif isinstance(event, StatementFinished):
                self._statement_finished(event)
            elif isinstance(event, Ready):
                self._recorder.state.transaction(open_=event.status != TransactionStatus.IDLE)
                if event.execution is not None:
                    self._ended(event.execution)
            elif isinstance(event, ParameterChanged):
                self._recorder.state.parameter(event.name, event.value)
            elif isinstance(event, UpstreamFatal):
                self._why = f"the server ended the session: {event.report.get('M', '')}"
            elif isinstance(event, CommitFailed):
                self._recorder.audit.append(
                    self._recorder.base(Kind.STATEMENT, tag="(commit failed)", sqlstate=event.report.get("C"))
                )
            elif isinstance(event, Terminated):
                self._why = "client disconnected"
                self._flush()
                self._finish()
                return NEED_DATA

    def _flush(self) -> None:
        to_upstream = self._core.data_to_upstream()
        if to_upstream:
            if len(to_upstream) == 1:
                self._upstream.write(to_upstream[0])
            else:
                self._upstream.write(b"".join(to_upstream))
        to_client = self._core.data_to_client()
        if to_client and not self._client_gone:
            if len(to_client) == 1:
                self._client.write(to_client[0])
            else:
                self._client.writelines(to_client)

    def _settled(self) -> None:
        """The server owes nothing: wake who waits for that, and end a session that was waiting to end."""
        self._context_unsettled = False
        self._count_bytes()
        waiting, self._settling = self._settling, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        if self._ruling is not None or waiting or self._over.done():
            return
        if self._farewell is not None:
            self._say_goodbye(self._farewell)
            self._finish()
        elif self._half_closed:
            self._finish()

    def _mind_read_ahead(self, marker: object) -> None:
        full = marker is PAUSED and self._core.buffered >= self._config().limits.read_ahead_bytes
        if full and not self._read_ahead_full:
            self._client.pause_reading()
        elif self._read_ahead_full and not full:
            self._client.resume_reading()
        self._read_ahead_full = full
        if self._half_closed and marker is NEED_DATA and self._ruling is None and not self._over.done():
            if self._core.copying:
                self._finish()
            else:
                self._core.request_answers()
                self._flush()

    def _count_bytes(self) -> None:
        if self._bytes_up or self._bytes_down:
            self._recorder.metrics.relayed(to_upstream=self._bytes_up, to_client=self._bytes_down)
            self._bytes_up = self._bytes_down = 0

    # Rulings -------------------------------------------------------------------------------------------

    def _request(self, request: Request) -> None:
        self._current = request
        must_wait = self._cancelling is not None or (self._context_unsettled and not self._core.settled)
        if not must_wait and self._farewell is None:
            arrived = clock.monotonic()
            ruling = self._arbiter.rule(request)
            if ruling.decision is Decision.ALLOW and ruling.error is None and self._recorder.audit.healthy:
                self._forward(request, ruling, self._recorder.next_statement_id(), None)
                self._recorder.metrics.overhead_seconds.observe(clock.monotonic() - arrived)
                return
        self._ruling = spawn(self._rule_slowly(request), name=f"ruling {self.id}")

    def _forward(self, request: Request, ruling: Ruling, statement_id: str, held: float | None) -> None:
        self._recorder.started(ruling, statement_id, held)
        self._context_unsettled = self._context_unsettled or ruling.changes_context
        self._current = None
        self._core.forward(request)

    async def _rule_slowly(self, request: Request) -> None:
        try:
            await self._rule_and_wait(request)
        except ProtocolViolation as violation:
            self._ruling = None
            self._why = violation.message
            self._finish()
        except Exception:
            logger.exception("session %s: a ruling failed", self.id)
            self._ruling = None
            self._why = "internal error"
            self._say_goodbye(_INTERNAL_ERROR)
            self._finish()
        else:
            self._ruling = None
            self._current = None
            self._pump()

    async def _rule_and_wait(self, request: Request) -> None:
        statement_id = self._recorder.next_statement_id()
        if self._cancelling is not None:
            await asyncio.wait({self._cancelling})
        await self._until_settled()
        if self._over.done():
            return
        ruling = self._arbiter.rule(request)
        if self._farewell is not None:
            self._say_goodbye(self._farewell)
            self._finish()
            return
        error: ServerError | Released
        if not self._recorder.audit.healthy:
            error = unavailable("the audit cannot be written")
        elif ruling.error is not None:
            error = await self._record_refusal(ruling, statement_id, ruling.error)
        elif ruling.decision is Decision.DENY:
            error = await self._record_refusal(ruling, statement_id, _denied(ruling))
        elif ruling.decision is Decision.HOLD:
            if self._core.release_locks():
                self._flush()
                await self._until_settled()
            error = await self._waiting.hold(request, ruling, self._arbiter, statement_id)
        else:
            self._forward(request, ruling, statement_id, None)
            return
        if isinstance(error, Released):
            self._arbiter.release(ruling, error.hold.id, error.hold.decided_by)
            self._forward(request, ruling, statement_id, error.waited)
            return
        if self._over.done():
            return
        await self._until_settled()
        if self._half_closed and self._client_gone:
            self._finish()
            return
        self._core.refuse(request, error, ruling.at)

    async def _record_refusal(self, ruling: Ruling, statement_id: str, error: ServerError) -> ServerError:
        try:
            await self._recorder.refused(ruling, statement_id, error.sqlstate)
        except AuditUnavailable as unwritten:
            return unavailable(str(unwritten))
        return error

    async def _until_settled(self) -> None:
        while not self._core.settled and not self._over.done():
            self._core.request_answers()
            self._flush()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settling.append(future)
            ends: set[asyncio.Future[Any]] = {future, self._over}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    def _notify(self, notice: ServerError) -> None:
        self._core.notice(notice)
        self._flush()

    # Ends ----------------------------------------------------------------------------------------------

    def _statement_finished(self, event: StatementFinished) -> None:
        run = self._recorder.finished(event)
        if run is None:
            return
        if not event.report and not event.skipped:
            self._follow(run, event.tag)
        if event.execution.step is Step.EXECUTE:
            self._ended(event.execution)

    def _ended(self, execution: Execution) -> None:
        release = self._recorder.ended(execution)
        if release is not None:
            spawn(self._save_outcome(release), name=f"outcome {release.hold_id}")

    async def _save_outcome(self, release: Release) -> None:
        try:
            await self._holds.record_outcome(
                release.hold_id,
                tag="; ".join(release.tags) or None,
                rows=release.rows,
                sqlstate=release.sqlstate,
                duration_ms=round(release.seconds * 1000, 3),
            )
        except StoreUnavailable as error:
            logger.error(
                "hold %s: its outcome is in the audit but not in the store: %s", release.hold_id, error
            )

    def _follow(self, run: Run, tag: str) -> None:
        """What a finished statement changed of the names this session knows."""
        facts, names = run.ruled.judgement.facts, self._core.names
        if tag == "PREPARE" and run.prepares_done < len(facts.prepares):
            name, sql = facts.prepares[run.prepares_done]
            run.prepares_done += 1
            names.prepared_by_sql(name.encode(), sql.encode())
        elif tag == "DEALLOCATE" and run.deallocates_done < len(facts.deallocates):
            dropped = facts.deallocates[run.deallocates_done]
            run.deallocates_done += 1
            if dropped is not None:
                names.statements.discard(dropped.encode())
        elif tag in ("DEALLOCATE ALL", "DISCARD ALL"):
            names.statements.clear_named()
        elif tag == "DECLARE CURSOR":
            self._recorder.state.cursors.update(facts.declares_cursors)

    def _protocol_fault(self, violation: FrontendViolation) -> None:
        self._why = f"the client broke the protocol: {violation.message}"
        self._flush()
        self._say_goodbye(ServerError(violation.sqlstate, violation.message, severity="FATAL"))
        self._finish()

    def _say_goodbye(self, error: ServerError) -> None:
        if self._core.at_client_boundary and not self._client_gone:
            self._client.write(messages.error_response(error))

    def _finish(self) -> None:
        """End both connections: the client's after what is queued, the server's by Terminate."""
        if self._over.done():
            return
        self._over.set_result(self._why)
        self._upstream.write(messages.TERMINATE)
        self._upstream.close()
        self._client.close()
        # A peer that does not read would keep its socket for ever.
        loop = asyncio.get_running_loop()
        loop.call_later(LINGER_SECONDS, self._client.abort)
        loop.call_later(LINGER_SECONDS, self._upstream.abort)


def _denied(ruling: Ruling) -> ServerError:
    assert ruling.deciding is not None, "something was denied"
    verdict = ruling.deciding.judgement.verdict
    return ServerError(
        sqlstate.INSUFFICIENT_PRIVILEGE,
        f"statement denied by rule {verdict.rule}",
        detail=f"{verdict.reason}. Nothing was run.",
        hint="Change the statement, or ask the operator of the gateway about this rule.",
    )
