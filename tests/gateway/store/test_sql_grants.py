"""Grants in the store: used as often as they say, whatever happens at once."""

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from gateway.store import BY_GRANT, Decision, Grantable, GrantRecord, GrantTerms, HoldState, Outcome
from gateway.store.sql import SqlStore
from tests.gateway.store.samples import NOON, Place, hold
from tests.gateway.store.test_grants import grant

FOR_EVER: dict[str, Any] = {"limit": 1000, "limit_per_user": 1000}
LATER = NOON + timedelta(minutes=2)
DIGEST = "d" * 64
BY = Decision("carol", "approve", "grant", LATER, BY_GRANT, max_rows=9)


async def given(store: SqlStore, one: GrantRecord) -> GrantRecord:
    """Keep a grant, with the approval of the hold of its number."""
    source = hold(900 + int(one.id[-2:]))
    await store.add_hold(source, **FOR_EVER)
    kept = dataclasses.replace(one, hold_id=source.id)
    approval = Decision("carol", "approve", "", LATER, "api", granted=GrantTerms(3600, one.uses, one.rows))
    assert await store.decide_hold(source.id, approval, HoldState.APPROVED, grant=kept)
    found = await store.hold(source.id)
    assert found is not None
    assert (found.granted_id, found.granted) == (one.id, approval.granted)
    return kept


async def used(store: SqlStore, one: GrantRecord) -> tuple[int, int]:
    found = await store.grant(one.id)
    assert found is not None
    return found.used, found.rows_used


async def use(store: SqlStore, one: GrantRecord, number: int) -> bool:
    await store.add_hold(hold(number), **FOR_EVER)
    return await store.use_grant(one.id, hold(number).id, [BY], LATER)


async def test_it_comes_back_as_it_went_in_with_the_approval(store: SqlStore) -> None:
    limits = Grantable(3600, 5, "a" * 64, DIGEST, "DELETE …", "DELETE", True, "", ("erasure",), "[]")
    one = hold(1, grantable=limits)
    await store.add_hold(one, **FOR_EVER)
    assert await store.hold(one.id) == one
    kept = await given(store, grant(1, uses=3, rows=10, max_rows=2))
    assert await store.grant(kept.id) == kept
    assert await store.grants() == [kept]
    assert await store.grant("G-none") is None


async def test_what_fits(store: SqlStore) -> None:
    one = await given(store, grant(1))
    await given(store, grant(2, shape="e" * 64))
    await given(store, grant(3, user="bob"))
    await given(store, grant(4, expires_at=LATER))
    await given(store, grant(5, uses=1, used=1))
    gone = await given(store, grant(6))
    assert await store.revoke_grant(gone.id, "root", "why", LATER)
    assert not await store.revoke_grant(gone.id, "root", "why", LATER)
    assert not await store.revoke_grant("G-none", "root", "why", LATER)
    assert await store.grants_for("alice", ["f" * 64], LATER) == [one]
    assert [x.id for x in await store.grants_for("alice", ["f" * 64, "e" * 64], LATER)] == [
        grant(1).id,
        grant(2).id,
    ]
    found = await store.grant(gone.id)
    assert found is not None
    assert (found.revoked_by, found.revoke_reason, found.revoked_at) == ("root", "why", LATER)


async def test_a_use_approves_the_hold(store: SqlStore) -> None:
    one = await given(store, grant(1, uses=2))
    assert await use(store, one, 1)
    found = await store.hold(hold(1).id)
    assert found is not None
    assert (found.state, found.grant_id, found.decisions) == (HoldState.APPROVED, one.id, (BY,))
    assert found.decided_by == (f"grant {one.id}", "carol")
    assert found.standing is None
    # Not twice for one hold, not for one that has been decided, not for none; and then it is used up.
    assert not await store.use_grant(one.id, hold(1).id, [BY], LATER)
    assert not await store.use_grant(one.id, "H-none", [BY], LATER)
    assert not await store.use_grant("G-none", hold(1).id, [BY], LATER)
    assert await used(store, one) == (1, 0)
    assert await use(store, one, 2)
    assert not await use(store, one, 3)
    found = await store.hold(hold(3).id)
    assert found is not None
    assert found.state is HoldState.PENDING


async def test_rows_are_kept_for_a_use_until_it_is_known_what_it_changed(store: SqlStore) -> None:
    one = await given(store, grant(1, rows=10))
    assert await use(store, one, 1)
    assert await used(store, one) == (1, 10)
    # Meanwhile there are none for others.
    assert not await use(store, one, 2)
    assert await store.claim_hold(hold(1).id, DIGEST, LATER, instance="one")
    assert await store.set_outcome(hold(1).id, Outcome("DELETE 4", 4, None, 1.0), LATER)
    assert await used(store, one) == (1, 4)
    assert not await store.set_outcome(hold(1).id, Outcome("DELETE 4", 4, None, 1.0), LATER)
    # No more than what is left, whatever the ceiling of each use is.
    assert await use(store, one, 3)
    found = await store.hold(hold(3).id)
    assert found is not None
    assert found.max_rows == 6
    assert await store.claim_hold(hold(3).id, DIGEST, LATER, instance="one")
    assert await store.set_outcome(hold(3).id, Outcome(None, None, "23503", 1.0), LATER)
    assert await used(store, one) == (2, 4)
    # Of what lost its server nobody knows.
    assert await use(store, one, 4)
    assert await store.claim_hold(hold(4).id, DIGEST, LATER, instance="one")
    assert await store.set_outcome(hold(4).id, Outcome(None, None, "08006", 1.0), LATER)
    assert await used(store, one) == (3, 10)


@pytest.mark.parametrize("how", ["end", "interrupt", "silent"])
async def test_what_never_ran_was_not_used(store: SqlStore, how: str) -> None:
    one = await given(store, grant(1, uses=5, rows=10))
    assert await use(store, one, 1)
    if how == "end":
        assert await store.end_hold(hold(1).id, HoldState.ABANDONED, LATER, "gone")
        assert not await store.end_hold(hold(1).id, HoldState.ABANDONED, LATER, "gone")
    elif how == "interrupt":
        await store.interrupt_holds(instance="one", at=LATER, reason="gone")
    else:
        await store.interrupt_silent(seconds=60, at=LATER, reason="gone")
    assert await used(store, one) == (0, 0)
    # What ran stays used, whatever is said of it later.
    assert await use(store, one, 2)
    assert await store.claim_hold(hold(2).id, DIGEST, LATER, instance="one")
    assert not await store.end_hold(hold(2).id, HoldState.ABANDONED, LATER, "gone")
    await store.interrupt_holds(instance="one", at=LATER, reason="gone")
    assert await used(store, one) == (1, 10)


async def test_the_last_use_is_used_once_through_two_gateways(place: Place) -> None:
    async with place.open() as here, place.open() as there:
        one = await given(here, grant(1, uses=3))
        holds = [hold(number) for number in range(1, 13)]
        for each in holds:
            await here.add_hold(each, **FOR_EVER)
        stores = (here, there)
        won = await asyncio.gather(
            *(stores[n % 2].use_grant(one.id, each.id, [BY], LATER) for n, each in enumerate(holds))
        )
        assert sum(won) == 3
        assert await used(there, one) == (3, 0)
        approved = await here.holds(states=[HoldState.APPROVED], limit=99, before=None)
        assert sum(each.grant_id == one.id for each in approved) == 3
