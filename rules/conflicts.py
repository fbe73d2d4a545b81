"""Statements about the same people that get in each other's way: exports, deletions, and which of them came first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rules.facts import Action, EffectFacts
from rules.subjects import Kind, Touch

__all__ = ["KINDS", "Act", "Affected", "ConflictAction", "ConflictKind", "affected", "waits_for_earlier"]


class Act(StrEnum):
    """What is done to people's data that others may be concerned with."""

    EXPORT = "export"
    DELETE = "delete"


class ConflictKind(StrEnum):
    """Two statements about the same people, by which came first."""

    EXPORT_THEN_DELETE = "export_then_delete"
    DELETE_THEN_EXPORT = "delete_then_export"
    DELETE_TWICE = "delete_twice"


class ConflictAction(StrEnum):
    """What is done about a conflict. ``block``: the later one is refused. ``order``: exports run before deletions, and
    deletions one after the other. ``warn``: people see it."""

    BLOCK = "block"
    ORDER = "order"
    WARN = "warn"


KINDS: Final[Mapping[tuple[Act, Act], ConflictKind]] = {
    (Act.EXPORT, Act.DELETE): ConflictKind.EXPORT_THEN_DELETE,
    (Act.DELETE, Act.EXPORT): ConflictKind.DELETE_THEN_EXPORT,
    (Act.DELETE, Act.DELETE): ConflictKind.DELETE_TWICE,
}
"""By what the earlier one and the later one do; two exports are none."""


def waits_for_earlier(kind: ConflictKind) -> bool:
    """Whether it is the later one that waits where they are put in order, not the earlier."""
    return kind is not ConflictKind.DELETE_THEN_EXPORT


@dataclass(frozen=True, slots=True)
class Affected:
    """Personal data of a relation that is exported or deleted, and whose it is: see :class:`rules.subjects.Touch`."""

    act: Act
    relation: str
    kind: Kind | None = None
    values: frozenset[str] | None = None

    def meets(self, other: "Affected") -> bool:
        """Whether the same person may be concerned. What is not known may be anybody."""
        if self.kind is not None and other.kind is not None and self.kind.same(other.kind):
            return self.values is None or other.values is None or not self.values.isdisjoint(other.values)
        # People who are told apart by different columns may be the same.
        return self.relation == other.relation

    def about(self, other: "Affected") -> tuple[str, ...]:
        """What both are about, for people: the relation and each person, where that is known."""
        kind = self.kind or other.kind
        if self.values is not None and other.values is not None:
            people = self.values & other.values
        else:
            people = self.values or other.values or frozenset()
        if kind is None or not people:
            return (other.relation,)
        return tuple(f"{other.relation}: {kind.column} {value}" for value in sorted(people))


def affected(
    effects: Iterable[EffectFacts], touches: Sequence[Touch], *, erasing: bool = False
) -> tuple[Affected, ...]:
    """What of people's data a statement exports and deletes, which has these effects; with ``erasing``, what blanks
    it deletes it. Of what ``touches`` say nothing, it may be anybody's."""
    found: dict[Affected, None] = {}
    for effect in effects:
        act = _act(effect, erasing=erasing)
        if act is None or effect.relation is None:
            continue
        known = [
            one
            for one in touches
            if one.action is effect.action
            and one.relation == effect.relation
            and one.personal
            and (one.erases or effect.action is not Action.UPDATE)
        ]
        for one in known or (Touch(effect.action, effect.relation),):
            if one.values is None or one.values:
                found[Affected(act, effect.relation, one.kind, one.values)] = None
    return tuple(found)


def _act(effect: EffectFacts, *, erasing: bool) -> Act | None:
    if effect.action is Action.READ:
        return Act.EXPORT if effect.personal else None
    deletes = effect.action is Action.DELETE or (erasing and effect.erases)
    return Act.DELETE if deletes and effect.touches_personal else None
