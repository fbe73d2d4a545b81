"""The outbox in both stores: written with what it tells, taken by one gateway at a time, and not lost with it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.store import (
    BY_RULE,
    Change,
    Decision,
    Hold,
    HoldLimit,
    HoldState,
    Message,
    MessageState,
    Note,
)
from gateway.store.sql import SqlStore
from tests.gateway.store.samples import NOON, Place, approval, hold

FOR_EVER: dict[str, Any] = {"limit": 1000, "limit_per_user": 1000}
TAKE: dict[str, Any] = {"limit": 10, "lease": 60.0}


def told(change: Change, one: Hold) -> Sequence[Note]:
    """One message for every change."""
    return [Note("chat", change.value, len(one.decisions))]


async def add(store: SqlStore, number: int = 1, **changes: Any) -> str:
    store.announce_by(told)
    one = hold(number, **changes)
    await store.add_hold(one, **FOR_EVER)
    return one.id


async def events(store: SqlStore) -> list[tuple[str, str, int]]:
    return [
        (one.hold_id, one.event, one.stage) for one in reversed(await store.messages(state=None, limit=99))
    ]


async def claim_one(store: SqlStore, **how: Any) -> Message:
    (message,) = await store.claim_messages("chat", **{**TAKE, **how})
    return message


class TestWriting:
    async def test_every_change_is_told_with_the_change(self, store: SqlStore) -> None:
        first = await add(store)
        assert await store.decide_hold(first, approval(), HoldState.PENDING)
        assert await store.decide_hold(first, approval("dave"), HoldState.APPROVED, votes=1)
        assert await store.end_hold(first, HoldState.INTERRUPTED, NOON, "gone")
        second = await add(store, 2)
        assert await store.expire_hold(second, NOON)
        third = await add(store, 3, instance="two")
        await store.interrupt_holds(instance="two", at=NOON, reason="gone")
        ticket = hold(4, ticket=True)
        assert await store.ticket(ticket, **FOR_EVER) == ticket
        assert await store.ticket(ticket, **FOR_EVER) == ticket
        await store.expire_tickets(ticket.expires_at)
        fifth = await add(store, 5)
        await store.interrupt_silent(seconds=1, at=NOON, reason="gone")
        assert await events(store) == [
            (first, "opened", 0),
            (first, "decided", 1),
            (first, "resolved", 2),
            (first, "resolved", 2),
            *((second, word, 0) for word in ("opened", "resolved")),
            *((third, word, 0) for word in ("opened", "resolved")),
            *((ticket.id, word, 0) for word in ("opened", "resolved")),
            *((fifth, word, 0) for word in ("opened", "resolved")),
        ]

    async def test_what_did_not_happen_is_not_told(self, store: SqlStore) -> None:
        one = await add(store)
        with pytest.raises(HoldLimit):
            await store.add_hold(hold(2), limit=1, limit_per_user=1)
        assert not await store.decide_hold(one, approval(), HoldState.APPROVED, votes=7)
        assert await store.end_hold(one, HoldState.WITHDRAWN, NOON, "gone")
        assert not await store.end_hold(one, HoldState.WITHDRAWN, NOON, "gone")
        assert not await store.expire_hold(one, NOON)
        assert [event for _, event, _ in await events(store)] == ["opened", "resolved"]

    async def test_nobody_is_asked_where_that_is_said(self, store: SqlStore) -> None:
        store.announce_by(told)
        await store.add_hold(hold(), **FOR_EVER, announce=False)
        assert await store.messages(state=None, limit=9) == []
        store.announce_by(None)
        await store.add_hold(hold(2), **FOR_EVER)
        assert await store.messages(state=None, limit=9) == []

    async def test_a_message_that_cannot_be_made_takes_the_change_with_it(self, store: SqlStore) -> None:
        def broken(change: Change, one: Hold) -> Sequence[Note]:
            raise LookupError(one.id)

        store.announce_by(broken)
        with pytest.raises(LookupError):
            await store.add_hold(hold(), **FOR_EVER)
        assert await store.hold(hold().id) is None


class TestTaking:
    async def test_the_oldest_first_and_each_once(self, store: SqlStore) -> None:
        for number in (1, 2, 3):
            await add(store, number)
        assert await store.claim_messages("mail", **TAKE) == []
        taken = await store.claim_messages("chat", limit=2, lease=60)
        assert [(one.hold_id, one.attempts, one.state) for one in taken] == [
            (hold(number).id, 1, MessageState.WAITING) for number in (1, 2)
        ]
        assert [one.hold_id for one in await store.claim_messages("chat", **TAKE)] == [hold(3).id]
        assert await store.claim_messages("chat", **TAKE) == []

    async def test_two_gateways_never_have_the_same(self, place: Place) -> None:
        async with place.open() as one, place.open() as two:
            for number in range(20):
                await add(one, number)
            taken = await asyncio.gather(
                *(store.claim_messages("chat", limit=3, lease=60) for _ in range(8) for store in (one, two))
            )
            ids = [message.id for some in taken for message in some]
            assert len(ids) == len(set(ids)) == 20

    async def test_a_lease_runs_out(self, store: SqlStore) -> None:
        await add(store)
        first = await claim_one(store, lease=0.0)
        second = await claim_one(store)
        assert (first.id, first.attempts, second.id, second.attempts) == (second.id, 1, first.id, 2)
        # Whoever was too slow does not overrule whoever has it now.
        assert not await store.message_sent(first, None)
        assert not await store.message_failed(first, "late", retry=None)
        assert await store.message_sent(second, {"ts": "1"})
        assert not await store.message_sent(second, None)
        assert [one.state for one in await store.messages(state=None, limit=9)] == [MessageState.SENT]

    async def test_a_store_of_one_gateway_knows_that_the_last_one_is_gone(self, store: SqlStore) -> None:
        await add(store)
        await claim_one(store)
        assert await store.claim_messages("chat", **TAKE) == []
        await store.release_messages()
        assert (await claim_one(store)).attempts == 2

    async def test_what_comes_later_waits_for_what_came_before(self, store: SqlStore) -> None:
        one = await add(store)
        asked = await claim_one(store)
        await store.end_hold(one, HoldState.WITHDRAWN, NOON, "gone")
        await add(store, 2)
        # Of another hold, yes; of this one only once the first is through.
        assert (await claim_one(store)).hold_id == hold(2).id
        assert await store.message_sent(asked, {"ts": "1"})
        ended = await claim_one(store)
        assert (ended.hold_id, ended.event) == (one, "resolved")
        assert await store.receipts(one, "chat") == [{"ts": "1"}]
        assert await store.receipts(one, "mail") == []

    async def test_what_failed_does_not_keep_what_comes_later(self, store: SqlStore) -> None:
        one = await add(store)
        asked = await claim_one(store)
        assert await store.message_failed(asked, "HTTP 500", retry=60.0)
        await store.end_hold(one, HoldState.WITHDRAWN, NOON, "gone")
        assert (await claim_one(store)).event == "resolved"

    async def test_a_message_can_be_for_later(self, store: SqlStore) -> None:
        store.announce_by(lambda change, one: [Note("chat", "escalated", 0, 3600.0)])
        await store.add_hold(hold(), **FOR_EVER)
        assert await store.claim_messages("chat", **TAKE) == []
        (waiting,) = await store.messages(state=MessageState.WAITING, limit=9)
        assert 3600 <= (waiting.due_at - waiting.created_at).total_seconds() < 3601

    async def test_what_was_to_be_told_later_is_told_once_when_all_is_ready(self, store: SqlStore) -> None:
        later = {Change.OPENED: 3600.0, Change.READY: 0.0}
        store.announce_by(lambda change, one: [Note("chat", "asked", 0, later[change])])
        one = hold(checking_until=NOON)
        await store.add_hold(one, **FOR_EVER)
        assert await store.claim_messages("chat", **TAKE) == []
        assert await store.check_hold(one.id, [], None, HoldState.PENDING, at=NOON)
        taken = await claim_one(store)
        # What is under way or was sent is not told again.
        assert await store.check_hold(one.id, [], None, HoldState.PENDING, at=NOON)
        assert await store.message_sent(taken, None)
        assert await store.check_hold(one.id, [], None, HoldState.PENDING, at=NOON)
        assert len(await store.messages(state=None, limit=9)) == 1

    async def test_what_was_to_be_told_later_is_not_told_of_what_has_ended(self, store: SqlStore) -> None:
        store.announce_by(
            lambda change, one: [Note("chat", change.value, 0, 3600.0 if change is Change.OPENED else 0.0)]
        )
        one = hold()
        await store.add_hold(one, **FOR_EVER)
        rejected = Decision("rule erasure", "reject", "no", NOON, BY_RULE)
        assert await store.check_hold(one.id, [], rejected, HoldState.REJECTED, at=NOON)
        assert [(one.event, one.state) for one in await store.messages(state=None, limit=9)] == [
            ("resolved", MessageState.WAITING),
            ("opened", MessageState.DROPPED),
        ]


class TestEnding:
    async def test_a_dead_message_is_counted_and_can_be_revived(self, store: SqlStore) -> None:
        await add(store)
        message = await claim_one(store)
        assert await store.message_failed(message, "x" * 9000, retry=None)
        assert await store.count_messages() == {MessageState.WAITING: 0, MessageState.DEAD: 1}
        (dead,) = await store.messages(state=MessageState.DEAD, limit=9)
        assert dead.error == "x" * 500
        assert dead.finished_at is not None
        assert await store.claim_messages("chat", **TAKE) == []
        assert await store.revive_message(dead.id)
        assert not await store.revive_message(dead.id)
        assert await store.count_messages() == {MessageState.WAITING: 1, MessageState.DEAD: 0}
        assert (await claim_one(store)).attempts == 1

    async def test_a_dropped_message_is_no_failure(self, store: SqlStore) -> None:
        await add(store)
        assert await store.message_failed(
            await claim_one(store), "over", retry=None, state=MessageState.DROPPED
        )
        assert await store.count_messages() == {MessageState.WAITING: 0, MessageState.DEAD: 0}
        assert not await store.revive_message((await store.messages(state=None, limit=1))[0].id)

    async def test_pages(self, store: SqlStore) -> None:
        for number in (1, 2, 3):
            await add(store, number)
        first = await store.messages(state=None, limit=2)
        rest = await store.messages(state=None, limit=2, before=first[-1].id)
        assert [one.hold_id for one in (*first, *rest)] == [hold(number).id for number in (3, 2, 1)]

    async def test_tidying(self, store: SqlStore) -> None:
        for number in (1, 2):
            await add(store, number)
        assert await store.message_sent(await claim_one(store, limit=1), None)
        await store.tidy_messages(["chat"], orphaned=0.0, kept=3600.0)
        assert len(await store.messages(state=None, limit=9)) == 2
        await store.tidy_messages(["mail"], orphaned=0.0, kept=3600.0)
        (orphan,) = await store.messages(state=MessageState.DEAD, limit=9)
        assert (orphan.hold_id, orphan.error) == (hold(2).id, "no gateway has this channel")
        await store.tidy_messages(["chat"], orphaned=0.0, kept=0.0)
        assert await store.messages(state=None, limit=9) == []
