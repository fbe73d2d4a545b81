import asyncio
import gc
import logging

import pytest

from gateway.tasks import cancel_all, complete, running, spawn


async def test_a_task_nobody_holds_is_not_collected() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        done.set()

    spawn(work(), name="forgotten")
    gc.collect()
    await done.wait()


async def test_what_a_task_raises_is_logged_under_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("out of cheese")

    task = spawn(fail(), name="cheese shop")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "cheese shop" in caplog.text
    assert "out of cheese" in caplog.text
    assert running() == []


async def test_cancellation_is_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    task = spawn(asyncio.sleep(3600), name="long")
    task.cancel()
    await asyncio.wait([task])
    assert caplog.records == []


async def test_cancel_all_ends_everything_but_its_caller() -> None:
    spawn(asyncio.sleep(3600), name="one")
    spawn(asyncio.sleep(3600), name="two")

    async def stop() -> list[str]:
        return await cancel_all(5)

    assert await spawn(stop(), name="stopper") == []
    await asyncio.sleep(0)
    assert running() == []


async def test_cancel_all_with_nothing_to_cancel() -> None:
    assert await cancel_all(5) == []


async def test_cancel_all_names_what_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = spawn(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    with caplog.at_level(logging.ERROR):
        assert await cancel_all(0.01) == ["stubborn"]
    assert "stubborn" in caplog.text
    release.set()
    await task


async def test_complete_returns_and_raises_without_a_log(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(value: int) -> int:
        if value < 0:
            raise ValueError("negative")
        return value

    assert await complete(answer(42), name="answer") == 42
    with pytest.raises(ValueError, match="negative"):
        await complete(answer(-1), name="answer")
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_complete_goes_on_when_its_caller_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    started, release, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def change() -> None:
        started.set()
        await release.wait()
        finished.set()
        raise RuntimeError("nobody hears this")

    caller = spawn(complete(change(), name="change"), name="caller")
    await started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    release.set()
    await finished.wait()
    await asyncio.wait(running())
    await asyncio.sleep(0)
    assert "nobody hears this" in caplog.text
