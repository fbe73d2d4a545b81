"""The queue for room under caps: approved statements that wait, or have places, and whose sessions are in this process.

Who is let in is settled by the store, whichever gateway makes room; this module carries the news, and tells the store
again what it should know: a gateway that was thought dead may have lost its places.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from gateway.clock import Clock
from gateway.hold_terms import HoldNotFound, InCircle
from gateway.owed import Owed
from gateway.store import Place, PlaceStore, StoreUnavailable
from gateway.tasks import spawn
from rules import Cap, Demand

__all__ = ["HoldQueue"]

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.7
"""How late it may be noticed that a span of time is over, or news of another gateway was lost."""


class _Entry:
    """One statement; ``place`` is where it waits, None once it has all of its places."""

    __slots__ = ("demands", "hold_id", "in_circle", "moved", "place", "since")

    def __init__(self, hold_id: str, demands: Sequence[Demand], since: datetime, place: Place | None) -> None:
        self.hold_id = hold_id
        self.demands = tuple(demands)
        self.since = since
        self.place = place
        self.in_circle = False
        self.moved = asyncio.Event()

    @property
    def kept(self) -> int:
        """How many places it needs for as long as it runs."""
        return sum(demand.per is None for demand in self.demands)

    def stand(self, place: Place | None, *, in_circle: bool = False) -> bool:
        """Take what the store says; whether that is news."""
        if place == self.place and in_circle == self.in_circle:
            return False
        self.place, self.in_circle = place, in_circle
        self.moved.set()
        self.moved = asyncio.Event()
        return True


class HoldQueue:
    """The queue of this process. ``moved`` is called when somebody came, went or moved up."""

    def __init__(
        self, store: PlaceStore, instance: str, clock: Clock, owed: Owed, moved: Callable[[], object]
    ) -> None:
        self._store = store
        self._instance = instance
        self._clock = clock
        self._owed = owed
        self._moved = moved
        self._entries: dict[str, _Entry] = {}
        # Nobody is put into the store while they leave it.
        self._changing = asyncio.Lock()
        self._woken = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many statements of this process wait for room."""
        return sum(entry.place is not None for entry in self._entries.values())

    async def line_up(
        self, entry: str, hold_id: str, demands: Sequence[Demand], since: datetime, *, at_once: bool
    ) -> Place | None:
        """Queue for all of ``demands``; returns where, None when there is room. Raises :class:`StoreUnavailable`."""
        async with self._changing:
            stand = await self._store.line_up(
                entry,
                hold_id,
                demands,
                instance=self._instance,
                since=since,
                at=self._clock.now(),
                at_once=at_once,
            )
            self._entries[entry] = _Entry(hold_id, demands, since, stand.place)
        if self._watch is None or self._watch.done():
            self._watch = spawn(self._watch_over(), name="queue")
        self._moved()
        return stand.place

    async def advanced(self, entry: str, at: int) -> Place | None:
        """Where it waits once that is no more at number ``at``; None when it has its places.

        Raises :class:`HoldNotFound` once it has left, and :class:`InCircle`.
        """
        while True:
            one = self._entries.get(entry)
            if one is None:
                raise HoldNotFound(f"{entry} is not in the queue")
            if one.in_circle:
                raise InCircle(f"{entry} waits for somebody who waits for it")
            if one.place is None or one.place.at != at:
                return one.place
            await one.moved.wait()

    async def leave(self, entry: str, *, began: bool) -> None:
        """Give everything back, or leave the queue, now or as soon as the store answers."""

        async def give_back() -> None:
            async with self._changing:
                one = self._entries.pop(entry, None)
                if one is not None:
                    one.moved.set()
                await self._store.leave(entry, began=began, at=self._clock.now())

        await self._owed.now_or_later(give_back, f"places of {entry}")
        self.look()
        self._moved()

    def look(self) -> None:
        """Somebody may have been let in."""
        self._woken.set()

    async def resize(self, caps: Iterable[Cap]) -> None:
        """The caps are others now. Raises :class:`StoreUnavailable`."""
        sizes = {cap.name: (cap.most, cap.per) for cap in caps}
        for one in self._entries.values():
            one.demands = tuple(
                Demand(demand.cap, demand.key, *sizes[demand.cap])
                for demand in one.demands
                if demand.cap in sizes
            )
        await self._store.resize(sizes, self._clock.now())
        self.look()

    def stop(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._watch.cancel()

    async def _watch_over(self) -> None:
        while self._entries:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._look()
            except StoreUnavailable as error:
                logger.warning("who is next in the queue is looked up later: %s", error)

    async def _look(self) -> None:
        asked = list(self._entries)
        stands = {one.entry: one for one in await self._store.stands(asked, self._clock.now())}
        news = False
        for name in asked:
            one, stand = self._entries.get(name), stands.get(name)
            if one is None:
                continue
            if stand is None or stand.kept < one.kept:
                await self._put_back(name)
            else:
                news = one.stand(stand.place, in_circle=stand.in_circle) or news
        if news:
            self._moved()

    async def _put_back(self, name: str) -> None:
        """The store does not know of it: a gateway was thought dead, or what it waited for is no cap any more."""
        async with self._changing:
            one = self._entries.get(name)
            if one is None:
                return
            # What began in a span of time is forgotten when that is over.
            demands = [each for each in one.demands if one.place is not None or each.per is None]
            if not demands:
                one.stand(None)
                return
            stand = await self._store.line_up(
                name,
                one.hold_id,
                demands,
                instance=self._instance,
                since=one.since,
                at=self._clock.now(),
                at_once=one.place is None,
            )
            one.stand(stand.place)
