"""The audit as a worker sees it: records go to the supervisor, which alone writes the file.

What is about to happen waits until it is on the supervisor's disk. What has happened is gathered for a moment, so
that the records of one moment cross together. Those not yet answered for are counted: a worker that is too far ahead
of the disk refuses statements, as one that heard of a failure does.
"""

import asyncio
import dataclasses
import logging
from typing import Final

from gateway.audit import AuditRecord, AuditUnavailable
from gateway.audit.brief import Brief
from gateway.audit.record import encode
from gateway.audit.redact import left_out, redacted
from gateway.config.model import Audit
from gateway.tasks import spawn
from gateway.workers.channel import CallFailed, ChannelClosed
from gateway.workers.ports import RecordPort

__all__ = ["WorkerAudit"]

logger = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 50_000
GATHER_SECONDS: Final = 0.01
BATCH: Final = 50
"""Records that cross together at most: writing them out takes half a millisecond, in which nothing else is done."""

INTENT_SECONDS: Final = 12.0
"""A little more than the supervisor gives the disk: its answer says why."""
STOP_SECONDS: Final = 10.0


class WorkerAudit:
    """See :class:`gateway.audit.AuditPort`."""

    def __init__(
        self,
        records: RecordPort,
        config: Audit,
        *,
        queue_limit: int = QUEUE_LIMIT,
        intent_seconds: float = INTENT_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._records = records
        self._config = config
        self._queue_limit = queue_limit
        self._intent_seconds = intent_seconds
        self._stop_seconds = stop_seconds
        self._gathered: list[AuditRecord | Brief] = []
        self._timer: asyncio.TimerHandle | None = None
        self._owed = 0
        self._nothing_owed = asyncio.Event()
        self._nothing_owed.set()
        self._failure: str | None = None

    @property
    def healthy(self) -> bool:
        """Whether a statement may be let through: writing works, and not too much waits for the disk."""
        return self._failure is None and self._owed < self._queue_limit

    @property
    def failure(self) -> str | None:
        """Why nothing can be written, None where it can."""
        return self._failure

    @property
    def redacts(self) -> bool:
        """Whether literals are left out of statements that nobody had to decide on."""
        return self._config.redact != "none"

    @property
    def queue_depth(self) -> int:
        """Records that are not known to be on disk."""
        return self._owed

    def use(self, config: Audit) -> None:
        """Record by another configuration from now on."""
        self._config = dataclasses.replace(config, file=self._config.file)

    def append(self, record: AuditRecord) -> None:
        """Record something that has happened. Never waits and never fails; see :attr:`healthy`."""
        if not left_out(record, self._config):
            self._gather(redacted(record, self._config))

    def append_brief(self, brief: Brief) -> None:
        """``append`` for a statement that was allowed, to which nothing happened."""
        if self._config.redact == "none" and self._config.statements == "all":
            self._gather(brief)
        else:
            self.append(brief.record())

    def _gather(self, record: AuditRecord | Brief) -> None:
        self._gathered.append(record)
        self._owe(1)
        if len(self._gathered) >= BATCH:
            self._hand_over()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._hand_over)

    async def intent(self, record: AuditRecord) -> None:
        """Record something that is about to happen: it is on disk when this returns.

        Raises :class:`gateway.audit.AuditUnavailable`, and then it must not happen.
        """
        said = redacted(record, self._config)
        if self._owed >= self._queue_limit:
            raise AuditUnavailable("the audit is behind; too many records wait for the disk")
        # Behind what was gathered before it, and in order with it: tasks begin in the order they were made.
        self._hand_over()
        self._owe(1)
        sent = spawn(self._send_intent(said), name="audit intent")
        try:
            async with asyncio.timeout(self._intent_seconds):
                failure = await asyncio.shield(sent)
        except TimeoutError:
            failure = f"the supervisor did not take a record within {self._intent_seconds:g} s"
        if failure is not None:
            raise AuditUnavailable(failure)

    async def stop(self) -> None:
        """Hand over what is left, and wait a few seconds until it is on disk."""
        self._hand_over()
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._nothing_owed.wait()
        except TimeoutError:
            logger.critical("%d audit records may not be on disk: %s", self._owed, self._failure)

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gathered:
            records, self._gathered = self._gathered, []
            spawn(self._send(records), name="audit records")

    async def _send(self, records: list[AuditRecord | Brief]) -> None:
        try:
            await self._records.take(
                [one.encoded() if isinstance(one, Brief) else encode(one) for one in records]
            )
        except (AuditUnavailable, CallFailed, ChannelClosed) as error:
            self._failed(str(error))
        finally:
            self._owe(-len(records))

    async def _send_intent(self, record: AuditRecord) -> str | None:
        """Why it could not be written, None where it was."""
        try:
            await self._records.take_intent(encode(record))
        except (AuditUnavailable, CallFailed, ChannelClosed) as error:
            self._failed(str(error))
            return str(error)
        finally:
            self._owe(-1)
        return None

    def _owe(self, records: int) -> None:
        self._owed += records
        if self._owed:
            self._nothing_owed.clear()
        else:
            self._nothing_owed.set()

    def _failed(self, why: str) -> None:
        if self._failure is None:
            spawn(self._until_recovered(), name="audit recovery")
        self._failure = why

    async def _until_recovered(self) -> None:
        try:
            await self._records.recovered()
        except ChannelClosed:
            return
        self._failure = None
