import asyncio

import pytest

from gateway.bus import RESET, Bus, Event
from gateway.tasks import spawn


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


async def take(bus: Bus, count: int, after: str | None = None) -> list[Event]:
    with bus.subscribe(after=after) as subscription:
        return [await anext(subscription) for _ in range(count)]


async def test_a_subscriber_receives_what_comes_after_it() -> None:
    bus = Bus()
    bus.publish("before")
    with bus.subscribe() as subscription:
        waiting = spawn(anext(subscription), name="reader")
        await asyncio.sleep(0)
        bus.publish("hold.opened", {"id": "H-1"})
        event = await waiting
    assert (event.kind, event.data) == ("hold.opened", {"id": "H-1"})


async def test_ids_grow() -> None:
    bus = Bus()
    numbers = [int(bus.publish("x").id.partition("-")[2]) for _ in range(3)]
    assert numbers == [1, 2, 3]


async def test_the_publisher_cannot_change_an_event_afterwards() -> None:
    bus = Bus()
    data: dict[str, object] = {"state": "pending"}
    event = bus.publish("hold.opened", data)
    data["state"] = "approved"
    assert event.data == {"state": "pending"}


async def test_what_was_missed_is_replayed() -> None:
    bus = Bus()
    first = bus.publish("one")
    bus.publish("two")
    bus.publish("three")
    assert kinds(await take(bus, 2, after=first.id)) == ["two", "three"]


async def test_the_last_id_replays_nothing() -> None:
    bus = Bus()
    last = bus.publish("one")
    with bus.subscribe(after=last.id) as subscription:
        bus.publish("two")
        assert (await anext(subscription)).kind == "two"


@pytest.mark.parametrize("after", ["", "x", "ffffffff-1", "-", "0", "ffffffff-" + "9" * 40])
async def test_a_foreign_id_resets(after: str) -> None:
    bus = Bus()
    bus.publish("one")
    assert kinds(await take(bus, 1, after=after)) == [RESET]


async def test_an_id_from_the_future_resets() -> None:
    bus = Bus()
    mark = bus.publish("one").id.partition("-")[0]
    assert kinds(await take(bus, 1, after=f"{mark}-7")) == [RESET]


async def test_an_id_older_than_the_memory_resets() -> None:
    bus = Bus(history=2)
    first = bus.publish("one")
    for _ in range(3):
        bus.publish("more")
    assert kinds(await take(bus, 1, after=first.id)) == [RESET]


async def test_a_subscriber_that_lags_is_told_so() -> None:
    bus = Bus()
    with bus.subscribe(backlog=3) as subscription:
        for number in range(5):
            bus.publish(f"event.{number}")
        assert kinds([await anext(subscription) for _ in range(2)]) == [RESET, "event.4"]


async def test_closing_ends_the_iteration_after_what_was_received() -> None:
    bus = Bus()
    subscription = bus.subscribe()
    bus.publish("one")
    subscription.close()
    bus.publish("two")
    assert [event.kind async for event in subscription] == ["one"]


async def test_closing_wakes_who_waits() -> None:
    bus = Bus()
    subscription = bus.subscribe()

    async def read() -> list[Event]:
        return [event async for event in subscription]

    reader = spawn(read(), name="reader")
    await asyncio.sleep(0)
    subscription.close()
    assert await reader == []


async def test_a_listener_that_fails_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    heard: list[str] = []

    def fail(event: Event) -> None:
        raise RuntimeError("chat is down")

    bus.listen(fail)
    stop = bus.listen(lambda event: heard.append(event.kind))
    bus.publish("one")
    stop()
    stop()
    bus.publish("two")
    assert heard == ["one"]
    assert bus.failures == 2
    assert "chat is down" in caplog.text
