"""The sessions of this gateway, for the management port and for shutting down."""

import asyncio
import logging
from typing import Final

from gateway.metrics import Metrics
from gateway.session import Session, SessionInfo
from rules import Judge

__all__ = ["SessionInfo", "SessionRegistry"]

logger = logging.getLogger(__name__)

KILL_WAIT_SECONDS: Final = 5.0
"""How long sessions that were ended by force may take to write their last records."""


class SessionRegistry:
    """Who is connected."""

    def __init__(self, metrics: Metrics) -> None:
        self._sessions: dict[str, Session] = {}
        self._metrics = metrics
        self._empty: asyncio.Event = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """A session begins."""
        self._sessions[session.id] = session
        self._metrics.sessions.inc()
        self._empty.clear()

    def remove(self, session: Session) -> None:
        """A session is over."""
        del self._sessions[session.id]
        self._metrics.sessions.dec()
        if not self._sessions:
            self._empty.set()

    def list(self) -> list[SessionInfo]:
        """All sessions, oldest first."""
        return [session.info() for session in self._sessions.values()]

    def find(self, session_id: str) -> Session | None:
        """The session of an id, if there is one."""
        return self._sessions.get(session_id)

    def kill(self, session_id: str, by: str) -> bool:
        """End a session for ``by``; False when there is none of this id."""
        session = self.find(session_id)
        if session is None:
            return False
        session.kill(by)
        return True

    def use(self, judge: Judge) -> None:
        """Judge by another policy from now on."""
        for session in self._sessions.values():
            session.use(judge)

    async def drain(self, grace: float) -> None:
        """End all sessions: idle ones and holds now, running statements within ``grace`` seconds.

        Sessions that do not end even by force (what they wait for may hang) are left behind and logged: what
        comes after, above all the last records, must not depend on them.
        """
        for session in tuple(self._sessions.values()):
            session.drain()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            for session in tuple(self._sessions.values()):
                session.kill("the gateway's shutdown")
            try:
                async with asyncio.timeout(KILL_WAIT_SECONDS):
                    await self._empty.wait()
            except TimeoutError:
                logger.error("%d sessions did not end: %s", len(self._sessions), ", ".join(self._sessions))
