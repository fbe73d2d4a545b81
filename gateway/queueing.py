"""The places of one session's statements under caps: waited for before a release, kept until its transaction ends.

A statement keeps its locks until its transaction ends, so it keeps its places as long. What the transaction runs
besides does not need another of the same: a session runs one statement at a time.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from gateway import clock
from gateway.arbiter import Ruling
from gateway.config import Config
from gateway.hold_port import HoldPort
from gateway.hold_terms import InCircle, storable
from gateway.recorder import Recorder
from gateway.store import Hold, HoldState, Place
from gateway.tasks import spawn
from protocol.errors import ServerError
from rules import Demand, EffectFacts, Parameter, demands, narrow

__all__ = ["IN_CIRCLE", "Ending", "Queueing"]


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a wait ends without a decision or without a release, and how its hold ends by that."""

    state: HoldState
    why: str


IN_CIRCLE: Final = Ending(
    HoldState.INTERRUPTED, "it waits for room that another transaction has, which waits for what this one has"
)
NO_ROOM: Final = Ending(HoldState.EXPIRED, "there was no room for it in time")


@dataclass(slots=True)
class _Places:
    """What one statement has or waits for; ``running``: it is on its way to the server."""

    entry: str
    since: datetime
    demands: tuple[Demand, ...]
    running: bool = False


class Queueing:
    """One session's part in the queue. ``config`` is asked anew: it may be reloaded."""

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
        self._places: list[_Places] = []

    @property
    def running(self) -> bool:
        """Whether something that has places is at work, or its transaction is open."""
        return any(one.running for one in self._places)

    async def room(
        self, hold: Hold, entry: str, ruling: Ruling, ending: asyncio.Future[Ending]
    ) -> Ending | None:
        """Wait until there is room for an approved statement; None, or what ended the wait.

        Whoever waits keeps its place until :meth:`began` or :meth:`give_up`. Raises ``StoreUnavailable``.
        """
        has = {(one.cap, one.key) for places in self._places for one in places.demands if one.per is None}
        needed = self._demands(ruling)
        wanted = tuple(one for one in needed if one.per is not None or (one.cap, one.key) not in has)
        if not wanted:
            return None
        # Whoever has places already is in front of those that wait for what it has.
        since = min([_approved_at(hold), *(one.since for one in self._places)])
        self._places.append(_Places(entry, since, wanted))
        place = await self._holds.line_up(entry, hold.id, wanted, since, hold.breaks_glass)
        until = hold.good_until
        assert until is not None, "only what is approved waits for room"
        while place is not None:
            self._notify(_notice(hold, place, until))
            left = (until - clock.now()).total_seconds()
            if left <= 0:
                return NO_ROOM
            try:
                patience = min(left, self._config().limits.notice_seconds)
                place = await self._next(entry, place, patience, ending)
            except InCircle:
                return IN_CIRCLE
            if ending.done():
                return ending.result()
        return None

    def _demands(self, ruling: Ruling) -> Sequence[Demand]:
        """The places under caps that all of a request needs."""
        policy, recorder = self._config().policy, self._recorder
        if not policy.caps:
            return ()
        effects: list[EffectFacts] = []
        for one in ruling.ruled:
            parameters = [Parameter(*parameter) for parameter in one.execution.parameters]
            effects += [narrow(effect, parameters) for facts in one.readings for effect in facts.effects]
        asker = recorder.state.context(recorder.who, {})
        needed = demands(policy.caps, effects, asker, erasing=policy.erasing_update == "delete")
        return [replace(one, key=storable(one.key)) for one in needed]

    async def _next(
        self, entry: str, place: Place, patience: float, ending: asyncio.Future[Ending]
    ) -> Place | None:
        """Where it waits then: when it moved up, when it is told again, or when the wait ends."""
        advanced = spawn(self._holds.advanced(entry, place.at), name=f"queue {entry}")
        ends: set[asyncio.Future[Any]] = {advanced, ending}
        try:
            done, _ = await asyncio.wait(ends, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            return advanced.result() if advanced in done else place
        finally:
            advanced.cancel()

    def began(self) -> None:
        """What waited last is on its way to the server."""
        for one in self._places:
            one.running = True

    async def give_up(self) -> None:
        """What waited last, if anything, does not run."""
        for one in [each for each in self._places if not each.running]:
            self._places.remove(one)
            await self._holds.leave(one.entry, False)

    def idle(self) -> None:
        """No transaction is open: what ran has ended."""
        done = [one for one in self._places if one.running]
        if done:
            self._places = [one for one in self._places if not one.running]
            spawn(self._leave(done), name="places of a transaction")

    async def close(self) -> None:
        """The session is over."""
        await self.give_up()
        done, self._places = self._places, []
        await self._leave(done)

    async def _leave(self, places: Sequence[_Places]) -> None:
        for one in places:
            await self._holds.leave(one.entry, True)


def _approved_at(hold: Hold) -> datetime:
    """Since when it could run; a ticket only since it was asked for."""
    return clock.now() if hold.ticket or hold.resolved_at is None else hold.resolved_at


def _notice(hold: Hold, place: Place, until: datetime) -> ServerError:
    span = {None: "at the same time", 60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}.get(
        place.per, f"in {place.per} s"
    )
    what = f" for {place.key}" if place.key else ""
    room = f" There will be room at {place.room_at:%H:%M:%S} UTC." if place.room_at is not None else ""
    return ServerError.notice(
        f"statement is approved and waits for room: hold {hold.id}, place {place.at} of {place.of}",
        detail=f"Cap {place.cap}: no more than {place.most} {span}{what}.{room}",
        hint=f"It goes on by itself until {until:%H:%M:%S} UTC. Cancel the statement to withdraw it.",
    )
