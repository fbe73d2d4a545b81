"""The audit of a worker: what it hands over, what it waits for, and when it says no."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.audit import AuditRecord, AuditUnavailable, Kind
from gateway.config.model import Audit
from gateway.workers.audit import BATCH, WorkerAudit
from gateway.workers.channel import ChannelClosed

CONFIG = Audit(file=Path("audit.jsonl"))


class File:
    """The supervisor's file, as far as a worker can tell."""

    def __init__(self) -> None:
        self.tags: list[str] = []
        self.batches: list[int] = []
        self.failure: Exception | None = None
        self.writes = asyncio.Event()
        self.writes.set()
        self.well = asyncio.Event()

    async def take(self, records: list[str]) -> None:
        self.batches.append(len(records))
        await self._write(records)

    async def take_intent(self, record: str) -> None:
        await self._write([record])

    async def recovered(self) -> None:
        await self.well.wait()

    async def _write(self, records: list[str]) -> None:
        self.tags += [json.loads(f"{{{record}}}")["tag"] for record in records]
        await self.writes.wait()
        if self.failure is not None:
            raise self.failure


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def record(tag: str, **fields: object) -> AuditRecord:
    return AuditRecord(Kind.STATEMENT, tag=tag, **fields)  # type: ignore[arg-type]


async def test_what_has_happened_crosses_together_and_in_order() -> None:
    file = File()
    audit = WorkerAudit(file, CONFIG)
    for number in range(5):
        audit.append(record(str(number)))
    assert (audit.queue_depth, audit.healthy) == (5, True)
    await audit.intent(record("about to"))
    assert file.tags == ["0", "1", "2", "3", "4", "about to"]
    assert file.batches == [5]
    audit.append(record("later"))
    await until(lambda: file.tags[-1] == "later")
    await audit.stop()
    assert audit.queue_depth == 0


async def test_many_at_once_cross_in_pieces() -> None:
    file = File()
    audit = WorkerAudit(file, CONFIG)
    for number in range(2 * BATCH + 7):
        audit.append(record(str(number)))
    await audit.stop()
    assert file.batches == [BATCH, BATCH, 7]
    assert file.tags == [str(number) for number in range(2 * BATCH + 7)]


async def test_an_intent_waits_for_the_disk() -> None:
    file = File()
    audit = WorkerAudit(file, CONFIG)
    file.writes.clear()
    waiting = asyncio.ensure_future(audit.intent(record("about to")))
    await until(lambda: file.tags == ["about to"])
    assert not waiting.done()
    file.writes.set()
    await waiting


async def test_a_failure_is_remembered_until_it_is_over() -> None:
    file = File()
    audit = WorkerAudit(file, CONFIG)
    file.failure = AuditUnavailable("the disk is full")
    with pytest.raises(AuditUnavailable, match="the disk is full"):
        await audit.intent(record("a"))
    assert (audit.healthy, audit.failure) == (False, "the disk is full")
    with pytest.raises(AuditUnavailable):
        await audit.intent(record("b"))
    # An attempt is worth knowing: the supervisor writes it when it can.
    assert file.tags == ["a", "b"]
    file.failure = None
    file.well.set()
    await until(lambda: audit.healthy)
    await audit.intent(record("c"))


async def test_a_failure_of_what_has_happened_is_noticed() -> None:
    file = File()
    audit = WorkerAudit(file, CONFIG)
    file.failure = AuditUnavailable("no")
    audit.append(record("a"))
    await until(lambda: not audit.healthy)
    assert audit.queue_depth == 0
    file.well.set()
    await until(lambda: audit.healthy)


async def test_a_supervisor_that_is_gone_is_a_failure_for_good() -> None:
    file = File()
    audit = WorkerAudit(file, CONFIG)
    file.failure = ChannelClosed("the other process is gone")

    async def recovered() -> None:
        raise ChannelClosed("the other process is gone")

    file.recovered = recovered  # type: ignore[method-assign]
    with pytest.raises(AuditUnavailable, match="gone"):
        await audit.intent(record("a"))
    assert not audit.healthy


async def test_too_much_on_its_way_is_refused() -> None:
    file = File()
    audit = WorkerAudit(file, CONFIG, queue_limit=3, intent_seconds=0.05, stop_seconds=0.05)
    file.writes.clear()
    for number in range(3):
        audit.append(record(str(number)))
    assert not audit.healthy
    with pytest.raises(AuditUnavailable, match="behind"):
        await audit.intent(record("about to"))
    await audit.stop()
    assert audit.queue_depth == 3
    file.writes.set()
    await until(lambda: audit.queue_depth == 0)
    file.writes.clear()
    with pytest.raises(AuditUnavailable, match=r"did not take a record within 0\.05 s"):
        await audit.intent(record("about to"))
    file.writes.set()
    await until(lambda: audit.queue_depth == 0)


async def test_what_is_not_wanted_does_not_cross() -> None:
    file = File()
    audit = WorkerAudit(file, CONFIG)
    before = audit.redacts
    audit.use(replace(CONFIG, statements="held", redact="literals", file=Path("other")))
    assert (before, audit.redacts) == (False, True)
    audit.append(record("allowed", verdict="allow"))
    audit.append(record("denied", verdict="deny", sql="SELECT 'secret'"))
    await audit.stop()
    assert file.tags == ["denied"]
