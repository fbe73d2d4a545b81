"""Where columns come from and where they go: the lineage of one statement.

A relation that a statement names becomes a Reference.  What an expression is made of is a set of origins: a
reference and a column of it.  Origins that reach an output are exposed; those that only decide which rows there
are, are not.  Where the columns of a source are not known (no catalog, a function that returns records), a name
that could be several sources' counts as each one's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rules.catalog import Relation
from rules.facts import ParameterBound
from rules.personal import ALL, PersonalRelation
from rules.pgquery import Node


@dataclass(frozen=True, slots=True)
class Mark:
    """What of a relation is personal: the columns (``*``: all), those that tell people apart, the classes."""

    columns: frozenset[str]
    subjects: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()

    @staticmethod
    def of(entry: PersonalRelation) -> "Mark":
        """The mark that an entry of the policy gives."""
        subjects = frozenset() if entry.subject is None else frozenset([entry.subject.lower()])
        return Mark(frozenset(column.lower() for column in entry.columns), subjects, entry.classes)

    def holds(self, column: str) -> bool:
        """Whether the column (``*``: the whole row) carries personal data."""
        return column == ALL or ALL in self.columns or column.lower() in self.columns

    def is_subject(self, column: str) -> bool:
        """Whether equality on the column picks one person."""
        return column.lower() in self.subjects

    def joined(self, other: "Mark | None") -> "Mark":
        """Both marks together, as for a parent and its partition."""
        if other is None:
            return self
        return Mark(
            self.columns | other.columns, self.subjects or other.subjects, self.classes | other.classes
        )


@dataclass(eq=False, slots=True)
class Reference:
    """One mention of a relation, with what the statement proves of its rows.

    ``pins`` says how many values a column can have at most, ``fixed`` which, as they are written, where that is known,
    ``within`` from which columns of other references a
    column takes its values; ``limits`` bound the rows themselves, ``per`` are the references once for each row of
    which this one is read anew.  ``cause`` is the reference whose rows' end reaches these by a foreign key.
    ``planned``: the statement is planned, not run.  ``hidden``: rows that are no
    relation's, but a function's or those of VALUES.
    """

    relation: str
    known: Relation | None = None
    mark: Mark | None = None
    exposed: dict[str, None] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    fixed: dict[str, tuple[Node, ...]] = field(default_factory=dict)
    within: list[tuple[str, "Reference", str]] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    parameter_bounds: list[ParameterBound] = field(default_factory=list)
    per: tuple["Reference", ...] = ()
    cause: "Reference | None" = None
    repeated: bool = False
    exists: bool = True
    planned: bool = False
    hidden: bool = False
    is_target: bool = False
    alone: bool = False
    trail: tuple[str, ...] = ()

    def holds(self, column: str) -> bool:
        """Whether the column is a personal one."""
        return self.mark is not None and self.mark.holds(column)

    def is_subject(self, column: str) -> bool:
        """Whether the column tells one person from another."""
        return self.mark is not None and self.mark.is_subject(column)

    def pin(self, column: str, count: int) -> None:
        """The column has at most so many values in the result."""
        self.pins[column] = min(count, self.pins.get(column, count))

    def fix(self, column: str, values: tuple[Node, ...]) -> None:
        """The column has only these values in the result; an array stands for its elements."""
        known = self.fixed.get(column)
        if known is None or len(values) < len(known):
            self.fixed[column] = values


Origin = tuple[Reference, str]
Origins = frozenset[Origin]
NOTHING: Final[Origins] = frozenset()


class Output(NamedTuple):
    """A column: what it is made of. ``direct``: of one column of each reference, handed on unchanged."""

    name: str
    origins: Origins = NOTHING
    direct: bool = False


class Found(NamedTuple):
    """Where a column's values come from; ``certain``: the column is known to exist here."""

    origins: Origins
    direct: bool
    certain: bool


class Shape:
    """The columns of something that stands in FROM, in order.

    ``rest`` is what any column beyond the listed ones may be made of; ``open`` says that there may be such.
    ``rows`` are the references whose rows it hands on one by one, so that a limit on it is a limit on them.
    """

    __slots__ = ("_by_name", "_outputs", "open", "rest", "rows")

    def __init__(
        self,
        outputs: Iterable[Output] = (),
        rest: Origins = NOTHING,
        rows: Iterable[Reference] = (),
        *,
        open_: bool = False,
    ) -> None:
        self._outputs: list[Output] | None = list(outputs)
        self.rest = rest
        self.rows = frozenset(rows)
        self.open = open_ or bool(rest)
        self._by_name: dict[str, Found] | None = None

    @property
    def outputs(self) -> list[Output]:
        """The columns in order."""
        assert self._outputs is not None
        return self._outputs

    def column(self, name: str) -> Found | None:
        """Where a column comes from; None if the shape cannot have it."""
        by_name = self._by_name
        if by_name is None:
            by_name = self._by_name = {}
            for output in self.outputs:
                earlier = by_name.get(output.name)
                by_name[output.name] = (
                    Found(output.origins, output.direct, True)
                    if earlier is None
                    else Found(earlier.origins | output.origins, False, True)
                )
        hit = by_name.get(name)
        if hit is None and self.open:
            return Found(self.rest, False, False)
        return hit

    def everything(self) -> Origins:
        """What all columns together are made of."""
        return self.rest.union(*(output.origins for output in self.outputs))

    def renamed(self, names: list[str]) -> "Shape":
        """The shape under column aliases (``AS t(a, b)``)."""
        if not names:
            return self
        if self.open:
            # Columns that are not listed may stand anywhere among the others.
            everything = self.everything()
            return Shape([Output(name, everything) for name in names], everything, self.rows, open_=True)
        outputs = [
            Output(names[index], output.origins, output.direct) if index < len(names) else output
            for index, output in enumerate(self.outputs)
        ]
        outputs += [Output(name, self.rest) for name in names[len(outputs) :]]
        return Shape(outputs, self.rest, self.rows)

    def aside(self) -> "Shape":
        """The shape where what holds of this mention's rows need not hold of another's."""
        return Shape(
            [Output(output.name, output.origins) for output in self.outputs], self.rest, open_=self.open
        )


class Base(Shape):
    """A relation whose columns are not known: any name may be a column of it."""

    __slots__ = ("reference",)

    def __init__(self, reference: Reference) -> None:
        super().__init__(rest=frozenset([(reference, ALL)]), rows=[reference], open_=True)
        self.reference = reference

    def column(self, name: str) -> Found | None:
        """Any column; certain where the policy names it."""
        mark = self.reference.mark
        certain = mark is not None and (
            (ALL not in mark.columns and mark.holds(name)) or mark.is_subject(name)
        )
        return Found(frozenset([(self.reference, name)]), True, certain)


class Table(Shape):
    """A relation whose columns the catalog knows, each worked out when it is asked for."""

    __slots__ = ("_names", "_reference")

    def __init__(self, reference: Reference, names: tuple[str, ...]) -> None:
        super().__init__(rows=[reference])
        self._outputs = None
        self._by_name = {}
        self._reference = reference
        self._names = names

    @property
    def outputs(self) -> list[Output]:
        if self._outputs is None:
            reference = self._reference
            self._outputs = [
                Output(name, frozenset([(reference, name)]), direct=True) for name in self._names
            ]
        return self._outputs

    def column(self, name: str) -> Found | None:
        """A column of the relation."""
        assert self._by_name is not None
        found = self._by_name.get(name)
        if found is None and name in self._names:
            found = self._by_name[name] = Found(frozenset([(self._reference, name)]), True, True)
        return found


def relation_shape(reference: Reference) -> Shape:
    """The shape of a relation: its columns where the catalog knows them."""
    known = reference.known
    if known is None or not known.columns:
        return Base(reference)
    return Table(reference, known.columns)


def merged(finds: Iterable[Found | None]) -> Found | None:
    """One answer from several sources: the certain ones if there are any, else all that are possible."""
    hits = [found for found in finds if found is not None]
    if len(hits) == 1:
        return hits[0]
    certain = [found for found in hits if found.certain]
    chosen = certain or hits
    if not chosen:
        return None
    origins: Origins = frozenset().union(*(found.origins for found in chosen))
    return Found(origins, all(found.direct for found in chosen), bool(certain))


_SYSTEM_COLUMNS: Final = frozenset(["tableoid", "ctid", "xmin", "xmax", "cmin", "cmax", "oid"])


class Scope:
    """The sources one SELECT can name, and the scope around it.

    ``variables``: a name that no source has is a variable or a parameter of the function around, not an error.
    ``stars`` is what ``*`` stands for, item of FROM by item (joined columns stand in it once).
    ``reached_out`` becomes true when a column of an outer scope is used.
    """

    __slots__ = ("outer", "reached_out", "sources", "stars", "variables")

    def __init__(self, outer: "Scope | None" = None, *, variables: bool = False) -> None:
        self.outer = outer
        self.sources: list[tuple[str, Shape]] = []
        self.stars: list[Shape] = []
        self.variables: bool = variables or (outer is not None and outer.variables)
        self.reached_out = False

    def add(self, alias: str, shape: Shape) -> None:
        """Let a source be named."""
        self.sources.append((alias, shape))

    @property
    def rows(self) -> frozenset[Reference]:
        """The references whose rows the sources hand on one by one."""
        return frozenset().union(*(shape.rows for _, shape in self.sources))

    def named(self, qualifier: str) -> list[Shape]:
        """The nearest sources of that name."""
        for scope in self.around():
            shapes = [shape for alias, shape in scope.sources if alias == qualifier]
            if shapes:
                if scope is not self:
                    self._reach(scope)
                return shapes
        return []

    def around(self) -> Iterator["Scope"]:
        """This scope and those outside of it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def _reach(self, found_in: "Scope") -> None:
        for scope in self.around():
            if scope is found_in:
                return
            scope.reached_out = True

    def find(self, qualifier: str | None, name: str) -> Found | None:
        """A column, of the nearest scope that has it; None where it is nobody's."""
        if qualifier is not None:
            # Nearly always there is one source of that name, and the column is known to be there.
            only: Shape | None = None
            for alias, shape in self.sources:
                if alias == qualifier:
                    if only is not None:
                        break
                    only = shape
            else:
                if only is not None and (found := only.column(name)) is not None and found.certain:
                    return found
        possible: list[Found] = []
        for scope in self.around():
            found = merged(
                shape.column(name)
                for alias, shape in scope.sources
                if qualifier is None or alias == qualifier
            )
            if found is not None:
                if scope is not self:
                    self._reach(scope)
                if found.certain:
                    if not possible:
                        return found
                    possible.append(found)
                    break
                possible.append(found)
            if qualifier is not None and any(alias == qualifier for alias, _ in scope.sources):
                break
        if not possible:
            return None
        if len(possible) == 1:
            return possible[0]
        return Found(frozenset().union(*(one.origins for one in possible)), False, False)

    def resolve(self, qualifier: str | None, name: str) -> Origins | None:
        """What a column reference may be made of; a source's own name stands for its whole row.

        None where the name is nobody's column (a function in attribute notation, a variable).
        """
        found = self.find(qualifier, name)
        if found is not None and found.certain:
            return found.origins
        origins = found.origins if found is not None else NOTHING
        if qualifier is not None:
            shapes = self.named(qualifier)
            if shapes:
                if found is not None or name in _SYSTEM_COLUMNS:
                    return origins
                return None
            # A composite column's field, or a name that is nobody's: as much as the qualifier can stand for.
            return self.resolve(None, qualifier)
        rows = self.named(name)
        if rows:
            return origins.union(*(shape.everything() for shape in rows))
        if found is not None or name in _SYSTEM_COLUMNS:
            return origins
        return None

    def everything(self, qualifier: str | None = None) -> Origins:
        """The whole rows of this scope's sources, or of the nearest one of that name."""
        shapes = [shape for _, shape in self.sources] if qualifier is None else self.named(qualifier)
        return frozenset().union(*(shape.everything() for shape in shapes))
