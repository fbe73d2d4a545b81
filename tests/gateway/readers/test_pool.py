"""Reading outside of the event loop: what ends one reader leaves everything else alone.

The readers are real processes. To catch one in the middle of a statement it is stopped (SIGSTOP) before it is given
one; what then happens to it happens with the statement in its hands.
"""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Limits
from gateway.metrics import Metrics
from gateway.readers.pool import ParsePool
from rules import Facts, Judge
from rules.catalog import Relation, SchemaSnapshot
from tests.rules.policies import context, strict_judge
from tests.support.processes import alive, children, gone, stopped

pytestmark = pytest.mark.timeout(60)

DELETE = b"DELETE FROM customers WHERE id = 1"
LONG = b"SELECT " + b"+".join([b"1"] * 9000)


class Pool:
    """A pool with its metrics and the judge it reads for, which forgets at once what it learns."""

    def __init__(self, **limits: Any) -> None:
        # On a busy machine an honest reading may take long; deadlines are tested where they are set.
        self.limits = Limits(**{"reader_seconds": 60.0, **limits})
        self.metrics = Metrics()
        self.judge = Judge(strict_judge().policy, cache_size=0)
        self.pool = ParsePool(self.metrics, lambda: self.limits)

    async def read(self, sql: bytes, owner: object = "s", **session: Any) -> Facts:
        return await self.pool.read(self.judge, sql, context(**session), owner=owner)

    async def one_reader(self) -> int:
        """The process id of a reader that has read something."""
        await self.read(b"SELECT 1")
        (pid,) = self.pool.pids
        return pid

    async def another_reader(self, than: int) -> int:
        """The process id of the reader that took the place of one."""
        while (pids := self.pool.pids) in ([], [than]):
            await asyncio.sleep(0.01)
        return pids[0]

    def value(self, name: str) -> float:
        found = self.metrics.registry.get_sample_value(f"holdgate_reader_{name}")
        assert found is not None, name
        return found

    async def busy(self, count: int) -> None:
        while self.value("busy") != count:
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def pool(**limits: Any) -> AsyncIterator[Pool]:
    one = Pool(**limits)
    try:
        yield one
    finally:
        pids = one.pool.pids
        await one.pool.stop()
        assert not any(map(alive, pids)), "a reader outlived its pool"


async def test_reads_as_the_judge_itself_does() -> None:
    async with pool() as one:
        session = {"prepared": {"s": ("DELETE FROM customers",)}, "cursors": frozenset({"c"})}
        for sql in (
            DELETE,
            b"EXECUTE s",
            b"FETCH 3 FROM c",
            b"SELEC",
            b"SELECT '\xff'",
            b"",
            b"SELECT 1;;TABLE t",
        ):
            expected = one.judge.read(sql, context(**session))
            assert await one.read(sql, **session) == expected
        assert len(one.pool.pids) == 1
        assert one.value("seconds_count") == 7
        assert one.value("deaths_total") == one.value("timeouts_total") == one.value("refused_total") == 0


async def test_what_was_read_is_known_from_then_on() -> None:
    async with pool(reader_workers=1) as one:
        one.judge = strict_judge()
        pid = await one.one_reader()
        await stopped(pid)
        sent = [asyncio.ensure_future(one.read(DELETE, owner)) for owner in range(20)]
        await one.busy(1)
        os.kill(pid, signal.SIGCONT)
        first, *others = [await reading for reading in sent]
        assert one.judge.cached(DELETE, context()) is first
        assert all(other is first for other in others)


async def test_no_process_is_started_before_it_is_needed() -> None:
    async with pool() as one:
        assert one.pool.pids == []
        one.pool.warm()
        while not one.pool.pids:
            await asyncio.sleep(0.01)
        before = one.pool.pids
        one.pool.warm()
        await one.read(DELETE)
        assert one.pool.pids == before


async def test_a_context_in_which_nothing_can_be_read() -> None:
    async with pool() as one:
        facts = await one.read(DELETE, unknown="the server did not say")
        assert facts.unreadable == "the server did not say"


async def test_a_reader_killed_in_the_middle_takes_only_its_statement_along() -> None:
    async with pool(reader_workers=2) as one:
        pid = await one.one_reader()
        await stopped(pid)
        doomed = asyncio.ensure_future(one.read(DELETE, "doomed"))
        await one.busy(1)
        # The second reader does not notice.
        assert (await one.read(DELETE, "other")).unreadable is None
        os.kill(pid, signal.SIGKILL)
        facts = await doomed
        assert facts.unreadable == "its reader was lost: its pipe is closed (SIGKILL)"
        assert facts.changes_context
        assert facts.runs_code_when_planned
        assert one.value("deaths_total") == 1
        assert one.value("busy") == 0
        await gone(pid)
        await one.another_reader(pid)
        assert (await one.read(DELETE, "doomed")) == one.judge.read(DELETE, context())


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
async def test_a_reader_that_crashes_is_replaced(number: signal.Signals) -> None:
    async with pool(reader_workers=1) as one:
        pid = await one.one_reader()
        await stopped(pid)
        # Long enough not to be answered while the crash is still being reported.
        doomed = asyncio.ensure_future(one.read(LONG))
        await one.busy(1)
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        assert number.name in ((await doomed).unreadable or "")
        assert (await one.read(DELETE)).unreadable is None


async def test_a_reader_that_hangs_is_ended_at_the_deadline() -> None:
    async with pool(reader_workers=1) as one:
        pid = await one.one_reader()
        one.limits = Limits(reader_workers=1, reader_seconds=0.3)
        await stopped(pid)
        facts = await one.read(DELETE)
        assert facts.unreadable == "reading it took longer than 0.3 s"
        await gone(pid)
        assert one.value("timeouts_total") == 1
        assert one.value("deaths_total") == 0


async def test_a_reader_that_dies_at_rest_is_replaced_and_nothing_is_lost() -> None:
    async with pool(reader_workers=1) as one:
        pid = await one.one_reader()
        os.kill(pid, signal.SIGKILL)
        assert await one.another_reader(pid) != pid
        assert (await one.read(DELETE)).unreadable is None
        assert one.value("deaths_total") == 1


async def test_signals_meant_for_the_gateway_leave_its_readers_alone() -> None:
    async with pool(reader_workers=1) as one:
        pid = await one.one_reader()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        assert (await one.read(DELETE)).unreadable is None
        assert one.pool.pids == [pid]


async def test_a_reader_that_runs_out_of_memory_says_so_and_is_replaced() -> None:
    async with pool(reader_workers=1) as one:
        pid = await one.one_reader()
        size = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (size + (4 << 20), size + (4 << 20)))
        facts = await one.read(b"SELECT " + b", ".join([b"'%090d'" % number for number in range(9000)]))
        # PostgreSQL's parser ends the process when it has no memory; everywhere else there is time to say so.
        assert facts.unreadable in (
            "reading it takes more memory than limits.reader_memory allows",
            "its reader was lost: its pipe is closed (exit code 1)",
        )
        await one.another_reader(pid)
        assert (await one.read(DELETE)).unreadable is None


async def test_memory_is_capped_as_configured() -> None:
    limit = 700 * 1024 * 1024
    async with pool(reader_memory=limit) as one:
        pid = await one.one_reader()
        assert resource.prlimit(pid, resource.RLIMIT_AS) == (limit, limit)
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)


async def test_a_reader_inherits_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "sesame")
    async with pool() as one:
        pid = await one.one_reader()
        assert b"sesame" not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_readers_that_cannot_be_started_make_statements_unreadable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with pool() as one:
        with monkeypatch.context() as patched:
            patched.setattr("sys.executable", str(tmp_path / "nowhere"))
            first = await one.read(DELETE)
            assert "no reader could be started" in (first.unreadable or "")
            # Not again at once.
            assert (await one.read(DELETE)).unreadable == first.unreadable
            assert one.value("refused_total") == 2
        one.pool._not_before = 0.0
        assert (await one.read(DELETE)).unreadable is None


async def test_one_that_cannot_be_started_leaves_the_work_to_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with pool(reader_workers=2) as one:
        pid = await one.one_reader()
        await stopped(pid)
        first = asyncio.ensure_future(one.read(b"SELECT 2", "a"))
        await one.busy(1)
        with monkeypatch.context() as patched:
            patched.setattr("sys.executable", str(tmp_path / "nowhere"))
            second = asyncio.ensure_future(one.read(DELETE, "b"))
            while "could not be started" not in caplog.text:
                await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGCONT)
        assert (await first).unreadable is None
        assert (await second).unreadable is None
        assert one.value("refused_total") == 0


async def test_a_queue_that_is_full_refuses_the_greediest() -> None:
    async with pool(reader_workers=1, reader_queue=2) as one:
        pid = await one.one_reader()
        await stopped(pid)
        running = asyncio.ensure_future(one.read(DELETE, "a"))
        await one.busy(1)
        one.pool._queue.charge("greedy", 10.0)
        greedy = asyncio.ensure_future(one.read(DELETE, "greedy"))
        waiting = [asyncio.ensure_future(one.read(DELETE, owner)) for owner in ("b", "c")]
        assert (await greedy).unreadable == "too many statements wait to be read"
        assert one.value("queued") == 2
        os.kill(pid, signal.SIGCONT)
        for reading in (running, *waiting):
            assert (await reading).unreadable is None
        assert one.value("refused_total") == 1
        assert one.value("queued") == 0


async def test_a_statement_nobody_has_time_for_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool(reader_workers=1) as one:
        pid = await one.one_reader()
        monkeypatch.setattr("gateway.readers.pool.QUEUE_SECONDS", 0.1)
        await stopped(pid)
        running = asyncio.ensure_future(one.read(DELETE, "a"))
        await one.busy(1)
        assert (await one.read(DELETE, "b")).unreadable == "nobody had time to read it within 0.1 s"
        os.kill(pid, signal.SIGCONT)
        assert (await running).unreadable is None


async def test_who_keeps_readers_busy_waits_for_the_others() -> None:
    async with pool(reader_workers=1) as one:
        pid = await one.one_reader()
        order: list[str] = []

        async def read(owner: str) -> None:
            await one.read(DELETE, owner)
            order.append(owner)

        await one.read(b"SELECT " + b"+".join([b"1"] * 2000), "greedy")
        await stopped(pid)
        readings = [asyncio.ensure_future(read(owner)) for owner in ("first", "greedy", "modest")]
        await one.busy(1)
        os.kill(pid, signal.SIGCONT)
        await asyncio.gather(*readings)
        assert order == ["first", "modest", "greedy"]


async def test_cancelling_takes_a_statement_out_of_the_queue() -> None:
    async with pool(reader_workers=1) as one:
        pid = await one.one_reader()
        await stopped(pid)
        running = asyncio.ensure_future(one.read(DELETE, "a"))
        await one.busy(1)
        queued = asyncio.ensure_future(one.read(DELETE, "b"))
        while one.value("queued") != 1:
            await asyncio.sleep(0)
        for reading in (running, queued):
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        assert one.value("queued") == 0
        os.kill(pid, signal.SIGCONT)
        # The reader goes on with what it has, and is of use again afterwards.
        assert (await one.read(DELETE)).unreadable is None
        assert one.pool.pids == [pid]
        assert one.value("seconds_count") == 3


async def test_stopping_answers_everybody() -> None:
    async with pool(reader_workers=1) as one:
        pid = await one.one_reader()
        await stopped(pid)
        readings = [asyncio.ensure_future(one.read(DELETE, owner)) for owner in "abc"]
        await one.busy(1)
        await one.pool.stop()
        for reading in readings:
            assert (await reading).unreadable == "the gateway is stopping"
        assert (await one.read(DELETE)).unreadable == "the gateway is stopping"
        assert one.pool.pids == []
        one.pool.warm()
        assert one.pool.pids == []


async def test_stopping_ends_a_reader_that_is_just_being_started() -> None:
    async with pool() as one:
        one.pool.warm()
        while not (started := children(os.getpid())):
            await asyncio.sleep(0)
        await one.pool.stop()
        assert one.pool.pids == []
        # One that was not there yet when it was given up is reaped by the loop.
        await gone(*started)


def snapshot(generation: int, tables: int) -> SchemaSnapshot:
    relations = tuple(
        Relation(20000 + number, "crm" if number == 0 else "big", f"t{number}", "r", ("id", "name"), (23, 25))
        for number in range(tables)
    )
    return SchemaSnapshot(generation, "shop", 180000, relations)


async def test_a_catalog_is_sent_once_and_read_by() -> None:
    async with pool(reader_workers=1) as one:
        for generation, tables in ((1, 3), (2, 1000), (1, 3)):
            session = {"catalog": snapshot(generation, tables)}
            for sql in (b"SELECT * FROM crm.t0", b"SELECT * FROM t%d" % (tables + 1)):
                assert await one.read(sql, **session) == one.judge.read(sql, context(**session))


async def test_no_more_catalogs_are_kept_than_are_needed() -> None:
    async with pool(reader_workers=1) as one:
        catalogs = [snapshot(generation, 2) for generation in range(6)]
        for catalog in [*catalogs, *catalogs]:
            sql = b"SELECT * FROM crm.t0"
            assert await one.read(sql, catalog=catalog) == one.judge.read(sql, context(catalog=catalog))
