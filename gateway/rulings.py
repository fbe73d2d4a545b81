"""Ruling on the requests of one session, one at a time: forwarded at once, held, or refused.

What is allowed never leaves the callback it came in. Only a request that must wait (for a person, for the
server's answer, for the audit, for a text to be read) gets a coroutine, and then only this session waits.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from gateway import clock
from gateway.arbiter import Arbiter, Ruling, Unread
from gateway.asking import Asking
from gateway.audit import AuditUnavailable
from gateway.catalog import SessionCatalog
from gateway.ceilings import ceiling_of
from gateway.conversation import Conversation
from gateway.following import Following
from gateway.hold_messages import unavailable
from gateway.intents import Intents
from gateway.obligations import Obligations
from gateway.readers.pool import ParsePool
from gateway.reading import Reading
from gateway.recorder import Recorder
from gateway.resolving import Resolving
from gateway.tasks import spawn
from gateway.vetting import Vetting
from gateway.waiting import Released, Waiting
from protocol import sqlstate
from protocol.ceiling import Ceiling
from protocol.enclosure import Standing
from protocol.errors import ProtocolViolation, ServerError
from protocol.request import Request
from rules import UNSAID, Decision

__all__ = ["INTERNAL_ERROR", "Rulings"]

logger = logging.getLogger(__name__)

INTERNAL_ERROR: Final = ServerError(
    sqlstate.INTERNAL_ERROR, "internal error in the gateway", severity="FATAL"
)

_CHANGE: Final = "Change the statement, or ask the operator of the gateway about this rule."
_GUARDED: Final = (
    "Leave the setting as it is: texts must be read here as the server reads them. The operator of the gateway can "
    "allow it by defaults.guarded_settings."
)

_WITHDRAWN: Final = ServerError(sqlstate.QUERY_CANCELED, "canceling statement due to user request")


class Rulings:
    """Rules on requests. ``resume`` is called when a request that had to wait is done with."""

    def __init__(
        self,
        talk: Conversation,
        asking: Asking,
        following: Following,
        arbiter: Arbiter,
        catalog: SessionCatalog,
        pool: ParsePool,
        waiting: Waiting,
        intents: Intents,
        obligations: Obligations,
        recorder: Recorder,
        resume: Callable[[], None],
        learn: Callable[[Request, Ruling], None],
        resolving: Resolving,
    ) -> None:
        self._talk = talk
        self._asking = asking
        self._vetting = Vetting(asking)
        self._resolving = resolving
        self._following = following
        self._arbiter = arbiter
        self._catalog = catalog
        self._reading = Reading(pool, arbiter, talk, recorder.session_id)
        self._waiting = waiting
        self._intents = intents
        self._obligations = obligations
        self._recorder = recorder
        self._resume = resume
        self._learn = learn
        self._slow: asyncio.Task[None] | None = None
        self._context_unsettled = False
        self.cancelling: asyncio.Task[None] | None = None
        """A cancel on its way to the server: what it does not hit now it must not hit later."""
        self.current: Request | None = None
        """The request that is being ruled on."""
        self.withdrawn = False
        """The client canceled what it had sent while the gateway asked the server something, or had it read."""

    @property
    def busy(self) -> bool:
        """Whether a request waits for something."""
        return self._slow is not None

    @property
    def at_rest(self) -> bool:
        """Whether nothing is ruled on or waited for, and the next request finds nothing left over."""
        return (
            self._slow is None
            and self.cancelling is None
            and self.current is None
            and not self.withdrawn
            and not self._context_unsettled
            and not self._asking.wanted
        )

    async def done(self) -> None:
        """Until no request waits."""
        if self._slow is not None:
            await asyncio.wait({self._slow})

    def settled(self) -> None:
        """The server owes nothing: what statements changed of the context is known."""
        self._context_unsettled = False
        self._catalog.settled()

    @property
    def reading(self) -> bool:
        """Whether a text of the session is being read elsewhere, or waits for that."""
        return self._reading.under_way

    def withdraw_reading(self) -> bool:
        """The client cancels what is being read; False if nothing is."""
        if not self._reading.give_up():
            return False
        self.withdrawn = True
        return True

    def stop_reading(self) -> None:
        """Nothing that is being read will run any more."""
        self._reading.give_up()

    def request(self, request: Request) -> None:
        """Rule on a request."""
        self.current = request
        unread: Unread | None = None
        try:
            if self._at_once(request):
                return
        except Unread as missing:
            unread = missing
        self._slow = spawn(self._rule_slowly(unread), name=f"ruling {self._recorder.session_id}")

    def _at_once(self, request: Request) -> bool:
        """Forward the request, or its first part, if that may be done here and now. Raises ``Unread``."""
        talk = self._talk
        # Asked first, and always: what it says of an earlier request does not count for this one.
        must_wait = self._following.must_ask(request)
        must_wait = must_wait or self.cancelling is not None or self._asking.wanted or self.withdrawn
        standing = talk.core.standing if talk.core.settled else None
        # What changed the context, or is enclosed, must have ended before it is known what anything else does.
        must_wait = must_wait or (
            standing is None and (self._context_unsettled or talk.core.standing.enclosed)
        )
        must_wait = must_wait or self._intents.shows_pending(request)
        must_wait = must_wait or (not self._catalog.fresh and self._following.matters(request))
        if must_wait or talk.farewell is not None:
            return False
        arrived = clock.monotonic()
        request, ruling = self._rule(request, standing)
        certain = standing is not None or not ruling.read_only
        certain = certain and not self._catalog.may_help(ruling.missing)
        allowed = ruling.decision is Decision.ALLOW and ruling.error is None
        if not (allowed and certain and self._recorder.audit.healthy):
            return False
        self._forward(request, ruling, self._recorder.next_statement_id(), None)
        self._recorder.metrics.overhead_seconds.observe(clock.monotonic() - arrived)
        self._learn(request, ruling)
        return True

    def _rule(self, request: Request, standing: Standing | None) -> tuple[Request, Ruling]:
        """The ruling on a request, or on the part of it in front of what cannot be judged yet."""
        ruling = self._arbiter.rule(request, standing)
        cut = self._following.cut(request, ruling)
        if cut is None:
            return request, ruling
        self.current = request = self._talk.core.cut(request, cut[0], ends=cut[1])
        self._following.must_ask(request)
        return request, self._arbiter.rule(request, standing)

    def _forward(
        self,
        request: Request,
        ruling: Ruling,
        statement_id: str,
        held: float | None,
        ceiling: Ceiling | None = None,
    ) -> None:
        self._recorder.started(ruling, statement_id, held)
        state = self._recorder.state
        for one in ruling.ruled:
            self._catalog.forwarded(one.judgement.facts)
            state.cursors = state.cursors.touched(one.cursor_steps)
        self._context_unsettled = self._context_unsettled or ruling.changes_context
        self._following.forwarded(ruling)
        self.current = None
        core = self._talk.core
        enclosure = self._arbiter.enclosure(request, ruling, core.standing)
        if isinstance(enclosure, str):
            raise RuntimeError(f"what is to run read-only cannot any more: {enclosure}")
        redact = self._obligations.redaction(ruling, statement_id)
        core.forward(request, redact=redact, enclosure=enclosure, ceiling=ceiling)

    async def _rule_slowly(self, unread: Unread | None) -> None:
        talk = self._talk
        try:
            if unread is None or not await self._read_and_forward(unread):
                await self._rule_and_wait(self._under_way)
        except ProtocolViolation as violation:
            self._slow = None
            talk.finish(violation.message)
        except Exception:
            logger.exception("session %s: a ruling failed", self._recorder.session_id)
            self._slow = None
            talk.say_goodbye(INTERNAL_ERROR)
            talk.finish("internal error")
        else:
            self._slow = None
            self.current = None
            self.withdrawn = False
            self._reading.done()
            self._resume()

    @property
    def _under_way(self) -> Request:
        """What is being ruled on: the request, or its first part since it was cut in two."""
        assert self.current is not None, "one request is ruled on at a time"
        return self.current

    async def _read_and_forward(self, unread: Unread) -> bool:
        """Have texts read and, if that was all it waited for, forward the request; False if there is more to it.

        Reading needs nothing of the server: what was sent before goes on meanwhile, as it would without a gateway.
        """
        while True:
            await self._reading.read(unread.texts)
            if self._talk.over.done():
                return False
            self._arbiter.refill()
            try:
                return self._at_once(self._under_way)
            except Unread as missing:
                unread = missing

    async def _rule_and_wait(self, request: Request) -> None:
        talk = self._talk
        statement_id = self._recorder.next_statement_id()
        if self.cancelling is not None:
            await asyncio.wait({self.cancelling})
        request, ruling = await self._judged(request)
        if self._resolving.may_settle(request, ruling):
            await self._until_at_rest()
            if await self._resolving.settle(request, ruling):
                request, ruling = await self._judged(request)
        if talk.over.done():
            return
        if talk.core.skipping:
            # An earlier message of its series failed: nothing of it will be sent, whatever was decided.
            self._recorder.started(ruling, statement_id, None)
            talk.core.forward(request)
            return
        if talk.farewell is not None:
            talk.say_goodbye(talk.farewell)
            talk.finish()
            return
        error: ServerError | Released
        if not self._recorder.audit.healthy:
            error = unavailable("the audit cannot be written")
        elif self.withdrawn:
            error = await self._record_refusal(ruling, statement_id, _WITHDRAWN)
        elif ruling.error is not None:
            error = await self._record_refusal(ruling, statement_id, ruling.error)
        elif ruling.decision is Decision.DENY:
            error = await self._record_refusal(ruling, statement_id, _denied(ruling))
        elif ruling.decision is Decision.HOLD:
            error = await self._hold(request, ruling, statement_id)
        else:
            if self._intents.shows_pending(request):
                await self._intents.tell_pending()
                await talk.until_settled()
            if talk.over.done():
                return
            self._forward(request, ruling, statement_id, None)
            return
        if isinstance(error, Released):
            await talk.until_settled()
            self._arbiter.release(ruling, error.hold.id, error.hold.decided_by)
            ceiling = ceiling_of(request, ruling, talk.core.standing, error.hold)
            self._waiting.queueing.began()
            self._forward(request, ruling, statement_id, error.waited, ceiling)
            return
        if talk.over.done():
            return
        await talk.until_settled()
        if talk.half_closed and talk.client_gone:
            talk.finish()
            return
        redact = self._obligations.redaction(ruling, statement_id)
        self._recorder.started_in_front(ruling, statement_id)
        talk.core.refuse(request, error, ruling.at, redact=redact)

    async def _until_at_rest(self) -> None:
        """Until the server owes nothing and has no transaction open that only messages without a Sync began."""
        if self._talk.core.release_locks():
            self._talk.flush()
            await self._talk.until_settled()

    async def _hold(self, request: Request, ruling: Ruling, statement_id: str) -> ServerError | Released:
        talk = self._talk
        await self._until_at_rest()
        objection = await self._vetting.objection(request, ruling)
        intent = await self._intents.of(request) if objection is None else UNSAID
        if self.withdrawn:
            objection = _WITHDRAWN
        if objection is not None:
            return await self._record_refusal(ruling, statement_id, objection)
        gone = talk.half_closed
        return await self._waiting.hold(request, ruling, self._arbiter, statement_id, intent, gone=gone)

    async def judged_again(self, request: Request) -> Ruling:
        """The ruling on a request that waited, as things are now."""
        return (await self._judged(request))[1]

    async def _judged(self, request: Request) -> tuple[Request, Ruling]:
        """The ruling on a request, or its first part, by names and definitions that are known to be the server's."""
        looked = False
        while True:
            await self._known(request)
            self._arbiter.refill()
            try:
                request, ruling = self._rule(request, self._talk.core.standing)
            except Unread as missing:
                request = self._under_way
                await self._reading.read(missing.texts)
                continue
            if looked or not self._catalog.may_help(ruling.missing):
                return request, ruling
            looked = True
            if not await self._catalog.look_again(ruling.missing):
                return request, ruling

    async def _known(self, request: Request) -> None:
        """Until the server owes nothing and has said what it must be asked."""
        await self._settled()
        # What the server says first may be that the session is not where the catalog was read.
        for _ in range(2):
            if not self._catalog.fresh and self._following.matters(request):
                await self._catalog.ready()
                await self._settled()
            await self._following.ask(request)

    async def _settled(self) -> None:
        await self._asking.quiet()
        await self._talk.until_settled()

    async def _record_refusal(self, ruling: Ruling, statement_id: str, error: ServerError) -> ServerError:
        try:
            await self._recorder.refused(ruling, statement_id, error.sqlstate)
        except AuditUnavailable as unwritten:
            return unavailable(str(unwritten))
        return error


def _denied(ruling: Ruling) -> ServerError:
    assert ruling.deciding is not None, "something was denied"
    verdict = ruling.deciding.judgement.verdict
    return ServerError(
        sqlstate.INSUFFICIENT_PRIVILEGE,
        f"statement denied by rule {verdict.rule}",
        detail=f"{verdict.reason}. Nothing was run.",
        hint=_GUARDED if verdict.rule == "default:guarded_settings" else _CHANGE,
    )
