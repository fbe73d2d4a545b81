"""The socket between two processes: calls, words, cancellation, and an end that nobody misses."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.workers.channel import CallFailed, Channel, ChannelClosed


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, Channel]]:
    here, there = socket.socketpair()
    left, right = await Channel.over(here), await Channel.over(there)
    yield left, right
    left.close()
    right.close()
    await left.closed.wait()
    await right.closed.wait()


async def test_calls_are_answered_in_any_order(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    first_may_end = asyncio.Event()

    async def shout(body: bytes) -> bytes:
        if body == b"first":
            await first_may_end.wait()
        return body.upper()

    right.answer("shout", shout)
    left.begin()
    right.begin()
    first = asyncio.ensure_future(left.call("shout", b"first"))
    assert await left.call("shout", b"second") == b"SECOND"
    first_may_end.set()
    assert await first == b"FIRST"
    large = b"x" * 3_000_000
    assert await left.call("shout", large) == large.upper()


async def test_both_ends_call_and_say(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    heard: list[bytes] = []

    async def ask_back(body: bytes) -> bytes:
        return b"<" + await right.call("name") + b">"

    async def name(body: bytes) -> bytes:
        return b"left"

    right.answer("ask back", ask_back)
    right.hear("word", heard.append)
    left.answer("name", name)
    left.begin()
    right.begin()
    left.say("word", b"one")
    left.say("word", b"two\nlines")
    assert await left.call("ask back") == b"<left>"
    assert heard == [b"one", b"two\nlines"]


async def test_what_a_handler_raises_is_the_callers(
    ends: tuple[Channel, Channel], caplog: pytest.LogCaptureFixture
) -> None:
    left, right = ends

    async def fail(body: bytes) -> bytes:
        if body:
            raise CallFailed("Expected", "it is full\nreally")
        raise ZeroDivisionError("a bug")

    right.answer("fail", fail)
    left.begin()
    right.begin()
    with pytest.raises(CallFailed, match="it is full\nreally") as expected:
        await left.call("fail", b"1")
    assert expected.value.kind == "Expected"
    assert not caplog.records
    with pytest.raises(CallFailed, match="a bug"):
        await left.call("fail")
    assert "a call of fail failed" in caplog.text
    with pytest.raises(CallFailed) as unknown:
        await left.call("nothing of the kind")
    assert unknown.value.kind == "KeyError"


async def test_a_caller_that_is_cancelled_cancels_what_it_called(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    began, ended = asyncio.Event(), asyncio.Event()

    async def hang(body: bytes) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    right.answer("hang", hang)
    left.begin()
    right.begin()
    call = asyncio.ensure_future(left.call("hang"))
    await began.wait()
    call.cancel()
    await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_an_end_that_is_gone_fails_what_waits_for_it(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    began, ended = asyncio.Event(), asyncio.Event()

    async def hang(body: bytes) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    right.answer("hang", hang)
    left.begin()
    right.begin()
    call = asyncio.ensure_future(left.call("hang"))
    await began.wait()
    left.close()
    with pytest.raises(ChannelClosed):
        await call
    await ended.wait()
    await right.closed.wait()
    with pytest.raises(ChannelClosed):
        await right.call("hang")
    right.say("nothing")
