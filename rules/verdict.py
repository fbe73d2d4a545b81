"""What was decided, and why, in a form that people and the audit can read."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property

from rules.approval import Approval
from rules.facts import Action, Facts, RowBound


class Decision(IntEnum):
    """Ordered: the strictest of several is their maximum."""

    ALLOW = 0
    HOLD = 2
    DENY = 3

    @property
    def word(self) -> str:
        """``allow``, ``hold`` or ``deny``."""
        return self.name.lower()


class Obligation(StrEnum):
    """What the gateway owes where it lets a statement run.

    ``read_only``: it runs so that it cannot write.  ``redact_errors``: its errors and notices reach the client
    without the values in them.
    """

    READ_ONLY = "read_only"
    REDACT_ERRORS = "redact_errors"


Obligations = tuple[Obligation, ...]
"""Each at most once, in the order of their definition."""


def united(sets: Iterable[Iterable[Obligation]]) -> Obligations:
    """The union of several sets of obligations."""
    held = {obligation for each in sets for obligation in each}
    return tuple(obligation for obligation in Obligation if obligation in held)


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect with what was decided about it; the fields before ``decision`` are those of EffectFacts."""

    action: Action
    relation: str | None
    columns: tuple[str, ...]
    row_bound: RowBound
    personal: tuple[str, ...]
    decision: Decision
    rule: str
    reason: str
    obligations: Obligations = ()


@dataclass(frozen=True)
class Verdict:
    """The strictest effect's decision, with its rule and reason; ``approval`` only where it is a hold.

    ``rule`` is a rule's name or ``default:<key>``.  ``obligations`` are those of all effects, since they can be
    met for a message as a whole only; they bind what is allowed, and what is held once it was approved.
    A verdict is kept and told of for each statement it holds for, so what it says in sum is put together once.
    """

    decision: Decision
    rule: str
    reason: str
    approval: Approval | None
    effects: tuple[Effect, ...]
    obligations: Obligations = ()

    @cached_property
    def actions(self) -> tuple[str, ...]:
        """Every action once, in the order met."""
        return tuple(dict.fromkeys(effect.action.value for effect in self.effects))

    @cached_property
    def relations(self) -> tuple[str, ...]:
        """Every relation or function named, once, in the order met."""
        return tuple(dict.fromkeys(effect.relation for effect in self.effects if effect.relation))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Every column exposed or written as ``relation.column``, once, in the order met."""
        return tuple(
            dict.fromkeys(
                f"{effect.relation}.{column}" if effect.relation else column
                for effect in self.effects
                for column in effect.columns
            )
        )

    @cached_property
    def row_bound(self) -> str:
        """The widest bound of all effects that touch rows, as text; empty when none does."""
        rows = (Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE)
        bounds = [effect.row_bound for effect in self.effects if effect.action in rows]
        return str(max(bounds, key=lambda bound: bound.most)) if bounds else ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a message does, and what was decided about it."""

    facts: Facts
    verdict: Verdict
