"""One worker as its supervisor sees it: a process, a channel, and what it took and must give back."""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway import clock
from gateway.audit import AuditLog
from gateway.audit.record import Encoded
from gateway.hold_port import HOLD_ERRORS, HoldPort
from gateway.hold_terms import HoldNotFound, HoldRequest, RuleVerdict
from gateway.metrics import Family
from gateway.people import Person
from gateway.seats import SeatPort
from gateway.store import Hold, HoldState, Place, StoreUnavailable
from gateway.workers.channel import Channel
from gateway.workers.ports import (
    RECORD_ERRORS,
    WORKER_ERRORS,
    OthersPort,
    RecordPort,
    Settings,
    WorkerPort,
)
from gateway.workers.remote import serve, stub
from rules import Demand

__all__ = ["HoldsOfWorker", "Member", "Records", "SeatsOfWorker", "Shared"]

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.1
"""How often the audit is looked at while it cannot be written; its writer is a thread and announces nothing."""

EXIT_SECONDS: Final = 5.0
"""How long a worker that has said that it stopped may take to end."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What there is one of for all workers."""

    holds: HoldPort
    seats: SeatPort
    audit: AuditLog


class HoldsOfWorker(HoldPort):
    """The holds, for one worker; knows those that would be left behind if it died."""

    def __init__(self, holds: HoldPort) -> None:
        self._holds = holds
        self._open: set[str] = set()
        self._entries: dict[str, None] = {}

    async def open(self, request: HoldRequest) -> Hold:
        return self._noted(await self._holds.open(request))

    async def ticket(self, request: HoldRequest) -> Hold:
        # No session waits for it: it is not left behind.
        return await self._holds.ticket(request)

    async def wait(self, hold_id: str) -> Hold:
        return self._noted(await self._holds.wait(hold_id))

    async def moved(self, hold_id: str) -> Hold:
        return self._noted(await self._holds.moved(hold_id))

    async def pending_of(self, user: str) -> Sequence[Hold]:
        return await self._holds.pending_of(user)

    async def end(self, hold_id: str, state: HoldState, reason: str) -> Hold:
        return self._noted(await self._holds.end(hold_id, state, reason))

    async def checked(
        self, hold_id: str, criteria: Sequence[Mapping[str, object]], verdict: RuleVerdict, reason: str
    ) -> Hold:
        return self._noted(await self._holds.checked(hold_id, criteria, verdict, reason))

    async def claim(self, hold_id: str, digest: str) -> Hold:
        return self._noted(await self._holds.claim(hold_id, digest))

    async def line_up(
        self, entry: str, hold_id: str, demands: Sequence[Demand], since: datetime, at_once: bool
    ) -> Place | None:
        self._entries[entry] = None
        return await self._holds.line_up(entry, hold_id, demands, since, at_once)

    async def advanced(self, entry: str, at: int) -> Place | None:
        return await self._holds.advanced(entry, at)

    async def leave(self, entry: str, began: bool) -> None:
        await self._holds.leave(entry, began)
        self._entries.pop(entry, None)

    async def in_turn(self, hold_id: str) -> str | None:
        return await self._holds.in_turn(hold_id)

    async def stirred(self) -> None:
        await self._holds.stirred()

    async def grant_problem(self, grant_id: str) -> str | None:
        return await self._holds.grant_problem(grant_id)

    async def approver(self, name: str) -> Person | None:
        return await self._holds.approver(name)

    async def record_outcome(
        self, hold_id: str, tag: str | None, rows: int | None, sqlstate: str | None, duration_ms: float | None
    ) -> None:
        await self._holds.record_outcome(hold_id, tag, rows, sqlstate, duration_ms)

    async def keep_impact(self, hold_id: str, impact: Mapping[str, object]) -> None:
        await self._holds.keep_impact(hold_id, impact)

    async def interrupt(self) -> None:
        """The worker is gone, and with it the sessions that waited."""
        for hold_id in tuple(self._open):
            try:
                await self._holds.end(
                    hold_id, HoldState.INTERRUPTED, "the process of its session ended unexpectedly"
                )
            except (StoreUnavailable, HoldNotFound) as error:
                logger.error("%s of a worker that is gone: %s", hold_id, error)
        self._open.clear()
        # The last first: nobody who is gone is let in by another who is.
        for entry in reversed(tuple(self._entries)):
            await self._holds.leave(entry, True)
        self._entries.clear()

    def _noted(self, hold: Hold) -> Hold:
        if hold.open:
            self._open.add(hold.id)
        else:
            self._open.discard(hold.id)
        return hold


class SeatsOfWorker(SeatPort):
    """The seats, for one worker."""

    def __init__(self, seats: SeatPort) -> None:
        self._seats = seats
        self.taken = 0

    async def take(self) -> bool:
        granted = await self._seats.take()
        self.taken += granted
        return granted

    def give(self) -> None:
        self.taken -= 1
        self._seats.give()

    def give_all(self) -> None:
        """The worker is gone."""
        while self.taken:
            self.give()


class Records(RecordPort):
    """The audit's file, for one worker."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    async def take(self, records: list[str]) -> None:
        await self._audit.take([Encoded(record) for record in records])

    async def take_intent(self, record: str) -> None:
        await self._audit.take_intent(Encoded(record))

    async def recovered(self) -> None:
        while True:
            if self._audit.healthy:
                return
            await asyncio.sleep(LOOK_SECONDS)


class Member:
    """One worker process. ``port`` asks it; ``closed`` is set when it is gone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.since = clock.monotonic()
        self.families: Sequence[Family] = ()
        """Its metrics when it was asked last."""
        self.port: WorkerPort
        self._channel: Channel
        self._process: asyncio.subprocess.Process
        self._holds: HoldsOfWorker
        self._seats: SeatsOfWorker

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    @property
    def closed(self) -> asyncio.Event:
        """Set when it is gone, or can be spoken to no more."""
        return self._channel.closed

    @property
    def sessions(self) -> int:
        """How many sessions it has, those that log in included."""
        return self._seats.taken

    async def start(
        self, sockets: list[socket.socket], settings: Settings, shared: Shared, others: OthersPort
    ) -> None:
        """Start the process; it accepts clients when this returns.

        Raises :class:`gateway.workers.channel.ChannelClosed`, :class:`gateway.workers.channel.CallFailed` or one of
        :data:`gateway.workers.ports.WORKER_ERRORS`, and then it has ended.
        """
        ours, theirs = socket.socketpair()
        listening = [sock.fileno() for sock in sockets]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "gateway.workers", self.name, str(theirs.fileno())),
                ",".join(map(str, listening)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *listening),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._channel = await Channel.over(ours)
        self._holds = HoldsOfWorker(shared.holds)
        self._seats = SeatsOfWorker(shared.seats)
        serve(HoldPort, self._holds, self._channel, HOLD_ERRORS)  # type: ignore[type-abstract]
        serve(SeatPort, self._seats, self._channel)  # type: ignore[type-abstract]
        serve(RecordPort, Records(shared.audit), self._channel, RECORD_ERRORS)  # type: ignore[type-abstract]
        serve(OthersPort, others, self._channel)  # type: ignore[type-abstract]
        self.port = stub(WorkerPort, self._channel, WORKER_ERRORS)  # type: ignore[type-abstract]
        self._channel.begin()
        try:
            await self.port.start(settings)
        except BaseException:
            await self.end()
            raise

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self, patience: float = 0.0) -> str:
        """Wait ``patience`` seconds for its end, then end it; give back what it took. Returns how it ended."""
        self._channel.close()
        try:
            async with asyncio.timeout(patience):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._holds.interrupt()
        self._seats.give_all()
        code = self._process.returncode
        assert code is not None, "it was waited for"
        return f"exit code {code}" if code >= 0 else f"signal {-code}"
