"""Whose rows a statement touches: the people, as far as its text and its parameters name them.

The message is read once more, as for an explanation, and only where somebody waits for it: nothing that decides about
a statement by itself comes from here.  What is not proven is unknown, never taken for nobody.
"""

import struct
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from rules.bounds import ARRAY
from rules.catalog import Relation, SchemaSnapshot
from rules.context import Context, Parameter
from rules.facts import Action
from rules.findings import Findings
from rules.lineage import Reference
from rules.pgquery import GrammarError, Node, parse
from rules.reader import Unreadable, guard
from rules.statements import Statements
from rules.world import World

__all__ = ["MAX_PEOPLE", "Kind", "Touch", "named_people", "people_in", "touches"]

MAX_PEOPLE: Final = 100
"""More people than these are not kept one by one: they count as anybody."""

_STEPS: Final = 8
"""Columns whose values are another's, one behind the other, and foreign keys."""

_INTEGERS: Final = frozenset([20, 21, 23])
_TEXTS: Final = frozenset([25, 1043])
_BPCHAR, _UUID, _NUMERIC, _UNKNOWN, _NAME = 1042, 2950, 1700, 705, 19
_CASTS: Final = {"int2": 21, "int4": 23, "int8": 20, "text": 25, "varchar": 1043, "uuid": 2950}
"""Types by the names they have in trees, of which it is known here what a cast to them does."""
_ARRAYS: Final = {
    **dict.fromkeys(_INTEGERS, (0, 1005, 1007, 1016)),
    **dict.fromkeys(_TEXTS, (0, 1009, 1015)),
    _UUID: (0, 2951),
}
"""Types of a bound array whose elements a cast to an array of the type does not change; 0 was left open."""
_DIGITS: Final = 28
"""What :mod:`decimal` keeps of a number."""
_LAYOUTS: Final = {2: ">h", 4: ">i", 8: ">q"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells people apart: ``name`` is the column that does, as ``schema.relation.column`` of where they are kept
    if that is known (``rooted``: foreign keys lead there, or it is a key by itself), else the column's name alone."""

    name: str
    rooted: bool

    @property
    def column(self) -> str:
        """The column's name alone."""
        return self.name.rpartition(".")[2] if self.rooted else self.name

    def same(self, other: "Kind") -> bool:
        """Whether equal values may mean the same person."""
        if self.rooted and other.rooted:
            return self.name == other.name
        return self.column.lower() == other.column.lower()


@dataclass(frozen=True, slots=True)
class Touch:
    """Rows of one relation that are read or changed. ``kind`` is None where nothing tells people apart; ``values``
    are those people, None where it is not proven who they are: then it may be anybody."""

    action: Action
    relation: str
    kind: Kind | None = None
    values: frozenset[str] | None = None
    personal: bool = False
    erases: bool = False


def touches(
    sql: bytes, context: Context, world: World, parameters: Sequence[Parameter] = ()
) -> tuple[Touch, ...]:
    """What a message reads and changes, relation by relation; empty where it cannot be read.

    Of what has no rows (code that nobody has read, definitions) nothing is said here.
    """
    found: dict[tuple[Action, str, Kind | None, bool, bool], frozenset[str] | None] = {}
    try:
        guard(sql)
        reader = Statements(world, context.prepared, context.cursors, context.search_path)
        for kind, fields, raw in parse(sql).statements:
            reader.message_statement(kind, fields, raw.decode())
            for touch in _touched(reader.findings, world.catalog, parameters):
                key = (touch.action, touch.relation, touch.kind, touch.personal, touch.erases)
                earlier = found.get(key, frozenset())
                both = None if earlier is None or touch.values is None else earlier | touch.values
                found[key] = None if both is not None and len(both) > MAX_PEOPLE else both
            reader.collect()
    except (Unreadable, GrammarError, RecursionError):
        return ()
    except MemoryError:
        raise
    except Exception:
        # A tree can have a shape nobody foresaw, as in read_message: what was not understood says nothing.
        return ()
    return tuple(
        Touch(action, relation, kind, values, personal, erases)
        for (action, relation, kind, personal, erases), values in found.items()
    )


def people_in(
    parts: Iterable[tuple[Sequence[Touch], Iterable[tuple[Action, str | None]]]],
) -> frozenset[str] | None:
    """The people whom all effects (action, relation) of all parts touch, each looked for in what its part touches.

    None where it is not proven who they are, or they are not told apart in the same way.
    """
    people: set[str] = set()
    kinds: set[Kind] = set()
    for found, wanted in parts:
        for action, relation in wanted:
            these = [one for one in found if one.action is action and one.relation == relation]
            if not these:
                return None
            for one in these:
                if one.kind is None or one.values is None:
                    return None
                people |= one.values
                kinds.add(one.kind)
    return frozenset(people) if len(kinds) == 1 else None


def named_people(relation: str, values: Iterable[str], world: World) -> tuple[Kind | None, frozenset[str]]:
    """What tells the people of a relation (``schema.name``) apart, and those whose keys these are, each in the one form
    of its type; a text that is no value of it stays as it is."""
    schema, _, name = relation.rpartition(".")
    named = world.relation(schema, name, ())
    reference = Reference(named.full_name, named.known, named.mark)
    kind, _ = _People(world.catalog, ()).of(reference)
    if kind is None or named.mark is None:
        return None, frozenset(values)
    type_oid = _type_of(reference, _spelled(reference, next(iter(sorted(named.mark.subjects)))))
    return kind, frozenset(_canonical(value, type_oid) or value for value in values)


def _touched(findings: Findings, catalog: SchemaSnapshot, parameters: Sequence[Parameter]) -> Iterator[Touch]:
    people = _People(catalog, parameters)
    for write in findings.writes:
        reference = write.reference
        if not reference.planned:
            kind, values = people.of(reference)
            yield Touch(
                write.action, reference.relation, kind, values, reference.mark is not None, write.erases
            )
    for reference in findings.references:
        if reference.hidden or reference.planned or (reference.is_target and not reference.exposed):
            continue
        kind, values = people.of(reference)
        personal = any(map(reference.holds, reference.exposed))
        yield Touch(Action.READ, reference.relation, kind, values, personal)


class _People:
    """Whose rows a mention of a relation is about."""

    def __init__(self, catalog: SchemaSnapshot, parameters: Sequence[Parameter]) -> None:
        self._catalog = catalog
        self._parameters = parameters

    def of(self, reference: Reference, steps: int = _STEPS) -> tuple[Kind | None, frozenset[str] | None]:
        """What tells the people apart, and who they are."""
        subject = next(iter(sorted(reference.mark.subjects)), None) if reference.mark is not None else None
        kind, values = None, None
        if subject is not None:
            column = _spelled(reference, subject)
            kind = self._kind(reference.known, column)
            if not reference.repeated:
                values = self._values(reference, column, _type_of(reference, column), steps)
        if values is None and reference.cause is not None and not reference.repeated and steps:
            # Rows that go because those they refer to go are the people's to whom these belong.
            theirs, known = self.of(reference.cause, steps - 1)
            if known is not None:
                return theirs, known
        return kind, values

    def _kind(self, known: Relation | None, column: str) -> Kind:
        """Where the people of a column are kept: along the foreign keys of one column."""
        if known is None:
            return Kind(column, rooted=False)
        moved = False
        for _ in range(_STEPS):
            known = self._whole(known)
            key = next(
                (
                    one
                    for one in self._catalog.foreign_keys
                    if one.child == known.oid and one.columns == (column,) and one.parent != known.oid
                ),
                None,
            )
            parent = None if key is None else self._catalog.by_oid.get(key.parent)
            if key is None or parent is None:
                break
            known, column, moved = parent, key.parent_columns[0], True
        if moved or frozenset([column]) in known.unique:
            return Kind(f"{known.full_name}.{column}", rooted=True)
        return Kind(column, rooted=False)

    def _whole(self, known: Relation) -> Relation:
        """The partitioned table of a partition."""
        while known.is_partition and known.parents and known.parents[0] in self._catalog.by_oid:
            known = self._catalog.by_oid[known.parents[0]]
        return known

    def _values(
        self, reference: Reference, column: str, type_oid: int | None, steps: int
    ) -> frozenset[str] | None:
        if 0 in reference.limits:
            return frozenset()
        nodes = reference.fixed.get(column)
        if nodes is not None:
            values = self._written(nodes, type_oid)
            if values is not None:
                return values
        for own, other, its in reference.within if steps and not reference.repeated else ():
            if own == column and not other.repeated:
                values = self._values(other, its, type_oid, steps - 1)
                if values is not None:
                    return values
        return None

    def _written(self, nodes: Sequence[Node], type_oid: int | None) -> frozenset[str] | None:
        """The values that nodes stand for, each in the one form of its type; None where one cannot be told."""
        found: set[str] = set()
        for node in nodes:
            texts = self._array(node[ARRAY], type_oid) if ARRAY in node else self._scalar(node, type_oid)
            if texts is None or len(found) + len(texts) > MAX_PEOPLE:
                return None
            for text in texts:
                value = _canonical(text, type_oid)
                if value is None:
                    return None
                found.add(value)
        return frozenset(found)

    def _scalar(self, node: Node, type_oid: int | None) -> list[str] | None:
        """A value's text, none for NULL, which equals nothing; None where it is computed."""
        kind, fields = next(iter(node.items()))
        match kind:
            case "A_Const":
                return _constant(fields)
            case "TypeCast":
                name = fields["typeName"]
                target = _CASTS.get(name["names"][-1]["String"]["sval"])
                if target is None or name.get("typmods") or name.get("arrayBounds"):
                    return None
                return self._cast(fields["arg"], target, type_oid)
            case "A_Expr" if "lexpr" not in fields and fields["name"][-1]["String"]["sval"] == "-":
                texts = self._scalar(fields["rexpr"], type_oid)
                return None if texts is None else [f"-{text}" for text in texts]
            case "ParamRef":
                parameter = self._parameter(node)
                return None if parameter is None else _bound(parameter, type_oid)
            case _:
                return None

    def _cast(self, node: Node, target: int, type_oid: int | None) -> list[str] | None:
        """A value's text after a cast, which may change it: 6.4::int is 6, and '007'::int::text is '7'."""
        texts = self._scalar(node, type_oid)
        if texts is None:
            return None
        if target not in _TEXTS:
            made = [_canonical(text, target) for text in texts]
            return None if None in made else [text for text in made if text is not None]
        parameter = self._parameter(node)
        is_text = parameter is not None and parameter.type_oid in (0, *_TEXTS)
        if is_text or "sval" in node.get("A_Const", {}):
            return texts
        # How the server writes a number is known here of plain integers.
        return texts if all(_integer(text) == text for text in texts) else None

    def _array(self, node: Node, type_oid: int | None) -> list[str] | None:
        """The elements' texts; None where one is computed."""
        if "TypeCast" not in node:
            return self._elements(node, type_oid)
        name, inner = node["TypeCast"]["typeName"], node["TypeCast"]["arg"]
        target = _CASTS.get(name["names"][-1]["String"]["sval"])
        # One cast of elements as they are written, to what it is known here to do to them.
        if target is None or name.get("typmods") or not name.get("arrayBounds") or "TypeCast" in inner:
            return None
        parameter = self._parameter(inner)
        if parameter is not None and parameter.type_oid not in _ARRAYS[target]:
            return None
        plain = all(
            "sval" in element.get("A_Const", {}) or "ival" in element.get("A_Const", {})
            for element in inner.get("A_ArrayExpr", {}).get("elements", ())
        )
        texts = self._elements(inner, type_oid) if plain else None
        if texts is None or target in _TEXTS:
            return texts
        made = [_canonical(text, target) for text in texts]
        return None if None in made else [text for text in made if text is not None]

    def _elements(self, node: Node, type_oid: int | None) -> list[str] | None:
        parameter = self._parameter(node)
        if parameter is not None:
            if parameter.value is None:
                return []
            if parameter.format:
                return _binary_elements(parameter.value)
            try:
                return _elements(parameter.value.decode())
            except UnicodeDecodeError:
                return None
        if "A_ArrayExpr" in node:
            found: list[str] = []
            for element in node["A_ArrayExpr"].get("elements", ()):
                texts = self._scalar(element, type_oid)
                if texts is None:
                    return None
                found += texts
            return found
        texts = _constant(node.get("A_Const", {}))
        return _elements(texts[0]) if texts else texts

    def _parameter(self, node: Node) -> Parameter | None:
        """The parameter that a node is, None for others and for one that is not bound."""
        number = node.get("ParamRef", {}).get("number", 0)
        return self._parameters[number - 1] if 1 <= number <= len(self._parameters) else None


def _spelled(reference: Reference, column: str) -> str:
    names: Iterable[str] = () if reference.known is None else reference.known.columns
    return next((name for name in (*names, *reference.fixed) if name.lower() == column), column)


def _type_of(reference: Reference, column: str) -> int | None:
    known = reference.known
    if known is None or column not in known.columns or len(known.types) != len(known.columns):
        return None
    return known.types[known.columns.index(column)]


def _constant(fields: Node) -> list[str] | None:
    if fields.get("isnull"):
        return []
    if "ival" in fields:
        return [str(fields["ival"].get("ival", 0))]
    for name in ("fval", "sval"):
        if name in fields:
            return [str(fields[name].get(name, ""))]
    return None


def _bound(parameter: Parameter, type_oid: int | None) -> list[str] | None:
    value = parameter.value
    if value is None:
        return []
    if parameter.format:
        text = _binary(value, parameter.type_oid or type_oid or 0)
        return None if text is None else [text]
    try:
        return [value.decode()]
    except UnicodeDecodeError:
        return None


def _binary(value: bytes, type_oid: int) -> str | None:
    if type_oid in _INTEGERS and len(value) in _LAYOUTS:
        return str(struct.unpack(_LAYOUTS[len(value)], value)[0])
    if type_oid == _UUID and len(value) == 16:
        return str(uuid.UUID(bytes=value))
    if type_oid in _TEXTS or type_oid in (_BPCHAR, _UNKNOWN, _NAME):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return None


def _elements(text: str) -> list[str] | None:
    """The elements of an array of one dimension (documentation section 8.15.2), NULL left out."""
    text = text.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return None
    inner = text[1:-1]
    if any(mark in inner for mark in '{"\\'):
        return None
    parts = [part.strip() for part in inner.split(",")] if inner.strip() else []
    return [part for part in parts if part.upper() != "NULL"]


def _binary_elements(value: bytes) -> list[str] | None:
    """The elements in ``array_send``'s form: dimensions, flags, element type, then (size, lower bound)s."""
    try:
        dimensions, _, element = struct.unpack_from(">iiI", value)
        if dimensions == 0:
            return []
        count = struct.unpack_from(">i", value, 12)[0]
        if dimensions != 1 or not 0 <= count <= MAX_PEOPLE:
            return None
        texts: list[str] = []
        at = 20
        for _ in range(count):
            length = struct.unpack_from(">i", value, at)[0]
            at += 4
            if length == -1:
                continue
            text = _binary(value[at : at + length], element) if 0 <= length <= len(value) - at else None
            if text is None:
                return None
            texts.append(text)
            at += length
    except struct.error:
        return None
    return texts


def _canonical(text: str, type_oid: int | None) -> str | None:
    """The one form of all texts that are the same value to the server; None where that is not known here."""
    if type_oid in _TEXTS:
        return text
    if type_oid == _BPCHAR:
        return text.rstrip(" ")
    if type_oid in _INTEGERS:
        return _integer(text)
    if type_oid == _UUID:
        return _uuid(text)
    if type_oid == _NUMERIC:
        return _decimal(text)
    if type_oid is not None:
        return None
    return _integer(text) or _uuid(text) or text


def _integer(text: str) -> str | None:
    try:
        return str(int(text))
    except ValueError:
        return None


def _uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        return None


def _decimal(text: str) -> str | None:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        return None
    if not value.is_finite() or len(value.as_tuple().digits) > _DIGITS or abs(value.adjusted()) > _DIGITS:
        return None
    return f"{value.normalize():f}"
