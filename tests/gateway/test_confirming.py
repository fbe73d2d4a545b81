"""Whoever asked confirms it first: once, themself, in time, and in the way that the rule wants."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import AuditUnavailable
from gateway.confirming import (
    AwaitingConfirmation,
    NothingToConfirm,
    check_confirmable,
    confirm_link,
    is_link_of,
    unconfirmed,
)
from gateway.holds import AlreadyResolved, Hold, HoldState, NotAllowed
from gateway.step_up import Proof
from gateway.store import BREAK_GLASS, BY_GRANT, BY_RULE, Confirmation
from rules import Escalation, Stage
from tests.gateway.audit.samples import records
from tests.gateway.store.samples import NOON, approval, hold, postgresql_url, sqlite_url
from tests.gateway.test_holds import Desk, open_desk, promptly
from tests.support.disk import full_disk
from tests.support.postgres import Postgres

KEY = "0123456789abcdef0123456789abcdef"
ASKS: dict[str, Any] = {"confirm": "second-factor"}
CONFIRMED = Confirmation("alice", "totp", NOON)


@pytest.fixture
async def recording(tmp_path: Path, postgres: Postgres, empty_database: str) -> AsyncIterator[Desk]:
    """A desk whose store is not on the disk that is going to be full."""
    async with open_desk(tmp_path, postgresql_url(postgres, empty_database)) as opened:
        yield opened


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, sqlite_url(tmp_path)) as running:
        yield running


async def proved(one: Hold) -> Proof:
    return Proof("passkey", {"signature": "x"})


async def confirm(desk: Desk, one: Hold, who: str = "alice", *, by_link: bool = False) -> Hold:
    return await desk.holds.confirm(one.id, who=who, by_link=by_link, prove=proved)


class TestWho:
    def test_whoever_asked_under_any_spelling(self) -> None:
        check_confirmable(hold(user="Alice", **ASKS), "ALICE", by_link=False)

    @pytest.mark.parametrize(
        ("one", "who", "by_link", "error", "says"),
        [
            (hold(**ASKS), "carol", False, NotAllowed, "only alice, whose statement it is, can confirm"),
            (hold(), "alice", False, NothingToConfirm, "takes no confirmation"),
            (hold(**ASKS, confirmation=CONFIRMED), "alice", False, NothingToConfirm, "is confirmed already"),
            (hold(**ASKS, state=HoldState.EXPIRED), "alice", False, AlreadyResolved, "is expired already"),
            (hold(**ASKS), "alice", True, NothingToConfirm, "is confirmed by a second factor"),
            (
                hold(confirm="email"),
                "alice",
                False,
                NothingToConfirm,
                "is confirmed by the link that was sent",
            ),
        ],
    )
    def test_nobody_else_and_nothing_else(
        self, one: Hold, who: str, by_link: bool, error: type[Exception], says: str
    ) -> None:
        with pytest.raises(error, match=says):
            check_confirmable(one, who, by_link=by_link)

    def test_what_counts_without_it(self) -> None:
        asks = hold(**ASKS, state=HoldState.APPROVED, decisions=(approval(),))
        assert unconfirmed(asks) == "alice has not confirmed it"
        assert unconfirmed(dataclasses.replace(asks, confirmation=CONFIRMED)) is None
        assert unconfirmed(hold()) is None
        for how in (BREAK_GLASS, BY_GRANT, BY_RULE):
            decision = dataclasses.replace(approval(), how=how)
            assert unconfirmed(dataclasses.replace(asks, decisions=(decision,))) is None


class TestLinks:
    def test_a_link_is_of_one_hold_of_one_person(self) -> None:
        one = hold()
        link = confirm_link(one, "https://hold.example", KEY)
        found = re.fullmatch(r"https://hold\.example/confirm/(H-[0-9A-Z]{26})\?t=([A-Za-z0-9_-]{43})", link)
        assert found is not None
        assert found[1] == one.id
        token = found[2]
        assert is_link_of(one, token, KEY)
        assert is_link_of(dataclasses.replace(one, state=HoldState.EXPIRED), token, KEY)
        for other in (hold(2), hold(user="mallory"), hold(digest="e" * 64)):
            assert not is_link_of(other, token, KEY)
        assert not is_link_of(one, token, KEY.upper())
        for wrong in ("", token[:-1], token + "=", "\ud800"):
            assert not is_link_of(one, wrong, KEY)


class TestHolds:
    async def test_nobody_can_approve_before_and_everybody_after(self, desk: Desk) -> None:
        stage = Stage(("dpo",), escalation=Escalation(("legal",), 60.0))
        one = await desk.open(**ASKS, stages=(stage,))
        assert one.awaits_confirmation
        assert [standing.since for standing in one.standings] == [None]
        with pytest.raises(AwaitingConfirmation, match=f"alice has to confirm {one.id}"):
            await desk.decide(one)
        moved = asyncio.ensure_future(desk.holds.moved(one.id))
        await asyncio.sleep(0)
        desk.clock.ahead = 30.0
        confirmed = await confirm(desk, one)
        assert await promptly(moved) == confirmed
        assert confirmed.confirmation is not None
        assert (confirmed.confirmation.who, confirmed.confirmation.how) == ("alice", "passkey")
        assert confirmed.confirmation.proof == {"signature": "x"}
        # The time of the first stage begins now; that of the hold began before.
        assert [standing.since for standing in confirmed.standings] == [confirmed.confirmation.at]
        assert confirmed.expires_at == one.expires_at
        assert (await desk.decide(one)).state is HoldState.APPROVED
        assert desk.kinds() == ["hold.opened", "hold.confirmed", "hold.resolved"]
        assert await desk.recorded() == [("hold", "opened"), ("hold", "confirmed"), ("decision", "approved")]
        (record,) = [record for record in records(desk.path) if record["tag"] == "confirmed"]
        assert record["details"] == {
            "digest": one.digest,
            "confirmed_by": "alice",
            "confirmed_how": "passkey",
            "proof": {"signature": "x"},
        }

    async def test_a_rejection_does_not_wait(self, desk: Desk) -> None:
        one = await desk.open(**ASKS)
        assert (await desk.decide(one, approve=False)).state is HoldState.REJECTED
        with pytest.raises(AlreadyResolved):
            await confirm(desk, one)

    async def test_it_is_confirmed_once(self, desk: Desk) -> None:
        one = await desk.open(**ASKS)
        answers = await asyncio.gather(*(confirm(desk, one) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(answer, Hold) for answer in answers) == 1
        assert sum(isinstance(answer, NothingToConfirm) for answer in answers) == 4
        assert desk.kinds().count("hold.confirmed") == 1

    async def test_not_after_its_time(self, desk: Desk) -> None:
        one = await desk.open(**ASKS)
        desk.clock.ahead = timedelta(hours=1).total_seconds()
        with pytest.raises(AlreadyResolved):
            await confirm(desk, one)
        assert (await desk.holds.get(one.id)).state is HoldState.EXPIRED

    async def test_what_cannot_be_proven_changes_nothing(self, desk: Desk) -> None:
        one = await desk.open(**ASKS)

        async def cannot(_: Hold) -> Proof:
            raise PermissionError

        with pytest.raises(PermissionError):
            await desk.holds.confirm(one.id, who="alice", by_link=False, prove=cannot)
        assert (await desk.holds.get(one.id)).awaits_confirmation

    async def test_what_cannot_be_recorded_asks_nobody(self, recording: Desk) -> None:
        one = await recording.open(**ASKS)
        with full_disk(recording.path), pytest.raises(AuditUnavailable):
            await confirm(recording, one)
        assert (await recording.holds.get(one.id)).state is HoldState.INTERRUPTED

    async def test_one_that_was_confirmed_elsewhere(self, desk: Desk) -> None:
        one = await desk.open(**ASKS)
        moved = asyncio.ensure_future(desk.holds.moved(one.id))
        await asyncio.sleep(0)
        assert await desk.store.confirm_hold(one.id, Confirmation("alice", "totp", desk.clock.now()))
        fresh = await desk.holds.get(one.id)
        assert await desk.holds.learn(fresh)
        assert await desk.holds.learn(fresh)
        assert await promptly(moved) == fresh
        assert desk.kinds() == ["hold.opened", "hold.confirmed"]
        assert await desk.recorded() == [("hold", "opened"), ("hold", "confirmed")]
        assert records(desk.path)[-1]["details"]["elsewhere"] is True
