"""Holding: who is told what when, who wins, and what happens when store, disk or people fail."""

import asyncio
import dataclasses
import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

import gateway.store.engine
from gateway.audit import AuditLog, AuditUnavailable
from gateway.bus import Bus, Event
from gateway.config import Audit, Conflicts, Limits, Role, load_config
from gateway.holds import (
    AlreadyDecided,
    AlreadyResolved,
    ClaimRefused,
    ConflictingHold,
    Hold,
    HoldNotFound,
    Holds,
    HoldsFull,
    HoldState,
    InvalidReason,
    MustWaitFor,
    NotAllowed,
    StillChecking,
)
from gateway.people import People
from gateway.store import Conflict, StoreUnavailable, open_store
from gateway.store.sql import SqlStore
from gateway.tasks import cancel_all, running
from rules import Act, Affected, ConflictAction, ConflictKind, Escalation, Stage
from tests.gateway.audit.samples import records
from tests.gateway.management import SteppedClock, hold_request
from tests.gateway.store.samples import postgresql_url, sqlite_url
from tests.support.disk import full_disk
from tests.support.postgres import Postgres
from tests.support.relay import Relay

T = TypeVar("T")
DIGEST = "d" * 64


@dataclass
class Desk:
    """Holds with a real store and a real audit; ``events`` are those of the bus, in order."""

    holds: Holds
    store: SqlStore
    audit: AuditLog
    bus: Bus
    clock: SteppedClock
    events: list[Event]
    path: Path

    async def open(self, **changes: Any) -> Hold:
        return await self.holds.open(hold_request(**changes))

    async def decide(
        self, hold: Hold | str, who: str = "carol", *, approve: bool = True, **changes: Any
    ) -> Hold:
        person: dict[str, Any] = {
            "who": who,
            "who_groups": {"dpo"},
            "who_roles": {Role.APPROVER},
            "approve": approve,
            "reason": "as asked",
            "how": "api",
        }
        hold_id = hold if isinstance(hold, str) else hold.id
        return await self.holds.decide(hold_id, **{**person, **changes})

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    async def recorded(self) -> list[tuple[str, str]]:
        """(kind, tag) of all records, once they are on disk."""
        await soon(lambda: self.audit.queue_depth == 0)
        return [(one["kind"], one["tag"]) for one in records(self.path)]


async def soon(condition: Any) -> None:
    """Return once it is so; the parts of this test run in tasks and threads of their own."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def promptly(awaited: Awaitable[T]) -> T:
    async with asyncio.timeout(10):
        return await awaited


def nobody(store: SqlStore, folder: Path) -> People:
    """The people of a configuration that lists none."""
    file = folder / "holdgate.yaml"
    file.write_text("databases: {shop: {host: db}}")
    config = load_config(file)
    return People(store, lambda: config)


@asynccontextmanager
async def open_desk(folder: Path, url: str, **limits: int) -> AsyncIterator[Desk]:
    clock, events, path = SteppedClock(), list[Event](), folder / "audit.jsonl"
    store = await open_store(url)
    audit = AuditLog(Audit(path), clock=clock, retry_seconds=0.02, intent_seconds=5.0)
    await audit.start()
    bus = Bus(clock=clock)
    bus.listen(events.append)
    holds = Holds(
        *(store, bus, audit, Limits(**limits), nobody(store, folder)),
        clock=clock,
        retry_seconds=0.02,
    )
    await holds.start()
    try:
        yield Desk(holds, store, audit, bus, clock, events, path)
    finally:
        await holds.stop()
        await cancel_all(5.0)
        await store.close()
        await audit.stop()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, sqlite_url(tmp_path)) as opened:
        yield opened


@pytest.fixture
async def recording(tmp_path: Path, postgres: Postgres, empty_database: str) -> AsyncIterator[Desk]:
    """A desk whose store is not on the disk that is going to be full."""
    async with open_desk(tmp_path, postgresql_url(postgres, empty_database)) as opened:
        yield opened


@dataclass
class Unsteady:
    """A desk whose store can be taken away and brought back."""

    desk: Desk
    relay: Relay

    def take_away(self) -> None:
        self.relay.refuse()
        self.relay.cut()

    def bring_back(self) -> None:
        self.relay.refuse(False)


@pytest.fixture
async def unsteady(tmp_path: Path, postgres: Postgres, empty_database: str) -> AsyncIterator[Unsteady]:
    async with Relay(postgres.host, postgres.port) as relay:
        url = f"postgresql://{postgres.superuser}@{relay.host}:{relay.port}/{empty_database}"
        async with open_desk(tmp_path, url) as desk:
            unsteady = Unsteady(desk, relay)
            try:
                yield unsteady
            finally:
                unsteady.bring_back()


class TestLife:
    async def test_a_hold_is_kept_recorded_and_announced_before_it_is_returned(self, desk: Desk) -> None:
        hold = await desk.open(transaction_open_since=desk.clock.now())
        assert await desk.store.hold(hold.id) == hold
        assert (hold.state, hold.user, hold.digest, hold.instance) == (
            HoldState.PENDING,
            "alice",
            DIGEST,
            desk.holds.instance,
        )
        assert hold.expires_at - hold.opened_at == timedelta(minutes=15)
        (record,) = records(desk.path)
        assert (record["kind"], record["tag"], record["hold_id"], record["verdict"], record["reason"]) == (
            "hold",
            "opened",
            hold.id,
            "hold",
            "deletes personal data",
        )
        assert [(event.kind, event.data["id"]) for event in desk.events] == [("hold.opened", hold.id)]
        assert desk.holds.pending == 1

    async def test_a_ticket_is_one_until_it_is_used(self, desk: Desk) -> None:
        one = await desk.holds.ticket(hold_request())
        assert (one.ticket, one.state) == (True, HoldState.PENDING)
        assert (await desk.holds.ticket(hold_request())).id == one.id
        assert desk.holds.pending == 0
        assert desk.kinds() == ["hold.opened"]
        await desk.decide(one)
        assert (await desk.holds.ticket(hold_request())).state is HoldState.APPROVED
        claimed = await desk.holds.claim(one.id, one.digest)
        assert claimed.released_at is not None
        assert claimed.resolved_at is not None
        assert claimed.use_by == claimed.resolved_at + timedelta(minutes=15)
        assert (await desk.holds.ticket(hold_request())).id != one.id
        assert await desk.recorded() == [("hold", "opened"), ("decision", "approved"), ("hold", "opened")]

    async def test_a_ticket_that_is_over_is_ended(self, desk: Desk) -> None:
        one = await desk.holds.ticket(hold_request())
        await desk.holds.expire_tickets()
        assert desk.kinds() == ["hold.opened"]
        desk.clock.ahead += 16 * 60
        await desk.holds.expire_tickets()
        assert desk.kinds() == ["hold.opened", "hold.resolved"]
        assert (await desk.holds.get(one.id)).state is HoldState.EXPIRED
        with pytest.raises(AlreadyResolved):
            await desk.decide(one)

    async def test_a_ticket_outlives_what_stops(self, desk: Desk) -> None:
        one = await desk.holds.ticket(hold_request())
        await desk.holds.start()
        assert (await desk.holds.get(one.id)).state is HoldState.PENDING
        await desk.holds.stop()
        assert (await desk.holds.get(one.id)).state is HoldState.PENDING
        with pytest.raises(HoldsFull, match="stopping"):
            await desk.holds.ticket(hold_request())

    async def test_a_preview_is_told_while_it_waits(self, desk: Desk) -> None:
        hold = await desk.open()
        await desk.holds.keep_impact(hold.id, {"changes": []})
        assert desk.kinds() == ["hold.opened", "hold.previewed"]
        assert desk.events[-1].data["impact"] == {"changes": []}
        await desk.decide(hold)
        await desk.holds.keep_impact(hold.id, {"changes": ["late"]})
        assert (await desk.holds.get(hold.id)).impact == {"changes": []}
        assert desk.kinds()[2:] == ["hold.resolved"]

    async def test_an_approval_wakes_the_session_and_is_used_once(self, desk: Desk) -> None:
        hold = await desk.open()
        waiting = asyncio.ensure_future(desk.holds.wait(hold.id))
        decided = await desk.decide(hold)
        assert await promptly(waiting) == decided
        assert (decided.state, decided.decided_by) == (HoldState.APPROVED, ("carol",))
        # Waiting for what is decided already does not wait.
        assert await promptly(desk.holds.wait(hold.id)) == decided
        claimed = await desk.holds.claim(hold.id, DIGEST)
        assert claimed.released_at is not None
        with pytest.raises(ClaimRefused, match=f"the approval of {hold.id} was used already"):
            await desk.holds.claim(hold.id, DIGEST)
        await desk.holds.record_outcome(hold.id, "DELETE 1", 1, None, 1.5)
        assert desk.kinds() == ["hold.opened", "hold.resolved", "hold.released", "hold.outcome"]
        final = await desk.holds.get(hold.id)
        assert final.outcome is not None
        assert final.outcome.tag == "DELETE 1"
        assert await desk.recorded() == [("hold", "opened"), ("decision", "approved")]
        assert desk.holds.pending == 0

    async def test_a_rejection_says_who_and_why(self, desk: Desk) -> None:
        hold = await desk.open()
        decided = await desk.decide(hold, approve=False, reason=" no ticket ")
        assert (await promptly(desk.holds.wait(hold.id))).state is HoldState.REJECTED
        assert [(one.who, one.reason, one.how) for one in decided.decisions] == [
            ("carol", "no ticket", "api")
        ]
        with pytest.raises(ClaimRefused, match="is rejected, not approved"):
            await desk.holds.claim(hold.id, DIGEST)
        record = (await desk.recorded(), records(desk.path)[-1])[1]
        assert (record["kind"], record["tag"], record["verdict"], record["approved_by"]) == (
            "decision",
            "rejected",
            "reject",
            ["carol"],
        )
        assert (record["reason"], record["held_ms"] >= 0) == ("no ticket", True)

    async def test_an_approval_is_for_one_digest(self, desk: Desk) -> None:
        hold = await desk.open()
        await desk.decide(hold)
        with pytest.raises(ClaimRefused, match="is for a different statement or context"):
            await desk.holds.claim(hold.id, "e" * 64)
        await desk.holds.claim(hold.id, DIGEST)

    async def test_a_claim_without_an_approval(self, desk: Desk) -> None:
        hold = await desk.open()
        with pytest.raises(ClaimRefused, match="is pending, not approved"):
            await desk.holds.claim(hold.id, DIGEST)
        with pytest.raises(HoldNotFound):
            await desk.holds.claim("H-none", DIGEST)

    @pytest.mark.parametrize("state", [HoldState.WITHDRAWN, HoldState.ABANDONED, HoldState.INTERRUPTED])
    async def test_a_session_ends_its_hold(self, desk: Desk, state: HoldState) -> None:
        hold = await desk.open()
        ended = await desk.holds.end(hold.id, state, "because\0")
        assert (ended.state, ended.end_reason) == (state, "because\\x00")
        with pytest.raises(AlreadyResolved, match=f"{hold.id} is {state.value} already"):
            await desk.decide(hold)
        assert (await desk.holds.end(hold.id, HoldState.ABANDONED, "again")).state is state
        assert await desk.recorded() == [("hold", "opened"), ("hold", state.value)]
        assert desk.kinds() == ["hold.opened", "hold.resolved"]

    @pytest.mark.parametrize("state", [HoldState.PENDING, HoldState.APPROVED, HoldState.REJECTED])
    async def test_a_session_ends_a_hold_in_no_other_way(self, desk: Desk, state: HoldState) -> None:
        hold = await desk.open()
        with pytest.raises(ValueError, match="a session cannot end a hold as"):
            await desk.holds.end(hold.id, state, "")

    async def test_an_approval_that_was_not_used_ends_with_its_session(self, desk: Desk) -> None:
        hold = await desk.open()
        await desk.decide(hold)
        assert (await desk.holds.end(hold.id, HoldState.ABANDONED, "gone")).state is HoldState.ABANDONED
        with pytest.raises(ClaimRefused, match="is abandoned, not approved"):
            await desk.holds.claim(hold.id, DIGEST)

    async def test_text_that_not_everything_can_carry_is_made_visible(self, desk: Desk) -> None:
        odd, shown = "a\ud800\0", "a\\ud800\\x00"
        texts = ("user", "database", "application_name", "sql", "reason")
        hold = await desk.open(
            **dict.fromkeys(texts, odd), parameters=(odd, None), relations=(odd,), columns=(odd,)
        )
        assert {getattr(hold, name) for name in texts} == {shown}
        assert (hold.parameters, hold.relations, hold.columns) == ((shown, None), (shown,), (shown,))
        assert (await desk.open(parameters=None, client_addr=None)).parameters is None

    async def test_nobody_is_found_under_a_strange_name(self, desk: Desk) -> None:
        with pytest.raises(HoldNotFound, match=r"there is no hold 'H-\\x1b\[2J'"):
            await desk.holds.get("H-\x1b[2J")
        with pytest.raises(HoldNotFound):
            await desk.decide("H-none")
        with pytest.raises(HoldNotFound):
            await desk.holds.wait("H-none")

    async def test_holds_are_listed_page_by_page(self, desk: Desk) -> None:
        opened = [(await desk.open()).id for _ in range(5)]
        await desk.decide(opened[0])
        first = await desk.holds.list(limit=2)
        second = await desk.holds.list(limit=2, cursor=first.cursor)
        last = await desk.holds.list(limit=2, cursor=second.cursor)
        assert [hold.id for page in (first, second, last) for hold in page.holds] == opened[::-1]
        assert last.cursor is None
        exact = await desk.holds.list(limit=5)
        assert (len(exact.holds), exact.cursor) == (5, None)
        approved = await desk.holds.list(HoldState.APPROVED, limit=0)
        assert [hold.id for hold in approved.holds] == [opened[0]]


class TestPeople:
    @pytest.mark.parametrize(
        ("who", "changes", "says"),
        [
            (
                "vic",
                {"who_roles": {Role.VIEWER, Role.ADMIN, Role.AUDITOR}},
                "deciding takes the role approver",
            ),
            ("erin", {"who_groups": {"other"}}, "takes a member of dpo"),
            ("erin", {"who_groups": ()}, "takes a member of dpo"),
            ("alice", {}, "nobody decides about their own statement"),
            ("alice", {"who_roles": set(Role)}, "nobody decides about their own statement"),
            ("alice", {"approve": False}, "nobody decides about their own statement"),
            ("Alice", {}, "nobody decides about their own statement"),
        ],
    )
    async def test_who_may_not_decide(self, desk: Desk, who: str, changes: dict[str, Any], says: str) -> None:
        hold = await desk.open()
        with pytest.raises(NotAllowed, match=says):
            await desk.decide(hold, who, **changes)
        assert (await desk.holds.get(hold.id)).state is HoldState.PENDING
        assert await desk.recorded() == [("hold", "opened")]

    async def test_without_groups_any_approver_decides(self, desk: Desk) -> None:
        hold = await desk.open(stages=(Stage(),))
        assert (await desk.decide(hold, "erin", who_groups=())).state is HoldState.APPROVED

    async def test_one_group_of_several_is_enough(self, desk: Desk) -> None:
        hold = await desk.open(stages=(Stage(("dpo", "legal")),))
        with pytest.raises(NotAllowed, match="takes a member of dpo or legal"):
            await desk.decide(hold, "erin", who_groups={"other"})
        assert (await desk.decide(hold, "erin", who_groups={"legal"})).state is HoldState.APPROVED

    @pytest.mark.parametrize(("approve", "reason"), [(False, ""), (False, None), (True, "\x1b[2J")])
    async def test_a_reason_that_is_not_one(self, desk: Desk, approve: bool, reason: str | None) -> None:
        hold = await desk.open()
        with pytest.raises(InvalidReason):
            await desk.decide(hold, approve=approve, reason=reason)
        assert (await desk.holds.get(hold.id)).state is HoldState.PENDING

    async def test_of_two_at_the_same_moment_one_wins_and_the_other_is_told(self, desk: Desk) -> None:
        for _ in range(20):
            hold = await desk.open()
            results = await asyncio.gather(
                desk.decide(hold, "carol"), desk.decide(hold, "dave", approve=False), return_exceptions=True
            )
            (won,) = [result for result in results if isinstance(result, Hold)]
            (lost,) = [result for result in results if isinstance(result, AlreadyResolved)]
            assert lost.hold == won
            assert len(won.decisions) == 1
            assert await promptly(desk.holds.wait(hold.id)) == won
            if won.state is HoldState.APPROVED:
                await desk.holds.claim(hold.id, DIGEST)


class TestCriteria:
    """What is checked before people are asked, by whoever may wait for it."""

    CHECKING = ({"criterion": "webhook: desk", "met": False, "outcome": "checking", "why": ""},)
    MET = ({"criterion": "webhook: desk", "met": True, "outcome": "met", "why": ""},)

    async def open(self, desk: Desk) -> Hold:
        return await desk.open(criteria=self.CHECKING, check_seconds=60.0)

    async def test_the_rule_decides_like_a_person(self, desk: Desk) -> None:
        for verdict, state in (("allow", HoldState.APPROVED), ("deny", HoldState.REJECTED)):
            hold = await self.open(desk)
            assert hold.checking(desk.clock.now())
            waiting = asyncio.ensure_future(desk.holds.wait(hold.id))
            done = await desk.holds.checked(hold.id, self.MET, verdict, "why \ud800")  # type: ignore[arg-type]
            assert await promptly(waiting) == done
            assert (done.state, done.criteria, done.checking_until) == (state, self.MET, None)
            assert [(one.who, one.how, one.reason) for one in done.decisions] == [
                ("rule erasure", "rule", "why \\ud800")
            ]
            assert [tag for _, tag in await desk.recorded()][-3:] == ["opened", "checked", state.value]

    async def test_nobody_is_asked_before_and_everybody_afterwards(self, desk: Desk) -> None:
        hold = await self.open(desk)
        with pytest.raises(StillChecking, match="are being checked"):
            await desk.decide(hold)
        moved = asyncio.ensure_future(desk.holds.moved(hold.id))
        await asyncio.sleep(0)
        asked = await desk.holds.checked(hold.id, self.MET, "ask", "")
        assert await promptly(moved) == asked
        assert (asked.state, asked.decisions) == (HoldState.PENDING, ())
        assert desk.kinds() == ["hold.opened", "hold.checked"]
        assert (await desk.decide(hold)).state is HoldState.APPROVED

    async def test_nobody_waits_for_ever_for_one_who_checks(self, desk: Desk) -> None:
        hold = await self.open(desk)
        desk.clock.ahead = 60.0
        assert (await desk.decide(hold)).state is HoldState.APPROVED
        # What comes then comes too late.
        assert (await desk.holds.checked(hold.id, self.MET, "deny", "no")).state is HoldState.APPROVED
        assert len((await desk.holds.get(hold.id)).decisions) == 1

    async def test_a_rejection_does_not_wait(self, desk: Desk) -> None:
        hold = await self.open(desk)
        assert (await desk.decide(hold, approve=False)).state is HoldState.REJECTED
        assert (await desk.holds.checked(hold.id, self.MET, "allow", "")).state is HoldState.REJECTED

    @pytest.mark.parametrize(
        ("verdict", "state"),
        [("allow", HoldState.INTERRUPTED), ("deny", HoldState.REJECTED), ("ask", HoldState.PENDING)],
    )
    async def test_what_cannot_be_recorded_approves_nothing(
        self, recording: Desk, verdict: Any, state: HoldState
    ) -> None:
        hold = await self.open(recording)
        with full_disk(recording.path), pytest.raises(AuditUnavailable):
            await recording.holds.checked(hold.id, self.MET, verdict, "")
        assert (await recording.holds.get(hold.id)).state is state


class TestConflicts:
    """Holds about the same people; who is found is the store's, and told in its own tests."""

    EXPORT, DELETE = ([Affected(act, "public.customer")] for act in (Act.EXPORT, Act.DELETE))

    async def open(self, desk: Desk, affected: list[Affected], **changes: Any) -> Hold:
        return await desk.open(
            affected=affected, place="db", **{"session_id": f"S-{len(desk.events)}", **changes}
        )

    async def test_both_are_told_of_and_the_deletion_has_its_turn_at_once_after_the_export(
        self, desk: Desk
    ) -> None:
        export = await self.open(desk, self.EXPORT)
        deletion = await self.open(desk, self.DELETE)
        assert [one.other for one in deletion.conflicts] == [export.id]
        shown = desk.events[-1].data["conflicts"]
        assert isinstance(shown, list)
        assert [one["hold_id"] for one in shown] == [deletion.id]
        assert desk.kinds() == ["hold.opened", "hold.opened", "hold.conflict"]
        assert await desk.recorded() == [("hold", "opened"), ("hold", "opened"), ("hold", "conflict")]
        for each in (export, deletion):
            await desk.decide(each)
        assert await desk.holds.in_turn(deletion.id) == f"hold {export.id} of alice (approved)"
        with pytest.raises(MustWaitFor):
            await desk.holds.claim(deletion.id, DIGEST)
        await desk.holds.claim(export.id, DIGEST)
        assert await desk.holds.in_turn(deletion.id) == f"hold {export.id} of alice (it runs)"
        stirred = asyncio.ensure_future(desk.holds.stirred())
        await asyncio.sleep(0)
        await desk.holds.record_outcome(export.id, "SELECT 1", 1, None, 1.0)
        async with asyncio.timeout(0.9):
            await stirred
        assert await desk.holds.in_turn(deletion.id) is None
        assert (await desk.holds.claim(deletion.id, DIGEST)).conflicts[0].ended

    async def test_what_comes_by_another_gateway_is_told_of_once(self, desk: Desk) -> None:
        export = await self.open(desk, self.EXPORT)
        other = Conflict(
            *(ConflictKind.EXPORT_THEN_DELETE, ConflictAction.ORDER, "H-9", "bob"),
            *(HoldState.PENDING, False, False),
        )
        for _ in range(2):
            assert await desk.holds.learn(dataclasses.replace(export, conflicts=(other,)))
        assert desk.kinds() == ["hold.opened", "hold.conflict"]
        assert desk.events[-1].data["elsewhere"] is True

    async def test_what_is_blocked_leaves_nothing_behind(self, desk: Desk) -> None:
        desk.holds.conflicts = Conflicts(export_then_delete=ConflictAction.BLOCK)
        export = await self.open(desk, self.EXPORT)
        for opens in (desk.holds.open, desk.holds.ticket):
            request = hold_request(affected=self.DELETE, place="db", session_id="S-9")
            with pytest.raises(
                ConflictingHold, match=f"hold {export.id} of alice .pending. exports the same data"
            ):
                await opens(request)
        assert (desk.holds.pending, desk.kinds()) == (1, ["hold.opened"])

    async def test_a_rule_leaves_to_people_what_only_they_can_see(self, desk: Desk) -> None:
        desk.holds.conflicts = Conflicts(export_then_delete=ConflictAction.WARN)
        await self.open(desk, self.EXPORT)
        deletion = await self.open(desk, self.DELETE, all_met=True)
        assert deletion.state is HoldState.PENDING
        assert desk.kinds()[-1] == "hold.checked"
        checking = await self.open(desk, self.DELETE, check_seconds=60.0)
        assert (await desk.holds.checked(checking.id, (), "allow", "")).state is HoldState.PENDING
        assert (await desk.holds.checked(checking.id, (), "deny", "no")).state is HoldState.REJECTED


class TestStages:
    """Several people, in order; what a single word does and who hears of it."""

    TWO = (Stage(("lead",)), Stage(("dpo",), 2))

    async def test_a_hold_runs_when_everybody_needed_has_approved(self, desk: Desk) -> None:
        hold = await desk.open(stages=self.TWO)
        waiting = asyncio.ensure_future(desk.holds.wait(hold.id))
        moved = asyncio.ensure_future(desk.holds.moved(hold.id))
        await asyncio.sleep(0)
        with pytest.raises(NotAllowed, match="takes a member of lead"):
            await desk.decide(hold, "carol")
        first = await desk.decide(hold, "lea", who_groups={"lead"})
        assert (first.state, first.resolved_at) == (HoldState.PENDING, None)
        assert await promptly(moved) == first
        with pytest.raises(AlreadyDecided, match="lea has approved"):
            await desk.decide(hold, "lea", who_groups={"lead", "dpo"})
        await desk.decide(hold, "carol")
        with pytest.raises(AlreadyDecided, match="carol has approved"):
            await desk.decide(hold, "carol")
        assert not waiting.done()
        assert desk.holds.pending == 1
        done = await desk.decide(hold, "dave")
        assert await promptly(waiting) == done
        assert (done.state, done.decided_by) == (HoldState.APPROVED, ("lea", "carol", "dave"))
        with pytest.raises(AlreadyResolved):
            await desk.decide(hold, "carol")
        await desk.holds.claim(hold.id, DIGEST)
        assert desk.kinds() == [
            "hold.opened",
            "hold.decided",
            "hold.decided",
            "hold.resolved",
            "hold.released",
        ]
        assert await desk.recorded() == [
            ("hold", "opened"),
            ("decision", "counted"),
            ("decision", "counted"),
            ("decision", "approved"),
        ]
        assert [record.get("details") for record in records(desk.path)] == [
            {"digest": DIGEST},
            {"stage": 0},
            {"stage": 1},
            {"stage": 1},
        ]

    async def test_a_rejection_ends_it_whoever_approved_before(self, desk: Desk) -> None:
        hold = await desk.open(stages=(Stage(("dpo",), 3),))
        await desk.decide(hold, "carol")
        ended = await desk.decide(hold, "dave", approve=False)
        assert (ended.state, [one.verdict for one in ended.decisions]) == (
            HoldState.REJECTED,
            ["approve", "reject"],
        )
        assert (await promptly(desk.holds.wait(hold.id))).state is HoldState.REJECTED
        with pytest.raises(AlreadyResolved, match="is rejected already"):
            await desk.decide(hold, "carol")
        with pytest.raises(ClaimRefused):
            await desk.holds.claim(hold.id, DIGEST)

    async def test_an_approval_in_part_releases_nothing(self, desk: Desk) -> None:
        hold = await desk.open(stages=(Stage(("dpo",), 2),))
        await desk.decide(hold, "carol")
        with pytest.raises(ClaimRefused, match="is pending, not approved"):
            await desk.holds.claim(hold.id, DIGEST)

    async def test_it_expires_though_somebody_approved(self, desk: Desk) -> None:
        hold = await desk.open(stages=(Stage(("dpo",), 2),), expires=0.3)
        await desk.decide(hold, "carol")
        assert (await promptly(desk.holds.wait(hold.id))).state is HoldState.EXPIRED

    async def test_everybody_at_once_counts_each_once(self, desk: Desk) -> None:
        for _ in range(5):
            hold = await desk.open(stages=(Stage(("dpo",), 3),))
            people = ["p1", "p1", "p2", "p2", "p3", "p3", "p4", "p5"]
            results = await asyncio.gather(
                *(desk.decide(hold, person) for person in people), return_exceptions=True
            )
            done = await desk.holds.get(hold.id)
            assert done.state is HoldState.APPROVED
            assert len(done.decisions) == len(done.decided_by) == 3
            assert sum(isinstance(one, Hold) for one in results) == 3
            assert {type(one) for one in results} <= {Hold, AlreadyDecided, AlreadyResolved}

    async def test_a_deputy_is_named_with_whom_they_stand_in_for(self, desk: Desk) -> None:
        hold = await desk.open()
        done = await desk.decide(hold, "erin", who_groups={"other"}, absent={"carol": {"dpo"}})
        assert [(one.who, one.deputy_for) for one in done.decisions] == [("erin", "carol")]
        assert (await desk.recorded())[-1] == ("decision", "approved")
        assert records(desk.path)[-1]["details"] == {"stage": 0, "deputy_for": "carol"}

    async def test_an_escalation_asks_more_people_and_is_announced_once(self, desk: Desk) -> None:
        stages = (
            Stage(("lead",), escalation=Escalation(("dpo",), 0.05)),
            Stage(("legal",), escalation=Escalation(("dpo",), 0.05), repeat=True),
        )
        hold = await desk.open(stages=stages)
        assert await promptly(desk.holds.moved(hold.id)) == hold
        assert desk.kinds() == ["hold.opened", "hold.escalated"]
        begun = await desk.decide(hold, "carol")
        assert await promptly(desk.holds.moved(hold.id)) == begun
        assert desk.kinds() == ["hold.opened", "hold.escalated", "hold.decided", "hold.escalated"]
        assert (await desk.decide(hold, "carol")).state is HoldState.APPROVED
        assert await desk.recorded() == [
            ("hold", "opened"),
            ("hold", "escalated"),
            ("decision", "counted"),
            ("hold", "escalated"),
            ("decision", "approved"),
        ]
        escalated = records(desk.path)[1]
        assert (escalated["reason"], escalated["details"]) == ("to dpo", {"stage": 0, "to": ["dpo"]})

    async def test_a_partial_approval_that_cannot_be_recorded_ends_the_hold(self, recording: Desk) -> None:
        desk = recording
        hold = await desk.open(stages=(Stage(("dpo",), 2),))
        with full_disk(desk.path), pytest.raises(AuditUnavailable):
            await desk.decide(hold, "carol")
        ended = await promptly(desk.holds.wait(hold.id))
        assert (ended.state, ended.end_reason) == (
            HoldState.INTERRUPTED,
            "the approval could not be recorded",
        )


class TestExpiry:
    async def test_nobody_decided(self, desk: Desk) -> None:
        hold = await desk.open(expires=0.05)
        assert (await promptly(desk.holds.wait(hold.id))).state is HoldState.EXPIRED
        assert await desk.recorded() == [("hold", "opened"), ("hold", "expired")]
        with pytest.raises(AlreadyResolved, match="is expired already"):
            await desk.decide(hold)

    async def test_a_decision_after_the_expiry_comes_too_late_even_before_the_timer(self, desk: Desk) -> None:
        hold = await desk.open(expires=60.0)
        desk.clock.ahead = 60.0
        with pytest.raises(AlreadyResolved, match="is expired already"):
            await desk.decide(hold)
        assert (await promptly(desk.holds.wait(hold.id))).state is HoldState.EXPIRED

    async def test_a_decision_stops_the_timer(self, desk: Desk) -> None:
        hold = await desk.open()
        assert [task.get_name() for task in running() if "expiry" in task.get_name()]
        await desk.decide(hold)
        await soon(lambda: not [task for task in running() if "expiry" in task.get_name()])


class TestLimits:
    async def test_no_more_than_may_be(self, tmp_path: Path) -> None:
        url = sqlite_url(tmp_path)
        async with open_desk(tmp_path, url, pending_holds=3, pending_holds_per_user=2) as desk:
            first = await desk.open()
            await desk.open()
            with pytest.raises(HoldsFull, match="2 holds of alice are pending"):
                await desk.open()
            await desk.open(user="bob")
            with pytest.raises(HoldsFull, match="3 holds are pending"):
                await desk.open(user="eve")
            await desk.decide(first, approve=False)
            await desk.open()
            desk.holds.limits = Limits(pending_holds_per_user=3)
            await desk.open()
            assert desk.holds.pending == 4
            assert len(desk.events) == 6


class TestProcesses:
    async def test_what_a_dead_process_left_is_ended_at_the_next_start(self, tmp_path: Path) -> None:
        url = sqlite_url(tmp_path)
        async with open_desk(tmp_path, url) as first:
            left = await first.open()
            approved = await first.open()
            await first.decide(approved)
            # As after kill -9: nothing was ended.
            first.holds.stop = no_stop  # type: ignore[method-assign]
        async with open_desk(tmp_path, url) as second:
            for hold in (left, approved):
                found = await second.holds.get(hold.id)
                assert (found.state, found.end_reason) == (
                    HoldState.INTERRUPTED,
                    "the gateway stopped while it was open",
                )
                with pytest.raises(AlreadyResolved):
                    await second.decide(hold)
                with pytest.raises(ClaimRefused):
                    await second.holds.claim(hold.id, DIGEST)
            assert (await second.recorded())[-2:] == [("hold", "interrupted")] * 2

    async def test_a_stop_ends_what_is_open_and_nothing_opens_any_more(self, tmp_path: Path) -> None:
        async with open_desk(tmp_path, sqlite_url(tmp_path)) as desk:
            pending, approved, used = [await desk.open() for _ in range(3)]
            for hold in (approved, used):
                await desk.decide(hold)
            await desk.holds.claim(used.id, DIGEST)
            waiting = asyncio.ensure_future(desk.holds.wait(pending.id))
            await desk.holds.stop()
            assert (await promptly(waiting)).state is HoldState.INTERRUPTED
            assert (await desk.holds.get(approved.id)).state is HoldState.INTERRUPTED
            assert (await desk.holds.get(used.id)).state is HoldState.APPROVED
            with pytest.raises(HoldsFull, match="is stopping"):
                await desk.open()
            with pytest.raises(ClaimRefused, match="is stopping"):
                await desk.holds.claim(approved.id, DIGEST)

    async def test_a_hold_of_another_process_is_not_waited_for(self, tmp_path: Path) -> None:
        url = sqlite_url(tmp_path)
        async with open_desk(tmp_path, url) as desk:
            hold = await desk.open()
            other = Holds(desk.store, Bus(), desk.audit, Limits(), nobody(desk.store, tmp_path))
            with pytest.raises(HoldNotFound, match="is not in this process"):
                await other.wait(hold.id)
            await desk.decide(hold)
            assert (await other.wait(hold.id)).state is HoldState.APPROVED

    async def test_an_outcome_under_way_is_kept_before_the_stop_is_over(self, unsteady: Unsteady) -> None:
        desk = unsteady.desk
        hold = await desk.open()
        await desk.decide(hold)
        await desk.holds.claim(hold.id, DIGEST)
        unsteady.take_away()
        await desk.holds.record_outcome(hold.id, "DELETE 1", 1, None, 1.0)
        stopping = asyncio.ensure_future(desk.holds.stop())
        await asyncio.sleep(0)
        unsteady.bring_back()
        await promptly(stopping)
        found = await desk.store.hold(hold.id)
        assert found is not None
        assert found.outcome is not None


async def no_stop() -> None:
    """Instead of a stop."""


class TestLeaving:
    async def test_a_client_that_leaves_while_the_hold_is_made_abandons_it(self, desk: Desk) -> None:
        opening = asyncio.ensure_future(desk.open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await soon(lambda: "hold.resolved" in desk.kinds())
        (hold,) = (await desk.holds.list()).holds
        assert hold.state is HoldState.ABANDONED
        assert desk.holds.pending == 0

    async def test_a_caller_that_is_cancelled_leaves_no_decision_half_made(self, desk: Desk) -> None:
        hold = await desk.open()
        deciding = asyncio.ensure_future(desk.decide(hold))
        # Far enough to have begun: the hold is read first.
        await soon(lambda: any(task.get_name() == f"decide {hold.id}" for task in running()))
        deciding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deciding
        assert (await promptly(desk.holds.wait(hold.id))).state is HoldState.APPROVED
        assert ("decision", "approved") in await desk.recorded()


class TestFullDisk:
    async def test_nothing_is_held_that_cannot_be_recorded(self, recording: Desk) -> None:
        await recording.open()
        with full_disk(recording.path):
            with pytest.raises(AuditUnavailable, match="File too large"):
                await recording.open()
            (hold,) = (await recording.holds.list(HoldState.INTERRUPTED)).holds
            assert hold.end_reason == "the audit could not be written"
            assert recording.holds.pending == 1
        await soon(lambda: recording.audit.healthy and recording.audit.queue_depth == 0)
        tags = [one["tag"] for one in records(recording.path)]
        assert tags == ["opened", "opened", "interrupted"]
        await recording.open()

    async def test_nothing_is_decided_that_cannot_be_recorded(self, recording: Desk) -> None:
        hold = await recording.open()
        with full_disk(recording.path):
            with pytest.raises(AuditUnavailable):
                await recording.decide(hold)
            # It had been healthy until then; what was decided nobody may use.
            assert (await recording.holds.get(hold.id)).state is HoldState.INTERRUPTED
            with pytest.raises(ClaimRefused):
                await recording.holds.claim(hold.id, DIGEST)
            other = hold_request()
            with pytest.raises(AuditUnavailable):
                await recording.holds.open(other)
        await soon(lambda: recording.audit.healthy and recording.audit.queue_depth == 0)

    async def test_a_decision_while_the_disk_is_known_to_be_full_changes_nothing(
        self, recording: Desk
    ) -> None:
        hold = await recording.open()
        with full_disk(recording.path):
            with pytest.raises(AuditUnavailable):
                await recording.open(user="bob")
            with pytest.raises(AuditUnavailable, match="nothing can be decided while"):
                await recording.decide(hold)
            assert (await recording.holds.get(hold.id)).state is HoldState.PENDING
        await soon(lambda: recording.audit.healthy)
        assert (await recording.decide(hold)).state is HoldState.APPROVED

    async def test_a_rejection_that_cannot_be_recorded_still_runs_nothing(self, recording: Desk) -> None:
        hold = await recording.open()
        with full_disk(recording.path), pytest.raises(AuditUnavailable):
            await recording.decide(hold, approve=False)
        assert (await promptly(recording.holds.wait(hold.id))).state is HoldState.REJECTED
        await soon(lambda: recording.audit.healthy and recording.audit.queue_depth == 0)
        assert ("decision", "rejected") in await recording.recorded()


class TestStoreGone:
    async def test_nothing_is_held_approved_or_released(self, unsteady: Unsteady) -> None:
        desk = unsteady.desk
        pending, approved = await desk.open(), await desk.open()
        await desk.decide(approved)
        unsteady.take_away()
        with pytest.raises(StoreUnavailable):
            await desk.open()
        with pytest.raises(StoreUnavailable):
            await desk.decide(pending)
        with pytest.raises(StoreUnavailable):
            await desk.holds.claim(approved.id, DIGEST)
        assert desk.holds.pending == 1
        unsteady.bring_back()
        assert (await desk.decide(pending)).state is HoldState.APPROVED
        await desk.holds.claim(approved.id, DIGEST)

    async def test_a_client_that_leaves_does_not_wait_and_the_store_is_told_later(
        self, unsteady: Unsteady
    ) -> None:
        desk = unsteady.desk
        hold = await desk.open()
        unsteady.take_away()
        ended = await promptly(desk.holds.end(hold.id, HoldState.WITHDRAWN, "canceled"))
        assert (ended.state, ended.end_reason) == (HoldState.WITHDRAWN, "canceled")
        unsteady.bring_back()
        await soon(lambda: "hold.resolved" in desk.kinds())
        assert (await desk.holds.get(hold.id)).state is HoldState.WITHDRAWN

    async def test_an_end_of_a_hold_nobody_waits_for_here(self, unsteady: Unsteady) -> None:
        desk = unsteady.desk
        hold = await desk.open()
        await desk.decide(hold)
        await desk.holds.claim(hold.id, DIGEST)
        unsteady.take_away()
        with pytest.raises(StoreUnavailable, match="will be stored when the store answers again"):
            await desk.holds.end(hold.id, HoldState.ABANDONED, "gone")

    async def test_an_expiry_releases_the_client_and_is_stored_later(self, unsteady: Unsteady) -> None:
        desk = unsteady.desk
        hold = await desk.open(expires=0.3)
        unsteady.take_away()
        assert (await promptly(desk.holds.wait(hold.id))).state is HoldState.EXPIRED
        unsteady.bring_back()
        await soon(lambda: "hold.resolved" in desk.kinds())
        assert (await desk.holds.get(hold.id)).state is HoldState.EXPIRED

    async def test_an_outcome_is_stored_later(self, unsteady: Unsteady) -> None:
        desk = unsteady.desk
        hold = await desk.open()
        await desk.decide(hold)
        await desk.holds.claim(hold.id, DIGEST)
        unsteady.take_away()
        await promptly(desk.holds.record_outcome(hold.id, "DELETE 1", 1, None, 1.0))
        unsteady.bring_back()
        await soon(lambda: "hold.outcome" in desk.kinds())
        final = await desk.holds.get(hold.id)
        assert final.outcome is not None

    async def test_a_stop_releases_the_sessions_and_leaves_the_rest_to_the_next_start(
        self, unsteady: Unsteady, tmp_path: Path, postgres: Postgres, empty_database: str
    ) -> None:
        desk = unsteady.desk
        hold = await desk.open()
        waiting = asyncio.ensure_future(desk.holds.wait(hold.id))
        unsteady.take_away()
        await promptly(desk.holds.stop())
        assert (await promptly(waiting)).state is HoldState.INTERRUPTED
        folder = tmp_path / "next"
        folder.mkdir()
        async with open_desk(folder, postgresql_url(postgres, empty_database)) as later:
            assert (await later.holds.get(hold.id)).state is HoldState.INTERRUPTED

    async def test_a_locked_file_refuses_and_recovers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gateway.store.engine, "BUSY_MS", 50)
        async with open_desk(tmp_path, sqlite_url(tmp_path)) as desk:
            hold = await desk.open()
            blocker = sqlite3.connect(tmp_path / "holdgate.db", isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="database is locked"):
                await desk.open()
            with pytest.raises(StoreUnavailable, match="database is locked"):
                await desk.decide(hold)
            assert (await desk.holds.get(hold.id)).state is HoldState.PENDING
            blocker.execute("ROLLBACK")
            blocker.close()
            assert (await desk.decide(hold)).state is HoldState.APPROVED
