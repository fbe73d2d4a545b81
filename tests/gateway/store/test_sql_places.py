"""Places under caps: who gets one, who is next, and who gets back what a dead gateway had."""

import asyncio
import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.store import Place
from gateway.store.sql import SqlStore
from rules import Demand
from tests.gateway.store.samples import NOON, hold
from tests.gateway.store.samples import Place as Where

HOUR = 3600.0
TWO = Demand("two", "", 2, None)
ALICE = Demand("hourly", "alice", 2, HOUR)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


class Queue:
    """A store's queue, with entries ``e1``, ``e2``, … of holds of the same number, approved one a second."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store

    async def enter(self, number: int, *demands: Demand, **changes: Any) -> Place | None:
        values: dict[str, Any] = {"instance": "one", "since": after(number), "at": after(number), **changes}
        stand = await self.store.line_up(f"e{number}", hold(number).id, demands or (TWO,), **values)
        assert (stand.entry, stand.hold_id) == (f"e{number}", hold(number).id)
        return stand.place

    async def leave(self, number: int, *, began: bool = True, at: datetime = NOON) -> None:
        await self.store.leave(f"e{number}", began=began, at=at)

    async def at(self, *numbers: int, at: datetime = NOON) -> list[int]:
        """Where they wait, 0 for those who wait no more."""
        stands = {one.entry: one for one in await self.store.stands([f"e{n}" for n in numbers], at)}
        assert stands.keys() == {f"e{n}" for n in numbers}
        return [0 if (place := stands[f"e{n}"].place) is None else place.at for n in numbers]


@pytest.fixture
def queue(store: SqlStore) -> Queue:
    return Queue(store)


async def test_as_many_as_there_are_places_and_then_the_first_in_the_queue(queue: Queue) -> None:
    assert [await queue.enter(number) for number in (1, 2)] == [None, None]
    # Whoever was approved first is in front, whenever its gateway came to say so.
    assert await queue.enter(4) == Place("two", "", 2, None, 1, 1)
    assert await queue.enter(3) == Place("two", "", 2, None, 1, 2)
    assert await queue.enter(5) == Place("two", "", 2, None, 3, 3)
    assert await queue.at(1, 2, 3, 4, 5) == [0, 0, 1, 2, 3]
    await queue.leave(2)
    assert await queue.at(1, 3, 4, 5) == [0, 0, 1, 2]
    # Out of the middle, and twice, and what never was.
    for number in (4, 4, 9):
        await queue.leave(number, began=False)
    assert await queue.at(1, 3, 5) == [0, 0, 1]
    assert await queue.store.stands(["e4"], NOON) == []


async def test_nobody_passes_somebody_who_waits_for_the_same(queue: Queue) -> None:
    table = {name: Demand("table", name, 1, None) for name in "abc"}
    assert await queue.enter(1, table["a"]) is None
    # It has neither while it cannot have both.
    assert await queue.enter(2, table["a"], table["b"]) == Place("table", "a", 1, None, 1, 1)
    assert await queue.enter(3, table["b"]) == Place("table", "b", 1, None, 2, 2)
    assert await queue.enter(4, table["c"]) is None
    await queue.leave(1)
    assert await queue.at(2, 3, 4) == [0, 1, 0]
    await queue.leave(2)
    assert await queue.at(3) == [0]


async def test_what_is_counted_in_a_span_of_time(queue: Queue) -> None:
    bob = Demand("hourly", "bob", 2, HOUR)
    assert await queue.enter(1, ALICE) is None
    assert await queue.enter(2, ALICE, bob) is None
    # It ended, and it began in this hour all the same.
    await queue.leave(1, at=after(10))
    assert await queue.enter(3, ALICE) == Place("hourly", "alice", 2, HOUR, 1, 1, after(HOUR + 1))
    assert await queue.enter(4, ALICE) == Place("hourly", "alice", 2, HOUR, 2, 2, after(HOUR + 2))
    assert await queue.enter(5, ALICE) == Place("hourly", "alice", 2, HOUR, 3, 3)
    # What did not begin does not count.
    assert await queue.enter(6, bob) is None
    await queue.leave(6, began=False)
    assert await queue.enter(7, bob) is None
    assert await queue.at(3, 4, at=after(HOUR)) == [1, 2]
    assert await queue.at(3, 4, at=after(HOUR + 1)) == [0, 1]
    assert await queue.at(4, at=after(HOUR + 2)) == [0]
    # Those of before are forgotten.
    assert {one.entry for one in await queue.store.stands(["e1", "e2", "e3"], after(HOUR + 2))} == {"e3"}


async def test_whoever_breaks_the_glass_does_not_wait_and_counts(queue: Queue) -> None:
    for number in (1, 2, 3):
        assert await queue.enter(number, at_once=True) is None
    assert await queue.enter(4) == Place("two", "", 2, None, 1, 1)
    await queue.leave(1)
    assert await queue.at(4) == [1]
    await queue.leave(2)
    assert await queue.at(4) == [0]


async def test_who_has_and_who_waits_is_shown(queue: Queue, store: SqlStore) -> None:
    await store.add_hold(hold(3), limit=9, limit_per_user=9)
    for number in (1, 2, 3):
        await queue.enter(number)
    await queue.enter(4, ALICE)
    ids = [hold(number).id for number in range(5)]
    assert [one.to_dict() for one in await store.occupied(NOON)] == [
        {"cap": "hourly", "key": "alice", "most": 2, "per_seconds": HOUR, "taken": [ids[4]], "waiting": []},
        {
            "cap": "two",
            "key": "",
            "most": 2,
            "per_seconds": None,
            "taken": [ids[1], ids[2]],
            "waiting": [ids[3]],
        },
    ]


async def test_other_sizes_count_for_whoever_waits(queue: Queue, store: SqlStore) -> None:
    for number in range(1, 7):
        await queue.enter(number)
    await queue.enter(7, Demand("gone", "", 1, None), at_once=True)
    await queue.enter(8, Demand("gone", "", 1, None), TWO)
    assert await queue.at(3, 4, 5, 6, 8) == [1, 2, 3, 4, 5]
    await store.resize({"two": (4, None)}, NOON)
    assert await queue.at(3, 4, 5, 6, 8) == [0, 0, 1, 2, 3]
    await store.resize({"two": (1, None)}, NOON)
    for number in (1, 2, 3):
        await queue.leave(number)
        assert await queue.at(5) == [1]
    await queue.leave(4)
    assert await queue.at(5, 6, 8) == [0, 1, 2]


async def test_a_gateway_that_is_gone_gives_back_what_it_had(queue: Queue, store: SqlStore) -> None:
    await store.beat("two")
    both = (TWO, Demand("hourly", "", 9, HOUR))
    await queue.enter(1, *both, instance="one")
    await queue.enter(2, instance="two")
    await queue.enter(3, instance="one")
    await queue.enter(4, instance="two")
    await store.interrupt_silent(seconds=60, at=NOON, reason="gone")
    assert await queue.at(2, 4) == [0, 0]
    assert [(one.cap, len(one.taken), len(one.waiting)) for one in await store.occupied(NOON)] == [
        ("hourly", 1, 0),
        ("two", 2, 0),
    ]
    await store.clear_places(NOON)
    assert [one.cap for one in await store.occupied(NOON)] == ["hourly"]


async def test_a_circle_is_told_to_who_came_last(store: SqlStore) -> None:
    table = {name: Demand("table", name, 1, None) for name in "abc"}
    number = 0

    async def enter(entry: str, name: str) -> None:
        nonlocal number
        number += 1
        await store.line_up(
            entry, hold(number).id, [table[name]], instance="one", since=after(number), at=NOON
        )

    async def circle() -> list[str]:
        stands = await store.stands([f"{session}.{one}" for session in "STUV" for one in (1, 2)], NOON)
        return [one.entry for one in stands if one.in_circle]

    await enter("S.1", "a")
    await enter("T.1", "b")
    await enter("U.1", "c")
    # One behind the other is no circle, and who has nothing is in none.
    await enter("V.1", "a")
    await enter("S.2", "b")
    await enter("T.2", "c")
    assert await circle() == []
    await enter("U.2", "a")
    assert await circle() == ["U.2"]
    await store.leave("U.2", began=False, at=NOON)
    await store.leave("U.1", began=True, at=NOON)
    assert await circle() == []
    assert [one.entry for one in await store.stands(["T.2", "S.2"], NOON) if one.place is None] == ["T.2"]


async def test_there_is_no_circle_where_somebody_else_will_make_room(store: SqlStore) -> None:
    two = Demand("two", "", 2, None)
    one = Demand("one", "", 1, None)
    for at, (entry, demand) in enumerate(
        [("S.1", two), ("T.1", one), ("V.1", two), ("T.2", two), ("S.2", one)], 1
    ):
        await store.line_up(entry, hold(at).id, [demand], instance="one", since=after(at), at=NOON)
    stands = await store.stands(["T.2", "S.2"], NOON)
    assert [(each.place is None, each.in_circle) for each in stands] == [(False, False)] * 2
    await store.line_up("V.2", hold(9).id, [one], instance="one", since=after(9), at=NOON)
    stands = await store.stands(["T.2", "S.2", "V.2"], NOON)
    assert [each.entry for each in stands if each.in_circle] == ["V.2"]


async def test_two_gateways_never_have_more_than_there_are_places(place: Where) -> None:
    """Entries come and go in any order through two stores on one database."""
    dice = random.Random(3)
    most, entries = 3, 40
    at_work: set[str] = set()
    greatest = 0

    async def live(store: SqlStore, name: str) -> None:
        nonlocal greatest
        cap = Demand("cap", "", most, None)
        await asyncio.sleep(dice.random() / 50)
        stand = await store.line_up(name, "H", [cap], instance="one", since=NOON, at=NOON)
        while stand.place is not None:
            await asyncio.sleep(dice.random() / 50)
            (stand,) = await store.stands([name], NOON)
        at_work.add(name)
        greatest = max(greatest, len(at_work))
        await asyncio.sleep(dice.random() / 100)
        at_work.discard(name)
        await store.leave(name, began=True, at=NOON)

    async with place.open() as here, place.open() as there:
        stores = (here, there)
        await asyncio.gather(*(live(stores[number % 2], f"n{number}") for number in range(entries)))
        assert await here.occupied(NOON) == []
    assert 1 < greatest <= most
