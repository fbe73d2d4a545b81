"""Statements about the same people that get in each other's way: exports, deletions, and which of them came first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from rules.facts import Action, EffectFacts
from rules.personal import ALL
from rules.subjects import Kind, Touch

__all__ = [
    "ANY",
    "KINDS",
    "Act",
    "Affected",
    "ConflictAction",
    "ConflictKind",
    "affected",
    "can_be_ordered",
    "waits_for_earlier",
]


ANY: Final = "*"
"""In place of a relation that may be any."""


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


def can_be_ordered(kind: ConflictKind, *, earlier_exports: bool, later_exports: bool) -> bool:
    """Whether one of two can wait for the other, in a way in which nobody ever waits in a circle.

    What exports waits for nothing but exports that were asked for before it.
    """
    if kind is ConflictKind.DELETE_THEN_EXPORT:
        return not earlier_exports
    return kind is not ConflictKind.DELETE_TWICE or not later_exports


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
        return _same_relation(self.relation, other.relation)

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


def _same_relation(one: str, other: str) -> bool:
    """Whether two names may be one relation's; ``schema.*`` and ``*`` stand for all of a schema, and for any."""
    if ANY in (one, other) or one == other:
        return True
    schema, _, name = one.rpartition(".")
    their_schema, _, their_name = other.rpartition(".")
    return schema == their_schema and ALL in (name, their_name)


def affected(
    effects: Iterable[EffectFacts], touches: Sequence[Touch], *, erasing: bool = False
) -> tuple[Affected, ...]:
    """What of people's data a statement exports and deletes, which has these effects; with ``erasing``, what blanks
    it deletes it. Of what ``touches`` say nothing, it may be anybody's. What a deletion returns of the rows that it
    deletes is no export of its own."""
    found: dict[Affected, None] = {}
    for effect in effects:
        act = _act(effect, erasing=erasing)
        if act is None:
            continue
        if effect.relation is None:
            found[Affected(act, ANY)] = None
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
    return tuple(one for one in found if one.act is Act.DELETE or replace(one, act=Act.DELETE) not in found)


def _act(effect: EffectFacts, *, erasing: bool) -> Act | None:
    if effect.action is Action.READ:
        return Act.EXPORT if effect.personal else None
    deletes = effect.action is Action.DELETE or (erasing and effect.erases)
    return Act.DELETE if deletes and effect.touches_personal else None
