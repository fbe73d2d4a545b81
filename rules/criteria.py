"""Criteria of a rule: what a machine checks before people are asked. All met, and nobody need be.

What a web service or the database has to be asked is asked by whoever may wait; here is what they are asked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from rules.context import Context
from rules.intent import Intent
from rules.policy import RowCondition, When
from rules.verdict import Effect

__all__ = [
    "MAX_CHECK_SECONDS",
    "MAX_MATCHED",
    "Criterion",
    "CriterionOutcome",
    "Met",
    "SqlCheck",
    "SqlParameter",
    "check",
]

MAX_MATCHED: Final = 200
"""Characters of a reason or a ticket that a pattern is tried on; whoever says more is asked by people."""

MAX_CHECK_SECONDS: Final = 30.0
"""How long asking may take at most: somebody waits."""

SqlParameter = Literal["user", "database", "reason", "ticket", "subject"]
"""What of a hold a parameter of a query can be: ``subject`` is one person after the other whom it touches."""


@dataclass(frozen=True, slots=True)
class SqlCheck:
    """A query whose first value says whether a criterion is met. ``parameters`` are $1, $2 and so on; ``timeout`` is in
    seconds."""

    query: str
    parameters: tuple[SqlParameter, ...] = ()
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing to check; ``text`` is how it is written. Exactly one of the others is there.

    ``webhook`` is the name of a web service to ask.
    """

    text: str
    when: When | None = None
    rows: RowCondition | None = None
    said: tuple[Literal["reason", "ticket"], re.Pattern[str]] | None = None
    webhook: str | None = None
    sql: SqlCheck | None = None

    @property
    def kind(self) -> str:
        """The word it is written with."""
        return self.text.partition(":")[0]

    @property
    def asks(self) -> bool:
        """Whether somebody else has to be asked."""
        return self.webhook is not None or self.sql is not None


class CriterionOutcome(StrEnum):
    """What came of a criterion. ``denied``: whoever was asked says no for good; ``unchecked``: it cannot be told, and
    does not count as met; ``checking``: it is being asked."""

    MET = "met"
    UNMET = "unmet"
    DENIED = "denied"
    UNCHECKED = "unchecked"
    CHECKING = "checking"


@dataclass(frozen=True, slots=True)
class Met:
    """What came of a criterion, and why."""

    criterion: str
    outcome: CriterionOutcome
    why: str = ""

    @property
    def met(self) -> bool:
        """Whether it is met."""
        return self.outcome is CriterionOutcome.MET

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "criterion": self.criterion,
            "met": self.met,
            "outcome": self.outcome.value,
            "why": self.why,
        }


def check(criterion: Criterion, context: Context, effects: Sequence[Effect], intent: Intent) -> Met:
    """What comes of a criterion, for somebody who asks in this session to do this, in these words.

    One that somebody else has to be asked about is ``checking``.
    """
    if criterion.asks:
        return Met(criterion.text, CriterionOutcome.CHECKING)
    if criterion.when is not None:
        met = criterion.when.matches_session(context)
        return _outcome(criterion, met, "it is otherwise for this session")
    if criterion.rows is not None:
        unmet = [effect for effect in effects if not criterion.rows.matches(effect.row_bound)]
        names = dict.fromkeys(f"{one.action.value} {one.relation or ''}".rstrip() for one in unmet)
        return _outcome(criterion, bool(effects) and not unmet, ", ".join(names))
    assert criterion.said is not None, "a criterion says what it is about"
    which, pattern = criterion.said
    text = intent.reason if which == "reason" else intent.ticket
    if text is None:
        return _outcome(criterion, False, f"no {which} was given")
    if len(text) > MAX_MATCHED:
        return _outcome(criterion, False, f"the {which} is longer than {MAX_MATCHED} characters")
    return _outcome(criterion, pattern.fullmatch(text) is not None, f"the {which} is another")


def _outcome(criterion: Criterion, met: bool, otherwise: str) -> Met:
    outcome = CriterionOutcome.MET if met else CriterionOutcome.UNMET
    return Met(criterion.text, outcome, "" if met else otherwise)
