"""Passkeys and challenges in both stores."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from gateway.store import PasskeyRecord
from gateway.store.sql import SqlStore
from tests.gateway.store.samples import NOON, Place

KEY = PasskeyRecord("a", "carol", "cose", 0, "my \x1b telephone", NOON)


async def test_a_passkey_is_one_persons(store: SqlStore) -> None:
    assert await store.passkey("a") is None
    assert await store.add_passkey(KEY)
    assert not await store.add_passkey(replace(KEY, user="mallory"))
    assert await store.passkey("a") == KEY
    later = replace(KEY, id="b", created_at=NOON + timedelta(seconds=1))
    assert await store.add_passkey(later)
    assert await store.passkeys("carol") == [KEY, later]
    assert await store.passkeys("mallory") == []
    assert not await store.remove_passkey("mallory", "a")
    assert await store.remove_passkey("carol", "a")
    assert not await store.remove_passkey("carol", "a")


async def test_a_counter_goes_up_where_it_counts(store: SqlStore) -> None:
    await store.add_passkey(KEY)
    # Many never count.
    assert await store.use_passkey("a", 0, NOON)
    assert await store.use_passkey("a", 0, NOON)
    assert await store.use_passkey("a", 5, NOON)
    assert not await store.use_passkey("a", 5, NOON)
    assert not await store.use_passkey("a", 4, NOON)
    assert not await store.use_passkey("a", 0, NOON)
    assert not await store.use_passkey("b", 9, NOON)
    found = await store.passkey("a")
    assert found is not None
    assert (found.sign_count, found.used_at) == (5, NOON)


async def test_a_challenge_answers_once_in_its_time(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        await one.add_challenge("c", "carol", NOON)
        await one.add_challenge("old", "carol", NOON - timedelta(seconds=1))
        before = NOON - timedelta(seconds=1)
        answers = await asyncio.gather(
            *(store.use_challenge("c", before) for _ in range(5) for store in (one, two))
        )
        assert answers.count("carol") == 1
        assert answers.count(None) == 9
        assert await one.use_challenge("old", before) is None
        assert await one.use_challenge("unknown", before) is None
