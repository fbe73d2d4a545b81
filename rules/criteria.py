"""Criteria of a rule: what a machine checks before people are asked. All met, and nobody need be."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rules.context import Context
from rules.intent import Intent
from rules.policy import RowCondition, When
from rules.verdict import Effect

__all__ = ["MAX_MATCHED", "Criterion", "Met", "check"]

MAX_MATCHED: Final = 200
"""Characters of a reason or a ticket that a pattern is tried on; whoever says more is asked by people."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing to check; ``text`` is how it is written. Exactly one of the others is there."""

    text: str
    when: When | None = None
    rows: RowCondition | None = None
    said: tuple[Literal["reason", "ticket"], re.Pattern[str]] | None = None


@dataclass(frozen=True, slots=True)
class Met:
    """What came of a criterion, and why."""

    criterion: str
    met: bool
    why: str

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {"criterion": self.criterion, "met": self.met, "why": self.why}


def check(criterion: Criterion, context: Context, effects: Sequence[Effect], intent: Intent) -> Met:
    """What comes of a criterion, for somebody who asks in this session to do this, in these words."""
    if criterion.when is not None:
        met = criterion.when.matches_session(context)
        return Met(criterion.text, met, "" if met else "it is otherwise for this session")
    if criterion.rows is not None:
        unmet = [effect for effect in effects if not criterion.rows.matches(effect.row_bound)]
        names = dict.fromkeys(f"{one.action.value} {one.relation or ''}".rstrip() for one in unmet)
        return Met(criterion.text, bool(effects) and not unmet, ", ".join(names))
    assert criterion.said is not None, "a criterion says what it is about"
    which, pattern = criterion.said
    text = intent.reason if which == "reason" else intent.ticket
    if text is None:
        return Met(criterion.text, False, f"no {which} was given")
    if len(text) > MAX_MATCHED:
        return Met(criterion.text, False, f"the {which} is longer than {MAX_MATCHED} characters")
    met = pattern.fullmatch(text) is not None
    return Met(criterion.text, met, "" if met else f"the {which} is another")
