"""The storage port, asked of both stores: what is kept, who wins, and what is said when it cannot be."""

import asyncio
import dataclasses
import gc
import sqlite3
import stat
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import gateway.store.engine
import gateway.store.sql
from gateway.store import (
    BREAK_GLASS,
    BY_RULE,
    Confirmation,
    Decision,
    Hold,
    HoldLimit,
    HoldState,
    Outcome,
    Review,
    Storage,
    StoreInUse,
    StoreUnavailable,
    open_store,
)
from gateway.store.sql import SqlStore
from rules import Escalation, Stage
from tests.gateway.store.samples import (
    NOON,
    Place,
    approval,
    hold,
    postgresql_url,
    rejection,
    sqlite_url,
    token,
)
from tests.support.postgres import Postgres
from tests.support.relay import Relay

FOR_EVER: Any = {"limit": 1000, "limit_per_user": 1000}
"""No limit that matters here."""
LATER = NOON + timedelta(minutes=2)
HOSTILE = "\x00\x1b[2J\ud800 \u202e \U0001f4a3 '; DROP TABLE holds; --"


async def add(store: SqlStore, number: int = 1, **changes: Any) -> str:
    one = hold(number, **changes)
    await store.add_hold(one, **FOR_EVER)
    return one.id


async def state_of(store: SqlStore, hold_id: str) -> HoldState:
    found = await store.hold(hold_id)
    assert found is not None
    return found.state


def test_it_is_a_store() -> None:
    # For the type checker: every method of the port, with its types.
    as_port: type[Storage] = SqlStore
    assert as_port is SqlStore


class TestKeeping:
    async def test_a_hold_comes_back_as_it_went_in(self, store: SqlStore) -> None:
        one = hold(transaction_open_since=NOON - timedelta(microseconds=1))
        await store.add_hold(one, **FOR_EVER)
        assert await store.hold(one.id) == one

    async def test_a_preview_is_kept_while_the_hold_waits(self, store: SqlStore) -> None:
        one = hold(recent=({"sql": HOSTILE, "tag": None},))
        await store.add_hold(one, **FOR_EVER)
        assert await store.set_impact(one.id, {"changes": [HOSTILE], "unseen": []})
        found = await store.hold(one.id)
        assert found == dataclasses.replace(one, impact={"changes": [HOSTILE], "unseen": []})
        assert await store.end_hold(one.id, HoldState.WITHDRAWN, LATER, "gone")
        assert not await store.set_impact(one.id, {})
        assert not await store.set_impact("H-none", {})

    async def test_a_confirmation_is_kept_once_and_in_time(self, store: SqlStore) -> None:
        one = hold(confirm="email")
        said = Confirmation("alice", "passkey", NOON + timedelta(seconds=7), {"signature": HOSTILE})
        await store.add_hold(one, **FOR_EVER)
        late = dataclasses.replace(said, at=one.expires_at)
        assert not await store.confirm_hold(one.id, late)
        assert await store.confirm_hold(one.id, said)
        assert not await store.confirm_hold(one.id, said)
        assert await store.hold(one.id) == dataclasses.replace(one, confirmation=said)
        assert not await store.confirm_hold(await add(store, 2), said)
        ended = await add(store, 3, confirm="email")
        assert await store.end_hold(ended, HoldState.WITHDRAWN, LATER, "gone")
        assert not await store.confirm_hold(ended, said)

    async def test_what_is_absent_stays_absent(self, store: SqlStore) -> None:
        one = hold(client_addr=None, parameters=None, groups=(), columns=(), criteria=(), stages=(Stage(),))
        await store.add_hold(one, **FOR_EVER)
        found = await store.hold(one.id)
        assert found == one
        assert found is not None
        assert found.parameters is None

    async def test_any_text_can_be_kept(self, store: SqlStore) -> None:
        one = hold(sql=HOSTILE, parameters=(HOSTILE, ""), reason=HOSTILE, relations=(HOSTILE,))
        await store.add_hold(one, **FOR_EVER)
        assert await store.end_hold(one.id, HoldState.WITHDRAWN, LATER, HOSTILE)
        found = await store.hold(one.id)
        assert found is not None
        assert (found.sql, found.parameters, found.reason, found.end_reason) == (
            HOSTILE,
            (HOSTILE, ""),
            HOSTILE,
            HOSTILE,
        )

    async def test_a_large_statement_can_be_kept(self, store: SqlStore) -> None:
        sql = "SELECT '" + "x" * 1_000_000 + "'"
        await add(store, sql=sql)
        assert [found.sql for found in await store.holds(states=None, limit=9, before=None)] == [sql]

    async def test_nobody_is_found_under_a_name_nobody_has(self, store: SqlStore) -> None:
        assert await store.hold("H-none") is None
        assert await store.token("none") is None
        assert await store.use_code("none", NOON) is None

    async def test_a_hold_is_there_for_whoever_opens_the_store_next(self, place: Place) -> None:
        async with place.open() as store:
            await add(store)
        async with place.open() as again:
            assert await again.hold(hold().id) == hold()

    async def test_the_same_id_twice_is_refused(self, store: SqlStore) -> None:
        await add(store)
        with pytest.raises(StoreUnavailable):
            await add(store)


class TestLists:
    async def test_the_newest_come_first_page_by_page(self, store: SqlStore) -> None:
        for number in (3, 1, 5, 2, 4):
            await add(store, number)
        first = await store.holds(states=None, limit=2, before=None)
        assert [one.id for one in first] == [hold(5).id, hold(4).id]
        second = await store.holds(states=None, limit=2, before=first[-1].id)
        assert [one.id for one in second] == [hold(3).id, hold(2).id]
        third = await store.holds(states=None, limit=2, before=second[-1].id)
        assert [one.id for one in third] == [hold(1).id]
        assert await store.holds(states=None, limit=2, before=third[-1].id) == []

    async def test_only_the_states_asked_for(self, store: SqlStore) -> None:
        for number in range(1, 5):
            await add(store, number)
        await store.decide_hold(hold(1).id, approval(), HoldState.APPROVED)
        await store.decide_hold(hold(2).id, rejection(), HoldState.REJECTED)
        await store.expire_hold(hold(3).id, LATER)

        async def ids(*states: HoldState) -> list[str]:
            return [one.id for one in await store.holds(states=states, limit=9, before=None)]

        assert await ids(HoldState.PENDING) == [hold(4).id]
        assert await ids(HoldState.REJECTED, HoldState.APPROVED) == [hold(2).id, hold(1).id]
        assert await ids() == []

    async def test_each_hold_has_its_own_decisions(self, store: SqlStore) -> None:
        for number in (1, 2):
            await add(store, number)
        await store.decide_hold(hold(1).id, approval(reason=HOSTILE), HoldState.APPROVED)
        await store.decide_hold(hold(2).id, rejection(), HoldState.REJECTED)
        found = await store.holds(states=None, limit=9, before=None)
        assert [one.decisions for one in found] == [(rejection(),), (approval(reason=HOSTILE),)]
        assert found[0].decided_by == ("dave",)


class TestLimits:
    async def test_no_more_holds_than_may_be(self, store: SqlStore) -> None:
        for number, user in ((1, "alice"), (2, "bob")):
            await store.add_hold(hold(number, user=user), limit=2, limit_per_user=2)
        with pytest.raises(HoldLimit, match=r"^2 holds are pending$") as full:
            await store.add_hold(hold(3, user="eve"), limit=2, limit_per_user=2)
        assert (full.value.limit, full.value.user) == (2, None)
        assert await store.hold(hold(3).id) is None

    async def test_no_more_holds_of_one_user_than_may_be(self, store: SqlStore) -> None:
        await store.add_hold(hold(1), limit=9, limit_per_user=1)
        with pytest.raises(HoldLimit, match=r"^1 holds of alice are pending$"):
            await store.add_hold(hold(2), limit=9, limit_per_user=1)
        await store.add_hold(hold(3, user="bob"), limit=9, limit_per_user=1)

    async def test_what_has_ended_does_not_count(self, store: SqlStore) -> None:
        await store.add_hold(hold(1), limit=1, limit_per_user=1)
        await store.expire_hold(hold(1).id, LATER)
        await store.add_hold(hold(2), limit=1, limit_per_user=1)

    async def test_the_limit_holds_when_many_come_at_once_by_two_gateways(self, place: Place) -> None:
        async with place.open() as one, place.open() as other:
            stores = (one, other)
            results = await asyncio.gather(
                *(
                    stores[number % 2].add_hold(hold(number), limit=5, limit_per_user=5)
                    for number in range(1, 21)
                ),
                return_exceptions=True,
            )
            assert [type(one) for one in results if isinstance(one, Exception)] == [HoldLimit] * 15
            assert len(await one.holds(states=None, limit=99, before=None)) == 5


class TestCriteria:
    OUTCOMES = ({"criterion": "webhook: desk", "met": True, "outcome": "met", "why": HOSTILE},)

    async def test_what_came_of_them_is_kept_with_the_decision_of_the_rule(self, store: SqlStore) -> None:
        one = hold(checking_until=LATER)
        await store.add_hold(one, **FOR_EVER)
        assert await store.hold(one.id) == one
        decision = Decision("rule erasure", "approve", "all criteria are met", LATER, BY_RULE)
        assert await store.check_hold(one.id, self.OUTCOMES, decision, HoldState.APPROVED, at=LATER)
        found = await store.hold(one.id)
        assert found is not None
        assert found == dataclasses.replace(
            one,
            criteria=self.OUTCOMES,
            checking_until=None,
            state=HoldState.APPROVED,
            resolved_at=LATER,
            decisions=(decision,),
        )
        assert await store.claim_hold(one.id, one.digest, LATER, instance="one")

    async def test_people_are_asked_where_nothing_follows(self, store: SqlStore) -> None:
        one = hold(checking_until=LATER)
        await store.add_hold(one, **FOR_EVER)
        assert await store.check_hold(one.id, self.OUTCOMES, None, HoldState.PENDING, at=LATER)
        assert await store.hold(one.id) == dataclasses.replace(
            one, criteria=self.OUTCOMES, checking_until=None
        )
        # A vote of somebody else does not stand in the way of the next.
        assert await store.decide_hold(one.id, approval(at=LATER), HoldState.APPROVED)

    async def test_what_has_ended_or_is_over_stays_as_it_was(self, store: SqlStore) -> None:
        decision = Decision("rule erasure", "approve", "", LATER, BY_RULE)
        ended, over = hold(1), hold(2, expires_at=LATER)
        for one in (ended, over):
            await store.add_hold(one, **FOR_EVER)
        await store.decide_hold(ended.id, rejection(), HoldState.REJECTED)
        for hold_id in (ended.id, over.id, "H-none"):
            assert not await store.check_hold(hold_id, self.OUTCOMES, decision, HoldState.APPROVED, at=LATER)
        assert await state_of(store, ended.id) is HoldState.REJECTED
        assert await state_of(store, over.id) is HoldState.PENDING
        found = await store.hold(over.id)
        assert found is not None
        assert (found.criteria, found.decisions) == (over.criteria, ())


class TestDeciding:
    @pytest.mark.parametrize(
        ("decision", "state"), [(approval(), HoldState.APPROVED), (rejection(), HoldState.REJECTED)]
    )
    async def test_a_decision_is_kept_with_the_hold(
        self, store: SqlStore, decision: Decision, state: HoldState
    ) -> None:
        await add(store)
        assert await store.decide_hold(hold().id, decision, state)
        assert await store.hold(hold().id) == dataclasses.replace(
            hold(), state=state, resolved_at=decision.at, decisions=(decision,)
        )

    async def test_the_second_decision_comes_too_late_and_leaves_no_trace(self, store: SqlStore) -> None:
        await add(store)
        assert await store.decide_hold(hold().id, approval(), HoldState.APPROVED)
        assert not await store.decide_hold(hold().id, rejection(), HoldState.REJECTED)
        assert not await store.decide_hold(hold().id, approval("dave"), HoldState.APPROVED)
        found = await store.hold(hold().id)
        assert found is not None
        assert (found.state, found.decisions) == (HoldState.APPROVED, (approval(),))

    async def test_an_approval_that_is_not_the_last_leaves_the_hold_pending(self, store: SqlStore) -> None:
        stages = (Stage(("lead",), 1, Escalation(("legal",), 60)), Stage(("dpo",), 2, repeat=True))
        await store.add_hold(hold(stages=stages), **FOR_EVER)
        first = approval("lea")
        second = dataclasses.replace(approval("eve", at=LATER), stage=1, deputy_for="carol")
        assert await store.decide_hold(hold().id, first, HoldState.PENDING)
        found = await store.hold(hold().id)
        assert found == hold(stages=stages, decisions=(first,))
        assert not await store.decide_hold(hold().id, second, HoldState.APPROVED), "found with no decision"
        assert not await store.decide_hold(hold().id, second, HoldState.APPROVED, votes=2)
        assert await store.decide_hold(hold().id, second, HoldState.APPROVED, votes=1)
        assert await store.hold(hold().id) == hold(
            stages=stages, state=HoldState.APPROVED, decisions=(first, second), resolved_at=LATER
        )

    async def test_of_two_approvals_found_with_the_same_decisions_one_counts(self, place: Place) -> None:
        async with place.open() as one, place.open() as other:
            for number in range(1, 11):
                hold_id = await add(one, number)
                won = await asyncio.gather(
                    one.decide_hold(hold_id, approval(), HoldState.PENDING),
                    other.decide_hold(hold_id, approval("dave"), HoldState.PENDING),
                )
                assert sorted(won) == [False, True]
                found = await one.hold(hold_id)
                assert found is not None
                assert (found.state, len(found.decisions)) == (HoldState.PENDING, 1)

    async def test_a_hold_is_never_seen_decided_without_its_decision(self, place: Place) -> None:
        async with place.open() as one, place.open() as other:
            ids = [await add(one, number) for number in range(1, 41)]
            decided = asyncio.Event()

            async def look() -> None:
                while not decided.is_set():
                    for found in await other.holds_among(ids):
                        assert found.decisions == (() if found.state is HoldState.PENDING else (approval(),))

            looking = [asyncio.ensure_future(look()) for _ in range(3)]
            for hold_id in ids:
                assert await one.decide_hold(hold_id, approval(), HoldState.APPROVED)
            decided.set()
            await asyncio.gather(*looking)

    async def test_nothing_is_decided_about_what_is_not_there(self, store: SqlStore) -> None:
        assert not await store.decide_hold("H-none", approval(), HoldState.APPROVED)

    async def test_a_decision_at_the_expiry_is_too_late(self, store: SqlStore) -> None:
        await add(store)
        at = hold().expires_at
        assert not await store.decide_hold(hold().id, approval(at=at), HoldState.APPROVED)
        just_before = at - timedelta(microseconds=1)
        assert await store.decide_hold(hold().id, approval(at=just_before), HoldState.APPROVED)

    async def test_of_two_deciders_at_two_gateways_one_wins(self, place: Place) -> None:
        async with place.open() as one, place.open() as other:
            for number in range(1, 11):
                hold_id = await add(one, number)
                won = await asyncio.gather(
                    one.decide_hold(hold_id, approval(), HoldState.APPROVED),
                    other.decide_hold(hold_id, rejection(), HoldState.REJECTED),
                )
                assert sorted(won) == [False, True]
                found = await one.hold(hold_id)
                assert found is not None
                assert found.decisions == ((approval(),) if won[0] else (rejection(),))

    async def test_of_a_decision_the_expiry_and_the_client_leaving_one_wins(self, place: Place) -> None:
        async with place.open() as one, place.open() as other:
            for number in range(1, 11):
                hold_id = await add(one, number)
                results = await asyncio.gather(
                    other.decide_hold(hold_id, rejection(), HoldState.REJECTED),
                    one.expire_hold(hold_id, LATER),
                    other.end_hold(hold_id, HoldState.ABANDONED, LATER, "gone"),
                )
                assert sorted(results) == [False, False, True]
                states = (HoldState.REJECTED, HoldState.EXPIRED, HoldState.ABANDONED)
                assert await state_of(one, hold_id) is states[results.index(True)]


class TestTickets:
    """A ticket waits 15 minutes, and as long after its decision it counts."""

    def ticket(self, number: int = 1, *, at: datetime | None = None, **changes: Any) -> Hold:
        one = hold(number, ticket=True, **changes)
        if at is None:
            return one
        return dataclasses.replace(one, opened_at=at, expires_at=at + (one.expires_at - one.opened_at))

    async def ask(self, store: SqlStore, number: int, **changes: Any) -> str:
        return (await store.ticket(self.ticket(number, **changes), **FOR_EVER)).id

    async def test_the_same_statement_is_the_same_ticket(self, store: SqlStore) -> None:
        first = await self.ask(store, 1)
        assert first == hold(1).id
        found = await store.hold(first)
        assert found == self.ticket(1)
        assert await self.ask(store, 2) == first
        assert await self.ask(store, 3, digest="e" * 64) == hold(3).id
        assert await self.ask(store, 4, user="bob") == hold(4).id
        # A hold that a session waits for is no ticket.
        await add(store, 5, digest="f" * 64)
        assert await self.ask(store, 6, digest="f" * 64) == hold(6).id

    async def test_an_approved_one_is_used_once_and_in_time(self, store: SqlStore) -> None:
        one = await self.ask(store, 1)
        assert await store.decide_hold(one, approval(at=LATER), HoldState.APPROVED)
        lifetime = timedelta(minutes=15)
        late = LATER + lifetime
        assert await self.ask(store, 2, at=late - timedelta(microseconds=1)) == one
        assert not await store.claim_hold(one, hold().digest, late, instance="one")
        assert await self.ask(store, 3, at=late) == hold(3).id
        assert await store.claim_hold(one, hold().digest, late - timedelta(microseconds=1), instance="one")
        assert not await store.claim_hold(one, hold().digest, LATER, instance="one")

    async def test_a_used_one_is_followed_by_another(self, store: SqlStore) -> None:
        one = await self.ask(store, 1)
        await store.decide_hold(one, approval(at=LATER), HoldState.APPROVED)
        assert await store.claim_hold(one, hold().digest, LATER, instance="one")
        assert await self.ask(store, 2, at=LATER) == hold(2).id

    async def test_a_rejection_counts_as_long(self, store: SqlStore) -> None:
        one = await self.ask(store, 1)
        await store.decide_hold(one, rejection(at=LATER), HoldState.REJECTED)
        assert await self.ask(store, 2, at=LATER + timedelta(minutes=14)) == one
        assert await self.ask(store, 3, at=LATER + timedelta(minutes=15)) == hold(3).id

    async def test_those_that_are_over_end(self, store: SqlStore) -> None:
        undecided, unused = await self.ask(store, 1), await self.ask(store, 2, digest="e" * 64)
        used, waits = await self.ask(store, 3, digest="f" * 64), await add(store, 4)
        for one, digest in ((unused, "e" * 64), (used, "f" * 64)):
            await store.decide_hold(one, approval(at=LATER), HoldState.APPROVED)
            if one == used:
                assert await store.claim_hold(one, digest, LATER, instance="one")
        assert await store.expire_tickets(hold(1).expires_at - timedelta(seconds=1)) == []
        ended = await store.expire_tickets(NOON + timedelta(days=1))
        assert {one.id: one.end_reason for one in ended} == {
            undecided: "nobody decided in time",
            unused: "the approval was not used in time",
        }
        assert {one.state for one in ended} == {HoldState.EXPIRED}
        assert await state_of(store, used) is HoldState.APPROVED
        assert await state_of(store, waits) is HoldState.PENDING
        assert await store.expire_tickets(NOON + timedelta(days=1)) == []

    async def test_no_gateway_that_stops_ends_one(self, store: SqlStore) -> None:
        one = await self.ask(store, 1)
        assert await store.interrupt_holds(instance=None, at=LATER, reason="stop") == []
        assert await store.interrupt_holds(instance="one", at=LATER, reason="stop") == []
        assert await state_of(store, one) is HoldState.PENDING

    async def test_of_many_at_once_one_is_made_and_one_uses_it(self, place: Place) -> None:
        async with place.open() as one, place.open() as other:
            made = await asyncio.gather(*(self.ask(store, n) for n, store in enumerate((one, other) * 4, 1)))
            assert len(set(made)) == 1
            await one.decide_hold(made[0], approval(at=LATER), HoldState.APPROVED)
            used = await asyncio.gather(
                *(
                    store.claim_hold(made[0], hold().digest, LATER, instance="one")
                    for store in (one, other) * 4
                )
            )
            assert sum(used) == 1

    async def test_they_count_among_what_is_pending(self, store: SqlStore) -> None:
        await self.ask(store, 1)
        with pytest.raises(HoldLimit):
            await store.ticket(self.ticket(2, digest="e" * 64), limit=9, limit_per_user=1)
        # One that is there is no further one.
        assert (await store.ticket(self.ticket(2), limit=1, limit_per_user=1)).id == hold(1).id


class TestEnding:
    async def test_a_pending_hold_can_end(self, store: SqlStore) -> None:
        await add(store)
        assert await store.end_hold(hold().id, HoldState.WITHDRAWN, LATER, "canceled")
        found = await store.hold(hold().id)
        assert found is not None
        assert (found.state, found.resolved_at, found.end_reason) == (HoldState.WITHDRAWN, LATER, "canceled")
        assert not await store.end_hold(hold().id, HoldState.ABANDONED, LATER, "gone")

    async def test_an_approval_that_was_not_used_can_end_and_one_that_was_cannot(
        self, store: SqlStore
    ) -> None:
        for number in (1, 2):
            await add(store, number)
            await store.decide_hold(hold(number).id, approval(), HoldState.APPROVED)
        assert await store.end_hold(hold(1).id, HoldState.INTERRUPTED, LATER, "stopped")
        assert await store.claim_hold(hold(2).id, hold().digest, LATER, instance="one")
        assert not await store.end_hold(hold(2).id, HoldState.INTERRUPTED, LATER, "stopped")
        assert await state_of(store, hold(2).id) is HoldState.APPROVED

    async def test_only_what_is_pending_expires(self, store: SqlStore) -> None:
        for number in (1, 2):
            await add(store, number)
        assert await store.expire_hold(hold(1).id, LATER)
        assert not await store.expire_hold(hold(1).id, LATER)
        await store.decide_hold(hold(2).id, approval(), HoldState.APPROVED)
        assert not await store.expire_hold(hold(2).id, LATER)
        found = await store.hold(hold(1).id)
        assert found is not None
        assert (found.state, found.end_reason) == (HoldState.EXPIRED, "nobody decided in time")

    async def test_what_a_dead_gateway_left_is_interrupted_and_the_rest_is_not(self, store: SqlStore) -> None:
        for number in range(1, 6):
            await add(store, number, instance="dead" if number < 5 else "alive")
        await store.decide_hold(hold(2).id, approval(), HoldState.APPROVED)
        await store.decide_hold(hold(3).id, rejection(), HoldState.REJECTED)
        await store.decide_hold(hold(4).id, approval(), HoldState.APPROVED)
        await store.claim_hold(hold(4).id, hold().digest, LATER, instance="one")
        ended = await store.interrupt_holds(instance="dead", at=LATER, reason="died")
        assert sorted(one.id for one in ended) == [hold(1).id, hold(2).id]
        assert {(one.state, one.resolved_at, one.end_reason) for one in ended} == {
            (HoldState.INTERRUPTED, LATER, "died")
        }
        assert [await state_of(store, hold(number).id) for number in (3, 4, 5)] == [
            HoldState.REJECTED,
            HoldState.APPROVED,
            HoldState.PENDING,
        ]
        assert await store.interrupt_holds(instance="dead", at=LATER, reason="died") == []
        everybody = await store.interrupt_holds(instance=None, at=LATER, reason="all")
        assert [one.id for one in everybody] == [hold(5).id]

    async def test_more_holds_can_end_than_one_query_asks_for(
        self, store: SqlStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gateway.store.sql, "_CHUNK", 3)
        for number in range(1, 9):
            await add(store, number)
        ended = await store.interrupt_holds(instance=None, at=LATER, reason="stop")
        assert sorted(one.id for one in ended) == [hold(number).id for number in range(1, 9)]


class TestReleasing:
    async def test_an_approval_is_used_once_and_for_its_own_digest(self, store: SqlStore) -> None:
        await add(store)
        assert not await store.claim_hold(hold().id, hold().digest, LATER, instance="one"), (
            "nobody approved yet"
        )
        await store.decide_hold(hold().id, approval(), HoldState.APPROVED)
        assert not await store.claim_hold(hold().id, "e" * 64, LATER, instance="one")
        assert await store.claim_hold(hold().id, hold().digest, LATER, instance="one")
        assert not await store.claim_hold(hold().id, hold().digest, LATER, instance="one")
        found = await store.hold(hold().id)
        assert found is not None
        assert found.released_at == LATER
        assert not found.open

    @pytest.mark.parametrize("end", ["reject", "expire", "end"])
    async def test_what_ended_otherwise_is_never_used(self, store: SqlStore, end: str) -> None:
        await add(store)
        if end == "reject":
            await store.decide_hold(hold().id, rejection(), HoldState.REJECTED)
        elif end == "expire":
            await store.expire_hold(hold().id, LATER)
        else:
            await store.end_hold(hold().id, HoldState.ABANDONED, LATER, "gone")
        assert not await store.claim_hold(hold().id, hold().digest, LATER, instance="one")

    async def test_of_many_claims_at_two_gateways_one_wins(self, place: Place) -> None:
        async with place.open() as one, place.open() as other:
            await add(one)
            await one.decide_hold(hold().id, approval(), HoldState.APPROVED)
            claims = (
                store.claim_hold(hold().id, hold().digest, LATER, instance="one")
                for store in (one, other) * 8
            )
            assert sorted(await asyncio.gather(*claims)) == [False] * 15 + [True]

    async def test_of_a_claim_and_an_end_one_wins(self, place: Place) -> None:
        async with place.open() as one, place.open() as other:
            for number in range(1, 11):
                hold_id = await add(one, number)
                await one.decide_hold(hold_id, approval(), HoldState.APPROVED)
                results = await asyncio.gather(
                    one.claim_hold(hold_id, hold().digest, LATER, instance="one"),
                    other.end_hold(hold_id, HoldState.INTERRUPTED, LATER, "stopped"),
                )
                assert sorted(results) == [False, True]

    async def test_the_outcome_is_kept_once_and_only_of_what_ran(self, store: SqlStore) -> None:
        await add(store)
        outcome = Outcome("DELETE 1", 1, None, 1.5)
        await store.decide_hold(hold().id, approval(), HoldState.APPROVED)
        assert not await store.set_outcome(hold().id, outcome, LATER)
        await store.claim_hold(hold().id, hold().digest, LATER, instance="one")
        assert await store.set_outcome(hold().id, outcome, LATER)
        assert not await store.set_outcome(hold().id, Outcome(None, None, "57014", None), LATER)
        found = await store.hold(hold().id)
        assert found is not None
        assert found.outcome == outcome

    async def test_an_outcome_may_know_nothing(self, store: SqlStore) -> None:
        await add(store)
        await store.decide_hold(hold().id, approval(), HoldState.APPROVED)
        await store.claim_hold(hold().id, hold().digest, LATER, instance="one")
        await store.set_outcome(hold().id, Outcome(None, None, None, None), LATER)
        found = await store.hold(hold().id)
        assert found is not None
        assert found.outcome == Outcome(None, None, None, None)


class TestTokens:
    async def test_a_token_is_found_by_its_digest(self, store: SqlStore) -> None:
        one = token(note=HOSTILE, expires_at=LATER, person=True)
        await store.add_token(one, "a" * 64)
        assert await store.token("a" * 64) == one

    async def test_the_newest_come_first(self, store: SqlStore) -> None:
        for number in (2, 1, 3):
            await store.add_token(token(number), f"{number}" * 64)
        assert await store.tokens() == [token(3), token(2), token(1)]

    async def test_revoking_works_once(self, store: SqlStore) -> None:
        await store.add_token(token(), "a" * 64)
        assert await store.revoke_token(token().id, NOON)
        assert not await store.revoke_token(token().id, LATER)
        assert not await store.revoke_token("none", LATER)
        assert await store.tokens() == [token(revoked_at=NOON)]

    async def test_a_digest_belongs_to_one_token(self, store: SqlStore) -> None:
        await store.add_token(token(1), "a" * 64)
        with pytest.raises(StoreUnavailable):
            await store.add_token(token(2), "a" * 64)
        assert await store.tokens() == [token(1)]

    async def test_a_code_answers_once_and_in_time(self, store: SqlStore) -> None:
        await store.add_code("a" * 64, "carol", LATER)
        assert await store.use_code("b" * 64, NOON) is None
        assert await store.use_code("a" * 64, NOON) == "carol"
        assert await store.use_code("a" * 64, NOON) is None
        await store.add_code("c" * 64, "carol", LATER)
        assert await store.use_code("c" * 64, LATER) is None
        # What has expired is forgotten, so the same digest is new.
        await store.add_code("c" * 64, "dave", LATER)
        assert await store.use_code("c" * 64, NOON) == "dave"

    async def test_of_many_uses_of_a_code_at_two_gateways_one_wins(self, place: Place) -> None:
        async with place.open() as one, place.open() as other:
            await one.add_code("a" * 64, "carol", LATER)
            uses = (store.use_code("a" * 64, NOON) for store in (one, other) * 5)
            answers = await asyncio.gather(*uses)
            assert [answer for answer in answers if answer is not None] == ["carol"]


class TestOneGateway:
    async def test_a_file_belongs_to_one_gateway_at_a_time(self, tmp_path: Path) -> None:
        place = Place("sqlite", sqlite_url(tmp_path))
        async with place.open() as first:
            assert not first.shared
            await first.acquire()
            async with place.open() as second:
                with pytest.raises(StoreInUse, match="another gateway runs on"):
                    await second.acquire()
                # Whoever only makes a token may do so beside it.
                await second.add_token(token(), "a" * 64)
        async with place.open() as third:
            await third.acquire()

    async def test_closing_without_having_acquired_takes_nothing_from_others(self, tmp_path: Path) -> None:
        place = Place("sqlite", sqlite_url(tmp_path))
        async with place.open() as first:
            await first.acquire()
            async with place.open():
                pass
            async with place.open() as second:
                with pytest.raises(StoreInUse):
                    await second.acquire()


class TestReviews:
    async def test_only_what_broke_the_glass_is_reviewed_and_once(self, place: Place) -> None:
        glass = dataclasses.replace(approval("alice"), how=BREAK_GLASS)
        async with place.open() as one, place.open() as other:
            for number in (1, 2, 3):
                await add(one, number)
            await one.decide_hold(hold(1).id, glass, HoldState.APPROVED)
            await one.decide_hold(hold(2).id, approval(), HoldState.APPROVED)
            found = await other.unreviewed()
            assert [(each.id, each.breaks_glass, each.standing) for each in found] == [
                (hold(1).id, True, None)
            ]
            review = Review("carol", HOSTILE, LATER)
            for number in (2, 3):
                assert not await one.review_hold(hold(number).id, review)
            reviewing = (store.review_hold(hold(1).id, review) for store in (one, other, one, other))
            assert sorted(await asyncio.gather(*reviewing)) == [False, False, False, True]
            kept = await other.hold(hold(1).id)
            assert kept is not None
            assert kept.review == review
            assert await one.unreviewed() == []


class TestFleet:
    async def test_a_database_is_shared(self, postgres: Postgres, empty_database: str) -> None:
        place = Place("postgresql", postgresql_url(postgres, empty_database))
        async with place.open() as first, place.open() as second:
            assert first.shared
            await first.acquire()
            await second.acquire()

    async def test_holds_are_found_by_their_ids(self, store: SqlStore) -> None:
        for number in range(1, 4):
            await add(store, number)
        found = await store.holds_among([hold(3).id, "H-none", hold(1).id])
        assert [one.id for one in found] == [hold(3).id, hold(1).id]
        assert await store.holds_among([]) == []

    async def test_what_the_silent_left_is_interrupted_and_what_the_living_hold_is_not(
        self, store: SqlStore
    ) -> None:
        for number, instance in enumerate(("unknown", "living", "silent", "gone"), 1):
            await add(store, number, instance=instance)
        await store.beat("silent")
        await asyncio.sleep(2.5)
        for instance in ("living", "gone"):
            await store.beat(instance)
        await store.beat("living")
        await store.farewell("gone")
        ended = await store.interrupt_silent(seconds=2.0, at=LATER, reason="gone")
        assert sorted(one.instance for one in ended) == ["gone", "silent", "unknown"]
        assert {(one.state, one.resolved_at, one.end_reason) for one in ended} == {
            (HoldState.INTERRUPTED, LATER, "gone")
        }
        assert await state_of(store, hold(2).id) is HoldState.PENDING
        assert await store.interrupt_silent(seconds=2.0, at=LATER, reason="gone") == []

    async def test_every_change_is_heard_by_the_others_once_it_is_made(
        self, postgres: Postgres, empty_database: str
    ) -> None:
        place = Place("postgresql", postgresql_url(postgres, empty_database))
        heard: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()
        async with place.open() as one, place.open() as other:
            listening = asyncio.ensure_future(other.listen(lambda *said: heard.put_nowait(said)))
            async with asyncio.timeout(20):
                assert await heard.get() == ("reset", None)
                hold_id = await add(one, 1)
                assert await heard.get() == ("opened", hold_id)
                await other.decide_hold(hold_id, approval(), HoldState.PENDING)
                await one.decide_hold(hold_id, approval("dave"), HoldState.APPROVED, votes=1)
                # Of its own changes a gateway hears nothing.
                assert await heard.get() == ("resolved", hold_id)
                await one.claim_hold(hold_id, hold().digest, LATER, instance="one")
                assert await heard.get() == ("released", hold_id)
                await one.set_outcome(hold_id, Outcome("DELETE 1", 1, None, 1.0), LATER)
                assert await heard.get() == ("outcome", hold_id)
                assert not await one.expire_hold(hold_id, LATER), "what changes nothing says nothing"
                await add(one, 2)
                assert await heard.get() == ("opened", hold(2).id)
                await one.decide_hold(hold(2).id, approval(), HoldState.PENDING)
                assert await heard.get() == ("decided", hold(2).id)
                await one.interrupt_holds(instance=None, at=LATER, reason="stop")
                assert await heard.get() == ("reset", None)
                postgres.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    f"WHERE datname = '{empty_database}' AND query ILIKE 'LISTEN%'"
                )
                assert await heard.get() == ("reset", None), "it listens again"
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def test_a_file_has_nothing_to_tell(self, tmp_path: Path) -> None:
        async with Place("sqlite", sqlite_url(tmp_path)).open() as store:
            await store.listen(lambda *said: pytest.fail(f"heard {said}"))


class TestTrouble:
    async def test_a_store_answers(self, store: SqlStore) -> None:
        await store.ping()

    async def test_a_sqlite_file_is_its_owners(self, tmp_path: Path) -> None:
        store = await open_store(sqlite_url(tmp_path))
        await store.acquire()
        await add(store)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        await store.close()
        assert modes == dict.fromkeys(modes, 0o600)
        assert "holdgate.db" in modes

    @pytest.mark.parametrize(
        ("name", "says"),
        [("nowhere/holdgate.db", "cannot open .*: No such file or directory"), (".", "Is a directory")],
    )
    async def test_a_file_that_cannot_be_is_one_line(self, tmp_path: Path, name: str, says: str) -> None:
        with pytest.raises(StoreUnavailable, match=says):
            await open_store(f"sqlite:///{tmp_path / name}")

    async def test_a_file_that_is_no_database_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "holdgate.db").write_bytes(b"not a database, whatever it is" * 100)
        with pytest.raises(StoreUnavailable, match="file is not a database"):
            await open_store(sqlite_url(tmp_path))
        assert (tmp_path / "holdgate.db").read_bytes() == b"not a database, whatever it is" * 100

    async def test_a_database_that_is_damaged_is_one_line(self, tmp_path: Path) -> None:
        async with Place("sqlite", sqlite_url(tmp_path)).open() as store:
            await add(store)
        file = tmp_path / "holdgate.db"
        content = bytearray(file.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        file.write_bytes(content)
        with pytest.raises(StoreUnavailable, match=r"the store cannot be used: .*malformed"):
            async with Place("sqlite", sqlite_url(tmp_path)).open() as store:
                await store.holds(states=None, limit=9, before=None)

    async def test_a_locked_file_is_waited_for_and_then_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gateway.store.engine, "BUSY_MS", 50)
        async with Place("sqlite", sqlite_url(tmp_path)).open() as store:
            await add(store, 1)
            blocker = sqlite3.connect(tmp_path / "holdgate.db", isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="database is locked"):
                await add(store, 2)
            # Reading goes on, and so does writing once the other has finished.
            assert await store.hold(hold(1).id) == hold(1)
            blocker.execute("ROLLBACK")
            blocker.close()
            await add(store, 2)

    async def test_a_connection_that_cannot_be_prepared_leaves_nothing_behind(self, tmp_path: Path) -> None:
        file = tmp_path / "holdgate.db"
        file.write_bytes(b"not a database, whatever it is" * 100)
        before = set(threading.enumerate())
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await open_store(sqlite_url(tmp_path))
        assert set(threading.enumerate()) <= before

    async def test_the_reason_does_not_repeat_what_was_to_be_kept(self, store: SqlStore) -> None:
        await add(store, sql="SELECT 'secret'")
        with pytest.raises(StoreUnavailable) as refused:
            await add(store, sql="SELECT 'secret'")
        assert "secret" not in str(refused.value)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("postgresql://nobody@127.0.0.1:1/nothing", "Connection refused"),
            ("postgresql://a@b/c?sslmode=perhaps", "store.url: sslmode must be one of"),
            ("postgresql://a@b/c?what=this", "store.url: unknown options what"),
            ("postgresql://a@b:port/c", "the store cannot be used"),
            ("mysql://a@b/c", "the store cannot be used"),
        ],
    )
    async def test_an_address_that_leads_nowhere_is_one_line(self, url: str, says: str) -> None:
        with pytest.raises(StoreUnavailable, match=says) as refused:
            await open_store(url)
        assert "\n" not in str(refused.value)

    async def test_what_the_server_refuses_is_one_line(self, postgres: Postgres) -> None:
        with pytest.raises(StoreUnavailable, match='database "nosuch" does not exist'):
            await open_store(postgresql_url(postgres, "nosuch"))
        role = postgres.create_role(password="right")
        with postgres.hba("host all all 127.0.0.1/32 scram-sha-256"):
            address = f"{postgres.host}:{postgres.port}/postgres"
            with pytest.raises(StoreUnavailable, match="password authentication failed") as refused:
                await open_store(f"postgresql://{role}:wrong@{address}")
        assert "wrong" not in str(refused.value)
        postgres.drop_role(role)

    async def test_a_role_that_may_not_make_tables_is_one_line(
        self, postgres: Postgres, empty_database: str
    ) -> None:
        role = postgres.create_role()
        with pytest.raises(StoreUnavailable, match="permission denied for schema public"):
            await open_store(f"postgresql://{role}@{postgres.host}:{postgres.port}/{empty_database}")
        postgres.drop_role(role)

    async def test_a_server_that_goes_away_is_told_and_found_again(
        self, postgres: Postgres, empty_database: str
    ) -> None:
        async with Relay(postgres.host, postgres.port) as relay:
            url = f"postgresql://{postgres.superuser}@{relay.host}:{relay.port}/{empty_database}"
            async with Place("postgresql", url).open() as store:
                await add(store, 1)
                relay.refuse()
                relay.cut()
                with pytest.raises(StoreUnavailable):
                    await store.ping()
                with pytest.raises(StoreUnavailable):
                    await add(store, 2)
                relay.refuse(False)
                await add(store, 3)
                assert [one.id for one in await store.holds(states=None, limit=9, before=None)] == [
                    hold(3).id,
                    hold(1).id,
                ]

    async def test_connections_that_the_server_ended_are_replaced(
        self, postgres: Postgres, empty_database: str
    ) -> None:
        async with Place("postgresql", postgresql_url(postgres, empty_database)).open() as store:
            await add(store)
            postgres.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                f"WHERE datname = '{empty_database}' AND application_name = 'holdgate'"
            )
            assert await store.hold(hold().id) == hold()


class TestClosing:
    @pytest.mark.parametrize("turns", range(12))
    async def test_what_is_under_way_ends_first(self, tmp_path: Path, turns: int) -> None:
        store = await open_store(sqlite_url(tmp_path))
        asking = [asyncio.ensure_future(store.ping()) for _ in range(2)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await store.close()
        for said in await asyncio.gather(*asking, return_exceptions=True):
            assert said is None or (turns == 0 and isinstance(said, StoreUnavailable))
        # The driver warns of a connection that is dropped while it is open, and a warning is an error here.
        gc.collect()

    async def test_nothing_can_be_asked_afterwards(self, place: Place) -> None:
        store = await open_store(place.url)
        await store.close()
        for call in (store.ping, store.people):
            with pytest.raises(StoreUnavailable, match="the store is closed"):
                await call()
        await store.close()
