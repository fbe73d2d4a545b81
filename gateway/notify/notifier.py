"""Sends what is in the outbox: one loop for each channel, so that none waits for another.

A message is taken from the store for a while (a lease) and sent; what came of it is stored. A gateway that dies in
between leaves the lease to run out, and whichever gateway looks next sends the message again: it may arrive twice, with
the same id, and is not lost.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway import clock
from gateway.bus import Bus, Event
from gateway.config import Channel, Config
from gateway.confirming import confirm_link
from gateway.metrics import Metrics
from gateway.notify.addressees import addressees_of
from gateway.notify.channels import make_sender
from gateway.notify.notice import notice_of
from gateway.notify.selection import announcer, outdated
from gateway.notify.sender import Nobody, NotSent, Sender
from gateway.people import People
from gateway.store import Hold, Message, MessageState, Storage, StoreUnavailable
from gateway.tasks import spawn

__all__ = ["Notifier", "Pace", "retry_seconds"]

logger = logging.getLogger(__name__)

TIDY_SECONDS: Final = 60.0
KEPT_SECONDS: Final = 30 * 86_400.0
ORPHANED_SECONDS: Final = 86_400.0
"""How long a message waits for a gateway that has its channel: the others may not have been told of it yet."""
STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between two looks for what others have written, until the first retry, and at most between two; how
    much longer than an attempt a lease is, and how many messages are sent at a time."""

    poll: float = 2.0
    first: float = 5.0
    longest: float = 3600.0
    margin: float = 3.0
    batch: int = 4


def retry_seconds(pace: Pace, attempts: int, retry_after: float | None) -> float:
    """How long to wait after so many attempts: twice as long each time, at least half of it and no less than was asked
    for. Many that failed together do not come back together."""
    wait = min(pace.longest, pace.first * 2.0 ** min(attempts - 1, 30))
    wait *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
    return max(wait, min(retry_after or 0.0, pace.longest))


class Notifier:
    """One gateway's part in sending. Nothing waits for it but :meth:`stop`."""

    def __init__(
        self,
        store: Storage,
        bus: Bus,
        config: Callable[[], Config],
        people: People,
        metrics: Metrics,
        *,
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._bus = bus
        self._config = config
        self._people = people
        self._metrics = metrics
        self._pace = pace or Pace()
        self._running: dict[str, tuple[Channel, asyncio.Task[None]]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._tidying: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._deaf: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Begin to send. Raises :class:`StoreUnavailable`."""
        if not self._store.shared:
            await self._store.release_messages()
        self._deaf = self._bus.listen(self._note)
        self.reload()
        self._tidying = spawn(self._tidy(), name="outbox")

    async def stop(self) -> None:
        """Stop; what is being sent has a moment to arrive. What is not is sent later, by whoever has the store then."""
        self._deaf()
        self._stopping.set()
        tasks = [task for _, task in self._running.values()]
        if self._tidying is not None:
            tasks.append(self._tidying)
        self._running.clear()
        self._wake_all()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reload(self) -> None:
        """Take the channels of the configuration as it is now. What an old one is sending is sent to its end."""
        channels = self._config().notifications
        # Without channels changes cost nothing more than without messages.
        self._store.announce_by(announcer(lambda: self._config().notifications) if channels else None)
        for name, (channel, _) in list(self._running.items()):
            if channels.get(name) != channel:
                del self._running[name]
                self._wake[name].set()
        for name, channel in channels.items():
            if name not in self._running:
                self._wake[name] = asyncio.Event()
                task = spawn(self._serve(channel, self._wake[name]), name=f"notifications by {name}")
                self._running[name] = channel, task

    def _note(self, event: Event) -> None:
        # What it says of a hold is in the outbox by now.
        if event.kind.startswith("hold.") and not event.data.get("elsewhere"):
            self._wake_all()

    def _wake_all(self) -> None:
        for wake in self._wake.values():
            wake.set()

    async def _serve(self, channel: Channel, wake: asyncio.Event) -> None:
        try:
            # Reading all authorities of a machine takes the event loop too long.
            sender = await asyncio.to_thread(make_sender, channel)
        except NotSent as error:
            logger.error("nothing can be sent by %s: %s", channel.name, error)
            return
        try:
            while self._serves(wake):
                wake.clear()
                try:
                    claimed = await self._store.claim_messages(
                        channel.name, limit=self._pace.batch, lease=channel.timeout + self._pace.margin
                    )
                except StoreUnavailable:
                    # The heartbeat says so.
                    claimed = []
                if claimed:
                    pauses = await asyncio.gather(*(self._attempt(channel, sender, one) for one in claimed))
                    await self._pause(wake, max(pauses), wakeable=False)
                else:
                    await self._pause(wake, self._pace.poll)
        finally:
            await sender.aclose()

    def _serves(self, wake: asyncio.Event) -> bool:
        """Whether the loop that has ``wake`` is still the one of its channel."""
        return any(self._wake[name] is wake for name in self._running)

    async def _pause(self, wake: asyncio.Event, seconds: float, *, wakeable: bool = True) -> None:
        until = clock.monotonic() + seconds
        while (left := until - clock.monotonic()) > 0 and self._serves(wake):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await wake.wait()
            if wakeable:
                return
            wake.clear()

    async def _attempt(self, channel: Channel, sender: Sender, message: Message) -> float:
        """Send one message. Returns for how many seconds the channel asks to be left alone."""
        try:
            return await self._send(channel, sender, message)
        except StoreUnavailable as error:
            # The lease runs out, and it is sent again.
            logger.warning("what came of a message by %s could not be stored: %s", channel.name, error)
            return 0.0

    async def _send(self, channel: Channel, sender: Sender, message: Message) -> float:
        hold = await self._store.hold(message.hold_id)
        assert hold is not None, "a message is about a hold"
        needless = outdated(message.event, message.stage, hold, channel)
        if needless is not None:
            await self._drop(message, needless)
            return 0.0
        try:
            receipt = await self._sent(channel, sender, message, hold)
        except Nobody as error:
            await self._drop(message, str(error))
        except NotSent as error:
            return await self._failed(channel, message, error)
        except TimeoutError:
            return await self._failed(channel, message, NotSent(f"no answer within {channel.timeout:g} s"))
        except StoreUnavailable:
            raise
        except Exception as error:
            # A message that breaks its channel must not stop the ones behind it.
            logger.exception("a message by %s could not be sent", channel.name)
            return await self._failed(channel, message, NotSent(f"failed: {type(error).__name__}"))
        else:
            self._count(channel.name, "sent")
            await self._store.message_sent(message, receipt)
        return 0.0

    async def _sent(
        self, channel: Channel, sender: Sender, message: Message, hold: Hold
    ) -> Mapping[str, str] | None:
        config = self._config()
        to = await addressees_of(message, hold, channel, config, self._people)
        receipts = await self._store.receipts(hold.id, channel.name)
        url, key = config.admin.public_url, config.store.key
        by_link = hold.confirm == "email" and url is not None and key is not None
        confirm = confirm_link(hold, url or "", key or "") if by_link else None
        notice = notice_of(message, hold, channel.sql, url, confirm)
        async with asyncio.timeout(channel.timeout):
            return await sender.send(notice, to, receipts)

    async def _failed(self, channel: Channel, message: Message, error: NotSent) -> float:
        self._count(channel.name, "failed")
        if error.final or message.attempts >= channel.attempts:
            if await self._store.message_failed(message, str(error), retry=None):
                self._count(channel.name, "dead")
                logger.error(
                    "message %s (%s, hold %s) by %s is given up after %d attempts: %s",
                    message.id,
                    message.event,
                    message.hold_id,
                    channel.name,
                    message.attempts,
                    error,
                )
            return 0.0
        wait = retry_seconds(self._pace, message.attempts, error.retry_after)
        await self._store.message_failed(message, str(error), retry=wait)
        logger.warning(
            "message %s by %s, attempt %d of %d, next in %.0f s: %s",
            message.id,
            channel.name,
            message.attempts,
            channel.attempts,
            wait,
            error,
        )
        return min(error.retry_after or 0.0, self._pace.longest)

    async def _drop(self, message: Message, why: str) -> None:
        self._count(message.channel, "dropped")
        await self._store.message_failed(message, why, retry=None, state=MessageState.DROPPED)

    def _count(self, channel: str, outcome: str) -> None:
        self._metrics.notifications_total.labels(channel, outcome).inc()

    async def _tidy(self) -> None:
        tidied = clock.monotonic()
        while not self._stopping.is_set():
            try:
                self._measure(await self._store.count_messages())
                if clock.monotonic() - tidied >= TIDY_SECONDS:
                    tidied = clock.monotonic()
                    await self._store.tidy_messages(
                        list(self._config().notifications), orphaned=ORPHANED_SECONDS, kept=KEPT_SECONDS
                    )
            except StoreUnavailable:
                # The heartbeat says so.
                pass
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.poll):
                    await self._stopping.wait()

    def _measure(self, counts: Mapping[MessageState, int]) -> None:
        for state, count in counts.items():
            self._metrics.notifications.labels(state.value).set(count)
