"""Reading SQL outside of the event loop: readers in processes of their own, and the queue in front of them.

Whatever a text does to its reader (stall it, crash it, exhaust it), it does to that reader alone. The statement then
counts as unreadable, which by default holds it; the reader is replaced, and nobody else notices.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from gateway import clock
from gateway.config import Limits
from gateway.fairqueue import FairQueue
from gateway.metrics import Metrics
from gateway.readers.process import Reader, ReaderLost
from gateway.tasks import spawn
from rules import Context, Facts, Judge, unread

__all__ = ["ParsePool"]

logger = logging.getLogger(__name__)

QUEUE_SECONDS: Final = 30.0
"""How long a statement may wait for a reader before it counts as unreadable."""

END_SECONDS: Final = 1.0
"""For a reader to end by itself."""

AGAIN_SECONDS: Final = 1.0
"""Until the next attempt after a reader could not be started."""


@dataclass(eq=False, slots=True)
class _Job:
    judge: Judge
    sql: bytes
    context: Context
    done: "asyncio.Future[Facts]"

    def finish(self, facts: Facts) -> None:
        """Answer, unless nobody waits any more."""
        if not self.done.done():
            self.done.set_result(facts)


class ParsePool:
    """Reads messages in up to ``limits.reader_workers`` processes, which are started when they are first needed."""

    def __init__(self, metrics: Metrics, limits: Callable[[], Limits]) -> None:
        self._metrics = metrics
        self._limits = limits
        self._queue: FairQueue[Hashable, _Job] = FairQueue()
        self._slots: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._readers: dict[int, Reader] = {}
        self._not_before = 0.0
        self._failure = ""
        self._stopped = False

    @property
    def pids(self) -> list[int]:
        """The process ids of the readers there are."""
        return list(self._readers)

    async def read(self, judge: Judge, sql: bytes, context: Context, *, owner: Hashable) -> Facts:
        """Read one message for ``owner``, whose share of the readers' time is no larger than anybody's.

        The judge learns what was read. Never raises for what the message is or does: then the facts say why it is
        unreadable. Cancelling takes the message out of the queue; one that is being read is read to its end.
        """
        if self._stopped:
            return unread("the gateway is stopping")
        loop = asyncio.get_running_loop()
        if clock.monotonic() < self._not_before:
            return self._refused(self._failure)
        job = _Job(judge, sql, context, loop.create_future())
        self._queue.push(owner, job)
        late = loop.call_later(QUEUE_SECONDS, self._expire, owner, job)
        self._shed()
        self._wake()
        try:
            return await job.done
        finally:
            late.cancel()
            self._queue.remove(owner, job)
            self._measure()

    def warm(self) -> None:
        """Start one reader now rather than when it is needed."""
        if not self._slots and not self._stopped:
            self._add_slot()

    async def stop(self) -> None:
        """End every reader. What was not read counts as unreadable."""
        self._stopped = True
        for slot in self._slots:
            slot.cancel()
        if self._slots:
            await asyncio.wait(set(self._slots))
        self._fail_all("the gateway is stopping")

    # The queue -----------------------------------------------------------------------------------------

    def _refused(self, why: str) -> Facts:
        self._metrics.reader_refused_total.inc()
        return unread(why)

    def _shed(self) -> None:
        """Of a queue that is full, give up what belongs to whoever has used most."""
        if len(self._queue) <= self._limits().reader_queue:
            return
        greediest = self._queue.greediest()
        assert greediest is not None, "the queue is full"
        owner, job = greediest
        self._queue.remove(owner, job)
        job.finish(self._refused("too many statements wait to be read"))

    def _expire(self, owner: Hashable, job: _Job) -> None:
        if self._queue.remove(owner, job):
            job.finish(self._refused(f"nobody had time to read it within {QUEUE_SECONDS:g} s"))

    def _fail_all(self, why: str) -> None:
        while (next_one := self._queue.pop()) is not None:
            next_one[1].finish(self._refused(why))
        self._measure()

    def _measure(self) -> None:
        self._metrics.reader_queued.set(len(self._queue))

    def _wake(self) -> None:
        self._measure()
        while self._idle:
            waiting = self._idle.pop()
            if not waiting.done():
                waiting.set_result(None)
                return
        if len(self._slots) < self._limits().reader_workers:
            self._add_slot()

    # The readers ---------------------------------------------------------------------------------------

    def _add_slot(self) -> None:
        slot = spawn(self._serve(), name="reader")
        self._slots.add(slot)
        slot.add_done_callback(self._slots.discard)

    async def _serve(self) -> None:
        """One reader after the other, for as long as there is a use for them."""
        while not self._stopped:
            reader = await self._start()
            if not isinstance(reader, Reader):
                self._not_started(reader)
                return
            self._readers[reader.pid] = reader
            try:
                await self._employ(reader)
            finally:
                del self._readers[reader.pid]
                await self._end(reader)
            if not reader.answers and not self._queue:
                # Whatever ended it without a statement would end the next one too.
                return

    def _not_started(self, error: Exception) -> None:
        logger.error("a reader could not be started: %s", error)
        me = asyncio.current_task()
        assert me is not None, "a slot is a task"
        self._slots.discard(me)
        if not self._slots:
            self._failure = f"no reader could be started: {error}"
            self._not_before = clock.monotonic() + AGAIN_SECONDS
            self._fail_all(self._failure)

    async def _start(self) -> Reader | Exception:
        """A reader, or why there is none. One that nobody waits for any more is ended again."""

        async def attempt() -> Reader | Exception:
            try:
                return await Reader.start(self._limits().reader_memory)
            except (OSError, ReaderLost) as error:
                return error

        starting = spawn(attempt(), name="reader start")
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A process half started has nobody who knows of it.
            reader = await starting
            if isinstance(reader, Reader):
                await reader.end(END_SECONDS)
            raise

    async def _end(self, reader: Reader) -> None:
        """End a reader, whatever becomes of who asked for it: half ended, it would leave its pipes behind."""
        ending = spawn(reader.end(END_SECONDS if self._stopped else 0.0), name=f"reader {reader.pid} ends")
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending
            raise

    async def _employ(self, reader: Reader) -> None:
        """Give one reader work until it is gone, or must go."""
        exited = spawn(reader.exited(), name=f"reader {reader.pid}")
        try:
            while not exited.done():
                next_one = self._queue.pop()
                if next_one is None:
                    await self._rest(exited)
                elif not await self._work(reader, *next_one):
                    return
            self._metrics.reader_deaths_total.inc()
            logger.warning("reader %d is gone", reader.pid)
        finally:
            exited.cancel()

    async def _rest(self, exited: "asyncio.Task[None]") -> None:
        """Until there is work, or the reader is gone."""
        work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(work)
        ends: set[asyncio.Future[None]] = {work, exited}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            with contextlib.suppress(ValueError):
                self._idle.remove(work)

    async def _work(self, reader: Reader, owner: Hashable, job: _Job) -> bool:
        """Have one message read; False if the reader is of no more use."""
        seconds = self._limits().reader_seconds
        started = clock.monotonic()
        why = "the gateway is stopping"
        self._measure()
        self._metrics.reader_busy.inc()
        try:
            facts = job.judge.cached(job.sql, job.context)
            if facts is None:
                await reader.load(job.judge.policy, job.context.catalog)
                facts = await reader.read(job.sql, job.context, seconds)
                job.judge.learn(job.sql, job.context, facts)
            job.finish(facts)
            return True
        except TimeoutError:
            self._metrics.reader_timeouts_total.inc()
            why = f"reading it took longer than {seconds:g} s"
        except ReaderLost as lost:
            self._metrics.reader_deaths_total.inc()
            why = f"its reader was lost: {lost} ({await reader.end(END_SECONDS)})"
        finally:
            took = clock.monotonic() - started
            self._queue.charge(owner, took)
            self._metrics.reader_busy.dec()
            self._metrics.reader_seconds.observe(took)
            job.finish(unread(why))
        logger.warning("reader %d gave up a statement of %s: %s", reader.pid, owner, why)
        return False
