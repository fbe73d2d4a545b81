"""People in both stores."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from gateway.store import PersonRecord
from gateway.store.sql import SqlStore
from tests.gateway.store.samples import NOON, Place

ZOE = PersonRecord("zoe", "https://login.example", "7", "zoe@corp.example", ("dpo", "staff"), NOON, NOON)


async def test_somebody_comes_back_as_they_were_kept(store: SqlStore) -> None:
    assert await store.person("zoe") is None
    assert await store.keep_person(ZOE) is None
    assert await store.person("zoe") == ZOE
    assert await store.people() == [ZOE]


async def test_what_is_said_later_replaces_what_was_said(store: SqlStore) -> None:
    await store.keep_person(ZOE)
    later = NOON + timedelta(hours=1)
    again = replace(ZOE, claim="zoe", groups=(), first_at=later, seen_at=later)
    assert await store.keep_person(again) is None
    assert await store.person("zoe") == replace(again, first_at=NOON)


async def test_a_name_and_a_person_belong_to_each_other(store: SqlStore) -> None:
    await store.keep_person(ZOE)
    await store.keep_person(replace(ZOE, name="yan", subject="8"))
    assert await store.keep_person(replace(ZOE, subject="9")) == ZOE
    assert await store.keep_person(replace(ZOE, issuer="https://other.example")) == ZOE
    assert await store.keep_person(replace(ZOE, name="xia")) == ZOE
    # Both taken, by two.
    other = await store.keep_person(replace(ZOE, name="yan"))
    assert other is not None
    assert (await store.person("zoe"), len(await store.people())) == (ZOE, 2)


async def test_a_name_that_is_let_go_is_free(store: SqlStore) -> None:
    await store.keep_person(ZOE)
    assert await store.forget_person("zoe")
    assert not await store.forget_person("zoe")
    assert await store.keep_person(replace(ZOE, subject="9")) is None


async def test_of_two_at_once_one_has_the_name(place: Place) -> None:
    async with place.open() as one, place.open() as two:
        answers = await asyncio.gather(
            *(
                store.keep_person(replace(ZOE, subject=str(number)))
                for number in range(10)
                for store in (one, two)
            )
        )
        (winner,) = await one.people()
        # Each subject comes twice: the winner both times, the others never.
        assert answers.count(None) == 2
        assert {other.subject for other in answers if other is not None} == {winner.subject}
