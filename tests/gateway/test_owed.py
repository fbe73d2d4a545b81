"""What the store is told as soon as it answers."""

import asyncio

import pytest

from gateway.owed import Owed
from gateway.store import StoreUnavailable


async def test_what_can_be_done_is_done_at_once() -> None:
    owed = Owed(0.01)

    async def done() -> int:
        assert owed.count == 1
        return 5

    assert await owed.now_or_later(done, "a change") == 5
    assert owed.count == 0
    await owed.nothing()


async def test_what_cannot_be_done_is_tried_until_it_can() -> None:
    owed, tries = Owed(0.01), 0

    async def later() -> str:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise StoreUnavailable("not now")
        return "done"

    assert await owed.now_or_later(later, "a change") is None
    assert owed.count == 1
    async with asyncio.timeout(10):
        await owed.nothing()
    assert (tries, owed.count) == (4, 0)


async def test_other_errors_are_the_callers() -> None:
    owed = Owed(0.01)

    async def wrong() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await owed.now_or_later(wrong, "a change")
    assert owed.count == 0
