"""From the rows of a server's catalog to a :class:`SchemaSnapshot`.

Nothing here waits. :func:`build` is a generator so that whoever drives it may do something else between two
objects: a large catalog takes a second to build, and the event loop has other work. :func:`rebuild` makes a snapshot
of one that was known before and of the rows of what has changed since.
"""

import bisect
import itertools
import json
import sys
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, TypeVar, cast

from gateway.catalog.marks import Differing
from gateway.collector import spare
from rules.catalog import (
    INDEXES,
    Cast,
    Code,
    EventTrigger,
    ForeignKey,
    Function,
    Namespace,
    Operator,
    OperatorClass,
    Relation,
    RewriteRule,
    SchemaSnapshot,
    Trigger,
    Type,
)

__all__ = ["Row", "build", "decoded", "rebuild"]

Row = tuple[str | None, ...]
"""A row as text, None for NULL."""

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)
Steps = Generator[None, None, T]

_RULE_EVENTS: Final[Mapping[str, Literal["select", "insert", "update", "delete"]]] = {
    "1": "select",
    "2": "update",
    "3": "insert",
    "4": "delete",
}
_TRIGGER_EVENTS: Final = {
    bits: frozenset(
        name for bit, name in ((4, "insert"), (8, "delete"), (16, "update"), (32, "truncate")) if bits & bit
    )
    for bits in range(0, 64, 4)
}
"""Of the bits of pg_trigger.tgtype that name events (``TRIGGER_TYPE_*`` in the server)."""


def decoded(row: Row) -> list[Any]:
    """The JSON array that a row of :mod:`gateway.catalog.queries` holds. Raises ValueError for anything else."""
    value = json.loads(row[0]) if len(row) == 1 and row[0] is not None else None
    if not isinstance(value, list):
        raise ValueError("a row of the catalog is not one JSON array")
    return value


def build(
    rows: Mapping[str, Sequence[Row]], *, generation: int, database: str, server_version: int
) -> Steps[SchemaSnapshot]:
    """The snapshot that the rows of :func:`gateway.catalog.queries.catalog_queries` describe; of what is not
    listed there is none.

    Yields after every object. Raises ValueError for rows of another shape.
    """
    parts = _Parts()
    snapshot = SchemaSnapshot(
        generation=generation,
        database=database,
        server_version=server_version,
        relations=(yield from _relations(rows, parts)),
        foreign_keys=(yield from _each(rows.get("foreign_keys", ()), parts.foreign_key)),
        functions=(yield from _each(rows.get("functions", ()), parts.function)),
        types=(yield from _each(rows.get("types", ()), parts.type)),
        **(yield from _few(rows, parts)),
    )
    yield from _indexed(snapshot)
    return snapshot


def rebuild(
    known: SchemaSnapshot, rows: Mapping[str, Sequence[Row]], differing: Differing, *, generation: int
) -> Steps[SchemaSnapshot]:
    """The snapshot that ``known`` has become: its relations, functions and types that differ are replaced by those that
    ``rows`` describe, and all that there are few of is as the rows say. It is ``known`` itself where that is the same.

    What stays the same is shared, down to the single object. Yields and raises as :func:`build` does.
    """
    parts = _Parts()
    relations = yield from _merged(
        known.relations,
        (yield from _relations(rows, parts)),
        lambda one: one.oid,
        lambda one: differing.holds("relation", one.oid),
    )
    foreign_keys = yield from _merged(
        known.foreign_keys,
        (yield from _each(rows["foreign_keys"], parts.foreign_key)),
        lambda one: (one.child, one.name),
        lambda one: differing.holds("relation", one.child),
    )
    functions = yield from _merged(
        known.functions,
        (yield from _each(rows["functions"], parts.function)),
        lambda one: one.oid,
        lambda one: differing.holds("function", one.oid),
    )
    types = yield from _merged(
        known.types,
        (yield from _each(rows["types"], parts.type)),
        lambda one: one.oid,
        lambda one: differing.holds("type", one.oid),
    )
    few = yield from _few(rows, parts)
    lists: dict[str, Any] = {
        "relations": relations,
        "foreign_keys": foreign_keys,
        "functions": functions,
        "types": types,
    }
    for name, value in few.items():
        lists[name] = before if value == (before := getattr(known, name)) else value
    changed = {name: value for name, value in lists.items() if value is not getattr(known, name)}
    if not changed:
        return known
    snapshot = replace(known, generation=generation, **changed)
    for name, indexes in INDEXES.items():
        if name not in changed:
            vars(snapshot).update({index: getattr(known, index) for index in indexes})
    if "namespaces" in changed:
        vars(snapshot).pop("schemas", None)
    yield from _indexed(snapshot)
    return snapshot


def _merged(
    old: tuple[T, ...], new: tuple[T, ...], key: Callable[[T], Any], differs: Callable[[T], bool]
) -> Steps[tuple[T, ...]]:
    """The entries of a list, in the order of their keys, with ``new`` ones in place of those that differ."""
    kept: list[T] = []
    replaced: dict[Any, T] = {}
    for one in old:
        if differs(one):
            replaced[key(one)] = one
        else:
            kept.append(one)
        yield
    entries = [before if (before := replaced.get(key(one))) == one else one for one in new]
    if entries == list(replaced.values()):
        return old
    for one in entries:
        bisect.insort(kept, one, key=key)
        yield
    return tuple(kept)


def _few(rows: Mapping[str, Sequence[Row]], parts: "_Parts") -> Steps[dict[str, Any]]:
    """What there are few of in any database, by its name in a snapshot."""
    return {
        "operators": (yield from _each(rows.get("operators", ()), lambda row: Operator(*row))),
        "casts": (yield from _each(rows.get("casts", ()), lambda row: Cast(*row))),
        "operator_classes": (yield from _each(rows.get("operator_classes", ()), parts.operator_class)),
        "event_triggers": (yield from _each(rows.get("event_triggers", ()), lambda row: EventTrigger(*row))),
        "extensions": dict(map(decoded, rows.get("extensions", ()))),
        "namespaces": (
            yield from _each(
                rows.get("namespaces", ()), lambda row: Namespace(row[0], row[1], tuple(row[2] or ()))
            )
        ),
    }


def _indexed(snapshot: SchemaSnapshot) -> Steps[None]:
    """Work out what is looked up by name: whoever looked first would wait for all of it at once."""
    for index in itertools.chain.from_iterable(INDEXES.values()):
        known = index in vars(snapshot)
        found = getattr(snapshot, index)
        yield
        for value in found.values() if isinstance(found, dict) and not known else ():
            spare(value)
            yield


def _each(rows: Sequence[Row], make: Callable[[list[Any]], T]) -> Steps[tuple[T, ...]]:
    made: list[T] = []
    for row in rows:
        one = make(decoded(row))
        spare(one)
        made.append(one)
        yield
    return tuple(made)


def _by_relation(rows: Sequence[Row], make: Callable[[list[Any]], T]) -> Steps[dict[int, list[T]]]:
    """The parts of relations, from rows that begin with the relation's OID."""
    found: dict[int, list[T]] = {}
    for row in rows:
        oid, *rest = decoded(row)
        one = make(rest)
        spare(one)
        found.setdefault(oid, []).append(one)
        yield
    return found


def _relations(rows: Mapping[str, Sequence[Row]], parts: "_Parts") -> Steps[tuple[Relation, ...]]:
    unique = yield from _by_relation(rows.get("unique", ()), parts.key)
    definitions = yield from _by_relation(rows.get("views", ()), lambda row: cast(str | None, row[0]))
    rules = yield from _by_relation(rows.get("rules", ()), _rule)
    triggers = yield from _by_relation(rows.get("triggers", ()), parts.trigger)
    code = yield from _by_relation(rows.get("code", ()), parts.code)
    comments = yield from _by_relation(
        rows.get("comments", ()), lambda row: (parts.name(row[0]), str(row[1]))
    )

    def relation(row: list[Any]) -> Relation:
        oid = row[0]
        (definition,) = definitions.get(oid, (None,))
        return Relation(
            oid=oid,
            schema=parts.name(row[1]),
            name=parts.name(row[2]),
            kind=row[3],
            columns=parts.names(row[4]),
            types=parts.oids(row[5]),
            unique=tuple(unique.get(oid, ())),
            parents=parts.oids(row[10]),
            is_partition=row[6],
            definition=definition,
            rules=tuple(rules.get(oid, ())),
            triggers=tuple(triggers.get(oid, ())),
            code=tuple(sorted(code.get(oid, ()), key=_code_order)),
            row_security=row[7],
            owner=parts.name(row[8]),
            extension=row[9],
            comments=dict(sorted(comments[oid])) if oid in comments else _NOTHING,
        )

    return (yield from _each(rows.get("relations", ()), relation))


_NOTHING: Final[Mapping[str, str]] = {}


def _code_order(code: Code) -> tuple[str, str, str]:
    return code.occasion, code.column or "", code.text


def _rule(row: list[Any]) -> RewriteRule:
    return RewriteRule(row[0], _RULE_EVENTS[row[1]], row[2], row[3] or "")


class _Parts:
    """Makes the parts of a snapshot. Names and lists that many relations have in common are kept once."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Hashable] = {}

    def _once(self, value: H) -> H:
        return cast(H, self._kept.setdefault(value, value))

    @staticmethod
    def name(text: str) -> str:
        return sys.intern(text)

    def names(self, names: Sequence[str] | None) -> tuple[str, ...]:
        return self._once(tuple(map(sys.intern, names or ())))

    def oids(self, oids: Sequence[int] | None) -> tuple[int, ...]:
        return self._once(tuple(oids or ()))

    def key(self, row: list[Any]) -> frozenset[str]:
        return self._once(frozenset(self.names(row[0])))

    def trigger(self, row: list[Any]) -> Trigger:
        name, bits, function, columns, conditional, definition = row
        return Trigger(
            name=name,
            events=_TRIGGER_EVENTS[bits & 0b111100],
            function=function,
            columns=self.names(columns),
            definition=(definition or "") if conditional else None,
        )

    def code(self, row: list[Any]) -> Code:
        occasion, column, text = row
        return self._once(Code(occasion, text or "", None if column is None else self.name(column)))

    def foreign_key(self, row: list[Any]) -> ForeignKey:
        name, child, parent, on_delete, on_update, columns, parent_columns = row
        return ForeignKey(
            name, child, parent, on_delete, on_update, self.names(columns), self.names(parent_columns)
        )

    def function(self, row: list[Any]) -> Function:
        return Function(
            oid=row[0],
            schema=self.name(row[1]),
            name=row[2],
            kind=row[3],
            language=self.name(row[4]),
            volatility=row[5],
            security_definer=row[6],
            arguments=self.oids(row[7]),
            argument_names=self.names(row[8]),
            variadic=row[9],
            defaults=row[10],
            returns=row[11],
            returns_set=row[12],
            definition=row[13],
            support=tuple(oid for oid in row[14] or () if oid),
            sets=tuple(row[15] or ()),
            extension=row[16],
        )

    def operator_class(self, row: list[Any]) -> OperatorClass:
        schema, name, method, of_type, functions, extension = row
        return OperatorClass(self.name(schema), name, method, of_type, self.oids(functions), extension)

    def type(self, row: list[Any]) -> Type:
        default, checks = row[7], row[8] or ()
        code = [Code("check", text or "") for text in checks]
        if default is not None:
            code.insert(0, Code("default", default))
        return Type(
            oid=row[0],
            schema=self.name(row[1]),
            name=row[2],
            kind=row[3],
            base=row[4],
            relation=row[5],
            element=row[6],
            code=tuple(code),
            functions=self.oids(row[9]),
            extension=row[10],
        )
