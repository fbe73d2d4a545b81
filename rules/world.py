"""What names mean: the personal relations of the policy, seen through the catalog of one database.

One World serves every statement judged under one policy and one snapshot, and keeps what it worked out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from rules.builtin import words
from rules.cache import LruCache
from rules.catalog import FIRST_NORMAL_OID, Function, Operator, Relation, SchemaSnapshot, Type
from rules.lineage import Mark
from rules.names import is_glob
from rules.personal import PersonalData
from rules.pgquery import Parsed, parse, parse_plpgsql
from rules.system import INFORMATION_SCHEMA, SYSTEM_RELATIONS

TEMPORARY: Final = "pg_temp"
_CACHED: Final = 2048

HARMLESS_EXTENSIONS: Final = words(
    """
btree_gin btree_gist citext cube earthdistance fuzzystrmatch hstore intarray isn ltree pg_trgm pgcrypto plpgsql
seg tcn tsm_system_rows tsm_system_time unaccent uuid-ossp vector postgis pg_stat_statements bloom lo dict_int
dict_xsyn postgis_topology pg_uuidv7 rum pg_bigm intagg
"""
)
"""Extensions whose functions only compute (documentation, appendix F)."""
OUTSIDE_EXTENSIONS: Final = words(
    """
dblink postgres_fdw file_fdw adminpack pageinspect pg_surgery pg_walinspect pg_visibility amcheck plpython3u
plperlu pltclu mysql_fdw oracle_fdw tds_fdw pg_cron pg_net http
"""
)
"""Extensions whose functions reach files, other servers, or pages beneath the rules."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a relation's name stands for: its name for people and rules, and what is known of it."""

    full_name: str
    known: Relation | None = None
    mark: Mark | None = None
    exists: bool = True


@dataclass
class World:
    """The policy's personal data in one catalog."""

    personal: PersonalData
    catalog: SchemaSnapshot
    derived: dict[int, Mark | None] = field(default_factory=dict)
    """Marks of materialised views and copies, worked out from what they were made of; by OID."""
    _marks: dict[tuple[int, bool], Mark | None] = field(default_factory=dict)
    _coded: dict[int, bool] = field(default_factory=dict)
    _parsed: LruCache[str, Parsed] = field(default_factory=lambda: LruCache(_CACHED))
    _bodies: LruCache[str, list[dict[str, object]]] = field(default_factory=lambda: LruCache(_CACHED))

    # -- relations ------------------------------------------------------------------------------------------

    def relation(
        self,
        schema: str | None,
        name: str,
        path: tuple[str, ...],
        *,
        alone: bool = False,
        doubtful: bool = False,
    ) -> Named:
        """What the name stands for; ``alone``: without the tables that inherit from it.

        ``doubtful``: temporary relations may be gone by then, so that the name stands for what they hide.
        """
        catalog = self.catalog
        if catalog.is_empty:
            return self._by_policy(schema, name, path)
        places = tuple(self._places(schema, path))
        for at, place in enumerate(places):
            if place == "pg_catalog" and name in SYSTEM_RELATIONS:
                return self._system(place, name)
            known = catalog.by_name.get((place, name))
            if known is not None:
                if known.schema == TEMPORARY and (doubtful or not any(map(_is_temporary, path))):
                    return self._hiding(known, places[at + 1 :], path, alone=alone)
                return Named(known.full_name, known, self.mark(known, alone=alone))
        if schema == "information_schema" and name in INFORMATION_SCHEMA:
            return self._system(schema, name)
        if schema == "pg_toast":
            return self._system(schema, name)
        named = self._by_policy(schema, name, path)
        return Named(named.full_name, None, named.mark, exists=False)

    def _hiding(
        self, known: Relation, further: tuple[str, ...], path: tuple[str, ...], *, alone: bool
    ) -> Named:
        """A temporary relation of which it is not certain that the name stands for it."""
        name = known.name
        others = any(
            (place, name) in self.catalog.by_name or (place == "pg_catalog" and name in SYSTEM_RELATIONS)
            for place in further
            if place != known.schema
        )
        mark, hidden = self.mark(known, alone=alone), self._by_policy(None, name, path).mark
        if hidden is not None:
            mark = hidden.joined(mark)
        return Named(known.full_name, known, mark, exists=not others)

    @staticmethod
    def _places(schema: str | None, path: tuple[str, ...]) -> Iterable[str]:
        """Where a relation's name is looked for.  A session's own temporary schema is known as ``pg_temp``, whatever
        its number; it comes first where the path does not say otherwise."""
        if schema is not None:
            return (schema, TEMPORARY) if _is_temporary(schema) else (schema,)
        first = path if "pg_catalog" in path else ("pg_catalog", *path)
        if not any(map(_is_temporary, path)):
            return (TEMPORARY, *first)
        return (
            inner for place in first for inner in ((place, TEMPORARY) if _is_temporary(place) else (place,))
        )

    def _system(self, schema: str, name: str) -> Named:
        entry = self.personal.find(schema, name, ())
        return Named(f"{schema}.{name}", None, None if entry is None else Mark.of(entry))

    def _by_policy(self, schema: str | None, name: str, path: tuple[str, ...]) -> Named:
        """Without a catalog a name may be any relation that the policy knows by it."""
        entry = self.personal.find(schema, name, path)
        if schema is None and entry is not None and not is_glob(entry.schema):
            schema = entry.schema
        full_name = name if schema is None else f"{schema}.{name}"
        return Named(full_name, None, None if entry is None else Mark.of(entry))

    def derive(self, relation: Relation, mark: Mark | None) -> None:
        """Note what of a materialised view is personal, worked out from its query."""
        self.derived[relation.oid] = mark
        self._marks.clear()

    def mark(self, relation: Relation, *, alone: bool = False) -> Mark | None:
        """What of the relation is personal, by its own name, what it inherits from and what inherits from it."""
        key = (relation.oid, alone)
        if key not in self._marks:
            self._marks[key] = self._mark(relation, alone=alone)
        return self._marks[key]

    def _mark(self, relation: Relation, *, alone: bool) -> Mark | None:
        family = [relation, *self.ancestors(relation)]
        if not alone:
            family += self.descendants(relation)
        mark: Mark | None = None
        for member in family:
            own = self._own_mark(member)
            if own is not None:
                mark = own.joined(mark)
        return mark

    def _own_mark(self, relation: Relation) -> Mark | None:
        # A temporary relation is not the one whose name it bears.
        temporary = _is_temporary(relation.schema)
        entry = None if temporary else self.personal.find(relation.schema, relation.name, ())
        if entry is not None:
            return Mark.of(entry)
        if relation.copied:
            return Mark(_folded(relation.copied), _folded(relation.copied_subject))
        return self.derived.get(relation.oid)

    def ancestors(self, relation: Relation) -> list[Relation]:
        """What the relation inherits from, near and far."""
        return self._closure(relation, lambda one: one.parents)

    def descendants(self, relation: Relation) -> list[Relation]:
        """What inherits from the relation, near and far."""
        return self._closure(relation, lambda one: self.catalog.children.get(one.oid, ()))

    def _closure(self, relation: Relation, following: Callable[[Relation], Iterable[int]]) -> list[Relation]:
        found: dict[int, Relation] = {}
        stack = list(following(relation))
        while stack:
            oid = stack.pop()
            one = self.catalog.by_oid.get(oid)
            if one is None or oid in found:
                continue
            found[oid] = one
            stack.extend(following(one))
        return list(found.values())

    # -- code -----------------------------------------------------------------------------------------------

    def functions(self, schema: str | None, name: str, path: tuple[str, ...]) -> list[Function]:
        """Every function of that name that a call could mean, PostgreSQL's own left out."""
        overloads = self.catalog.functions_by_name.get(name, ())
        return [one for one in overloads if self._visible(one.schema, schema, path)]

    def operators(self, schema: str | None, name: str, path: tuple[str, ...]) -> list[Operator]:
        """Every operator of that name that an expression could mean, PostgreSQL's own left out."""
        overloads = self.catalog.operators_by_name.get(name, ())
        return [one for one in overloads if self._visible(one.schema, schema, path)]

    # -- types ----------------------------------------------------------------------------------------------

    def inside(self, one: Type) -> Iterable[int]:
        """What a type's values are made of: a domain's base type, an array's elements, a row's columns."""
        relation = self.catalog.by_oid.get(one.relation)
        return (one.base, one.element, *(relation.types if relation is not None else ()))

    def all_inside(self, types: Iterable[int]) -> frozenset[int]:
        """The types and all that their values are made of, near and far."""
        found: set[int] = set()
        stack = list(types)
        while stack:
            oid = stack.pop()
            if oid not in found:
                found.add(oid)
                one = self.catalog.types_by_oid.get(oid)
                if one is not None:
                    stack.extend(self.inside(one))
        return frozenset(found)

    def runs_code(self, oid: int) -> bool:
        """Whether somebody's code runs when a value becomes of the type, or is compared."""
        kept = self._coded.get(oid)
        if kept is None:
            one = self.catalog.types_by_oid.get(oid)
            kept = oid in self._led_from or (
                one is not None
                and bool(
                    one.code
                    or (one.functions and one.extension is None)
                    or any(map(self.runs_code, self.inside(one)))
                )
            )
            self._coded[oid] = kept
        return kept

    @cached_property
    def _led_from(self) -> frozenset[int]:
        """The types that casts and operator classes of somebody's own are for."""
        own = [one for one in self.catalog.casts if one.extension is None]
        return frozenset(
            [one.type for one in self.catalog.operator_classes if one.extension is None]
            + [one.source for one in own]
            + [one.target for one in own]
        )

    @cached_property
    def casts_between_own_types(self) -> tuple[int, ...]:
        """The functions (OIDs) of somebody's casts from one of PostgreSQL's own types to another."""
        return tuple(
            cast.function
            for cast in self.catalog.casts
            if cast.extension is None and max(cast.source, cast.target) < FIRST_NORMAL_OID <= cast.function
        )

    @staticmethod
    def _visible(place: str, schema: str | None, path: tuple[str, ...]) -> bool:
        if schema is None:
            return place in path
        return place == schema or (schema == TEMPORARY and place.startswith("pg_temp_"))

    def parsed(self, text: str) -> Parsed:
        """The trees of a definition's text.  Raises GrammarError, RecursionError."""
        kept = self._parsed.get(text)
        if kept is None:
            kept = parse(text.encode())
            self._parsed.put(text, kept, len(text))
        return kept

    def body(self, definition: str) -> list[dict[str, object]]:
        """A PL/pgSQL function's trees.  Raises GrammarError."""
        kept = self._bodies.get(definition)
        if kept is None:
            kept = parse_plpgsql(definition)
            self._bodies.put(definition, kept, len(definition))
        return kept

    def is_own(self, oid: int) -> bool:
        """Whether an object was made by initdb."""
        return 0 < oid < FIRST_NORMAL_OID


def _is_temporary(schema: str) -> bool:
    return schema == TEMPORARY or schema.startswith("pg_temp_")


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)
