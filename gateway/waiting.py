"""Holding one request: from opening the hold to what becomes of it.

The session waits here and nowhere else. Whatever ends the wait ends the hold in the store first, and what the
store then says decides: of an approval and a withdrawal at the same moment exactly one is true.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from typing import Any, Final

from gateway import clock, hold_messages
from gateway.arbiter import Arbiter, Ruling, shown_parameters, shown_sql
from gateway.audit import AuditUnavailable
from gateway.ceilings import uncounted
from gateway.config import Config
from gateway.confirming import unconfirmed
from gateway.conflicting import place_of
from gateway.criteria.rule import RuleCriteria, all_met
from gateway.granting import grantable
from gateway.hold_port import HoldPort
from gateway.holds import ClaimRefused, ConflictingHold, Hold, HoldRequest, HoldsFull, HoldState, MustWaitFor
from gateway.legal_holds import LegalHolds
from gateway.previews import Previewed, Previews, Subject
from gateway.queueing import IN_CIRCLE, Ending, Queueing
from gateway.recorder import Recorder
from gateway.store import StoreUnavailable
from gateway.tasks import spawn
from gateway.turns import Turns
from gateway.validity import void
from protocol import enclosure, sqlstate
from protocol.errors import ServerError
from protocol.request import Request
from rules import Approval, Intent, joined
from rules import Decision as Decided

__all__ = ["Ending", "Released", "Waiting"]


CLIENT_AWAY: Final = Ending(HoldState.ABANDONED, "the client went away")


@dataclass(frozen=True, slots=True)
class Released:
    """The request may run, once: its approval is claimed. ``waited`` is in seconds."""

    hold: Hold
    waited: float


class Waiting:
    """Holds the requests of one session, one at a time. ``judged`` rules on a request anew; ``backend`` is the
    session's server process, where that is known, and ``standing`` tells where the session stands."""

    def __init__(
        self,
        config: Callable[[], Config],
        holds: HoldPort,
        recorder: Recorder,
        notify: Callable[[ServerError], None],
        judged: Callable[[Request], Awaitable[Ruling]],
        previews: Previews,
        criteria: RuleCriteria,
        legal_holds: LegalHolds,
        backend: int | None,
        standing: Callable[[], enclosure.Standing],
    ) -> None:
        self._config = config
        self._holds = holds
        self._recorder = recorder
        self._notify = notify
        self._judged = judged
        self._previews = previews
        self._criteria = criteria
        self._legal_holds = legal_holds
        self._backend = backend
        self._standing = standing
        self.queueing = Queueing(config, holds, recorder, notify)
        self._turns = Turns(config, holds, recorder, notify)
        self._ending: asyncio.Future[Ending] | None = None
        self.hold_id: str | None = None

    @property
    def waiting(self) -> bool:
        """Whether a request is held now."""
        return self._ending is not None

    def abandon(self) -> bool:
        """The client went away; False if nothing waits any more."""
        return self.end(CLIENT_AWAY.state, CLIENT_AWAY.why)

    def end(self, state: HoldState, why: str) -> bool:
        """End the wait; False if there is none, or something else has ended it."""
        if self._ending is None or self._ending.done():
            return False
        self._ending.set_result(Ending(state, why))
        return True

    async def hold(
        self,
        request: Request,
        ruling: Ruling,
        arbiter: Arbiter,
        statement_id: str,
        intent: Intent,
        *,
        gone: bool,
    ) -> Released | ServerError:
        """Wait for a decision. Returns the release, or the error the client is to be refused with.

        ``gone``: the client has gone, or said that it will send no more, before there was anything to wait for.
        """
        ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        if gone:
            ending.set_result(CLIENT_AWAY)
        self._ending = ending
        try:
            answer = await self._hold(request, ruling, arbiter, statement_id, intent, ending)
        finally:
            self._ending = None
            self.hold_id = None
        if isinstance(answer, ServerError):
            await self.queueing.give_up()
        return answer

    async def _hold(
        self,
        request: Request,
        ruling: Ruling,
        arbiter: Arbiter,
        statement_id: str,
        intent: Intent,
        ending: asyncio.Future[Ending],
    ) -> Released | ServerError:
        beside: list[asyncio.Task[Any]] = []
        try:
            objection = await self._objection(ruling, arbiter, ending)
            if objection is not None:
                error = hold_messages.under_legal_hold(objection)
                await self._recorder.refused(ruling, statement_id, error.sqlstate, reason=error.message)
                return error
            if self._by_ticket(ruling, intent):
                return await self._ticket(request, ruling, arbiter, statement_id, intent, ending)
            hold = await self._open(request, ruling, arbiter, statement_id, intent)
            self.hold_id = hold.id
            beside += self._preview(hold, ruling, arbiter)
            if hold.checking_until is not None:
                beside.append(self._criteria.begin(hold, ruling, arbiter, _approval(ruling), intent))
            started = clock.monotonic()
            hold = await self._until_resolved(hold, ending)
            waited = clock.monotonic() - started
            if hold.state is not HoldState.APPROVED:
                return await self._refuse(ruling, statement_id, hold, waited, hold_messages.refusal(hold))
            return await self._release(request, ruling, arbiter, statement_id, hold, waited, ending)
        except HoldsFull as full:
            error = hold_messages.full(str(full))
        except ConflictingHold as conflict:
            self._recorder.metrics.conflicts_total.labels("block").inc()
            error = hold_messages.conflicting(str(conflict))
        except (StoreUnavailable, AuditUnavailable) as failure:
            error = hold_messages.unavailable(str(failure))
        finally:
            for task in beside:
                # The hold has ended: what could still be seen would be of no use, or no longer true.
                task.cancel()
        with contextlib.suppress(AuditUnavailable):
            await self._recorder.refused(ruling, statement_id, error.sqlstate, reason=error.message)
        return error

    async def _open(
        self, request: Request, ruling: Ruling, arbiter: Arbiter, statement_id: str, intent: Intent
    ) -> Hold:
        recorder, who = self._recorder, self._recorder.who
        assert ruling.deciding is not None, "something executes in what is held"
        verdict = ruling.deciding.judgement.verdict
        approval = _approval(ruling)
        breaks_glass = _breaks_glass(approval, who.groups, intent)
        criteria = self._criteria.known(ruling, approval, intent, at_once=breaks_glass)
        ticket = self._by_ticket(ruling, intent)
        opens = self._holds.ticket if ticket else self._holds.open
        hold = await opens(
            HoldRequest(
                user=who.user,
                groups=tuple(sorted(who.groups)),
                database=who.database,
                client_addr=who.client_addr,
                application_name=recorder.state.application_name,
                session_id=recorder.session_id,
                statement_id=statement_id,
                sql=shown_sql(ruling),
                parameters=tuple(shown_parameters(ruling)) or None,
                actions=verdict.actions,
                relations=verdict.relations,
                columns=verdict.columns,
                row_bound=verdict.row_bound,
                rule=verdict.rule,
                reason=verdict.reason,
                stages=approval.stages,
                expires=approval.expires,
                transaction_open_since=recorder.state.transaction_since,
                obligations=tuple(map(str, verdict.obligations)),
                recent=recorder.recent(),
                intent=intent,
                breaks_glass=breaks_glass,
                criteria=tuple(one.to_dict() for one in criteria),
                all_met=all_met(criteria),
                check_seconds=self._criteria.seconds(approval, criteria),
                margin=approval.margin,
                confirm=approval.confirm,
                uncounted=uncounted(request, ruling, self._standing()),
                place=place_of(self._config(), who.database),
                affected=arbiter.affected(ruling),
                grantable=grantable(ruling, approval, self._config().policy, recorder),
                digest=arbiter.ticket_digest(ruling)
                if ticket
                else arbiter.digest(request, ruling.policy_version),
            )
        )
        if hold.statement_id == statement_id:
            self._criteria.opened(approval, criteria)
        return hold

    def _by_ticket(self, ruling: Ruling, intent: Intent) -> bool:
        """Whether the session does not wait: its rule says so, or else the configuration of its user. What
        breaks the glass, or meets all criteria, does not wait either way."""
        approval, who = _approval(ruling), self._recorder.who
        criteria = self._criteria.known(ruling, approval, intent)
        if _breaks_glass(approval, who.groups, intent) or all_met(criteria):
            return False
        if approval.hold is not None:
            return approval.hold == "ticket"
        user = self._config().users.get(who.user)
        return user is not None and user.hold == "ticket"

    async def _ticket(
        self,
        request: Request,
        ruling: Ruling,
        arbiter: Arbiter,
        statement_id: str,
        intent: Intent,
        ending: asyncio.Future[Ending],
    ) -> Released | ServerError:
        """Use the approval that is there for the statement, or fail at once with the ticket that asks for one."""
        while True:
            hold = await self._open(request, ruling, arbiter, statement_id, intent)
            if hold.state is not HoldState.APPROVED and hold.statement_id == statement_id:
                self._preview(hold, ruling, arbiter)
                if hold.checking_until is not None:
                    hold = await self._checked_ticket(hold, ruling, arbiter, intent, ending)
            if hold.state is not HoldState.APPROVED:
                error = hold_messages.ticket_answer(hold, clock.now(), self._config())
                return await self._refuse(ruling, statement_id, hold, 0.0, error)
            first = await self._holds.in_turn(hold.id)
            if first is not None:
                return await self._refuse(ruling, statement_id, hold, 0.0, hold_messages.not_yet(hold, first))
            problem = await self._changed(hold, ruling)
            if problem is None:
                end = await self.queueing.room(hold, statement_id, ruling, ending)
                if ending.done():
                    end = ending.result()
                if end is not None:
                    # Nothing runs for a client that has gone; the ticket is good for the next time.
                    error = ServerError(sqlstate.QUERY_CANCELED, f"ticket {hold.id} was not used: {end.why}")
                    return await self._refuse(ruling, statement_id, hold, 0.0, error)
                problem = await self._problem(request, ruling, hold)
            if problem is not None:
                hold = await self._holds.end(hold.id, HoldState.INTERRUPTED, problem)
                return await self._refuse(
                    ruling, statement_id, hold, 0.0, hold_messages.outdated(hold, problem)
                )
            objection = await self._objection(ruling, arbiter, ending)
            if objection is not None:
                # The ticket is good again once the legal hold is lifted.
                return await self._refuse(
                    ruling, statement_id, hold, 0.0, hold_messages.under_legal_hold(objection)
                )
            try:
                return Released(await self._holds.claim(hold.id, hold.digest), 0.0)
            except (ClaimRefused, MustWaitFor):
                # Somebody else used it at the same moment, or asked for what goes before it: look once more.
                await self.queueing.give_up()

    async def _checked_ticket(
        self, hold: Hold, ruling: Ruling, arbiter: Arbiter, intent: Intent, ending: asyncio.Future[Ending]
    ) -> Hold:
        """The ticket once its criteria are checked. They are to the end, also for a client that leaves meanwhile: the
        ticket is good for the next time."""
        check = self._criteria.begin(hold, ruling, arbiter, _approval(ruling), intent)
        ends: set[asyncio.Future[Any]] = {check, ending}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return (check.result() if check.done() else None) or hold

    def _preview(self, hold: Hold, ruling: Ruling, arbiter: Arbiter) -> list[asyncio.Task[None]]:
        """Look up what the statement would do, beside the wait."""
        if not self._config().limits.preview_seconds:
            return []
        state = self._recorder.state
        preview = self._previews.begin(
            hold.id,
            Subject(
                database=hold.database,
                sql=hold.sql,
                executions=tuple(
                    Previewed(one.execution.sql, one.execution.parameters, one.catalog)
                    for one in ruling.ruled
                ),
                reads=arbiter.reads,
                search_path=state.search_path,
                settings=tuple(state.reported.items()),
                backend=self._backend if hold.transaction_open_since is not None else None,
            ),
        )
        return [preview]

    async def _until_resolved(self, hold: Hold, ending: asyncio.Future[Ending]) -> Hold:
        """Until the hold is decided, expires, or something ends the wait.

        The client is told at once and then every so often. These notices are the heartbeat too: a client that
        vanished without a word is found out by writing to it.
        """
        resolved = spawn(self._holds.wait(hold.id), name=f"wait {hold.id}")
        moved = spawn(self._holds.moved(hold.id), name=f"watch {hold.id}")
        try:
            first = True
            while True:
                self._notify(hold_messages.notice(hold, self._config(), clock.now(), first=first))
                first = False
                ends: set[asyncio.Future[Any]] = {resolved, ending, moved}
                done, _ = await asyncio.wait(
                    ends,
                    timeout=self._config().limits.notice_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if resolved in done:
                    return resolved.result()
                if ending in done:
                    end = ending.result()
                    return await self._holds.end(hold.id, end.state, end.why)
                if moved in done:
                    hold = moved.result()
                    moved = spawn(self._holds.moved(hold.id), name=f"watch {hold.id}")
        finally:
            resolved.cancel()
            moved.cancel()

    async def _release(
        self,
        request: Request,
        ruling: Ruling,
        arbiter: Arbiter,
        statement_id: str,
        hold: Hold,
        waited: float,
        ending: asyncio.Future[Ending],
    ) -> Released | ServerError:
        """Wait for its turn and for room, check all that the approval is bound to, then use it up."""
        approved = clock.monotonic()
        objection: str | None = None
        state, why = HoldState.INTERRUPTED, ""
        while True:
            end = await self._turns.come(hold, ending)
            if end is None:
                end = await self.queueing.room(hold, statement_id, ruling, ending)
            problem = None
            if end is None and not ending.done():
                problem = await self._problem(request, ruling, hold)
            if end is None and problem is None:
                objection = await self._objection(ruling, arbiter, ending)
            if ending.done():
                end = ending.result()
            why = problem or objection or ""
            if end is not None:
                state, why = end.state, end.why
            if not why:
                try:
                    hold = await self._holds.claim(hold.id, arbiter.digest(request, ruling.policy_version))
                except MustWaitFor:
                    # Something was asked for meanwhile that goes before; it may need the room.
                    await self.queueing.give_up()
                    continue
                except ClaimRefused as refused:
                    why = str(refused)
            break
        waited += clock.monotonic() - approved
        if not why and not ending.done():
            return Released(hold, waited)
        if not why:
            # The wait ended while the claim was being stored: what was approved has lost its client.
            why = ending.result().why
        hold = await self._holds.end(hold.id, state, why)
        error = hold_messages.refusal(hold) if problem is None else hold_messages.outdated(hold, problem)
        if objection is not None:
            error = hold_messages.under_legal_hold(objection)
        if end is IN_CIRCLE:
            error = hold_messages.in_circle(hold)
        return await self._refuse(ruling, statement_id, hold, waited, error)

    async def _problem(self, request: Request, ruling: Ruling, hold: Hold) -> str | None:
        """Why an approval does not count for what the request would do now. None: it does."""
        problem = await self._changed(hold, ruling)
        if problem is not None:
            return problem
        now = await self._judged(request)
        problem = _differs(ruling, now)
        if problem is None and hold.max_rows is not None:
            problem = uncounted(request, now, self._standing())
        return problem

    async def _objection(
        self, ruling: Ruling, arbiter: Arbiter, ending: asyncio.Future[Ending]
    ) -> str | None:
        """What legal hold forbids it now; None where none does, or the wait ends before that is known."""
        if ending.done():
            return None
        who = self._recorder.who
        asked = self._legal_holds.objection(
            who.database, who.user, arbiter.affected(ruling), arbiter.under_hold
        )
        asking = spawn(asked, name=f"legal holds {self._recorder.session_id}")
        ends: set[asyncio.Future[Any]] = {asking, ending}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            objection = asking.result()
            if objection is not None:
                self._recorder.metrics.conflicts_total.labels("legal_hold").inc()
            return objection
        asking.cancel()
        return None

    async def _changed(self, hold: Hold, ruling: Ruling) -> str | None:
        """What changed while people thought: the policy, the requester, the approver. None: nothing."""
        if hold.standing is not None:
            return "not everybody who has to has approved it"
        missing = unconfirmed(hold)
        if missing is not None:
            return missing
        config = self._config()
        if config.policy.version != ruling.policy_version:
            return "the policy changed while the statement waited"
        requester = config.users.get(hold.user)
        if requester is not None and not requester.enabled:
            return f"user {hold.user} was disabled while the statement waited"
        if hold.grant_id is not None:
            why = await self._holds.grant_problem(hold.grant_id)
            if why is not None:
                return why
        for decision in hold.decisions:
            names = filter(None, (decision.who, decision.deputy_for))
            people = {name: await self._holds.approver(name) for name in names}
            why = void(config, hold, decision, people)
            if why is not None:
                return why
        return None

    async def _refuse(
        self, ruling: Ruling, statement_id: str, hold: Hold, waited: float, error: ServerError
    ) -> ServerError:
        await self._recorder.refused(
            ruling,
            statement_id,
            error.sqlstate,
            hold_id=hold.id,
            tag=f"({hold.state.value})",
            held_ms=round(waited * 1000, 3),
            reason=error.message,
        )
        return error


def _differs(approved: Ruling, now: Ruling) -> str | None:
    """What the statement would do that it would not have done when it was shown to people. None: nothing."""
    if [one.judgement.facts.effects for one in approved.ruled] == [
        one.judgement.facts.effects for one in now.ruled
    ]:
        return None
    return "definitions in the database changed what the statement does while it waited"


def _approval(ruling: Ruling) -> Approval:
    """What the request takes: whoever has to approve any execution in it that is held has to approve all of it."""
    held = [one for one in ruling.ruled if one.decision is Decided.HOLD]
    held.sort(key=lambda one: one is not ruling.deciding)
    approvals = list(dict.fromkeys(one.judgement.verdict.approval or Approval() for one in held))
    return approvals[0] if len(approvals) == 1 else joined(approvals)


def _breaks_glass(approval: Approval, groups: Set[str], intent: Intent) -> bool:
    """Whether whoever asks wants it to run without anybody's approval, and may."""
    return intent.break_glass is not None and not groups.isdisjoint(approval.break_glass)
