"""Where columns come from and where they go: the lineage of one query.

A relation that a query names becomes a Reference.  What an expression is made of is a set of origins: a reference
and a column of it.  Origins that reach an output are exposed; those that only decide which rows there are, are not.
Without a catalog the columns of a relation are not known, so a name that could be several relations' counts as
each one's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rules.facts import UNBOUNDED, ParameterBound, RowBound
from rules.personal import ALL, PersonalRelation


@dataclass(eq=False, slots=True)
class Reference:
    """One mention of a relation; ``bound`` and ``exposed`` grow more precise as the query is read."""

    relation: str
    personal: PersonalRelation | None
    bound: RowBound = UNBOUNDED
    parameter_bounds: list[ParameterBound] = field(default_factory=list)
    exposed: dict[str, None] = field(default_factory=dict)
    exists: bool = True
    is_target: bool = False

    def holds(self, column: str) -> bool:
        """Whether the column is a personal one."""
        return self.personal is not None and self.personal.holds(column)

    def is_subject(self, column: str) -> bool:
        """Whether the column tells one person from another."""
        return self.personal is not None and self.personal.is_subject(column)


Origin = tuple[Reference, str]
Origins = frozenset[Origin]
NOTHING: Origins = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """Where a column's values come from.

    ``direct``: the column is handed on unchanged.  ``certain``: the column is known to exist here.
    """

    origins: Origins
    direct: bool
    certain: bool


class Shape:
    """The columns of something that stands in FROM.

    ``outputs`` are known by name and position; ``includes`` are shapes taken in whole (``*``); ``rest`` is what
    any other column of it may be made of.  ``rows`` are the references whose rows it hands on one by one, so that
    a limit on it is a limit on them.
    """

    __slots__ = ("includes", "outputs", "rest", "rows")

    def __init__(
        self,
        outputs: Iterable[tuple[str, Origins, bool]] = (),
        includes: Iterable["Shape"] = (),
        rest: Origins = NOTHING,
        rows: Iterable[Reference] = (),
    ) -> None:
        self.outputs = list(outputs)
        self.includes = list(includes)
        self.rest = rest
        self.rows = frozenset(rows)

    @property
    def is_positional(self) -> bool:
        """Whether every column is known by its position."""
        return not self.includes and not self.rest

    def column(self, name: str) -> Found | None:
        """Where a column comes from; None if the shape cannot have it."""
        hits = [(origins, direct) for output, origins, direct in self.outputs if output == name]
        if hits:
            return Found(frozenset().union(*(h[0] for h in hits)), all(h[1] for h in hits), True)
        found = merge(shape.column(name) for shape in self.includes)
        if found is not None and found.certain:
            return found
        # An output without a name of its own gets one from the server: it may be the one asked for.
        rest = self.rest.union(*(origins for output, origins, _ in self.outputs if not output))
        if rest:
            return Found(rest | (found.origins if found else NOTHING), False, False)
        return found

    def everything(self) -> Origins:
        """What all columns together are made of."""
        return frozenset().union(
            self.rest,
            *(origins for _, origins, _ in self.outputs),
            *(shape.everything() for shape in self.includes),
        )

    def renamed(self, names: list[str]) -> "Shape":
        """The shape under column aliases (``AS t(a, b)``)."""
        if not names:
            return self
        if self.is_positional:
            outputs = [
                (names[index] if index < len(names) else name, origins, direct)
                for index, (name, origins, direct) in enumerate(self.outputs)
            ]
            return Shape(outputs, rows=self.rows)
        everything = self.everything()
        return Shape([(name, everything, False) for name in names], [self], rows=self.rows)


class Base(Shape):
    """A relation itself: any column name is a column of it, as far as is known."""

    __slots__ = ("reference",)

    def __init__(self, reference: Reference) -> None:
        super().__init__(rows=[reference])
        self.reference = reference

    @property
    def is_positional(self) -> bool:
        return False

    def column(self, name: str) -> Found | None:
        certain = self.reference.personal is not None and (
            (ALL not in self.reference.personal.columns and self.reference.holds(name))
            or self.reference.is_subject(name)
        )
        return Found(frozenset([(self.reference, name)]), True, certain)

    def everything(self) -> Origins:
        return frozenset([(self.reference, ALL)])


def merge(finds: Iterable[Found | None]) -> Found | None:
    """One answer from several sources: the certain ones if there are any, else all that are possible."""
    hits = [found for found in finds if found is not None]
    certain = [found for found in hits if found.certain]
    chosen = certain or hits
    if not chosen:
        return None
    origins: Origins = frozenset().union(*(found.origins for found in chosen))
    return Found(origins, all(found.direct for found in chosen), bool(certain))


class Scope:
    """The sources one SELECT can name, the scope around it, and the CTEs in sight."""

    __slots__ = ("outer", "sources")

    def __init__(self, outer: "Scope | None" = None) -> None:
        self.outer = outer
        self.sources: list[tuple[str, Shape]] = []

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
                return shapes
        return []

    def around(self) -> Iterator["Scope"]:
        """This scope and those outside of it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def local(self, qualifier: str | None, name: str) -> Found | None:
        """A column of this scope alone."""
        return merge(
            shape.column(name) for alias, shape in self.sources if qualifier is None or alias == qualifier
        )

    def resolve(self, qualifier: str | None, name: str) -> Origins:
        """What a column reference may be made of; a source's own name stands for its whole row."""
        if qualifier is not None:
            shapes = self.named(qualifier)
            if shapes:
                found = merge(shape.column(name) for shape in shapes)
                return found.origins if found is not None else NOTHING
            # A composite column's field, or a name that is nobody's: as much as the qualifier can stand for.
            return self.resolve(None, qualifier)
        origins: Origins = NOTHING
        for scope in self.around():
            for alias, shape in scope.sources:
                if alias == name:
                    origins |= shape.everything()
            found = scope.local(None, name)
            if found is not None:
                origins |= found.origins
                if found.certain:
                    break
        return origins

    def everything(self, qualifier: str | None = None) -> Origins:
        """The whole rows of this scope's sources, or of the nearest one of that name."""
        if qualifier is None:
            return frozenset().union(*(shape.everything() for _, shape in self.sources))
        shapes = self.named(qualifier)
        if shapes:
            return frozenset().union(*(shape.everything() for shape in shapes))
        return self.resolve(None, qualifier)
