"""One worker process: it accepts clients, judges and forwards, and asks its supervisor for all else.

Nothing may run that nobody records, so a worker whose supervisor is gone ends at once. Signals are the supervisor's:
what a terminal or a service manager sends to the whole group reaches a worker by way of the channel.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Sequence

import uvloop

from gateway.catalog import Copy, Place
from gateway.collector import spare_what_stays
from gateway.config import load_config
from gateway.front import Front
from gateway.hold_port import HOLD_ERRORS, HoldPort
from gateway.logs import log_to_stderr
from gateway.metrics import Family, Metrics
from gateway.seats import SeatPort
from gateway.session import SessionInfo
from gateway.tasks import cancel_all, spawn
from gateway.workers.audit import WorkerAudit
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

__all__ = ["RemoteSeats", "Worker", "main", "run"]

logger = logging.getLogger(__name__)

LAST_TASKS_SECONDS = 5.0


class RemoteSeats(SeatPort):
    """The supervisor's seats. A seat that was granted to somebody who has left meanwhile is given back."""

    def __init__(self, seats: SeatPort) -> None:
        self._seats = seats

    async def take(self) -> bool:
        """Take a place before a login; False when all are taken."""
        taking = spawn(self._seats.take(), name="seat")
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._give_back)
            raise

    def give(self) -> None:
        """The session is over, or never began."""
        self._seats.give()

    def _give_back(self, taking: "asyncio.Task[bool]") -> None:
        if not taking.cancelled() and taking.exception() is None and taking.result():
            self.give()


class Worker(WorkerPort):
    """See :class:`gateway.workers.ports.WorkerPort`."""

    def __init__(self, channel: Channel, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._holds = stub(HoldPort, channel, HOLD_ERRORS)  # type: ignore[type-abstract]
        self._seats = RemoteSeats(stub(SeatPort, channel))  # type: ignore[type-abstract]
        self._records = stub(RecordPort, channel, RECORD_ERRORS)  # type: ignore[type-abstract]
        self._others = stub(OthersPort, channel)  # type: ignore[type-abstract]
        self._metrics = Metrics()
        self._settings: Settings
        self._audit: WorkerAudit
        self._front: Front
        self.stopped = False

    async def start(self, settings: Settings) -> None:
        """Accept clients when this returns."""
        self._settings = settings
        config = load_config(settings.path, text=settings.text)
        self._audit = WorkerAudit(self._records, config.audit)
        front = self._front = Front(config, self._metrics, self._audit, settings.secret)
        front.catalogs.tell = self._others.definitions_changed
        front.catalogs.tell_copies = self._others.copies_made
        front.cancels.elsewhere = self._others.cancel
        for place, copies in settings.copies:
            front.catalogs.copied_elsewhere(place, copies)
        await front.start()
        await front.listen(self._holds, self._seats, self._sockets)
        front.pool.warm()

    async def reload(self, text: str) -> None:
        """Take another configuration."""
        config = load_config(self._settings.path, text=text)
        self._front.reload(config)
        self._audit.use(config.audit)

    async def stop(self, grace: float) -> None:
        """Take no new sessions, end those there are, hand over the last records."""
        await self._front.stop_listening()
        await self._front.sessions.drain(grace)
        await self._front.stop()
        await self._audit.stop()
        self.stopped = True

    async def sessions(self) -> list[SessionInfo]:
        """Its sessions as they stand."""
        return self._front.sessions.list()

    async def kill(self, session_id: str, by: str) -> bool:
        """End one of them."""
        return self._front.sessions.kill(session_id, by)

    async def cancel(self, pid: int, secret: bytes) -> bool:
        """Cancel one of them."""
        return await self._front.cancels.cancel_here(pid, secret)

    async def families(self) -> list[Family]:
        """Its metrics as they are now."""
        self._front.catalogs.measure()
        # What runs is the supervisor's to say.
        return [family for family in self._metrics.families() if family.name != "holdgate_build_info"]

    def definitions_changed(self, place: Place) -> None:
        """Another worker saw a definition change."""
        self._front.catalogs.changed_elsewhere(place)

    def copies_made(self, place: Place, copies: tuple[Copy, ...]) -> None:
        """Another worker lets copies of personal data be made."""
        self._front.catalogs.copied_elsewhere(place, copies)


async def run(channel_socket: socket.socket, sockets: list[socket.socket]) -> int:
    """Serve until the supervisor closes the channel; returns the exit code."""
    channel = await Channel.over(channel_socket)
    worker = Worker(channel, sockets)
    serve(WorkerPort, worker, channel, WORKER_ERRORS)  # type: ignore[type-abstract]
    spare_what_stays()
    channel.begin()
    await channel.closed.wait()
    if not worker.stopped:
        logger.critical("the supervisor is gone: nothing can be recorded, every session ends")
        logging.shutdown()
        # No clean-up could be trusted not to pass on another byte.
        os._exit(1)
    await cancel_all(LAST_TASKS_SECONDS)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the worker called ``arguments[0]`` on the descriptors in the others: the channel, and the listening
    sockets with commas between them."""
    name, channel, sockets = arguments
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Not SIG_IGN: that would be inherited by whatever this process starts.
        signal.signal(number, lambda _number, _frame: None)
    log_to_stderr(logging.INFO, f"%(asctime)s %(levelname)s %(name)s: [worker {name}] %(message)s")
    opened = [_inherited(each) for each in sockets.split(",")]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(_inherited(channel), opened))


def _inherited(descriptor: str) -> socket.socket:
    """A socket of the supervisor's, which is not for what this process starts in turn: a reader that kept it would
    keep the port open, and hide that this process is gone."""
    opened = socket.socket(fileno=int(descriptor))
    opened.set_inheritable(False)
    return opened
