"""The audit as the gateway writes it: appended by the event loop, put on disk by one thread.

The thread writes what has gathered and syncs it before it takes more, so records of one moment share a sync.
When a write fails the batch is kept and tried again; meanwhile :attr:`AuditLog.healthy` is false and callers
refuse statements, so that what waits here stays bounded. Nothing that was queued is dropped.
"""

import asyncio
import contextlib
import dataclasses
import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Literal

from gateway.audit.brief import Brief
from gateway.audit.chain import Chain
from gateway.audit.record import AuditRecord, Encoded
from gateway.audit.redact import left_out, redacted
from gateway.audit.search import AuditFilter, Page, VerifyResult, search, verify
from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.config.model import Audit

__all__ = ["AuditLog", "AuditUnavailable"]

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 50_000
"""Records waiting for the disk beyond which statements are refused."""
BATCH = 1_000
STUCK_SECONDS = 5.0
"""How much longer a write may hang at the end before it is left to itself."""

GATHER_SECONDS = 0.01
RETRY_SECONDS = 0.5
INTENT_SECONDS = 10.0
STOP_SECONDS = 10.0


class AuditUnavailable(Exception):
    """The audit cannot be written. What needed the record must not happen."""


class _Entry:
    """A record on its way to the disk, and who waits for it to arrive."""

    __slots__ = ("record", "waiter")

    def __init__(
        self, record: AuditRecord | Encoded | Brief, waiter: "asyncio.Future[None] | None" = None
    ) -> None:
        self.record = record
        self.waiter = waiter


class AuditLog:
    """The one writer of the audit file.

    ``append``, ``intent``, ``start`` and ``stop`` belong to the event loop's thread. ``lost`` counts
    records that could not be written before the process ended; it must stay 0.
    """

    def __init__(
        self,
        config: Audit,
        *,
        clock: Clock = SYSTEM_CLOCK,
        queue_limit: int = QUEUE_LIMIT,
        retry_seconds: float = RETRY_SECONDS,
        intent_seconds: float = INTENT_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._config = config
        self._chain = Chain(config.file, retention=config.retention, clock=clock)
        self._queue: deque[_Entry | Brief] = deque()
        self._queue_limit = queue_limit
        self._retry_seconds = retry_seconds
        self._intent_seconds = intent_seconds
        self._stop_seconds = stop_seconds
        self._clock = clock
        self._give_up_at = 0.0
        self._condition = threading.Condition()
        self._idle = False
        self._urgent = False
        self._stopping = False
        self._ended = False
        self._writing = 0
        self._failure: str | None = None
        self._thread: threading.Thread | None = None
        self.lost = 0

    @property
    def healthy(self) -> bool:
        """Whether a statement may be let through: writing works and the queue has room."""
        # Asked for each statement, so as little as can be is called here.
        waiting = len(self._queue) + self._writing
        return self._failure is None and not self._ended and waiting < self._queue_limit

    @property
    def failure(self) -> str | None:
        """What the last write failed with, None when it did not."""
        return self._failure

    @property
    def queue_depth(self) -> int:
        """Records not yet on disk."""
        return len(self._queue) + self._writing

    def use(self, config: Audit) -> None:
        """Record by another configuration from now on; the file stays what it is."""
        self._config = dataclasses.replace(config, file=self._config.file)
        self._chain.keep_for(config.retention)

    async def start(self) -> None:
        """Open the file and find the end of the chain. Raises :class:`AuditUnavailable` with what to do."""
        try:
            await asyncio.to_thread(self._chain.open)
        except OSError as error:
            self._chain.close()
            raise AuditUnavailable(self._reason(error)) from error
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, then close the file.

        What cannot be written within ten seconds is lost and counted.
        """
        with self._condition:
            self._give_up_at = self._clock.monotonic() + self._stop_seconds
            self._stopping = True
            self._condition.notify()
        if self._thread is not None:
            # The writer gives up by itself; the rest is for a disk that does not even refuse.
            patience = self._stop_seconds + self._retry_seconds + STUCK_SECONDS
            await asyncio.to_thread(self._thread.join, patience)
            if not self._thread.is_alive():
                self._chain.close()
        self._ended = True
        remaining = self.queue_depth
        if remaining:
            self.lost += remaining
            logger.critical("%d audit records could not be written: %s", remaining, self._failure)

    def append(self, record: AuditRecord) -> None:
        """Record something that has happened. Never waits and never fails; see :attr:`healthy`."""
        if not left_out(record, self._config):
            self._push(_Entry(redacted(record, self._config)), urgent=False)

    def append_brief(self, brief: Brief) -> None:
        """``append`` for a statement that was allowed, to which nothing happened."""
        if self._config.redact == "none" and self._config.statements == "all":
            self._push(brief, urgent=False)
        else:
            self.append(brief.record())

    async def intent(self, record: AuditRecord) -> None:
        """Record something that is about to happen: it is on disk when this returns.

        Raises :class:`AuditUnavailable`, and then it must not happen. The record is still written when that
        becomes possible, for the attempt is worth knowing.
        """
        await self._intent(redacted(record, self._config))

    async def take_intent(self, record: Encoded) -> None:
        """``intent`` for a record of another process, which redacted it by itself."""
        await self._intent(record)

    async def take(self, records: Sequence[Encoded]) -> None:
        """What has happened in another process, which left out and redacted by itself: on disk when this returns.

        Raises :class:`AuditUnavailable` while it cannot be written; as with ``append`` it is not lost thereby.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for at, record in enumerate(records, 1):
            self._push(_Entry(record, waiter if at == len(records) else None), urgent=False)
        if self._ended:
            raise AuditUnavailable("the audit is closed")
        if records:
            await waiter

    async def _intent(self, record: AuditRecord | Encoded) -> None:
        if not self.healthy:
            if not self._ended and self.queue_depth < self._queue_limit:
                self._push(_Entry(record), urgent=False)
            raise AuditUnavailable(self._failure or "the audit is behind; too many records wait for the disk")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._push(_Entry(record, waiter), urgent=True)
        try:
            async with asyncio.timeout(self._intent_seconds):
                await waiter
        except TimeoutError:
            raise AuditUnavailable(
                f"the disk did not take a record within {self._intent_seconds:g} s"
            ) from None

    async def search(
        self,
        filters: AuditFilter | None = None,
        *,
        cursor: str | None = None,
        limit: int = 100,
        order: Literal["newest", "oldest"] = "newest",
    ) -> Page:
        """A page of records.

        Raises ValueError for a cursor that is not one of ours, OSError from the disk.
        """
        return await asyncio.to_thread(
            search, self._config.file, filters or AuditFilter(), cursor=cursor, limit=limit, order=order
        )

    async def tail(self, count: int = 20) -> list[dict[str, object]]:
        """The last ``count`` records, oldest of them first."""
        page = await self.search(limit=count)
        return page.records[::-1]

    async def verify(self) -> VerifyResult:
        """Check the whole chain."""
        return await asyncio.to_thread(verify, self._config.file)

    @property
    def redacts(self) -> bool:
        """Whether literals are left out of statements that nobody had to decide on."""
        return self._config.redact != "none"

    def _push(self, entry: _Entry | Brief, *, urgent: bool) -> None:
        if self._ended:
            self.lost += 1
            logger.critical("an audit record came after the audit was closed")
            return
        self._queue.append(entry)
        # A writer that is busy looks at the queue again by itself; only an idle or a gathering one is woken.
        if self._idle or urgent:
            with self._condition:
                self._urgent = self._urgent or urgent
                self._condition.notify()

    # The writer's thread

    def _run(self) -> None:
        try:
            while self._gather():
                self._write_batch()
        except Exception:
            self._failure = "the audit writer failed; see the log"
            logger.exception("the audit writer failed")

    def _gather(self) -> bool:
        """Wait for something to write. False: nothing waits and nothing will come."""
        with self._condition:
            self._idle = True
            while not self._queue and not self._stopping:
                self._condition.wait()
            self._idle = False
            if not self._urgent and not self._stopping and len(self._queue) < BATCH:
                self._condition.wait(GATHER_SECONDS)
            self._urgent = False
            return bool(self._queue)

    def _write_batch(self) -> None:
        batch: list[_Entry | Brief] = []
        while self._queue and len(batch) < BATCH:
            # Counted before it leaves the queue: the depth may be one too high, never too low.
            self._writing += 1
            batch.append(self._queue.popleft())
        records = [entry if isinstance(entry, Brief) else entry.record for entry in batch]
        while True:
            try:
                self._chain.write(records)
                break
            except OSError as error:
                self._failed(error, batch)
                with self._condition:
                    if self._stopping and self._clock.monotonic() >= self._give_up_at:
                        self._abandon(batch)
                        return
                    self._condition.wait(self._retry_seconds)
        if self._failure is not None:
            logger.warning("the audit is written again")
            self._failure = None
        self._writing = 0
        for entry in batch:
            _answer(entry, None)

    def _failed(self, error: OSError, batch: list[_Entry | Brief]) -> None:
        reason = self._reason(error)
        if self._failure is None:
            logger.error("%s", reason)
        self._failure = reason
        for entry in (*batch, *tuple(self._queue)):
            _answer(entry, reason)

    def _abandon(self, batch: list[_Entry | Brief]) -> None:
        """The process ends while the disk refuses: leave everything counted, and let the thread end."""
        self.lost += len(batch) + len(self._queue)
        logger.critical("%d audit records could not be written: %s", self.lost, self._failure)
        self._queue.clear()
        self._writing = 0

    def _reason(self, error: OSError) -> str:
        what = error.strerror or str(error)
        return f"the audit file {self._config.file} cannot be written: {what}"


def _answer(entry: _Entry | Brief, failure: str | None) -> None:
    """Tell whoever waits, on their own loop's thread; once."""
    if isinstance(entry, Brief):
        return
    waiter, entry.waiter = entry.waiter, None
    if waiter is None:
        return

    def tell() -> None:
        if waiter.done():
            return
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(AuditUnavailable(failure))

    # A loop that is closed has nobody left who waits.
    with contextlib.suppress(RuntimeError):
        waiter.get_loop().call_soon_threadsafe(tell)
