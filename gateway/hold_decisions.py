"""How holds are decided: by people in their stages, by criteria, by grants, and confirmed by whoever asked."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from gateway.audit import AuditLog, AuditUnavailable
from gateway.bus import Bus
from gateway.clock import Clock
from gateway.confirming import AwaitingConfirmation, NothingToConfirm, ProveIntent, check_confirmable
from gateway.conflicting import only_warned
from gateway.grants import Grants, checked_terms
from gateway.hold_ends import RETRY_SECONDS, HoldEnds, Store
from gateway.hold_records import checked_record, confirmed_record, decision_record
from gateway.hold_terms import (
    PREVIEWED,
    AlreadyDecided,
    AlreadyResolved,
    MaxRows,
    RuleVerdict,
    StillChecking,
    checked_reason,
    chosen,
    storable,
)
from gateway.people import People
from gateway.step_up import Prove, StepUpRequired, nothing_proven, proven, satisfied
from gateway.store import (
    BREAK_GLASS,
    BY_RULE,
    Confirmation,
    Decision,
    GrantRecord,
    GrantTerms,
    Hold,
    HoldState,
)
from gateway.tasks import complete
from gateway.voting import Voter, after, seat

__all__ = ["HoldDecisions"]

_NOBODY: Final[Mapping[str, Collection[str]]] = MappingProxyType({})


class HoldDecisions(HoldEnds):
    """Who says yes or no, what that comes to, and that it is on record before anybody hears of it."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        audit: AuditLog,
        people: People,
        *,
        clock: Clock,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        super().__init__(store, bus, audit, clock=clock, retry_seconds=retry_seconds)
        self.grants = Grants(store, people, bus, audit, clock=clock)
        self._deciding: Counter[str] = Counter()

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
        absent: Mapping[str, Collection[str]] = _NOBODY,
        max_rows: MaxRows = PREVIEWED,
        prove: Prove = nothing_proven,
        grant: GrantTerms | None = None,
    ) -> Hold:
        """Approve or reject; returns the hold as it then is: pending still, where more people have to decide.

        ``absent`` are those whom ``who`` stands in for, with their groups. ``prove`` is asked for a proof where the
        stage wants one, once nothing else stands in the way. Raises what it raises, :class:`HoldNotFound`,
        :class:`NotAllowed`, :class:`InvalidReason`, :class:`InvalidCeiling` for a number of rows that cannot be
        enforced, :class:`AlreadyResolved` for whoever comes too late, :class:`AlreadyDecided` for whoever would
        count twice, and :class:`StillChecking` and :class:`AwaitingConfirmation` where people are not asked yet.
        """
        voter = Voter(who, who_groups, who_roles, absent)
        hold = await self.get(hold_id)
        try:
            stage, deputy_for = seat(hold, voter, self._clock.now(), approve=approve)
        except AlreadyDecided:
            if hold.state is HoldState.PENDING:
                raise
            raise AlreadyResolved(hold) from None
        text = checked_reason(reason, required=not approve)
        if hold.state is not HoldState.PENDING:
            raise AlreadyResolved(hold)
        if not self._audit.healthy:
            raise AuditUnavailable("nothing can be decided while the audit cannot be written")
        verdict = "approve" if approve else "reject"
        if grant is not None:
            grant = checked_terms(hold, grant, hold.stages[stage].step_up)
        most = chosen(hold, max_rows) if approve else None
        ways = hold.stages[stage].step_up if approve else ()
        if approve and hold.checking(self._clock.now()):
            raise StillChecking(hold)
        if approve and hold.awaits_confirmation:
            raise AwaitingConfirmation(hold)
        proof = await proven(hold, ways, prove)
        decision = Decision(
            who, verdict, text, self._clock.now(), how, stage, deputy_for, most, granted=grant
        )
        if proof is not None:
            decision = dataclasses.replace(decision, step_up=proof.way, proof=proof.evidence)
        return await complete(self._decide(hold, voter, decision), name=f"decide {hold_id}")

    async def confirm(self, hold_id: str, *, who: str, by_link: bool, prove: ProveIntent) -> Hold:
        """Whoever asked means it: from now on people are asked. Returns the hold as it then is.

        Raises what ``prove`` does, :class:`HoldNotFound`, :class:`NotAllowed`, :class:`AlreadyResolved` and
        :class:`NothingToConfirm`, which a second confirmation is.
        """
        hold = await self.get(hold_id)
        check_confirmable(hold, who, by_link=by_link)
        if not self._audit.healthy:
            raise AuditUnavailable("nothing can be confirmed while the audit cannot be written")
        proof = await prove(hold)
        confirmation = Confirmation(who, proof.way, self._clock.now(), proof.evidence)
        return await complete(self._confirm(hold, confirmation, by_link), name=f"confirm {hold_id}")

    async def checked(
        self, hold_id: str, criteria: Sequence[Mapping[str, object]], verdict: RuleVerdict, reason: str
    ) -> Hold:
        """What came of the criteria of a hold that were still to be checked, and what its rule says by itself:
        ``ask`` leaves it to people. Returns the hold as it then is: what came first stays."""
        return await complete(
            self._checked(hold_id, criteria, verdict, storable(reason)), name=f"criteria of {hold_id}"
        )

    @contextmanager
    def _at_work_on(self, hold_id: str) -> Iterator[None]:
        """What is heard of the hold meanwhile is what is being done here."""
        self._deciding[hold_id] += 1
        try:
            yield
        finally:
            self._deciding[hold_id] -= 1
            self._deciding += Counter()

    async def _decide(self, hold: Hold, voter: Voter, decision: Decision) -> Hold:
        with self._at_work_on(hold.id):
            return await self._decide_once(hold, voter, decision)

    async def _decide_once(self, hold: Hold, voter: Voter, decision: Decision) -> Hold:
        hold_id, approve = hold.id, decision.verdict == "approve"
        while not await self._store.decide_hold(
            hold_id,
            decision,
            after(hold, decision),
            votes=len(hold.decisions),
            grant=await self._granted(hold, decision),
        ):
            known = len(hold.decisions)
            hold = await self.get(hold_id)
            if hold.state is HoldState.PENDING and len(hold.decisions) == known:
                await self._expired(hold_id)
                hold = await self.get(hold_id)
            if hold.state is not HoldState.PENDING:
                raise AlreadyResolved(hold)
            # Somebody else decided meanwhile: what this word counts for may be another thing now.
            stage, deputy_for = seat(hold, voter, decision.at, approve=approve)
            decision = dataclasses.replace(decision, stage=stage, deputy_for=deputy_for)
            if approve and not satisfied(hold.stages[stage], decision):
                # The proof was for the stage before.
                raise StepUpRequired(hold, hold.stages[stage].step_up)
        state = after(hold, decision)
        hold = await self.get(hold_id)
        try:
            await self._audit.intent(decision_record(hold, decision, state))
        except AuditUnavailable:
            if approve:
                await self._end(hold_id, HoldState.INTERRUPTED, "the approval could not be recorded")
            else:
                self.settle(hold)
            raise
        if state is HoldState.PENDING:
            self._move(hold, "hold.decided")
        else:
            self.settle(hold)
        return hold

    async def _granted(self, hold: Hold, decision: Decision) -> GrantRecord | None:
        """The grant that comes into being with a decision."""
        if decision.granted is None or after(hold, decision) is not HoldState.APPROVED:
            return None
        return await self.grants.made(hold, decision)

    async def _checked(
        self, hold_id: str, criteria: Sequence[Mapping[str, object]], verdict: RuleVerdict, reason: str
    ) -> Hold:
        hold = await self.get(hold_id)
        at = self._clock.now()
        if verdict == "allow" and only_warned(hold):
            verdict = "ask"
        decision: Decision | None = None
        state = HoldState.PENDING
        if verdict != "ask":
            state = HoldState.APPROVED if verdict == "allow" else HoldState.REJECTED
            word = "approve" if verdict == "allow" else "reject"
            decision = Decision(f"rule {hold.rule}", word, reason, at, BY_RULE)
        with self._at_work_on(hold_id):
            if not await self._store.check_hold(hold_id, criteria, decision, state, at=at):
                return await self.get(hold_id)
            hold = await self.get(hold_id)
            try:
                await self._audit.intent(checked_record(hold, at))
                if decision is not None:
                    await self._audit.intent(decision_record(hold, decision, state))
            except AuditUnavailable:
                if state is HoldState.APPROVED:
                    await self._end(hold_id, HoldState.INTERRUPTED, "the approval could not be recorded")
                elif state is HoldState.REJECTED:
                    self.settle(hold)
                raise
        if decision is None:
            hold = await self._by_grant(hold, await self.grants.fitting(hold), announced=True)
        if hold.state is HoldState.PENDING:
            self._move(hold, "hold.checked")
        else:
            self.settle(hold)
        return hold

    async def _confirm(self, hold: Hold, confirmation: Confirmation, by_link: bool) -> Hold:
        hold_id = hold.id
        with self._at_work_on(hold_id):
            if not await self._store.confirm_hold(hold_id, confirmation):
                await self._expired_by_now(hold_id)
                check_confirmable(await self.get(hold_id), confirmation.who, by_link=by_link)
                raise NothingToConfirm(f"{hold_id} was confirmed at the same moment", hold)
            hold = await self.get(hold_id)
            try:
                await self._audit.intent(confirmed_record(hold))
            except AuditUnavailable:
                await self._end(hold_id, HoldState.INTERRUPTED, "the confirmation could not be recorded")
                raise
        self._move(hold, "hold.confirmed")
        return hold

    async def _approve_at_once(self, hold: Hold, how: str) -> Hold:
        """Approve a hold in the name of whoever asked, or of its rule, before anybody is asked."""
        who, reason = f"rule {hold.rule}", "all criteria are met"
        if how == BREAK_GLASS:
            who, reason = hold.user, hold.intent.break_glass or ""
        decision = Decision(who, "approve", reason, self._clock.now(), how)
        if not await self._store.decide_hold(hold.id, decision, HoldState.APPROVED):
            return hold
        hold = await self.get(hold.id)
        try:
            await self._audit.intent(decision_record(hold, decision, HoldState.APPROVED))
        except AuditUnavailable:
            await self._end(hold.id, HoldState.INTERRUPTED, "the approval could not be recorded")
            raise
        self.settle(hold)
        return hold

    async def _by_grant(self, hold: Hold, fitting: Sequence[GrantRecord], *, announced: bool) -> Hold:
        """Approve a pending hold by a grant, as far as one has uses left; the hold as it then is."""
        with self._at_work_on(hold.id):
            # What conflicts is looked at by people, whatever was granted before there was a conflict.
            for grant in fitting if not only_warned(hold) else ():
                decisions = await self.grants.decisions(grant)
                if not await self._store.use_grant(grant.id, hold.id, decisions, self._clock.now()):
                    continue
                hold = await self.get(hold.id)
                try:
                    for decision in hold.decisions:
                        await self._audit.intent(decision_record(hold, decision, HoldState.APPROVED))
                except AuditUnavailable:
                    await self._end(hold.id, HoldState.INTERRUPTED, "the approval could not be recorded")
                    raise
                self.settle(hold)
                self._bus.publish("grant.used", {"id": grant.id, "hold_id": hold.id})
                return hold
            if fitting and not announced:
                await self._store.announce_ready(hold.id)
            return hold
