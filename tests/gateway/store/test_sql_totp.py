"""Authenticators in both stores: used once, over all gateways, and guessed slowly."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from gateway.store import TotpRecord
from gateway.store.sql import SqlStore
from tests.gateway.store.samples import NOON, Place

ALICE = TotpRecord("alice", "sealed", NOON)


async def test_one_that_is_not_confirmed_is_replaced(store: SqlStore) -> None:
    assert await store.totp("alice") is None
    assert await store.begin_totp(ALICE)
    assert await store.totp("alice") == ALICE
    assert await store.begin_totp(replace(ALICE, secret="other"))
    assert await store.use_totp("alice", 7, NOON)
    assert not await store.begin_totp(ALICE)
    assert await store.totp("alice") == replace(ALICE, secret="other", confirmed_at=NOON, last_step=7)


async def test_a_step_is_used_once_and_none_before_it(store: SqlStore) -> None:
    await store.begin_totp(ALICE)
    later = NOON + timedelta(minutes=1)
    assert await store.use_totp("alice", 7, NOON)
    assert not await store.use_totp("alice", 7, later)
    assert not await store.use_totp("alice", 6, later)
    assert await store.use_totp("alice", 8, later)
    assert not await store.use_totp("bob", 9, later)
    found = await store.totp("alice")
    assert found is not None
    assert found.confirmed_at == NOON


async def test_attempts_are_slowed_down_and_forgotten_by_a_good_one(store: SqlStore) -> None:
    assert await store.try_totp("alice", NOON) is None
    await store.begin_totp(ALICE)
    for _ in range(5):
        assert await store.try_totp("alice", NOON) is None
    assert await store.try_totp("alice", NOON) == NOON + timedelta(seconds=1)
    now = NOON + timedelta(seconds=1)
    assert await store.try_totp("alice", now) is None
    assert await store.try_totp("alice", now) == now + timedelta(seconds=2)
    # Beginning anew forgets nothing.
    await store.begin_totp(ALICE)
    assert await store.try_totp("alice", now) is not None
    assert await store.use_totp("alice", 1, now)
    for _ in range(5):
        assert await store.try_totp("alice", now) is None


async def test_it_never_takes_longer_than_five_minutes(store: SqlStore) -> None:
    await store.begin_totp(ALICE)
    now = NOON
    for _ in range(30):
        until = await store.try_totp("alice", now)
        if until is not None:
            assert until - now <= timedelta(minutes=5)
            now = until
    assert now - NOON > timedelta(minutes=20)


async def test_of_many_at_once_one_uses_it(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        await one.begin_totp(ALICE)
        used = await asyncio.gather(
            *(store.use_totp("alice", 7, NOON) for _ in range(5) for store in (one, two))
        )
        assert used.count(True) == 1
        tried = await asyncio.gather(
            *(store.try_totp("alice", NOON) for _ in range(10) for store in (one, two))
        )
        assert tried.count(None) == 5


async def test_removing(store: SqlStore) -> None:
    await store.begin_totp(ALICE)
    assert await store.remove_totp("alice")
    assert not await store.remove_totp("alice")
    assert await store.totp("alice") is None
