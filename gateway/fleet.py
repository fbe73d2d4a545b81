"""Several gateways on one store: each says that it lives, hears what the others do, and ends what a dead one left.

Nothing here decides. What is heard late, twice or not at all changes only when somebody is told; who won is in the
store, and what the store says is looked at again every ``POLL_SECONDS``.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Final

from gateway import clock
from gateway.bus import RESET, Bus
from gateway.holds import Holds
from gateway.metrics import Metrics
from gateway.store import Storage, StoreUnavailable
from gateway.tasks import spawn

__all__ = ["Fleet"]

logger = logging.getLogger(__name__)

BACKLOG: Final = 1_000
POLL_SECONDS: Final = 0.7
BEAT_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 5.0
"""How late a ticket that is over may be seen to be; it cannot be approved or used meanwhile."""
SILENT_SECONDS: Final = 8.0
"""A gateway that has said nothing for so long is dead, or as good as that: what it holds can run no more."""


class Fleet:
    """One gateway's part in the fleet. On a store that is not shared it only watches over the store."""

    def __init__(self, store: Storage, holds: Holds, bus: Bus, metrics: Metrics) -> None:
        self._store = store
        self._bus = bus
        self._holds = holds
        self._metrics = metrics
        self._tasks: list[asyncio.Task[None]] = []
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._heard: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue(BACKLOG)
        self._learning = asyncio.Lock()
        self._in_touch_since: float | None = None

    async def start(self) -> None:
        """Make this gateway known. Raises :class:`StoreUnavailable`."""
        await self._holds.start(shared=self._store.shared)
        if self._store.shared:
            await self._store.beat(self._holds.instance)
            self._tasks += [
                spawn(self._store.listen(self._note), name="listen"),
                spawn(self._hear(), name="hear"),
            ]
            self._loops.append(spawn(self._poll(), name="poll of holds"))
        self._loops.append(spawn(self._beat(), name="heartbeat"))
        self._loops.append(spawn(self._sweep(), name="tickets"))

    async def stop(self) -> None:
        """End what waits here, and say farewell."""
        await self._holds.stop()
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._loops, return_exceptions=True)
        if self._store.shared:
            try:
                await self._store.farewell(self._holds.instance)
            except StoreUnavailable as error:
                logger.warning("the others learn only later that this gateway is gone: %s", error)

    async def _pause(self, seconds: float) -> None:
        """A loop stops here and nowhere else: a question to the store is never left half asked."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _beat(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._live()
                self._metrics.reviews_open.set(len(await self._store.unreviewed()))
                self._metrics.store_up.set(1)
            except StoreUnavailable as error:
                self._metrics.store_up.set(0)
                if self._in_touch_since is not None:
                    logger.error("nothing held can be decided: %s", error)
                self._in_touch_since = None
            await self._pause(BEAT_SECONDS)

    async def _live(self) -> None:
        if not self._store.shared:
            await self._store.ping()
        else:
            await self._store.beat(self._holds.instance)
        now = clock.monotonic()
        self._in_touch_since = self._in_touch_since or now
        # When the store comes back, others may only not have had the time to say that they live.
        if self._store.shared and now - self._in_touch_since >= SILENT_SECONDS:
            reason = "the gateway whose session waited is gone"
            ended = await self._store.interrupt_silent(seconds=SILENT_SECONDS, at=clock.now(), reason=reason)
            for hold in ended:
                self._holds.settle(hold)

    def _note(self, event: str, hold_id: str | None) -> None:
        if event == "room":
            self._holds.queue.look()
            self._bus.publish("queue.moved")
            return
        if self._heard.full():
            while not self._heard.empty():
                self._heard.get_nowait()
            event, hold_id = RESET, None
        self._heard.put_nowait((event, hold_id))

    async def _hear(self) -> None:
        while True:
            events = [await self._heard.get()]
            while not self._heard.empty():
                events.append(self._heard.get_nowait())
            try:
                # Together: what happens to many holds at once is looked up at once.
                if any(hold_id is None for _, hold_id in events):
                    await self._look_again()
                    self._bus.publish(RESET)
                else:
                    await self._look_at({hold_id: event for event, hold_id in events if hold_id is not None})
            except StoreUnavailable as error:
                logger.warning("what another gateway did is looked up later: %s", error)

    async def _poll(self) -> None:
        while not self._stopping.is_set():
            await self._pause(POLL_SECONDS)
            try:
                await self._look_again()
            except StoreUnavailable:
                # The heartbeat says so.
                continue

    async def _sweep(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._holds.expire_tickets()
            except StoreUnavailable as error:
                logger.error("tickets that are over could not be ended: %s", error)
            await self._pause(SWEEP_SECONDS)

    async def _look_at(self, events: Mapping[str, str]) -> None:
        """Look at holds of which something was heard last."""
        async with self._learning:
            for hold in await self._store.holds_among(list(events)):
                if not await self._holds.learn(hold):
                    shown = {**hold.to_dict(), "elsewhere": True}
                    self._bus.publish(f"hold.{events[hold.id]}", shown)

    async def _look_again(self) -> None:
        async with self._learning:
            waiting = self._holds.waiting()
            for hold in await self._store.holds_among(waiting) if waiting else ():
                await self._holds.learn(hold)
