"""The audit as the gateway writes it: nothing is dropped, and who needs a record waits for the disk."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import AuditFilter, AuditLog, AuditRecord, AuditUnavailable, Kind, verify
from gateway.config.model import Audit
from tests.gateway.audit.samples import record, records, write
from tests.support.disk import full_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[AuditLog]:
    opened = AuditLog(Audit(path), retry_seconds=0.02, intent_seconds=5.0)
    await opened.start()
    yield opened
    await opened.stop()


async def until(log: AuditLog, *, healthy: bool) -> None:
    """Return once the log is well, or ill. The writer's thread announces neither."""
    async with asyncio.timeout(10):
        while log.healthy is not healthy or (healthy and log.queue_depth):
            await asyncio.sleep(0.005)


async def test_an_intent_is_on_disk_when_it_returns(log: AuditLog, path: Path) -> None:
    await log.intent(record(1))
    assert [one["statement_id"] for one in records(path)] == ["S-1.1"]
    assert log.queue_depth == 0


async def test_what_is_appended_is_on_disk_before_a_later_intent(log: AuditLog, path: Path) -> None:
    for number in range(1, 100):
        log.append(record(number))
    await log.intent(record(100))
    assert [one["statement_id"] for one in records(path)] == [f"S-1.{number}" for number in range(1, 101)]


async def test_many_intents_share_the_disk(log: AuditLog, path: Path) -> None:
    await asyncio.gather(*(log.intent(record(number)) for number in range(200)))
    assert len(records(path)) == 200
    assert verify(path).ok


async def test_stopping_writes_what_waits(path: Path) -> None:
    log = AuditLog(Audit(path))
    await log.start()
    for number in range(5_000):
        log.append(record(number))
    await log.stop()
    assert verify(path).records == 5_000
    assert log.lost == 0
    assert not log.healthy


async def test_stopping_before_starting_and_twice(path: Path) -> None:
    log = AuditLog(Audit(path))
    await log.stop()
    await log.stop()
    assert not path.exists()


async def test_what_comes_after_the_end_is_counted_as_lost(log: AuditLog, path: Path) -> None:
    await log.stop()
    log.append(record())
    with pytest.raises(AuditUnavailable):
        await log.intent(record())
    assert log.lost == 1
    assert path.read_bytes() == b""


async def test_the_file_is_let_go(path: Path) -> None:
    for number in (1, 2):
        log = AuditLog(Audit(path))
        await log.start()
        await log.intent(record(number))
        await log.stop()
    assert verify(path).records == 2
    assert not [thread for thread in threading.enumerate() if thread.name == "audit"]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nowhere/audit.jsonl", "cannot be written: No such file or directory"),
        (".", "cannot be written: Is a directory"),
        ("/dev/full", "cannot be written: /dev/full is not a regular file"),
    ],
)
async def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, place: str, says: str) -> None:
    log = AuditLog(Audit(tmp_path / place))
    with pytest.raises(AuditUnavailable, match=says) as refused:
        await log.start()
    assert "\n" not in str(refused.value)
    await log.stop()


async def test_a_second_writer_is_refused(log: AuditLog, path: Path) -> None:
    with pytest.raises(AuditUnavailable, match=f"another gateway writes {path}"):
        await AuditLog(Audit(path)).start()


class TestFullDisk:
    async def test_an_intent_is_refused_and_its_record_comes_later(self, log: AuditLog, path: Path) -> None:
        await log.intent(record(1))
        with full_disk(path):
            with pytest.raises(AuditUnavailable, match=f"{path} cannot be written: File too large"):
                await log.intent(record(2))
            assert log.failure is not None
            # The next one is refused at once, and not forgotten either.
            with pytest.raises(AuditUnavailable, match="File too large"):
                await log.intent(record(3))
            log.append(record(4))
            assert len(records(path)) == 1
            assert log.queue_depth == 3
        await until(log, healthy=True)
        assert [one["statement_id"] for one in records(path)] == ["S-1.1", "S-1.2", "S-1.3", "S-1.4"]
        assert verify(path).ok
        await log.intent(record(5))
        assert log.lost == 0

    async def test_it_is_said_once_and_so_is_the_end(
        self, log: AuditLog, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "gateway.audit.log")
        with full_disk(path):
            log.append(record(1))
            await until(log, healthy=False)
            for number in range(3):
                with pytest.raises(AuditUnavailable):
                    await log.intent(record(number))
        await until(log, healthy=True)
        assert [entry.message for entry in caplog.records] == [
            f"the audit file {path} cannot be written: File too large",
            "the audit is written again",
        ]

    async def test_part_of_a_record_is_taken_back(self, log: AuditLog, path: Path) -> None:
        await log.intent(record(1))
        with full_disk(path, room=50):
            with pytest.raises(AuditUnavailable):
                await log.intent(record(2))
            assert verify(path).records == 1
        await until(log, healthy=True)
        assert verify(path).records == 2

    async def test_what_cannot_be_written_before_the_end_is_counted(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = AuditLog(Audit(path), retry_seconds=0.02, stop_seconds=0.2)
        await log.start()
        with full_disk(path):
            for number in range(3):
                log.append(record(number))
            await until(log, healthy=False)
            await log.stop()
        assert log.lost == 3
        assert log.queue_depth == 0
        assert "3 audit records could not be written" in caplog.text

    async def test_a_gateway_that_stops_when_there_is_room_again_loses_nothing(self, path: Path) -> None:
        log = AuditLog(Audit(path), retry_seconds=60.0)
        await log.start()
        with full_disk(path):
            for number in range(3):
                log.append(record(number))
            await until(log, healthy=False)
        await log.stop()
        assert log.lost == 0
        assert verify(path).records == 3


async def test_a_queue_without_room_refuses_and_takes_no_more(path: Path) -> None:
    log = AuditLog(Audit(path), queue_limit=3, retry_seconds=0.02)
    await log.start()
    with full_disk(path):
        for number in range(3):
            log.append(record(number))
        await until(log, healthy=False)
        with pytest.raises(AuditUnavailable):
            await log.intent(record(9))
        assert log.queue_depth == 3
        # What has happened is kept even so.
        log.append(record(3))
        assert log.queue_depth == 4
    await until(log, healthy=True)
    await log.stop()
    assert [one["statement_id"] for one in records(path)] == [f"S-1.{number}" for number in range(4)]


async def test_a_disk_that_takes_for_ever_refuses(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(Audit(path), intent_seconds=0.05)
    await log.start()
    stuck, sync = threading.Event(), os.fsync

    def slow(file: int) -> None:
        stuck.wait(10)
        sync(file)

    monkeypatch.setattr(os, "fsync", slow)
    with pytest.raises(AuditUnavailable, match=r"the disk did not take a record within 0\.05 s"):
        await log.intent(record(1))
    stuck.set()
    await log.stop()
    # It is written all the same: the attempt is worth knowing.
    assert verify(path).records == 1


async def test_a_writer_that_fails_on_its_own_is_not_healthy(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    log = AuditLog(Audit(path), intent_seconds=0.2)
    await log.start()
    monkeypatch.setattr("gateway.audit.chain.seal", broken)
    with pytest.raises(AuditUnavailable):
        await log.intent(record(1))
    assert not log.healthy
    assert log.failure == "the audit writer failed; see the log"
    assert "a bug" in caplog.text
    await log.stop()
    assert log.lost == 1


class TestWhatIsWritten:
    async def written(self, path: Path, config: dict[str, Any], *given: AuditRecord) -> list[dict[str, Any]]:
        log = AuditLog(Audit(path, **config))
        await log.start()
        for one in given:
            log.append(one)
        await log.stop()
        return records(path)

    async def test_held_leaves_out_what_was_simply_allowed(self, path: Path) -> None:
        found = await self.written(
            path,
            {"statements": "held"},
            record(1),
            record(2, verdict="hold"),
            record(3, verdict="deny"),
            AuditRecord(Kind.SESSION, tag="start"),
        )
        assert [one["verdict"] for one in found] == ["hold", "deny", None]

    async def test_literals_are_replaced_but_in_what_somebody_decided_on(self, path: Path) -> None:
        sql = "SELECT 'secret' FROM t WHERE id = $1"
        found = await self.written(
            path,
            {"redact": "literals"},
            record(1, sql=sql, parameters=("5", None)),
            record(2, sql=sql, parameters=("5",), verdict="hold", hold_id="H-1"),
            record(3, sql=sql, kind=Kind.HOLD, hold_id="H-1"),
            record(4, sql=None),
        )
        assert [(one["sql"], one["parameters"]) for one in found] == [
            ("SELECT ? FROM t WHERE id = $1", ["?", "?"]),
            (sql, ["5"]),
            (sql, None),
            (None, None),
        ]
        # The digest is that of the text as it was run.
        assert found[0]["sql_digest"] == found[1]["sql_digest"]

    async def test_literals_of_what_was_refused_without_asking_anybody_are_replaced(self, path: Path) -> None:
        log = AuditLog(Audit(path, redact="literals"), retry_seconds=0.02)
        await log.start()
        for verdict in ("deny", "hold"):
            await log.intent(record(sql="DELETE FROM t WHERE name = 'secret'", verdict=verdict))
        with full_disk(path), pytest.raises(AuditUnavailable):
            await log.intent(record(sql="SELECT 'secret'", verdict="deny"))
        await log.stop()
        assert len(records(path)) == 3
        assert b"secret" not in path.read_bytes()


async def test_reading_beside_the_writer(log: AuditLog, path: Path) -> None:
    for number in range(1, 31):
        await log.intent(record(number))
    assert [one["statement_id"] for one in await log.tail(3)] == ["S-1.28", "S-1.29", "S-1.30"]
    page = await log.search(AuditFilter(text="select 7"), order="oldest")
    assert [one["sql"] for one in page.records] == ["SELECT 7"]
    assert (await log.search(limit=2)).cursor is not None
    assert (await log.verify()).records == 30


async def test_it_goes_on_with_the_chain_of_before(path: Path) -> None:
    write(path, [record(1)])
    log = AuditLog(Audit(path))
    await log.start()
    await log.intent(record(2))
    await log.stop()
    assert verify(path).records == 2
