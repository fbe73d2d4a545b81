"""Statements that wait for a person.

A hold is durable before anybody is told of it, and so is each step of its life. Who wins when several things
happen at once (a decision, the expiry, the client leaving) is settled by the store in one conditional change;
this module only carries the news. A decision is in the audit before the session that waits hears of it.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from gateway.audit import AuditLog, AuditUnavailable
from gateway.bus import Bus
from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.config.model import Conflicts, Limits
from gateway.conflicting import concern_of, in_the_way, must_end, only_warned
from gateway.hold_book import Waiter
from gateway.hold_decisions import HoldDecisions
from gateway.hold_ends import RETRY_SECONDS, Store
from gateway.hold_queue import HoldQueue
from gateway.hold_records import (
    confirmed_record,
    conflict_record,
    decision_record,
    escalation_record,
    opened_record,
    queued_record,
)
from gateway.hold_terms import (
    AlreadyDecided,
    AlreadyResolved,
    ClaimRefused,
    ConflictingHold,
    HoldError,
    HoldNotFound,
    HoldPage,
    HoldRequest,
    HoldsFull,
    InvalidCeiling,
    InvalidReason,
    MustWaitFor,
    NotAllowed,
    StillChecking,
    storable,
)
from gateway.ids import Ulids
from gateway.people import People, Person
from gateway.store import (
    BREAK_GLASS,
    BY_RULE,
    Concern,
    ConflictFound,
    Hold,
    HoldLimit,
    HoldState,
    MustWait,
    Occupied,
    Outcome,
    Place,
    StoreUnavailable,
)
from gateway.tasks import complete, spawn
from gateway.voting import next_escalation
from rules import Cap, Demand

__all__ = [
    "AlreadyDecided",
    "AlreadyResolved",
    "ClaimRefused",
    "ConflictingHold",
    "Hold",
    "HoldError",
    "HoldNotFound",
    "HoldPage",
    "HoldRequest",
    "HoldState",
    "Holds",
    "HoldsFull",
    "InvalidCeiling",
    "InvalidReason",
    "MustWaitFor",
    "NotAllowed",
    "StillChecking",
]

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
MAX_PAGE = 500

_ENDS = frozenset({HoldState.WITHDRAWN, HoldState.ABANDONED, HoldState.INTERRUPTED, HoldState.EXPIRED})


class Holds(HoldDecisions):
    """Opens, decides, ends and releases holds. All methods belong to the event loop's thread.

    Methods raise :class:`StoreUnavailable` when the store does not answer and :class:`AuditUnavailable` when
    what they do could not be recorded; then nothing was approved.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        audit: AuditLog,
        limits: Limits,
        people: People,
        *,
        clock: Clock = SYSTEM_CLOCK,
        retry_seconds: float = RETRY_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        super().__init__(store, bus, audit, people, clock=clock, retry_seconds=retry_seconds)
        self._people = people
        self._stop_seconds = stop_seconds
        self._ids = Ulids(clock)
        self._stopped = False
        self.instance = self._ids.next()
        self.limits = limits
        self.queue = HoldQueue(store, self.instance, clock, self._owed, lambda: bus.publish("queue.moved"))
        self.conflicts = Conflicts()

    async def start(self, *, shared: bool = False) -> None:
        """End what a dead process left open: nothing of it can run any more.

        In a ``shared`` store others may be alive; the fleet finds out which.
        """
        if shared:
            return
        for hold in await self._store.interrupt_holds(
            instance=None, at=self._clock.now(), reason="the gateway stopped while it was open"
        ):
            self.settle(hold)
        await self._store.clear_places(self._clock.now())

    async def stop(self) -> None:
        """End every open hold of this process as interrupted, and open no more.

        What the store is still owed (ends, outcomes) has a few seconds to arrive there.
        """
        self._stopped = True
        self.queue.stop()
        reason = "the gateway is stopping"
        try:
            ended = await self._store.interrupt_holds(
                instance=self.instance, at=self._clock.now(), reason=reason
            )
        except StoreUnavailable as error:
            logger.error("open holds are left for the next start to end: %s", error)
            ended = [
                dataclasses.replace(entry.hold, state=HoldState.INTERRUPTED, end_reason=reason)
                for entry in self._waiting.values()
                if entry.hold.open
            ]
        for hold in ended:
            self.settle(hold)
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._owed.nothing()
        except TimeoutError:
            logger.error("%d changes of holds could not be stored; the audit has them", self._owed.count)

    async def expire_tickets(self) -> None:
        """End tickets that nobody decided or used in time: no session minds them. Any gateway of the store may."""
        for hold in await self._store.expire_tickets(self._clock.now()):
            self.settle(hold)

    # The session's side

    async def open(self, request: HoldRequest) -> Hold:
        """Make a pending hold. It is in the store and in the audit when this returns.

        Raises :class:`HoldsFull` and :class:`ConflictingHold`. If the caller is cancelled meanwhile, the hold ends as
        abandoned.
        """
        if self._stopped:
            raise HoldsFull("the gateway is stopping and holds no more statements")
        at_once = BREAK_GLASS if request.breaks_glass else BY_RULE if request.all_met else None
        entry = Waiter(self._new(request), at_once)
        concern = concern_of(request, self.conflicts)
        try:
            return await complete(self._open(entry, concern), name=f"open {entry.hold.id}")
        except asyncio.CancelledError:
            if entry.opened:
                spawn(self._leave(entry), name=f"abandon {entry.hold.id}")
            entry.left = True
            raise

    async def ticket(self, request: HoldRequest) -> Hold:
        """The ticket for a statement: one that is there, whatever was decided about it, or a new pending one. A new one
        is in the store and in the audit when this returns. Raises :class:`HoldsFull` and :class:`ConflictingHold`."""
        if self._stopped:
            raise HoldsFull("the gateway is stopping and holds no more statements")
        hold = dataclasses.replace(self._new(request), ticket=True)
        return await complete(
            self._ticket(hold, concern_of(request, self.conflicts)), name=f"ticket {hold.id}"
        )

    async def wait(self, hold_id: str) -> Hold:
        """The hold once it is no longer pending. Raises :class:`HoldNotFound` if nobody waits for it here."""
        entry = self._waiting.get(hold_id)
        if entry is not None:
            await entry.resolved.wait()
            return entry.hold
        hold = await self.get(hold_id)
        if hold.state is HoldState.PENDING:
            raise HoldNotFound(f"the session of {hold_id} is not in this process")
        return hold

    async def pending_of(self, user: str) -> Sequence[Hold]:
        """What of ``user`` waits for room, and what for a decision, the oldest first."""
        pending = await self._store.holds(
            states=(HoldState.PENDING,), limit=self.limits.pending_holds, before=None
        )
        waiting = {hold_id for one in await self.occupied() for hold_id in one.waiting}
        queued = [hold for hold in await self._store.holds_among(sorted(waiting)) if hold.queue is not None]
        return [hold for hold in (*queued, *reversed(pending)) if hold.user == user]

    async def moved(self, hold_id: str) -> Hold:
        """The hold once somebody more has approved it, or may: it waits for other people than before."""
        entry = self._waiting.get(hold_id)
        if entry is None:
            return await self.wait(hold_id)
        await entry.moved.wait()
        return entry.hold

    async def end(self, hold_id: str, state: HoldState, reason: str) -> Hold:
        """End a hold because its session does: withdrawn, abandoned or interrupted.

        An approval that was not used yet ends too. Returns the hold as it then is: what came first stays.
        When the store does not answer, the session is released at once and the store is told as soon as it
        does.
        """
        if state not in _ENDS:
            raise ValueError(f"a session cannot end a hold as {state.value}")
        return await complete(self._end(hold_id, state, storable(reason)), name=f"end {hold_id}")

    async def claim(self, hold_id: str, digest: str) -> Hold:
        """Use the approval, once, for exactly what it was given for. Raises :class:`ClaimRefused`, and
        :class:`MustWaitFor` while other holds have to end first."""
        return await complete(self._claim(hold_id, digest), name=f"claim {hold_id}")

    async def line_up(
        self, entry: str, hold_id: str, demands: Sequence[Demand], since: datetime, at_once: bool
    ) -> Place | None:
        """Queue for room under caps; see :class:`HoldQueue`. Raises :class:`StoreUnavailable`."""
        return await complete(self._line_up(entry, hold_id, demands, since, at_once), name=f"queue {hold_id}")

    async def advanced(self, entry: str, at: int) -> Place | None:
        """Where it waits once that is elsewhere; see :class:`HoldQueue`."""
        return await self.queue.advanced(entry, at)

    async def leave(self, entry: str, began: bool) -> None:
        """Give places back; see :class:`HoldQueue`."""
        await complete(self.queue.leave(entry, began=began), name=f"places of {entry}")

    async def occupied(self) -> Sequence[Occupied]:
        """Who has places under caps, and who waits for one."""
        return await self._store.occupied(self._clock.now())

    async def use_caps(self, caps: Iterable[Cap]) -> None:
        """The caps are others now, also for what waits."""
        try:
            await self.queue.resize(caps)
        except StoreUnavailable as error:
            logger.error("what waits for room still does so by the caps of before: %s", error)

    async def in_turn(self, hold_id: str) -> str | None:
        """What has to end before an approved hold may run, for people; None: nothing."""
        others = await self._store.waits_for(hold_id, instance=self.instance)
        return must_end(await self._store.holds_among(others[:1]), others) if others else None

    async def grant_problem(self, grant_id: str) -> str | None:
        """Why what was approved by a grant may not run now, None where it may."""
        return await self.grants.problem(grant_id)

    async def approver(self, name: str) -> Person | None:
        """Whoever decided by this name, as they are known now."""
        return await self._people.find(name)

    async def record_outcome(
        self, hold_id: str, tag: str | None, rows: int | None, sqlstate: str | None, duration_ms: float | None
    ) -> None:
        """Keep how the released statement ended; at once or, if the store does not answer, when it does."""
        outcome, at = Outcome(tag, rows, sqlstate, duration_ms), self._clock.now()

        async def keep() -> None:
            if await self._store.set_outcome(hold_id, outcome, at):
                hold = await self._store.hold(hold_id)
                if hold is not None:
                    self._bus.publish("hold.outcome", hold.to_dict())

        name = f"outcome of {hold_id}"
        await complete(self._owed.now_or_later(keep, name), name=name)

    async def keep_impact(self, hold_id: str, impact: Mapping[str, object]) -> None:
        """Show the preview of a pending hold to whoever decides."""

        async def keep() -> None:
            if await self._store.set_impact(hold_id, impact):
                hold = await self._store.hold(hold_id)
                if hold is not None:
                    self._bus.publish("hold.previewed", hold.to_dict())

        await complete(keep(), name=f"preview of {hold_id}")

    # The fleet's side

    async def learn(self, hold: Hold) -> bool:
        """Take what another gateway did to a hold; False: its session does not wait here.

        Not to be called for one hold while it runs for it. What somebody decided elsewhere is in this gateway's
        audit too before the session hears of it.
        """
        entry = self._waiting.get(hold.id)
        if entry is None:
            return False
        if entry.resolved.is_set() or not entry.opened or self._deciding[hold.id]:
            return True
        fresh = hold.decisions[len(entry.hold.decisions) :]
        confirmed = hold.confirmation is not None and entry.hold.confirmation is None
        if not fresh and not confirmed and hold.state is HoldState.PENDING:
            if hold.conflicts != entry.hold.conflicts:
                entry.hold = dataclasses.replace(entry.hold, conflicts=hold.conflicts)
                self._publish("hold.conflict", entry.hold, elsewhere=True)
            return True
        try:
            if confirmed:
                record = confirmed_record(hold)
                record.details["elsewhere"] = True
                await self._audit.intent(record)
            for number, decision in enumerate(fresh, 1):
                state = hold.state if number == len(fresh) and hold.decided else HoldState.PENDING
                record = decision_record(hold, decision, state)
                record.details["elsewhere"] = True
                await self._audit.intent(record)
        except AuditUnavailable:
            if hold.state is not HoldState.REJECTED:
                await self.end(hold.id, HoldState.INTERRUPTED, "the approval could not be recorded")
                return True
        if hold.state is HoldState.PENDING:
            self._move(hold, "hold.decided" if fresh else "hold.confirmed", elsewhere=True)
        else:
            self.settle(hold, elsewhere=True)
        return True

    async def list(
        self, state: HoldState | None = None, limit: int = 100, cursor: str | None = None
    ) -> HoldPage:
        """A page of holds, newest first. ``cursor`` is that of the page before."""
        limit = max(1, min(limit, MAX_PAGE))
        states = None if state is None else (state,)
        found = await self._store.holds(states=states, limit=limit + 1, before=cursor)
        more = len(found) > limit
        return HoldPage(found[:limit], found[limit - 1].id if more else None)

    # Inside

    def _new(self, request: HoldRequest) -> Hold:
        opened = self._clock.now()
        parameters = request.parameters
        return Hold(
            id=f"H-{self._ids.next()}",
            state=HoldState.PENDING,
            user=storable(request.user),
            groups=tuple(request.groups),
            database=storable(request.database),
            client_addr=request.client_addr,
            application_name=storable(request.application_name),
            session_id=request.session_id,
            statement_id=request.statement_id,
            sql=storable(request.sql),
            parameters=None
            if parameters is None
            else tuple(None if value is None else storable(value) for value in parameters),
            actions=tuple(request.actions),
            relations=tuple(map(storable, request.relations)),
            columns=tuple(map(storable, request.columns)),
            row_bound=request.row_bound,
            rule=request.rule,
            criteria=tuple(request.criteria),
            reason=storable(request.reason),
            stages=tuple(request.stages),
            checking_until=None
            if request.check_seconds is None
            else opened + timedelta(seconds=request.check_seconds),
            confirm=request.confirm,
            transaction_open_since=request.transaction_open_since,
            digest=request.digest,
            obligations=tuple(request.obligations),
            recent=tuple(request.recent),
            intent=request.intent,
            margin=request.margin,
            uncounted=request.uncounted,
            grantable=request.grantable,
            instance=self.instance,
            opened_at=opened,
            expires_at=opened + timedelta(seconds=request.expires),
        )

    async def _open(self, entry: Waiter, concern: Concern | None) -> Hold:
        hold = entry.hold
        asked = entry.at_once is None and hold.checking_until is None
        fitting = await self.grants.fitting(hold) if asked else []
        # Known here before it is in the store: from then on somebody may decide it.
        self._waiting[hold.id] = entry
        try:
            hold = await self._store.add_hold(
                hold,
                limit=self.limits.pending_holds,
                limit_per_user=self.limits.pending_holds_per_user,
                announce=entry.at_once is None and not fitting,
                concern=concern,
            )
        except HoldLimit as error:
            del self._waiting[hold.id]
            raise HoldsFull(str(error)) from None
        except ConflictFound as found:
            del self._waiting[hold.id]
            raise ConflictingHold(in_the_way(found.conflicts)) from None
        except StoreUnavailable:
            del self._waiting[hold.id]
            raise
        # Somebody may have decided it by now.
        entry.hold = dataclasses.replace(entry.hold, conflicts=hold.conflicts)
        try:
            await self._audit.intent(opened_record(hold))
        except AuditUnavailable:
            await self._end(hold.id, HoldState.INTERRUPTED, "the audit could not be written")
            raise
        if not entry.resolved.is_set():
            entry.timer = spawn(self._mind(entry), name=f"expiry of {hold.id}")
        self._bus.publish("hold.opened", hold.to_dict())
        await self._tell_others(hold)
        entry.opened = True
        if self._stopped:
            return await self._end(hold.id, HoldState.INTERRUPTED, "the gateway is stopping")
        if entry.left:
            return await self._leave(entry)
        if entry.at_once is None:
            return await self._by_grant(hold, fitting, announced=False)
        if entry.at_once == BY_RULE and only_warned(hold):
            return await self._checked(hold.id, hold.criteria, "ask", "")
        return await self._approve_at_once(hold, entry.at_once)

    async def _tell_others(self, hold: Hold) -> None:
        """Those that a new hold conflicts with are shown with it from now on."""
        if not hold.conflicts:
            return
        try:
            others = await self._store.holds_among({one.other for one in hold.conflicts})
        except StoreUnavailable as error:
            logger.error("what conflicts with %s is shown with it later: %s", hold.id, error)
            return
        for other in others:
            self._audit.append(conflict_record(other, hold))
            entry = self._waiting.get(other.id)
            if entry is not None:
                # What was decided meanwhile is known there.
                other = entry.hold = dataclasses.replace(entry.hold, conflicts=other.conflicts)
            self._publish("hold.conflict", other, elsewhere=False)

    async def _ticket(self, hold: Hold, concern: Concern | None) -> Hold:
        asked = hold.checking_until is None
        fitting = await self.grants.fitting(hold) if asked else []
        try:
            kept = await self._store.ticket(
                hold,
                limit=self.limits.pending_holds,
                limit_per_user=self.limits.pending_holds_per_user,
                concern=concern,
                announce=not fitting,
            )
        except HoldLimit as error:
            raise HoldsFull(str(error)) from None
        except ConflictFound as found:
            raise ConflictingHold(in_the_way(found.conflicts)) from None
        if kept.id != hold.id:
            if kept.state is HoldState.PENDING and kept.checking_until is None:
                return await self._by_grant(kept, fitting, announced=True)
            return kept
        hold = kept
        try:
            await self._audit.intent(opened_record(hold))
        except AuditUnavailable:
            await self._store.end_hold(
                hold.id, HoldState.INTERRUPTED, self._clock.now(), "the audit could not be written"
            )
            raise
        self._bus.publish("hold.opened", hold.to_dict())
        await self._tell_others(hold)
        return await self._by_grant(hold, fitting, announced=False)

    async def _leave(self, entry: Waiter) -> Hold:
        return await self._end(
            entry.hold.id, HoldState.ABANDONED, "the client left while the hold was being opened"
        )

    async def _mind(self, entry: Waiter) -> None:
        """Say so when the hold escalates, and end it when it expires."""
        while True:
            standing = next_escalation(entry.hold, entry.escalated)
            due = entry.hold.expires_at
            if standing is not None and standing.escalates_at is not None:
                due = min(due, standing.escalates_at)
            try:
                async with asyncio.timeout((due - self._clock.now()).total_seconds()):
                    await entry.moved.wait()
            except TimeoutError:
                if standing is None or due == entry.hold.expires_at:
                    break
                entry.escalated.add(standing.number)
                self._audit.append(escalation_record(entry.hold, standing, due))
                self._move(entry.hold, "hold.escalated")
        await self._expire(entry.hold)

    async def _line_up(
        self, entry: str, hold_id: str, demands: Sequence[Demand], since: datetime, at_once: bool
    ) -> Place | None:
        place = await self.queue.line_up(entry, hold_id, demands, since, at_once=at_once)
        if place is not None:
            hold = dataclasses.replace(await self.get(hold_id), queue=place)
            self._audit.append(queued_record(hold, place, self._clock.now()))
            self._bus.publish("hold.queued", hold.to_dict())
        return place

    async def _claim(self, hold_id: str, digest: str) -> Hold:
        if self._stopped:
            raise ClaimRefused("the gateway is stopping")
        try:
            won = await self._store.claim_hold(hold_id, digest, self._clock.now(), instance=self.instance)
        except MustWait as wait:
            raise MustWaitFor(f"{hold_id} waits for {wait}") from None
        hold = await self.get(hold_id)
        if not won:
            if hold.state is not HoldState.APPROVED:
                raise ClaimRefused(f"{hold_id} is {hold.state.value}, not approved")
            if hold.released_at is not None:
                raise ClaimRefused(f"the approval of {hold_id} was used already")
            raise ClaimRefused(f"the approval of {hold_id} is for a different statement or context")
        self._waiting.pop(hold_id, None)
        self._bus.publish("hold.released", hold.to_dict())
        return hold
