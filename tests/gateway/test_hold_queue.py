"""The queue of one process: who is told, and what the store is told again."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from gateway.clock import SYSTEM_CLOCK
from gateway.hold_queue import HoldQueue
from gateway.hold_terms import HoldNotFound
from gateway.owed import Owed
from gateway.store import Place, Stand, StoreUnavailable, open_store
from gateway.store.sql import SqlStore
from gateway.tasks import cancel_all
from rules import Cap, Demand
from rules.policy import When
from tests.gateway.store.samples import NOON, hold, sqlite_url
from tests.gateway.test_holds import promptly, soon

ONE = Demand("one", "", 1, None)
HOURLY = Demand("hourly", "", 1, 3600.0)
HOLD = hold().id


@dataclass
class Desk:
    store: SqlStore
    owed: Owed
    moves: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = HoldQueue(
            self.store, "me", SYSTEM_CLOCK, self.owed, lambda: self.moves.append(self.queue.waiting)
        )

    async def enter(self, *entries: str, demands: tuple[Demand, ...] = (ONE,)) -> list[Place | None]:
        return [
            await promptly(self.queue.line_up(entry, HOLD, demands, NOON, at_once=False)) for entry in entries
        ]

    async def there(self) -> list[int]:
        """How many have places, and how many wait, in the store."""
        found = await self.store.occupied(SYSTEM_CLOCK.now())
        return [sum(len(one.taken) for one in found), sum(len(one.waiting) for one in found)]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = await open_store(sqlite_url(tmp_path))
    made = Desk(store, Owed(0.02))
    yield made
    made.queue.stop()
    await cancel_all(5.0)
    await store.close()


async def test_whoever_waits_hears_of_each_step(desk: Desk) -> None:
    assert [place and place.at for place in await desk.enter("a", "b", "c")] == [None, 1, 2]
    assert (desk.queue.waiting, desk.moves[-1]) == (2, 2)
    # What is known is not waited for.
    assert await promptly(desk.queue.advanced("a", 7)) is None
    moving = asyncio.ensure_future(desk.queue.advanced("c", 2))
    await desk.queue.leave("a", began=True)
    place = await promptly(moving)
    assert place is not None
    assert place.at == 1
    assert await promptly(desk.queue.advanced("b", 1)) is None
    assert (desk.queue.waiting, desk.moves[-1]) == (1, 1)
    waiting = asyncio.ensure_future(desk.queue.advanced("c", 1))
    await asyncio.sleep(0)
    await desk.queue.leave("c", began=False)
    with pytest.raises(HoldNotFound):
        await promptly(waiting)
    await desk.queue.leave("b", began=True)
    assert await desk.there() == [0, 0]


async def test_what_another_process_makes_room_for_is_noticed_without_news(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.hold_queue.POLL_SECONDS", 0.02)
    await desk.store.line_up("other", HOLD, [ONE], instance="other", since=NOON, at=NOON)
    await desk.enter("mine")
    await desk.store.leave("other", began=True, at=NOON)
    assert await promptly(desk.queue.advanced("mine", 1)) is None


async def test_a_gateway_that_was_thought_dead_has_what_it_had_again(desk: Desk) -> None:
    await desk.enter("a", "b", demands=(ONE, HOURLY))
    await desk.store.clear_places(SYSTEM_CLOCK.now())
    assert (await desk.there())[1] == 0
    desk.queue.look()
    # What is at work is at work, and what waits waits in its place; the hour is not counted twice.
    await soon_there(desk, [2, 2])
    assert desk.queue.waiting == 1
    await desk.queue.leave("b", began=False)
    await desk.queue.leave("a", began=True)
    assert await desk.there() == [1, 0]


async def soon_there(desk: Desk, counts: list[int]) -> None:
    async with asyncio.timeout(10):
        while await desk.there() != counts:
            await asyncio.sleep(0.01)


async def test_what_waits_under_a_cap_that_is_no_more_goes_on(desk: Desk) -> None:
    await desk.enter("a", "b", "c")
    await desk.queue.resize([Cap("one", When(), 2)])
    assert await promptly(desk.queue.advanced("b", 1)) is None
    await desk.queue.resize([])
    assert await promptly(desk.queue.advanced("c", 1)) is None
    # Whoever is put back now comes with what is left of it.
    assert await desk.enter("d", demands=(Demand("other", "", 1, None),)) == [None]


async def test_while_the_store_is_away_everybody_waits_and_what_is_given_back_is_owed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("gateway.hold_queue.POLL_SECONDS", 0.02)
    await desk.enter("a", "b")
    leave, stands = desk.store.leave, desk.store.stands
    away = True

    async def leave_later(entry: str, *, began: bool, at: datetime) -> None:
        if away:
            raise StoreUnavailable("away")
        await leave(entry, began=began, at=at)

    async def stand_later(entries: list[str], at: datetime) -> list[Stand]:
        if away:
            raise StoreUnavailable("away")
        return await stands(entries, at)

    monkeypatch.setattr(desk.store, "leave", leave_later)
    monkeypatch.setattr(desk.store, "stands", stand_later)
    await promptly(desk.queue.leave("a", began=True))
    assert desk.owed.count == 1
    await soon(lambda: "who is next in the queue is looked up later: away" in caplog.text)
    assert desk.queue.waiting == 1
    away = False
    assert await promptly(desk.queue.advanced("b", 1)) is None
    await desk.owed.nothing()


async def test_whoever_leaves_while_they_come_leaves_nothing_behind(desk: Desk) -> None:
    coming = asyncio.ensure_future(desk.queue.line_up("a", HOLD, [ONE], NOON, at_once=False))
    await asyncio.sleep(0)
    await promptly(desk.queue.leave("a", began=True))
    await coming
    assert await desk.there() == [0, 0]
