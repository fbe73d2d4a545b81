"""Waiting for one's turn: what is approved and does not run before something else about the same people has ended."""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway import clock
from gateway.audit import Kind
from gateway.config import Config
from gateway.hold_port import HoldPort
from gateway.hold_records import hold_record
from gateway.queueing import Ending
from gateway.recorder import Recorder
from gateway.store import Hold, HoldState
from gateway.tasks import spawn
from protocol.errors import ServerError

__all__ = ["Turns"]


class Turns:
    """The turns of one session's holds. ``config`` is asked anew: it may be reloaded."""

    def __init__(
        self,
        config: Callable[[], Config],
        holds: HoldPort,
        recorder: Recorder,
        notify: Callable[[ServerError], None],
    ) -> None:
        self._config = config
        self._holds = holds
        self._recorder = recorder
        self._notify = notify

    async def come(self, hold: Hold, ending: asyncio.Future[Ending]) -> Ending | None:
        """Wait until nothing goes before an approved hold; None, or what ended the wait.

        The client is told at once for whom it waits, when that is another, and every so often: one that vanished
        without a word is found out by writing to it. Raises ``StoreUnavailable``.
        """
        told, told_at = "", 0.0
        while not ending.done():
            first = None if hold.breaks_glass else await self._holds.in_turn(hold.id)
            if first is None:
                return None
            until = hold.good_until
            if until is None or clock.now() >= until:
                return Ending(HoldState.EXPIRED, f"{first} did not end in time")
            now = clock.monotonic()
            if first != told or now - told_at >= self._config().limits.notice_seconds:
                if not told:
                    self._recorder.audit.append(
                        hold_record(hold, Kind.HOLD, "waits", reason=f"until {first} has ended")
                    )
                self._notify(_notice(hold, first))
                told, told_at = first, now
            await self._stirred(hold, ending)
        return ending.result()

    async def _stirred(self, hold: Hold, ending: asyncio.Future[Ending]) -> None:
        stirred = spawn(self._holds.stirred(), name=f"turn of {hold.id}")
        ends: set[asyncio.Future[Any]] = {stirred, ending}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stirred.cancel()


def _notice(hold: Hold, first: str) -> ServerError:
    return ServerError.notice(
        f"statement is approved, and waits until {first} has ended: hold {hold.id}",
        detail="Both concern the same people, and one goes before the other.",
        hint="It goes on by itself. Cancel the statement to withdraw it.",
    )
