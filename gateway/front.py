"""What meets the clients of one process: the listener, the sessions, and what judges them."""

import asyncio
import socket

from gateway.audit import AuditPort
from gateway.authn import Authenticator
from gateway.cancel import CancelRegistry
from gateway.catalog import Keeper
from gateway.checking import check_context, database_meant
from gateway.config import Config
from gateway.criteria import Checks
from gateway.hold_port import HoldPort
from gateway.legal_holds import LegalHolds
from gateway.listener import Listener, Ports
from gateway.metrics import Metrics
from gateway.previews import Previews
from gateway.readers.pool import ParsePool
from gateway.seats import SeatPort
from gateway.sessions import SessionRegistry
from gateway.tls import ServerTls, server_tls
from gateway.upstream import Connector
from rules import Explanation, Judge
from rules.caps import is_light

__all__ = ["Front"]


class Front:
    """One process's face to its clients. ``secret`` is what the salts of unknown users are made from.

    What there is only one of in a gateway of several processes is given to ``listen``.
    """

    def __init__(self, config: Config, metrics: Metrics, audit: AuditPort, secret: bytes) -> None:
        self.config = config
        self.judge = Judge(config.policy)
        self.pool = ParsePool(metrics, lambda: self.config.limits)
        self.sessions = SessionRegistry(metrics)
        self.cancels = CancelRegistry()
        self._connector = Connector()
        self.catalogs = Keeper(lambda: self.config, self._connector, metrics)
        self.listener: Listener | None = None
        self._metrics = metrics
        self._audit = audit
        self._secret = secret
        self._tls: ServerTls | None = None
        self._authenticator: Authenticator

    async def start(self) -> None:
        """Know what is judged by: certificates and catalogs. Raises :class:`gateway.tls.TlsError`."""
        self._tls = await asyncio.to_thread(server_tls, self.config.listen.tls)
        self._authenticator = self._new_authenticator()
        await self.catalogs.start()

    async def listen(
        self, holds: HoldPort, seats: SeatPort, sockets: list[socket.socket] | None = None
    ) -> Listener:
        """Accept clients. Raises :class:`gateway.sockets.ListenerError`."""
        self.listener = Listener(
            Ports(
                config=lambda: self.config,
                judge=lambda: self.judge,
                pool=self.pool,
                authenticator=lambda: self._authenticator,
                connector=self._connector,
                holds=holds,
                audit=self._audit,
                metrics=self._metrics,
                sessions=self.sessions,
                seats=seats,
                catalogs=self.catalogs,
                previews=Previews(lambda: self.config, self._connector, holds.keep_impact),
                checks=Checks(lambda: self.config, self._connector, self._metrics),
                legal_holds=LegalHolds(lambda: self.config, self._connector),
                cancels=self.cancels,
            ),
            self._tls,
        )
        await self.listener.start(sockets)
        return self.listener

    async def stop_listening(self) -> None:
        """Take no new sessions."""
        if self.listener is not None:
            await self.listener.stop()

    async def stop(self) -> None:
        """Let go of readers and catalogs, once no session is left."""
        await self.pool.stop()
        await self.catalogs.stop()

    def reload(self, config: Config) -> None:
        """Take another configuration for new sessions and new statements.

        Raises :class:`gateway.tls.TlsError`, and then nothing has changed.
        """
        if config.listen.tls != self.config.listen.tls:
            self._tls = server_tls(config.listen.tls)
        self.config = config
        if self.listener is not None:
            self.listener.tls = self._tls
        self.judge = Judge(config.policy)
        self._authenticator = self._new_authenticator()
        self._connector.forget()
        self.catalogs.reload()
        self.sessions.use(self.judge)

    async def check(self, sql: str, user: str | None, database: str | None) -> Explanation:
        """What would be decided about ``sql`` by the catalog as this process knows it; nothing is run."""
        name = database_meant(self.config, database)
        described = await self.catalogs.described(name)
        context = check_context(self.config, described, user=user or "", database=name)
        # Nobody's session waits for somebody's question: it is read beside the loop, by a judge of its own.
        judge, text = Judge(self.config.policy), sql.encode()
        if is_light(text):
            return await asyncio.to_thread(judge.explain, text, context)
        # A thread would not help: the readers keep the interpreter, and what ends one of them ends the process.
        facts = await self.pool.read(judge, text, context, owner=f"a check by {context.user}")
        return Explanation.without_steps(judge.judge(text, context, facts=facts), context)

    def _new_authenticator(self) -> Authenticator:
        binding = self._tls.binding if self._tls is not None else None
        return Authenticator(self.config.users, binding=binding, secret=self._secret)
