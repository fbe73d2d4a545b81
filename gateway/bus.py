"""Events inside one gateway: what happened, for whoever wants to know (console, metrics, notifications).

Nothing that enforces depends on the bus. A subscriber that fails is logged and counted; one that does not
keep up is told so by a ``reset`` event and has to read the current state anew.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from gateway.clock import SYSTEM_CLOCK, Clock

__all__ = ["RESET", "Bus", "Event", "Subscription"]

logger = logging.getLogger(__name__)

RESET = "reset"
"""Kind of the event that says: events were missed, read the current state anew."""

HISTORY = 1024
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    ``id`` grows within one process and carries the process's own mark, so that an id from before a restart is
    recognised as foreign. ``kind`` is a dotted word such as ``hold.opened``; ``data`` is ready for JSON.
    """

    id: str
    kind: str
    at: datetime
    data: Mapping[str, object] = field(default_factory=dict)


class Subscription:
    """An asynchronous iterator over events; use it as a context manager so that it is always detached."""

    def __init__(self, bus: "Bus", backlog: int) -> None:
        self._bus = bus
        self._backlog = backlog
        self._events: deque[Event] = deque()
        self._ready = asyncio.Event()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._events.popleft()

    def close(self) -> None:
        """Detach from the bus. Events already received are still yielded, then the iteration ends."""
        self._closed = True
        self._bus.detach(self)
        self._ready.set()

    def deliver(self, event: Event) -> None:
        """Called by the bus. Over the backlog, what was waiting is replaced by one ``reset`` event."""
        if len(self._events) >= self._backlog:
            self._events.clear()
            event = Event(event.id, RESET, event.at)
        self._events.append(event)
        self._ready.set()


class Bus:
    """Publishes events to subscriptions (pulled by tasks) and listeners (called at once).

    All methods are called on the event loop's thread. ``failures`` counts listeners that raised.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, history: int = HISTORY) -> None:
        self._clock = clock
        self._mark = secrets.token_hex(4)
        self._number = 0
        self._history: deque[Event] = deque(maxlen=history)
        self._subscriptions: set[Subscription] = set()
        self._listeners: list[Callable[[Event], None]] = []
        self.failures = 0

    def publish(self, kind: str, data: Mapping[str, object] | None = None) -> Event:
        """Tell everybody; never raises and never waits. Returns the event as it was sent."""
        self._number += 1
        event = Event(f"{self._mark}-{self._number}", kind, self._clock.now(), dict(data or {}))
        self._history.append(event)
        for subscription in tuple(self._subscriptions):
            subscription.deliver(event)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                self.failures += 1
                logger.exception("a listener failed on %s", kind)
        return event

    def subscribe(self, *, after: str | None = None, backlog: int = BACKLOG) -> Subscription:
        """Receive events from now on or, with ``after`` (an event id), those published since that one.

        When ``after`` is of another process or too old to be remembered, the first event is ``reset``.
        """
        subscription = Subscription(self, backlog)
        if after is not None:
            for event in self._since(after):
                subscription.deliver(event)
        self._subscriptions.add(subscription)
        return subscription

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``listener``, which must not wait, on every event; returns the function that stops it."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def detach(self, subscription: Subscription) -> None:
        """Forget a subscription; :meth:`Subscription.close` calls it."""
        self._subscriptions.discard(subscription)

    def _since(self, after: str) -> list[Event]:
        mark, _, digits = after.partition("-")
        if mark == self._mark and digits.isascii() and digits.isdecimal() and len(digits) < 20:
            number = int(digits)
            missed = self._number - number
            if 0 <= missed <= len(self._history):
                return list(self._history)[len(self._history) - missed :]
        return [Event(f"{self._mark}-{self._number}", RESET, self._clock.now())]
