"""The listening socket, and the way of each connection from there into a session."""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.audit import AuditPort
from gateway.authn import Authenticator, LoginRefused, no_rule
from gateway.cancel import CancelRegistry, send_cancel
from gateway.catalog import Keeper
from gateway.config import Config, Database
from gateway.criteria import Checks
from gateway.hold_port import HoldPort
from gateway.identity import Principal, SessionState
from gateway.legal_holds import LegalHolds
from gateway.link import Link
from gateway.metrics import Metrics
from gateway.previews import Previews
from gateway.readers.pool import ParsePool
from gateway.reception import receive
from gateway.recorder import Recorder, new_session_id
from gateway.seats import SeatPort
from gateway.session import Session
from gateway.sessions import SessionRegistry
from gateway.sockets import listening_sockets
from gateway.tasks import spawn
from gateway.tls import ServerTls
from gateway.upstream import Connector, UpstreamSession, UpstreamUnavailable
from protocol import sqlstate
from protocol.connection import ProxyConnection
from protocol.errors import ProtocolViolation, ServerError
from protocol.frontend import Limits
from protocol.messages import error_response
from protocol.startup import CancelRequest, Replication, StartupMessage
from protocol.tags import TransactionStatus
from rules import Decision, Judge, Verdict

__all__ = ["Listener", "Ports"]

logger = logging.getLogger(__name__)

CANCEL_SECONDS: Final = 10.0
OUT_OF_FILES_PAUSE: Final = 0.5
SERVER_MARGIN: Final = 0.1
"""Part of the time for a login that the server does not get."""

_TIMED_OUT: Final = ServerError(
    sqlstate.QUERY_CANCELED, "canceling authentication due to timeout", severity="FATAL"
)
"""The server's own words for a client that takes too long."""


@dataclass(slots=True)
class Ports:
    """What a session needs of the gateway. ``config`` and ``judge`` are asked anew: they may be reloaded."""

    config: Callable[[], Config]
    judge: Callable[[], Judge]
    pool: ParsePool
    authenticator: Callable[[], Authenticator]
    connector: Connector
    holds: HoldPort
    audit: AuditPort
    metrics: Metrics
    sessions: SessionRegistry
    seats: SeatPort
    catalogs: Keeper
    previews: Previews
    checks: Checks
    legal_holds: LegalHolds
    cancels: CancelRegistry = field(default_factory=CancelRegistry)


class Listener:
    """Accepts connections until it is stopped."""

    def __init__(self, ports: Ports, tls: ServerTls | None) -> None:
        self._ports = ports
        self.tls = tls
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._stopping = False

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._sockets[0].getsockname()[1])

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return any(not task.done() for task in self._accepting)

    async def start(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, on ``sockets`` if they are open already. Raises ``ListenerError``."""
        listen = self._ports.config().listen
        if sockets is None:
            (sockets,) = await listening_sockets(listen.address, listen.port)
        self._sockets = sockets
        self._accepting = [spawn(self._accept(sock), name="accept") for sock in self._sockets]

    async def stop(self) -> None:
        """Accept no more; sessions go on. Whoever is about to log in is turned away."""
        self._stopping = True
        for task in self._accepting:
            task.cancel()
        if self._accepting:
            await asyncio.wait(self._accepting)
        for sock in self._sockets:
            sock.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as error:
                # Out of file descriptors: the connection waits in the backlog until some are free again.
                logger.error("a connection could not be accepted: %s", error)
                await asyncio.sleep(OUT_OF_FILES_PAUSE)
                continue
            sock.setblocking(False)
            spawn(self._connection(sock), name="connection")

    async def _connection(self, sock: socket.socket) -> None:
        outcome = "failed"
        session: Session | None = None
        link: Link | None = None
        started = False
        seconds = self._ports.config().limits.startup_seconds
        until = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(until):
                arrival = await receive(sock, self.tls)
                if arrival is None:
                    outcome = "refused"
                    return
                link = arrival.link
                if isinstance(arrival.asks, CancelRequest):
                    outcome = "cancel"
                    await self._ports.cancels.cancel(arrival.asks.pid, arrival.asks.secret)
                    return
                assert link is not None
                started = True
                # A little less for the server, so that whoever waits for it learns that it was the server.
                session = await self._admit(link, arrival.asks, until - seconds * SERVER_MARGIN)
            outcome = "served"
        except LoginRefused as refused:
            outcome = "refused"
            logger.warning("%s", refused.log)
            if isinstance(refused, UpstreamUnavailable):
                self._ports.metrics.upstream_errors_total.labels(refused.kind).inc()
            if link is not None:
                link.write(refused.encoded())
        except TimeoutError:
            outcome = "timeout"
            if link is not None and started:
                link.write(error_response(_TIMED_OUT))
        except ProtocolViolation as violation:
            outcome = "refused"
            logger.info("a connection broke the protocol before it began: %s", violation.message)
        except OSError as error:
            logger.debug("a connection ended before it began: %s", error)
        finally:
            if session is None:
                self._ports.metrics.sessions_total.labels(outcome).inc()
                if link is not None:
                    link.hang_up()
                else:
                    sock.close()
        if session is not None:
            await self._serve(session)

    async def _admit(self, link: Link, startup: StartupMessage, until: float) -> Session:
        ports = self._ports
        config = ports.config()
        self._mind_stopping()
        if not await ports.seats.take():
            raise LoginRefused(
                ServerError(
                    sqlstate.TOO_MANY_CONNECTIONS, "sorry, too many clients already", severity="FATAL"
                ),
                f"{config.limits.sessions} sessions are open (limits.sessions); one more was turned away",
            )
        try:
            session = await self._log_in(link, startup, config, until)
        except BaseException:
            ports.seats.give()
            raise
        if self._stopping:
            # The stop has counted the sessions there are, and this one came while the server was asked.
            session.drain()
        return session

    def _mind_stopping(self) -> None:
        if self._stopping:
            shutting_down = ServerError(
                sqlstate.CANNOT_CONNECT_NOW,
                "the database system is shutting down",
                hint="The gateway is stopping. Connect again in a moment.",
                severity="FATAL",
            )
            raise LoginRefused(shutting_down, "a login came while the gateway was stopping")

    async def _log_in(self, link: Link, startup: StartupMessage, config: Config, until: float) -> Session:
        ports = self._ports
        loop = asyncio.get_running_loop()
        encrypted = link.tls is not None
        if self.tls is not None and self.tls.mode == "require" and not encrypted:
            raise no_rule(startup, link.peername, encrypted=False, hint="Connect with sslmode=require.")
        database = config.database(startup.database)
        if database is None:
            raise LoginRefused(
                ServerError(
                    sqlstate.INVALID_CATALOG_NAME,
                    f'database "{startup.database}" does not exist',
                    hint="The gateway's configuration does not list it under databases.",
                    severity="FATAL",
                )
            )
        if not ports.audit.healthy:
            raise LoginRefused(
                ServerError(
                    sqlstate.SYSTEM_ERROR,
                    "the gateway cannot record sessions now",
                    hint="Tell its operator: the audit cannot be written.",
                    severity="FATAL",
                )
            )
        replication = startup.replication is not Replication.NONE
        user = config.users.get(startup.user)
        role = user.role if user is not None else None
        if database.auth == "gateway":
            negotiation = startup.negotiation()
            if negotiation is not None:
                link.write(negotiation)
            await ports.authenticator().authenticate(link, startup)
            self._judge_startup(link, startup, config)
            upstream = await ports.connector.connect(
                database, startup, role=role, replication=replication, within=until - loop.time()
            )
        else:
            ports.authenticator().check_enabled(startup.user)
            self._judge_startup(link, startup, config)
            upstream = await ports.connector.connect(
                database, startup, client=link, replication=replication, within=until - loop.time()
            )
            role = None
        return self._session(link, startup, config, database, upstream, role)

    def _judge_startup(self, link: Link, startup: StartupMessage, config: Config) -> None:
        who, state = _identity(link, startup, config, None)
        judge, context = self._ports.judge(), state.context(who, {})
        settings = judge.judge_startup(startup.settings, context).verdict
        if settings.decision is not Decision.ALLOW:
            hint = "Connect without this setting (PGCLIENTENCODING, PGOPTIONS, options)"
            raise _session_denied("session", startup, settings, hint)
        if startup.replication is Replication.NONE:
            return
        replication = judge.judge_replication(context).verdict
        if replication.decision is not Decision.ALLOW:
            hint = "A rule for the action replication can allow it"
            raise _session_denied("replication connection", startup, replication, hint)

    def _session(
        self,
        link: Link,
        startup: StartupMessage,
        config: Config,
        database: Database,
        upstream: UpstreamSession,
        role: str | None,
    ) -> Session:
        ports = self._ports
        who, state = _identity(link, startup, config, role)
        state.begins_with(upstream.parameters)
        limits = config.limits
        recorder = Recorder(ports.audit, ports.metrics, who, state, new_session_id())
        target = upstream.cancel

        async def cancel_upstream() -> None:
            if target is not None:
                await send_cancel(target, timeout=CANCEL_SECONDS)

        session = Session(
            config=ports.config,
            judge=ports.judge(),
            pool=ports.pool,
            holds=ports.holds,
            recorder=recorder,
            client=link,
            upstream=upstream.link,
            core=ProxyConnection(
                Limits(limits.statement_bytes, limits.request_bytes), TransactionStatus.IDLE
            ),
            backend_pid=target.pid if target is not None else None,
            cancel_upstream=cancel_upstream,
            catalog=ports.catalogs.join(startup.database),
            generations=ports.catalogs.generations,
            previews=ports.previews,
            checks=ports.checks,
            legal_holds=ports.legal_holds,
        )
        secret = None
        if target is not None:
            session.cancel_key = ports.cancels.register(target.pid, session, minor=upstream.minor)
            secret = session.cancel_key.secret
        link.write(upstream.greeting(secret))
        ports.sessions.add(session)
        return session

    async def _serve(self, session: Session) -> None:
        ports = self._ports
        outcome = "failed"
        try:
            why = await session.run()
            outcome = "closed"
            logger.info("session %s ended: %s", session.id, why)
        finally:
            ports.metrics.sessions_total.labels(outcome).inc()
            if session.cancel_key is not None:
                ports.cancels.remove(session.cancel_key)
            ports.sessions.remove(session)
            ports.seats.give()
            ports.catalogs.leave(session.catalog)


def _session_denied(what: str, startup: StartupMessage, verdict: Verdict, hint: str) -> LoginRefused:
    report = ServerError(
        sqlstate.INSUFFICIENT_PRIVILEGE,
        f"{what} denied by rule {verdict.rule}",
        detail=verdict.reason,
        hint=f"{hint}; ask the operator of the gateway.",
        severity="FATAL",
    )
    log = f"{what} of user {startup.user!r} with database {startup.database!r} denied: {verdict.reason}"
    return LoginRefused(report, log)


def _identity(
    link: Link, startup: StartupMessage, config: Config, role: str | None
) -> tuple[Principal, SessionState]:
    who = Principal(startup.user, config.groups_of(startup.user), startup.database, link.peername, role)
    state = SessionState(startup.user, replication=startup.replication is not Replication.NONE)
    for name, value in startup.settings.items():
        state.parameter(name, value)
    return who, state
