"""``GET /api/v1/events``: what happens in the gateway, as server-sent events.

Each event has the bus's id, so a reader that comes back with ``Last-Event-ID`` misses nothing; where that is
not possible, and where a reader did not keep up, the event ``reset`` says: read the current state anew. The
bus keeps a bounded backlog for each reader.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.bus import RESET, Bus, Event, Subscription
from gateway.clock import Clock
from gateway.config import Role
from gateway.store import StoreUnavailable, iso
from gateway.tasks import spawn

__all__ = ["HEARTBEAT_SECONDS", "EventStreams", "visible"]

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 15.0
_RECHECK_SECONDS: Final = 5.0
_STALLED_SECONDS: Final = 60.0
_STREAMS: Final = 200

_EVERYBODY: Final = ("hold.", "queue.", "grant.", "session.", "gateway.")
_AUDIT: Final = ("audit.",)


def visible(kind: str, roles: frozenset[Role]) -> bool:
    """Whether somebody with these roles may see events of this kind; an unknown kind is for admins."""
    if kind == RESET or kind.startswith(_EVERYBODY):
        return True
    if kind.startswith(_AUDIT):
        return not roles.isdisjoint({Role.AUDITOR, Role.ADMIN})
    return Role.ADMIN in roles


Recheck = Callable[[], Awaitable[frozenset[Role] | None]]
"""The reader's roles now; None when they are no longer signed in."""


class EventStreams:
    """The open event streams of one management port."""

    def __init__(self, bus: Bus, clock: Clock, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self._bus = bus
        self._clock = clock
        self._heartbeat = heartbeat
        self._open: set[Subscription] = set()
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether no further stream is taken."""
        return self._closed or len(self._open) >= _STREAMS

    def response(self, recheck: Recheck, after: str | None) -> Response:
        """A response that streams until the reader leaves, is signed out, or the port closes."""
        return _EventResponse(self, recheck, after)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        for subscription in tuple(self._open):
            subscription.close()

    async def run(self, recheck: Recheck, after: str | None, receive: Receive, write: "_Write") -> None:
        """Send events to one reader."""
        with self._bus.subscribe(after=after) as subscription:
            self._open.add(subscription)
            if self._closed:
                subscription.close()
            watch = spawn(_until_gone(receive, subscription), name="api-events-reader")
            try:
                await self._send(subscription, recheck, write)
            finally:
                watch.cancel()
                self._open.discard(subscription)

    async def _send(self, subscription: Subscription, recheck: Recheck, write: "_Write") -> None:
        # A first comment at once: the reader knows that it is connected before anything happens.
        await write(b"retry: 2000\n: connected\n\n")
        roles = await recheck()
        checked = self._clock.monotonic()
        while True:
            event: Event | None = None
            try:
                async with asyncio.timeout(self._heartbeat):
                    event = await anext(subscription)
            except TimeoutError:
                pass
            except StopAsyncIteration:
                return
            if event is None or self._clock.monotonic() - checked >= _RECHECK_SECONDS:
                roles = await recheck()
                checked = self._clock.monotonic()
            if roles is None:
                await write(b"event: signed-out\ndata: {}\n\n")
                return
            if event is None:
                await write(b": still here\n\n")
            elif visible(event.kind, roles):
                await write(_encode(event))


_Write = Callable[[bytes], Awaitable[None]]


class _EventResponse(Response):
    """The ASGI side of one stream."""

    media_type = "text/event-stream"

    def __init__(self, streams: EventStreams, recheck: Recheck, after: str | None) -> None:
        super().__init__(headers={"x-accel-buffering": "no"})
        # The length of a stream is not known.
        del self.headers["content-length"]
        self._streams = streams
        self._recheck = recheck
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

        async def write(data: bytes) -> None:
            # A reader that takes nothing for a minute is gone or stuck; what it holds is given back.
            async with asyncio.timeout(_STALLED_SECONDS):
                await send({"type": "http.response.body", "body": data, "more_body": True})

        try:
            await self._streams.run(self._recheck, self._after, receive, write)
        except (TimeoutError, OSError):
            return
        except StoreUnavailable:
            # Whether the reader may still look cannot be known; they come back and are asked again.
            logger.warning("an event stream was closed: the store does not answer")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive, subscription: Subscription) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    subscription.close()


def _encode(event: Event) -> bytes:
    data = {"id": event.id, "kind": event.kind, "at": iso(event.at), "data": event.data}
    text = json.dumps(data, separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.kind}\ndata: {text}\n\n".encode()
