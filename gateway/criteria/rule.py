"""The criteria of a rule, checked for the holds of one session."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from gateway import clock
from gateway.arbiter import Arbiter, Ruled, Ruling
from gateway.audit import AuditUnavailable
from gateway.criteria.checks import Checks, Subject
from gateway.hold_port import HoldPort
from gateway.hold_terms import HoldNotFound, RuleVerdict
from gateway.recorder import Recorder
from gateway.store import Hold, StoreUnavailable
from gateway.tasks import spawn
from rules import (
    Approval,
    Context,
    Criterion,
    CriterionOutcome,
    Decision,
    Effect,
    Intent,
    Met,
    check,
    people_in,
)

__all__ = ["RuleCriteria", "all_met", "concluded"]

logger = logging.getLogger(__name__)

_NOBODY_WAITED: Final = "it ran without waiting for anybody"


class RuleCriteria:
    """Checks the criteria of what a session holds, and lets the rule decide where they do."""

    def __init__(self, checks: Checks, holds: HoldPort, recorder: Recorder) -> None:
        self._checks = checks
        self._holds = holds
        self._recorder = recorder

    def known(
        self, ruling: Ruling, approval: Approval, intent: Intent, *, at_once: bool = False
    ) -> list[Met]:
        """What comes of the criteria, which are there only where all that is held is held for the same reasons.

        Those that somebody has to be asked about are ``checking``, or, where it runs ``at_once``, never asked.
        """
        who = self._recorder.who
        context = Context(
            user=who.user,
            now=clock.now(),
            groups=who.groups,
            database=who.database,
            application_name=self._recorder.state.application_name,
            client_addr=who.client_addr,
        )
        effects = [effect for one in ruling.ruled for effect in _held(one)]
        found = [check(criterion, context, effects, intent) for criterion in approval.criteria]
        if at_once:
            found = [
                Met(one.criterion, CriterionOutcome.UNCHECKED, _NOBODY_WAITED) if _is_open(one) else one
                for one in found
            ]
        return found

    def seconds(self, approval: Approval, known: Sequence[Met]) -> float | None:
        """How long people are not asked meanwhile; None where all is known."""
        return self._checks.seconds_for(approval.criteria) if any(map(_is_open, known)) else None

    def opened(self, approval: Approval, known: Sequence[Met]) -> None:
        """A hold was opened with this."""
        for criterion, met in zip(approval.criteria, known, strict=True):
            self._checks.count(criterion, met)

    def begin(
        self, hold: Hold, ruling: Ruling, arbiter: Arbiter, approval: Approval, intent: Intent
    ) -> asyncio.Task[Hold | None]:
        """Ask whoever has to be asked, beside the wait. The task returns the hold as it then is, or None where what
        came of it could not be kept: then people are asked a little later."""
        return spawn(self._ask(hold, ruling, arbiter, approval, intent), name=f"criteria {hold.id}")

    async def _ask(
        self, hold: Hold, ruling: Ruling, arbiter: Arbiter, approval: Approval, intent: Intent
    ) -> Hold | None:
        people = people_in(
            (arbiter.touches(one), [(effect.action, effect.relation) for effect in _held(one)])
            for one in ruling.ruled
            if one.decision is Decision.HOLD
        )
        known = self.known(ruling, approval, intent)
        outcomes = await self._checks.outcomes(approval.criteria, Subject(hold, known, people))
        for criterion, met in zip(approval.criteria, outcomes, strict=True):
            if criterion.asks:
                self._checks.count(criterion, met)
        verdict, reason = concluded(approval.criteria, outcomes)
        try:
            return await self._holds.checked(hold.id, [one.to_dict() for one in outcomes], verdict, reason)
        except (StoreUnavailable, AuditUnavailable, HoldNotFound) as error:
            logger.error("%s: what came of its criteria could not be kept: %s", hold.id, error)
            return None


def all_met(outcomes: Sequence[Met]) -> bool:
    """Whether nobody need be asked."""
    return bool(outcomes) and all(one.met for one in outcomes)


def concluded(criteria: Sequence[Criterion], outcomes: Sequence[Met]) -> tuple[RuleVerdict, str]:
    """What a rule says by itself, and why: one that denies counts before all others."""
    for criterion, one in zip(criteria, outcomes, strict=True):
        if one.outcome is CriterionOutcome.DENIED:
            return "deny", f"{criterion.text.removeprefix('webhook: ')} says no: {one.why}"
    return ("allow", "all criteria are met") if all_met(outcomes) else ("ask", "")


def _held(one: Ruled) -> list[Effect]:
    """What an execution does that is held."""
    return [effect for effect in one.judgement.verdict.effects if effect.decision is Decision.HOLD]


def _is_open(met: Met) -> bool:
    return met.outcome is CriterionOutcome.CHECKING
