"""Holds about the same people, in both stores: who is found, who is refused, and who waits for whom."""

import asyncio
import contextlib
import random
from datetime import timedelta
from typing import Any

import pytest

from gateway.store import Concern, Conflict, ConflictFound, Hold, HoldState, MustWait, Outcome
from gateway.store.sql import SqlStore
from gateway.store.sql_conflicts import MAX_PAST
from rules import Act, Affected, ConflictAction, ConflictKind, Kind
from tests.gateway.store.samples import NOON, Place, approval, hold

FOR_EVER: Any = {"limit": 1000, "limit_per_user": 1000}
LATER = NOON + timedelta(minutes=2)
PERSON = Kind("public.customer.customer_id", rooted=True)
DONE = Outcome("DELETE 1", 1, None, 1.0)
ORDERED = dict.fromkeys(ConflictKind, ConflictAction.ORDER)


def concern(
    act: Act, *people: str, relation: str = "public.customer", kind: Kind | None = PERSON, **changes: Any
) -> Concern:
    one = Affected(act, relation, kind, frozenset(people) if people else None)
    return Concern(**{"place": "shop", "affected": [one], "actions": ORDERED, "window": 3600.0, **changes})


async def opened(store: SqlStore, number: int, what: Concern, **changes: Any) -> Hold:
    session = {"session_id": f"S-{number}", "user": f"user {number}"}
    return await store.add_hold(hold(number, **{**session, **changes}), **FOR_EVER, concern=what)


async def approved(store: SqlStore, one: Hold) -> None:
    assert await store.decide_hold(one.id, approval(at=one.opened_at), HoldState.APPROVED)


async def use(store: SqlStore, one: Hold, instance: str = "one") -> bool:
    return await store.claim_hold(one.id, one.digest, LATER, instance=instance)


def told(one: Hold | None) -> list[tuple[str, str, bool, bool]]:
    assert one is not None
    return [(each.kind.value, each.other[-1:], each.ended, each.waits) for each in one.conflicts]


EXPORT, DELETE = Act.EXPORT, Act.DELETE


async def test_both_are_told_and_the_deletion_waits(store: SqlStore) -> None:
    await store.beat("one")
    export = await opened(store, 1, concern(EXPORT, "7", "8"))
    deletion = await opened(store, 2, concern(DELETE, "7"))
    assert deletion.conflicts == (
        Conflict(
            *(ConflictKind.EXPORT_THEN_DELETE, ConflictAction.ORDER, export.id, "user 1"),
            *(HoldState.PENDING, True, False, ("public.customer: customer_id 7",)),
        ),
    )
    assert await store.hold(deletion.id) == deletion
    assert told(await store.hold(export.id)) == [("export_then_delete", "2", False, False)]
    await approved(store, deletion)
    with pytest.raises(MustWait) as wait:
        await use(store, deletion)
    assert wait.value.others == (export.id,)
    found = await store.hold(deletion.id)
    assert found is not None
    assert found.released_at is None, "nothing was used up"
    await approved(store, export)
    assert await use(store, export)
    with pytest.raises(MustWait):
        await use(store, deletion)
    assert await store.set_outcome(export.id, DONE, LATER)
    assert await use(store, deletion)
    assert told(await store.hold(deletion.id)) == [("export_then_delete", "1", True, False)]


async def test_an_export_makes_an_earlier_deletion_wait_unless_it_runs(store: SqlStore) -> None:
    await store.beat("one")
    first, second = [await opened(store, number, concern(DELETE, str(number))) for number in (1, 2)]
    for one in (first, second):
        await approved(store, one)
    assert await use(store, first)
    export = await opened(store, 3, concern(EXPORT))
    assert told(export) == [
        ("delete_then_export", "1", False, False),
        ("delete_then_export", "2", False, False),
    ]
    with pytest.raises(MustWait):
        await use(store, second)
    await store.end_hold(export.id, HoldState.WITHDRAWN, LATER, "canceled")
    assert await use(store, second)


async def test_deletions_in_order_and_several_to_wait_for(store: SqlStore) -> None:
    await store.beat("one")
    holds = [await opened(store, number, concern(DELETE, "7")) for number in (1, 2, 3)]
    for one in holds:
        await approved(store, one)
    with pytest.raises(MustWait) as wait:
        await use(store, holds[2])
    assert wait.value.others == (holds[0].id, holds[1].id)
    for one in holds:
        assert await use(store, one)
        await store.set_outcome(one.id, DONE, LATER)


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (concern(EXPORT, "7"), concern(EXPORT, "7")),
        (concern(EXPORT, "8"), concern(DELETE, "7")),
        (concern(EXPORT, "7"), concern(DELETE, "7", place="another")),
        (concern(EXPORT, "7"), concern(DELETE, "7", relation="x", kind=Kind("x.y.customer_id", rooted=True))),
        (concern(EXPORT), concern(DELETE, relation="public.invoice", kind=None)),
        (concern(EXPORT), concern(DELETE, affected=[])),
    ],
)
async def test_who_is_no_conflict(store: SqlStore, there: Concern, here: Concern) -> None:
    await opened(store, 1, there)
    assert (await opened(store, 2, here)).conflicts == ()


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (concern(EXPORT), concern(DELETE, "7")),
        (concern(EXPORT, "7"), concern(DELETE)),
        (concern(EXPORT, "7"), concern(DELETE, relation="public.customer", kind=None)),
        (concern(EXPORT, kind=None), concern(DELETE, "7")),
        (concern(EXPORT, "7", kind=Kind("Customer_ID", rooted=False), relation="x"), concern(DELETE, "7")),
        (concern(EXPORT, "9", kind=Kind("line", rooted=False)), concern(DELETE, "7")),
    ],
)
async def test_who_may_be_anybody_is_one(store: SqlStore, there: Concern, here: Concern) -> None:
    await opened(store, 1, there)
    assert len((await opened(store, 2, here)).conflicts) == 1


async def test_what_has_ended_counts_for_a_while_and_what_never_ran_does_not(store: SqlStore) -> None:
    await store.beat("one")
    ran, rejected = [await opened(store, number, concern(EXPORT, "7")) for number in (1, 2)]
    await approved(store, ran)
    await use(store, ran)
    await store.set_outcome(ran.id, DONE, LATER)
    await store.end_hold(rejected.id, HoldState.WITHDRAWN, LATER, "canceled")
    at = {"opened_at": LATER + timedelta(minutes=30), "expires_at": LATER + timedelta(hours=9)}
    assert told(await opened(store, 3, concern(DELETE, "7"), **at)) == [
        ("export_then_delete", "1", True, False)
    ]
    assert (await opened(store, 4, concern(EXPORT, "7", window=1.0), **at)).conflicts[1:] == ()
    at["opened_at"] = LATER + timedelta(hours=2)
    await store.end_hold(hold(3).id, HoldState.WITHDRAWN, LATER, "canceled")
    assert (await opened(store, 5, concern(DELETE, "9"), **at)).conflicts == ()
    assert told(await opened(store, 6, concern(DELETE, "7"), **at)) == [
        ("export_then_delete", "4", False, True)
    ]


async def test_of_many_that_have_ended_the_youngest_are_told_of_and_all_that_have_not(
    store: SqlStore,
) -> None:
    await store.beat("one")
    for number in range(1, MAX_PAST + 6):
        one = await opened(store, number, concern(EXPORT, "7"))
        if number > 2:
            await approved(store, one)
            await use(store, one)
            await store.set_outcome(one.id, DONE, LATER)
    found = (await opened(store, 99, concern(DELETE, "7"))).conflicts
    assert [one.ended for one in found].count(True) == MAX_PAST
    assert {one.other for one in found if not one.ended} == {hold(1).id, hold(2).id}


async def test_what_a_session_has_run_itself_is_none(store: SqlStore) -> None:
    await store.beat("one")
    export = await opened(store, 1, concern(EXPORT, "7"))
    await approved(store, export)
    await use(store, export)
    # Its cursor may be open for as long as the session wants, and the session waits here.
    deletion = await opened(store, 2, concern(DELETE, "7"), session_id=export.session_id)
    assert deletion.conflicts == ()


async def test_two_that_each_export_what_the_other_deletes_do_not_wait_for_each_other(
    store: SqlStore,
) -> None:
    await store.beat("one")

    def both(deletes: str, exports: str) -> Concern:
        affected = [
            Affected(act, "public.customer", PERSON, frozenset(person))
            for act, person in ((DELETE, deletes), (EXPORT, exports))
        ]
        return concern(DELETE, affected=affected)

    first = await opened(store, 1, both("7", "8"))
    second = await opened(store, 2, both("8", "7"))
    assert sorted((one.kind.value, one.action.value) for one in second.conflicts) == [
        ("delete_then_export", "warn"),
        ("export_then_delete", "order"),
    ]
    for one in (first, second):
        await approved(store, one)
    with pytest.raises(MustWait):
        await use(store, second)
    assert await use(store, first)


async def test_all_of_a_schema_is_met_either_way(store: SqlStore) -> None:
    whole = concern(DELETE, relation="public.*", kind=None)
    await opened(store, 1, whole)
    await opened(store, 2, concern(EXPORT, "7"))
    assert len((await opened(store, 3, concern(EXPORT, "8"))).conflicts) == 1
    assert len((await opened(store, 4, whole)).conflicts) == 3


async def test_a_blocked_one_is_not_kept(store: SqlStore) -> None:
    blocks = {**ORDERED, ConflictKind.EXPORT_THEN_DELETE: ConflictAction.BLOCK}
    export = await opened(store, 1, concern(EXPORT, "7"))
    with pytest.raises(ConflictFound) as found:
        await opened(store, 2, concern(DELETE, "7", actions=blocks))
    assert [one.other for one in found.value.conflicts] == [export.id]
    assert await store.hold(hold(2).id) is None
    # Whoever cannot wait is only told, and so is everybody else of them.
    urgent = await opened(store, 3, concern(DELETE, "7", actions=blocks, at_once=True))
    assert [one.action for one in urgent.conflicts] == [ConflictAction.WARN]
    with pytest.raises(ConflictFound):
        await store.ticket(
            hold(4, ticket=True, session_id="S-4"), **FOR_EVER, concern=concern(DELETE, "7", actions=blocks)
        )


async def test_a_ticket_is_told_of_the_same(store: SqlStore) -> None:
    export = await opened(store, 1, concern(EXPORT, "7"))
    ticket = hold(2, ticket=True, session_id="S-2")
    made = await store.ticket(ticket, **FOR_EVER, concern=concern(DELETE, "7"))
    assert [one.other for one in made.conflicts] == [export.id]
    again = await store.ticket(hold(3, ticket=True), **FOR_EVER, concern=concern(DELETE, "7"))
    assert again == made


async def test_what_a_dead_gateway_ran_has_ended(place: Place) -> None:
    async with place.open() as store:
        if store.shared:
            await store.beat("dead")
        export = await opened(store, 1, concern(EXPORT, "7"), instance="dead")
        await approved(store, export)
        await use(store, export, "dead")
        deletion = await opened(store, 2, concern(DELETE, "7"))
        await approved(store, deletion)
        if store.shared:
            # It lives as long as it says so.
            with pytest.raises(MustWait):
                await use(store, deletion)
            await store.farewell("dead")
        assert await use(store, deletion)


async def test_of_those_that_come_at_the_same_moment_through_two_gateways_none_is_overlooked(
    place: Place,
) -> None:
    """Deletions are used and exports asked for at once: no deletion of a person is used while an export of theirs,
    asked for before that, has not ended."""
    async with place.open() as one, place.open() as other:
        stores = (one, other)
        for store, name in zip(stores, ("one", "other"), strict=True):
            if store.shared:
                await store.beat(name)
        deletions = []
        for number in range(1, 9):
            deletions.append(await opened(one, number, concern(DELETE, str(number % 4))))
            await approved(one, deletions[-1])

        async def delete(at: int, deletion: Hold) -> None:
            with contextlib.suppress(MustWait):
                await stores[at % 2].claim_hold(deletion.id, deletion.digest, LATER, instance="one")

        async def export(number: int) -> None:
            await opened(stores[number % 2], 100 + number, concern(EXPORT, str(number % 4)))

        work = [delete(at, each) for at, each in enumerate(deletions)] + [
            export(number) for number in range(8)
        ]
        random.Random(7).shuffle(work)
        await asyncio.gather(*work)
        for deletion in deletions:
            found = await one.hold(deletion.id)
            assert found is not None
            # Each export of the person knows of it, whichever came first.
            exports = {each.other for each in found.conflicts if each.kind is ConflictKind.DELETE_THEN_EXPORT}
            assert len(exports) == 2
            if found.released_at is None:
                # It was not used before they were asked for, so it waits for both.
                with pytest.raises(MustWait) as wait:
                    await use(one, deletion)
                assert exports <= set(wait.value.others)
        asked = await one.holds(states=(HoldState.PENDING,), limit=99, before=None)
        assert [len(each.conflicts) for each in asked] == [2] * 8
