"""The workers of one supervisor: started, replaced when they die, asked together, reloaded and stopped.

Each has a listening socket of its own on the one port, which the supervisor opens and keeps: what arrives while a
worker is being replaced waits there for the next one.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from gateway import clock
from gateway.audit import AuditRecord, Kind
from gateway.catalog import Copy, Keeper, Place
from gateway.config import Config
from gateway.metrics import Family, Metrics, summed
from gateway.session import SessionInfo
from gateway.sockets import listen_on, listening_sockets
from gateway.tasks import spawn
from gateway.tls import TlsError
from gateway.workers.channel import CallFailed, ChannelClosed
from gateway.workers.member import EXIT_SECONDS, Member, Shared
from gateway.workers.ports import OthersPort, Settings, WorkerPort

__all__ = ["Crew", "WorkerFailed"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

ASK_SECONDS: Final = 5.0
"""How long a worker may take to say how it stands; what it does not say in time is left out."""

CANCEL_SECONDS: Final = 15.0
"""The same where it waits for a server: more than :data:`gateway.listener.CANCEL_SECONDS`."""

STEADY_SECONDS: Final = 10.0
"""A worker that ended before it was so old is replaced after a pause, which grows with each that does."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0

STOP_SECONDS: Final = 20.0
"""What a worker gets to stop beyond the grace its sessions have: to end them by force, and for its records."""

_FAILURES: Final = (OSError, CallFailed, TlsError)


class WorkerFailed(OSError):
    """A worker could not be started; the text says why."""


class Crew:
    """The workers. ``config`` is asked anew: it may be reloaded. ``secret`` is that of the supervisor's own
    :class:`gateway.front.Front`, ``catalogs`` the catalogs it keeps itself."""

    def __init__(
        self,
        config: Callable[[], Config],
        shared: Shared,
        catalogs: Keeper,
        metrics: Metrics,
        secret: bytes,
    ) -> None:
        self._config = config
        self._shared = shared
        self._catalogs = catalogs
        self._metrics = metrics
        self._secret = secret
        self._sockets: list[list[socket.socket]] = []
        self._places: list[tuple[int, tuple[Any, ...]]] = []
        self._members: dict[int, Member] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._gone: Sequence[Family] = ()
        """What workers that are gone had counted."""

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._places[0][1][1])

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return bool(self._members)

    @property
    def members(self) -> list[Member]:
        """The workers that are there now."""
        return list(self._members.values())

    # Life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all of them. Raises ``ListenerError`` and :class:`WorkerFailed`; nothing stays open then."""
        listen = self._config().listen
        self._sockets = await listening_sockets(listen.address, listen.port, listen.workers)
        self._places = [(sock.family, sock.getsockname()) for sock in self._sockets[0]]
        try:
            failures = await asyncio.gather(*map(self._attempt, range(listen.workers)))
        except BaseException:
            await self.stop(0.0)
            raise
        failure = next(filter(None, failures), None)
        if failure is not None:
            await self.stop(0.0)
            raise WorkerFailed(f"a worker could not be started: {failure}") from failure
        self._keepers = [
            spawn(self._keep(at), name=f"keeper of worker {at + 1}") for at in range(listen.workers)
        ]

    async def stop(self, grace: float) -> None:
        """Take no new sessions, let running statements finish for ``grace`` seconds, end the workers."""
        for task in self._keepers:
            task.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers)
        for at in range(len(self._sockets)):
            self._close(at)
        members, self._members = self.members, {}
        await asyncio.gather(*(self._stop(member, grace) for member in members))

    async def _stop(self, member: Member, grace: float) -> None:
        try:
            async with asyncio.timeout(grace + STOP_SECONDS):
                await member.port.stop(grace)
        except (TimeoutError, *_FAILURES) as error:
            logger.error("worker %s did not stop: %s", member.name, error or "no answer in time")
        ended = await member.end(EXIT_SECONDS)
        if ended != "exit code 0":
            logger.error("worker %s ended by %s", member.name, ended)

    async def _start(self, at: int) -> None:
        member = Member(str(at + 1))
        text = self._config().text
        copies = self._catalogs.known_copies
        settings = Settings(str(self._config().path), text, self._secret, copies)
        await member.start(self._sockets[at], settings, self._shared, _Others(self, at))
        self._members[at] = member
        logger.info("worker %s (process %d) accepts clients", member.name, member.pid)
        # What was said while it began was not said to it.
        if copies != self._catalogs.known_copies:
            for place, made in self._catalogs.known_copies:
                member.port.copies_made(place, made)
        if text != self._config().text:
            await self._reload(member)

    async def _attempt(self, at: int) -> Exception | None:
        """Start a worker; why that failed, None where it did not."""
        try:
            await self._start(at)
        except _FAILURES as error:
            return error
        return None

    async def _keep(self, at: int) -> None:
        """Replace one worker after the other in a place."""
        pause = 0.0
        while True:
            member = self._members[at]
            await member.closed.wait()
            del self._members[at]
            sessions = member.sessions
            ended = await member.end()
            self._gone = summed([*self._gone, *filter(_counts, member.families)])
            self._metrics.workers_lost_total.inc()
            why = f"worker {member.name} (process {member.pid}) ended by {ended}, and {sessions} sessions with it"
            logger.error("%s", why)
            self._shared.audit.append(AuditRecord(Kind.GATEWAY, tag="worker lost", reason=why))
            pause = 0.0 if clock.monotonic() - member.since >= STEADY_SECONDS else _longer(pause)
            pause = await self._replace(at, pause)

    async def _replace(self, at: int, pause: float) -> float:
        """Start another worker, after ``pause`` seconds, in which connections go to the others. Returns the pause
        that it took."""
        while True:
            if pause:
                self._close(at)
                await asyncio.sleep(pause)
            try:
                if not self._sockets[at]:
                    self._sockets[at] = listen_on(self._places, shared=True)
            except OSError as error:
                failure: Exception | None = error
            else:
                failure = await self._attempt(at)
            if failure is None:
                return pause
            pause = _longer(pause)
            logger.error("worker %d could not be started again: %s", at + 1, failure)

    def _close(self, at: int) -> None:
        for sock in self._sockets[at]:
            sock.close()
        self._sockets[at] = []

    # Asking all of them --------------------------------------------------------------------------------

    async def list(self) -> Sequence[SessionInfo]:
        """The sessions of all workers."""
        found = await self._ask(lambda port: port.sessions())
        return [session for _, some in found for session in some]

    async def kill(self, session_id: str, by: str) -> bool:
        """End a session for ``by``; False when no worker has one of this id."""
        return any(done for _, done in await self._ask(lambda port: port.kill(session_id, by)))

    async def families(self) -> Sequence[Family]:
        """The metrics of all workers, and what those counted that are gone."""
        for member, families in await self._ask(lambda port: port.families()):
            member.families = families
        return [*self._gone, *(family for member in self.members for family in member.families)]

    async def reload(self) -> None:
        """Let every worker take the configuration as it is now. One that cannot is replaced."""
        await asyncio.gather(*(self._reload(member) for member in self.members))

    async def cancel(self, pid: int, secret: bytes, *, but: int) -> bool:
        """Cancel the session of a key, whichever worker has it."""
        others = [member for at, member in self._members.items() if at != but]
        answers = await self._ask(lambda port: port.cancel(pid, secret), others, patience=CANCEL_SECONDS)
        return any(done for _, done in answers)

    def definitions_changed(self, place: Place, *, but: int) -> None:
        """A worker saw that a definition may have changed: tell the others."""
        self._catalogs.changed_elsewhere(place)
        for at, member in self._members.items():
            if at != but:
                member.port.definitions_changed(place)

    def copies_made(self, place: Place, copies: tuple[Copy, ...], *, but: int) -> None:
        """A worker lets copies of personal data be made: tell the others."""
        self._catalogs.copied_elsewhere(place, copies)
        for at, member in self._members.items():
            if at != but:
                member.port.copies_made(place, copies)

    async def _reload(self, member: Member) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await member.port.reload(self._config().text)
        except ChannelClosed:
            pass
        except (TimeoutError, *_FAILURES) as error:
            # Two workers that judge differently would be worse than one whose sessions end.
            logger.error("worker %s did not take the configuration and is replaced: %s", member.name, error)
            member.kill()

    async def _ask(
        self,
        ask: Callable[[WorkerPort], Awaitable[T]],
        members: Sequence[Member] | None = None,
        *,
        patience: float = ASK_SECONDS,
    ) -> Sequence[tuple[Member, T]]:
        """What those workers answer that can answer."""

        async def one(member: Member) -> Sequence[tuple[Member, T]]:
            try:
                async with asyncio.timeout(patience):
                    return [(member, await ask(member.port))]
            except ChannelClosed:
                return []
            except (TimeoutError, CallFailed) as error:
                logger.error("worker %s did not answer: %s", member.name, error or "no answer in time")
                return []

        answers = await asyncio.gather(*map(one, self.members if members is None else members))
        return [answer for some in answers for answer in some]


class _Others(OthersPort):
    """The workers beside the one in place ``at``."""

    def __init__(self, crew: Crew, at: int) -> None:
        self._crew = crew
        self._at = at

    async def cancel(self, pid: int, secret: bytes) -> bool:
        return await self._crew.cancel(pid, secret, but=self._at)

    def definitions_changed(self, place: Place) -> None:
        self._crew.definitions_changed(place, but=self._at)

    def copies_made(self, place: Place, copies: tuple[Copy, ...]) -> None:
        self._crew.copies_made(place, copies, but=self._at)


def _longer(pause: float) -> float:
    return min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)


def _counts(family: Family) -> bool:
    """Whether a metric only grows: what a worker has counted stays counted when it is gone."""
    return family.kind in ("counter", "histogram")
