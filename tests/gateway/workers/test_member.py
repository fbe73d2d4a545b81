"""What a worker took it gives back when it is gone."""

import asyncio
from pathlib import Path

import pytest

from gateway.seats import Seats
from gateway.store import Hold, HoldState, StoreUnavailable
from gateway.workers.member import HoldsOfWorker, SeatsOfWorker
from gateway.workers.process import RemoteSeats
from rules import Act, Affected, Demand
from tests.gateway.management import Desk, hold_request, management
from tests.gateway.store.samples import NOON


async def test_holds_that_are_open_end_with_their_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with management(tmp_path) as desk:
        holds = HoldsOfWorker(desk.holds)
        pending, decided, used, left, stuck, others = [
            (await (desk.holds if number == 5 else holds).open(hold_request())).id for number in range(6)
        ]
        for hold_id in (decided, used):
            waiting = asyncio.ensure_future(holds.wait(hold_id))
            await decide(desk, hold_id)
            assert (await waiting).state is HoldState.APPROVED
        await holds.claim(used, "d" * 64)
        await holds.record_outcome(used, "DELETE 1", 1, None, 2.0)
        await holds.end(left, HoldState.WITHDRAWN, "changed their mind")
        real = desk.holds.end

        async def end(hold_id: str, state: HoldState, reason: str) -> Hold:
            if hold_id == stuck:
                raise StoreUnavailable("locked")
            return await real(hold_id, state, reason)

        monkeypatch.setattr(desk.holds, "end", end)
        await holds.interrupt()
        states = {each: (await desk.holds.get(each)).state.value for each in (pending, decided, used, left)}
        assert states == {
            pending: "interrupted",
            decided: "interrupted",
            used: "approved",
            left: "withdrawn",
        }
        assert f"{stuck} of a worker that is gone: locked" in caplog.text
        # What waits elsewhere goes on waiting.
        assert (await desk.holds.get(others)).state is HoldState.PENDING
        assert (await holds.approver("carol")) is not None


async def test_places_under_caps_are_given_back(tmp_path: Path) -> None:
    hourly, at_once = Demand("hourly", "", 9, 3600.0), Demand("one", "", 1, None)
    async with management(tmp_path) as desk:
        holds = HoldsOfWorker(desk.holds)
        hold_id = (await desk.holds.open(hold_request())).id
        demands, entries = [at_once, hourly], ("a", "b", "c")
        places = [await holds.line_up(entry, hold_id, demands, NOON, False) for entry in entries]
        assert [place and place.at for place in places] == [None, 1, 2]
        await holds.leave("a", True)
        assert await holds.advanced("b", 1) is None
        await holds.interrupt()
        # What began in this hour began, what waited did not.
        assert [(one.cap, len(one.taken), len(one.waiting)) for one in await desk.holds.occupied()] == [
            ("hourly", 2, 0)
        ]


async def test_criteria_and_turns_pass_through(tmp_path: Path) -> None:
    async with management(tmp_path) as desk:
        holds = HoldsOfWorker(desk.holds)
        export, deletion = [
            (
                await holds.open(
                    hold_request(
                        affected=[Affected(act, "public.customer")],
                        place="db",
                        session_id=f"S-{act}",
                        check_seconds=60.0,
                    )
                )
            ).id
            for act in (Act.EXPORT, Act.DELETE)
        ]
        assert (await holds.checked(deletion, (), "allow", "met")).state is HoldState.APPROVED
        assert await holds.in_turn(deletion) == f"hold {export} of alice (pending)"
        stirred = asyncio.ensure_future(holds.stirred())
        await asyncio.sleep(0)
        assert (await holds.checked(export, (), "deny", "no")).state is HoldState.REJECTED
        await stirred
        assert await holds.in_turn(deletion) is None
        await holds.interrupt()
        assert (await desk.holds.get(deletion)).state is HoldState.INTERRUPTED


async def decide(desk: Desk, hold_id: str) -> None:
    """Approve as carol."""
    await desk.holds.decide(
        hold_id,
        who="carol",
        who_groups={"dpo"},
        who_roles={"approver"},
        approve=True,
        reason="",
        how="api",
    )


async def test_seats_are_given_back_by_whom_they_were_taken() -> None:
    seats = Seats(lambda: 3)
    one, other = SeatsOfWorker(seats), SeatsOfWorker(seats)
    assert [await one.take(), await one.take(), await other.take(), await other.take()] == [
        True,
        True,
        True,
        False,
    ]
    other.give()
    one.give_all()
    assert (seats.taken, one.taken, other.taken) == (0, 0, 0)


async def test_a_seat_for_somebody_who_left_meanwhile_is_given_back() -> None:
    seats, answer = Seats(lambda: 1), asyncio.Event()

    class Slow:
        async def take(self) -> bool:
            taken = await seats.take()
            await answer.wait()
            return taken

        def give(self) -> None:
            seats.give()

    remote = RemoteSeats(Slow())
    taking = asyncio.ensure_future(remote.take())
    async with asyncio.timeout(10):
        while not seats.taken:
            await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert seats.taken == 1
    answer.set()
    async with asyncio.timeout(10):
        while seats.taken:
            await asyncio.sleep(0)
    assert await remote.take()
