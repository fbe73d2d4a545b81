"""Statements that wait for a person.

A hold is durable before anybody is told of it, and so is each step of its life. Who wins when several things
happen at once (a decision, the expiry, the client leaving) is settled by the store in one conditional change;
this module only carries the news. A decision is in the audit before the session that waits hears of it.
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import TypeVar

from gateway.audit import AuditLog, AuditRecord, AuditUnavailable, Kind
from gateway.bus import Bus
from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.config.model import Limits, Role
from gateway.hold_terms import (
    AlreadyResolved,
    ClaimRefused,
    HoldError,
    HoldNotFound,
    HoldPage,
    HoldRequest,
    HoldsFull,
    InvalidReason,
    NotAllowed,
    checked_reason,
    storable,
)
from gateway.ids import Ulids
from gateway.store import Decision, Hold, HoldLimit, HoldState, HoldStore, Outcome, StoreUnavailable
from gateway.tasks import complete, spawn

__all__ = [
    "AlreadyResolved",
    "ClaimRefused",
    "Hold",
    "HoldError",
    "HoldNotFound",
    "HoldPage",
    "HoldRequest",
    "HoldState",
    "Holds",
    "HoldsFull",
    "InvalidReason",
    "NotAllowed",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 1.0
STOP_SECONDS = 5.0
MAX_PAGE = 500

_ENDS = frozenset({HoldState.WITHDRAWN, HoldState.ABANDONED, HoldState.INTERRUPTED})


class _Waiting:
    """A hold whose session is in this process."""

    __slots__ = ("hold", "left", "opened", "resolved", "timer")

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self.opened = False
        self.left = False
        self.resolved = asyncio.Event()
        self.timer: asyncio.Task[None] | None = None


class Holds:
    """Opens, decides, ends and releases holds. All methods belong to the event loop's thread.

    Methods raise :class:`StoreUnavailable` when the store does not answer and :class:`AuditUnavailable` when
    what they do could not be recorded; then nothing was approved.
    """

    def __init__(
        self,
        store: HoldStore,
        bus: Bus,
        audit: AuditLog,
        limits: Limits,
        *,
        clock: Clock = SYSTEM_CLOCK,
        retry_seconds: float = RETRY_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._store = store
        self._bus = bus
        self._audit = audit
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._stop_seconds = stop_seconds
        self._owed = 0
        self._nothing_owed = asyncio.Event()
        self._nothing_owed.set()
        self._ids = Ulids(clock)
        self._waiting: dict[str, _Waiting] = {}
        self._stopped = False
        self.instance = self._ids.next()
        self.limits = limits

    @property
    def pending(self) -> int:
        """How many statements wait for a decision in this process."""
        return sum(entry.hold.state is HoldState.PENDING for entry in self._waiting.values())

    async def start(self) -> None:
        """End what a dead process left open: nothing of it can run any more."""
        for hold in await self._store.interrupt_holds(
            instance=None, at=self._clock.now(), reason="the gateway stopped while it was open"
        ):
            self._announce(hold)

    async def stop(self) -> None:
        """End every open hold of this process as interrupted, and open no more.

        What the store is still owed (ends, outcomes) has a few seconds to arrive there.
        """
        self._stopped = True
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
            self._settle(hold)
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._nothing_owed.wait()
        except TimeoutError:
            logger.error("%d changes of holds could not be stored; the audit has them", self._owed)

    # The session's side

    async def open(self, request: HoldRequest) -> Hold:
        """Make a pending hold. It is in the store and in the audit when this returns.

        Raises :class:`HoldsFull`. If the caller is cancelled meanwhile, the hold ends as abandoned.
        """
        if self._stopped:
            raise HoldsFull("the gateway is stopping and holds no more statements")
        entry = _Waiting(self._new(request))
        try:
            return await complete(self._open(entry), name=f"open {entry.hold.id}")
        except asyncio.CancelledError:
            if entry.opened:
                spawn(self._leave(entry), name=f"abandon {entry.hold.id}")
            entry.left = True
            raise

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
        """Use the approval, once, for exactly what it was given for. Raises :class:`ClaimRefused`."""
        return await complete(self._claim(hold_id, digest), name=f"claim {hold_id}")

    async def record_outcome(
        self, hold_id: str, tag: str | None, rows: int | None, sqlstate: str | None, duration_ms: float | None
    ) -> None:
        """Keep how the released statement ended; at once or, if the store does not answer, when it does."""
        outcome = Outcome(tag, rows, sqlstate, duration_ms)

        async def keep() -> None:
            if await self._store.set_outcome(hold_id, outcome):
                hold = await self._store.hold(hold_id)
                if hold is not None:
                    self._bus.publish("hold.outcome", hold.to_dict())

        name = f"outcome of {hold_id}"
        await complete(self._now_or_later(keep, name), name=name)

    async def keep_impact(self, hold_id: str, impact: Mapping[str, object]) -> None:
        """Show the preview of a pending hold to whoever decides."""

        async def keep() -> None:
            if await self._store.set_impact(hold_id, impact):
                hold = await self._store.hold(hold_id)
                if hold is not None:
                    self._bus.publish("hold.previewed", hold.to_dict())

        await complete(keep(), name=f"preview of {hold_id}")

    # The approver's side

    async def decide(
        self,
        hold_id: str,
        *,
        who: str,
        who_groups: Collection[str],
        who_roles: Collection[str],
        approve: bool,
        reason: str | None,
        how: str,
    ) -> Hold:
        """Approve or reject; returns the hold as decided.

        Raises :class:`HoldNotFound`, :class:`NotAllowed`, :class:`InvalidReason`, and
        :class:`AlreadyResolved` for whoever comes second.
        """
        hold = await self.get(hold_id)
        _check_decider(hold, who, who_groups, who_roles)
        text = checked_reason(reason, required=not approve)
        if hold.state is not HoldState.PENDING:
            raise AlreadyResolved(hold)
        if not self._audit.healthy:
            raise AuditUnavailable("nothing can be decided while the audit cannot be written")
        decision = Decision(who, "approve" if approve else "reject", text, self._clock.now(), how)
        return await complete(self._decide(hold_id, decision), name=f"decide {hold_id}")

    async def get(self, hold_id: str) -> Hold:
        """The hold. Raises :class:`HoldNotFound`."""
        hold = await self._store.hold(hold_id)
        if hold is None:
            raise HoldNotFound(f"there is no hold {hold_id[:40]!a}")
        return hold

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
            approval_groups=tuple(request.approval_groups),
            transaction_open_since=request.transaction_open_since,
            digest=request.digest,
            obligations=tuple(request.obligations),
            recent=tuple(request.recent),
            instance=self.instance,
            opened_at=opened,
            expires_at=opened + timedelta(seconds=request.expires),
        )

    async def _open(self, entry: _Waiting) -> Hold:
        hold = entry.hold
        # Known here before it is in the store: from then on somebody may decide it.
        self._waiting[hold.id] = entry
        try:
            await self._store.add_hold(
                hold,
                limit=self.limits.pending_holds,
                limit_per_user=self.limits.pending_holds_per_user,
            )
        except HoldLimit as error:
            del self._waiting[hold.id]
            raise HoldsFull(str(error)) from None
        except StoreUnavailable:
            del self._waiting[hold.id]
            raise
        try:
            await self._audit.intent(_record(hold, Kind.HOLD, "opened", reason=hold.reason))
        except AuditUnavailable:
            await self._end(hold.id, HoldState.INTERRUPTED, "the audit could not be written")
            raise
        if not entry.resolved.is_set():
            entry.timer = spawn(self._expire(entry), name=f"expiry of {hold.id}")
        self._bus.publish("hold.opened", hold.to_dict())
        entry.opened = True
        if self._stopped:
            return await self._end(hold.id, HoldState.INTERRUPTED, "the gateway is stopping")
        if entry.left:
            return await self._leave(entry)
        return hold

    async def _leave(self, entry: _Waiting) -> Hold:
        return await self._end(
            entry.hold.id, HoldState.ABANDONED, "the client left while the hold was being opened"
        )

    async def _expire(self, entry: _Waiting) -> None:
        hold = entry.hold
        await asyncio.sleep((hold.expires_at - self._clock.now()).total_seconds())
        while True:
            try:
                await self._expired(hold.id)
                return
            except StoreUnavailable as error:
                # The client need not wait for the store. Nothing can run: that takes the store's consent.
                logger.error("%s expired but that could not be stored: %s", hold.id, error)
                self._release(dataclasses.replace(hold, state=HoldState.EXPIRED))
                await asyncio.sleep(self._retry_seconds)

    async def _expired(self, hold_id: str) -> None:
        won = await self._store.expire_hold(hold_id, self._clock.now())
        hold = await self._store.hold(hold_id)
        if won and hold is not None:
            self._settle(hold)

    async def _decide(self, hold_id: str, decision: Decision) -> Hold:
        state = HoldState.APPROVED if decision.verdict == "approve" else HoldState.REJECTED
        won = await self._store.decide_hold(hold_id, decision, state)
        hold = await self.get(hold_id)
        if not won:
            if hold.state is HoldState.PENDING:
                await self._expired(hold_id)
                hold = await self.get(hold_id)
            raise AlreadyResolved(hold)
        record = _record(hold, Kind.DECISION, state.value, reason=decision.reason)
        record.verdict, record.approved_by = decision.verdict, (decision.who,)
        try:
            await self._audit.intent(record)
        except AuditUnavailable:
            if state is HoldState.APPROVED:
                await self._end(hold_id, HoldState.INTERRUPTED, "the approval could not be recorded")
            else:
                self._settle(hold)
            raise
        self._settle(hold)
        return hold

    async def _end(self, hold_id: str, state: HoldState, reason: str) -> Hold:
        async def store_end() -> Hold:
            won = await self._store.end_hold(hold_id, state, self._clock.now(), reason)
            hold = await self.get(hold_id)
            if won:
                self._settle(hold)
            return hold

        hold = await self._now_or_later(store_end, f"end of {hold_id}")
        if hold is not None:
            return hold
        entry = self._waiting.get(hold_id)
        if entry is None:
            raise StoreUnavailable(f"the end of {hold_id} will be stored when the store answers again")
        ended = dataclasses.replace(entry.hold, state=state, end_reason=reason)
        self._release(ended)
        return ended

    async def _claim(self, hold_id: str, digest: str) -> Hold:
        if self._stopped:
            raise ClaimRefused("the gateway is stopping")
        won = await self._store.claim_hold(hold_id, digest, self._clock.now())
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

    def _settle(self, hold: Hold) -> None:
        """The store says so: tell the session that waits, and everybody else."""
        self._release(hold)
        self._announce(hold)

    def _release(self, hold: Hold) -> None:
        entry = self._waiting.get(hold.id)
        if entry is None:
            return
        entry.hold = hold
        entry.resolved.set()
        if entry.timer is not None and entry.timer is not asyncio.current_task():
            entry.timer.cancel()
        if not hold.open:
            del self._waiting[hold.id]

    def _announce(self, hold: Hold) -> None:
        if hold.state not in (HoldState.APPROVED, HoldState.REJECTED):
            self._audit.append(_record(hold, Kind.HOLD, hold.state.value, reason=hold.end_reason))
        self._bus.publish("hold.resolved", hold.to_dict())

    async def _now_or_later(self, action: Callable[[], Awaitable[T]], name: str) -> T | None:
        """Do it, or keep trying in the background and return None."""
        try:
            with self._owing():
                return await action()
        except StoreUnavailable as error:
            logger.error("%s waits for the store: %s", name, error)

        async def later() -> None:
            with self._owing():
                while True:
                    await asyncio.sleep(self._retry_seconds)
                    try:
                        await action()
                        return
                    except StoreUnavailable:
                        continue

        spawn(later(), name=name)
        return None

    @contextlib.contextmanager
    def _owing(self) -> Iterator[None]:
        """Something has happened that the store does not know yet."""
        self._owed += 1
        self._nothing_owed.clear()
        try:
            yield
        finally:
            self._owed -= 1
            if not self._owed:
                self._nothing_owed.set()


def _check_decider(hold: Hold, who: str, groups: Collection[str], roles: Collection[str]) -> None:
    if Role.APPROVER not in roles:
        raise NotAllowed("deciding takes the role approver")
    if who == hold.user:
        raise NotAllowed("nobody decides about their own statement")
    if hold.approval_groups and not set(hold.approval_groups) & set(groups):
        raise NotAllowed(f"deciding {hold.id} takes a member of {' or '.join(hold.approval_groups)}")


def _record(hold: Hold, kind: Kind, tag: str, *, reason: str | None) -> AuditRecord:
    held_ms = None
    if hold.resolved_at is not None:
        held_ms = (hold.resolved_at - hold.opened_at) / timedelta(milliseconds=1)
    return AuditRecord(
        kind,
        at=hold.resolved_at or hold.opened_at,
        session_id=hold.session_id,
        statement_id=hold.statement_id,
        user=hold.user,
        groups=hold.groups,
        database=hold.database,
        client_addr=hold.client_addr,
        application_name=hold.application_name,
        sql=hold.sql,
        parameters=hold.parameters,
        actions=hold.actions,
        relations=hold.relations,
        columns=hold.columns,
        row_bound=hold.row_bound,
        verdict="hold",
        rule=hold.rule,
        obligations=hold.obligations,
        hold_id=hold.id,
        tag=tag,
        held_ms=held_ms,
        reason=reason,
    )
