"""What has been found in one statement so far, and the facts that follow from it in the end.

Row bounds hang together across a whole statement (a column of one relation is bounded by that of another), so
references and writes are collected first and become effects when everything was read.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from rules.bounds import Settled
from rules.catalog import Relation
from rules.facts import UNBOUNDED, Action, EffectFacts, Nature, RowBound
from rules.lineage import NOTHING, Found, Origins, Reference, Scope, Shape
from rules.pgquery import Node
from rules.reader import Unreadable
from rules.world import Named, World

_NAMES_HANG_ON: Final = frozenset([None, "search_path", "role", "session_authorization"])
_STORES: Final = frozenset("rpf")
"""Kinds of relations that have rows of their own."""
MAX_REFERENCES: Final = 2000
"""Mentions of relations in one statement, those inside of views and functions included."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a text stands: in the message itself, or inside a view, a function or a trigger it leads to.

    ``variables``: names that are no columns are variables. ``per``: the references once for each row of which the
    text runs. ``repeated``: it may run any number of times. ``exposes``: what its selects return leaves (for a
    trigger it does not). ``planned``: it is planned and not run. ``trail`` says how one gets here, for people.
    """

    path: tuple[str, ...]
    variables: bool = False
    per: tuple[Reference, ...] = ()
    repeated: bool = False
    exposes: bool = True
    planned: bool = False
    trail: tuple[str, ...] = ()
    depth: int = 0

    def into(self, step: str, **changes: object) -> "Frame":
        """The frame of what ``step`` leads to."""
        return replace(self, trail=(*self.trail, step), depth=self.depth + 1, **changes)  # type: ignore[arg-type]


@dataclass(slots=True)
class Write:
    """Rows of a relation changed: the columns written, and whether personal values are blanked by it."""

    action: Action
    reference: Reference
    columns: tuple[str, ...]
    detail: str = ""
    erases: bool = False


class Reader(Protocol):
    """Reads a statement of any kind into the findings, and says what it returns."""

    def statement(self, kind: str, fields: Node, frame: Frame, scope: Scope) -> Shape: ...

    def created(self, into: Node, shape: Shape, query: Node, frame: Frame) -> None: ...


@dataclass(slots=True)
class Findings:
    """Everything found; ``missing`` are names that the catalog does not know.

    ``changes_context``: settings or roles may differ afterwards; ``changes_path``: so that names may stand for others.
    """

    world: World
    reader: Reader
    references: list[Reference] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    effects: list[EffectFacts] = field(default_factory=list)
    missing: dict[str, None] = field(default_factory=dict)
    creates: list[Relation] = field(default_factory=list)
    fills: dict[int, Relation] = field(default_factory=dict)
    """Relations into which copies of personal columns are put, by OID."""
    changes_context: bool = False
    changes_path: bool = False
    changes_catalog: bool = False
    calls_code: bool = False
    opens_cursors: bool = False
    running: list[int] = field(default_factory=list)
    """The functions, triggers and views being read, outermost first; against reading in circles."""
    doubtful: bool = False
    """Other statements come before this one in its message, which may take temporary relations away."""
    followed: dict[tuple[Action, int], list[Reference]] = field(default_factory=dict)
    """Writes (action, relation) whose consequences were read, with the rows of others that they reach."""

    def refer(self, reference: Reference) -> Reference:
        """Take a mention of a relation in.  Raises Unreadable when there are too many."""
        if len(self.references) >= MAX_REFERENCES:
            raise Unreadable(f"more than {MAX_REFERENCES} mentions of relations")
        self.references.append(reference)
        return reference

    def relation(self, schema: str | None, name: str, frame: Frame, *, alone: bool = False) -> Named:
        """What a relation's name stands for where it is written."""
        # Names in code are looked up when it runs, by which time it may have dropped what it names.
        doubtful = self.doubtful or frame.depth > 0
        return self.world.relation(schema, name, frame.path, alone=alone, doubtful=doubtful)

    def in_order(self, references: Collection[Reference]) -> list[Reference]:
        """Mentions in the order of the text: read twice, a text has the same effects in the same order."""
        return [one for one in self.references if one in references]

    def write(self, write: Write) -> None:
        """Take a write in."""
        self.writes.append(write)

    def fill(self, target: Found | None, value: Origins, *, direct: bool = False) -> None:
        """A value is stored in a column; where it is personal and the column is not, it is a copy."""
        personal = any(reference.holds(column) for reference, column in value)
        subject = direct and any(reference.is_subject(column) for reference, column in value)
        origins = target.origins if target is not None else NOTHING
        for reference, column in sorted(origins, key=lambda origin: (origin[0].relation, origin[1])):
            known = reference.known
            if known is None or known.kind not in _STORES or reference.planned:
                continue
            if personal and not reference.holds(column):
                known = self.fills.get(known.oid, _bare(known))
                self.fills[known.oid] = replace(known, copied=tuple(dict.fromkeys((*known.copied, column))))
            elif subject and reference.mark is None:
                known = self.fills.get(known.oid, _bare(known))
                self.fills[known.oid] = replace(known, copied_subject=(column,))

    def expose(self, origins: Origins) -> None:
        """Values of these columns leave."""
        for reference, column in sorted(origins, key=lambda origin: origin[1]):
            reference.exposed[column] = None

    def note(self, effect: EffectFacts) -> None:
        """Take an effect in that has nothing to do with rows."""
        self.effects.append(effect)

    def session(self, effect: EffectFacts) -> None:
        """A setting, a role or a user is changed."""
        self.changes_context = True
        self.changes_path |= effect.relation in _NAMES_HANG_ON
        self.effects.append(effect)

    def opaque(self, name: str, why: str, trail: tuple[str, ...] = ()) -> None:
        """Code that cannot be read is run."""
        self.calls_code = True
        self.effects.append(
            EffectFacts(Action.CALL, name, nature=Nature.OPAQUE, detail=" → ".join((*trail, why)))
        )

    def facts(self) -> tuple[EffectFacts, ...]:
        """The effects, those that change something first."""
        settled = Settled(self.references, self.world.catalog)
        written = [_written(write, settled.bound(write.reference)) for write in self.writes]
        reads: dict[tuple[object, ...], EffectFacts] = {}
        for reference in self.references:
            if reference.hidden or (reference.is_target and not reference.exposed):
                continue
            effect = _read(reference, settled.bound(reference))
            key = (effect.relation, effect.nature, bool(effect.personal))
            earlier = reads.get(key)
            reads[key] = effect if earlier is None else together(earlier, effect)
        return tuple(dict.fromkeys([*self.effects, *written, *reads.values()]))


def together(one: EffectFacts, other: EffectFacts) -> EffectFacts:
    """Two reads of one relation as one: of all their columns, and of as many rows as both together."""
    bound = one.row_bound
    if one.parameter_bounds or other.parameter_bounds:
        bound = UNBOUNDED
    elif bound.n is not None and other.row_bound.n is not None:
        n = bound.n + other.row_bound.n
        bound = (
            RowBound.at_most(n)
            if one.personal
            else bound
            if bound.n >= other.row_bound.n
            else other.row_bound
        )
    else:
        bound = UNBOUNDED
    return replace(
        one,
        columns=tuple(dict.fromkeys((*one.columns, *other.columns))),
        personal=tuple(dict.fromkeys((*one.personal, *other.personal))),
        row_bound=bound,
        parameter_bounds=(),
        detail=one.detail or other.detail,
    )


def _read(reference: Reference, bound: RowBound) -> EffectFacts:
    mark = reference.mark
    columns = () if reference.planned else tuple(reference.exposed)
    detail = " → ".join(reference.trail)
    if not reference.exists:
        detail = f"no relation {reference.relation} is known"
    return EffectFacts(
        Action.READ,
        reference.relation,
        columns,
        bound,
        tuple(column for column in columns if reference.holds(column)),
        mark is not None,
        mark.classes if mark is not None else frozenset(),
        Nature.PLAIN if reference.exists else Nature.UNKNOWN_RELATION,
        detail,
        () if reference.repeated or reference.per else tuple(reference.parameter_bounds),
    )


def _written(write: Write, bound: RowBound) -> EffectFacts:
    reference, mark = write.reference, write.reference.mark
    if reference.planned:
        return _read(reference, bound)
    personal: Iterable[str] = ()
    if mark is not None:
        personal = (
            sorted(mark.columns)
            if write.action is Action.DELETE
            else [column for column in write.columns if mark.holds(column)]
        )
    detail = write.detail or " → ".join(reference.trail)
    if not reference.exists:
        detail = f"no relation {reference.relation} is known"
    effect = EffectFacts(
        write.action,
        reference.relation,
        write.columns,
        bound,
        tuple(personal),
        mark is not None,
        mark.classes if mark is not None else frozenset(),
        Nature.PLAIN if reference.exists else Nature.UNKNOWN_RELATION,
        detail,
        () if reference.repeated or reference.per else tuple(reference.parameter_bounds),
    )
    return replace(effect, erases=True) if write.erases else effect


def _bare(known: Relation) -> Relation:
    """What names the relation, and nothing of its definition."""
    return Relation(known.oid, known.schema, known.name, known.kind, known.columns, known.types)
