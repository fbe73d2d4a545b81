"""What is known of a database's own definitions: a value, read by the gateway and never changed.

Only what is not PostgreSQL's own stands here: relations of every schema but the system's, functions, operators,
casts and types that somebody created or an extension brought.  PostgreSQL's own are known by name
(rules.builtin).  The empty snapshot knows nothing: then names stand for themselves, and an unqualified name is
looked for along the search path among the relations that the policy names.

Source: PostgreSQL documentation, chapter "System Catalogs".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal, TypeVar

K = TypeVar("K")
V = TypeVar("V")

RelationKind = Literal["r", "p", "v", "m", "f", "t", "S", "c"]
"""As in pg_class.relkind: table, partitioned table, view, materialised view, foreign table, TOAST table, sequence,
composite type."""

Occasion = Literal["default", "check", "generated", "index", "policy", "partition", "collation"]
"""When the server evaluates an expression that belongs to a relation or a domain."""

FIRST_NORMAL_OID: Final = 16384
"""Objects below were made by initdb (``FirstNormalObjectId`` in the server)."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that is switched on, or would be in some replication role.

    ``events`` are among insert, update, delete and truncate; ``columns`` those of UPDATE OF, empty for any.
    ``definition`` is its CREATE TRIGGER where it has a WHEN, which is code too; empty where that could not be
    read, None where there is none.
    """

    name: str
    events: frozenset[str]
    function: int
    columns: tuple[str, ...] = ()
    definition: str | None = None


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """A rule other than a view's own: ``definition`` is its CREATE RULE, names qualified (pg_get_ruledef); empty
    where it could not be read."""

    name: str
    event: Literal["select", "insert", "update", "delete"]
    instead: bool
    definition: str


@dataclass(frozen=True, slots=True)
class Code:
    """An expression the server evaluates by itself: when, and its text with qualified names.

    A collation of somebody's own runs nothing, but its column cannot be without it; the text is its name.
    The text may be several expressions with commas between them, and is empty where it could not be read. Defaults
    that are constants are left out. ``role`` of a policy is not kept: it may apply to anybody.
    """

    occasion: Occasion
    text: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation. ``columns`` and ``types`` (type OIDs) are in order, dropped columns left out.

    ``unique`` are the keys of valid unique indexes that are neither partial nor on expressions nor deferrable,
    the primary key first; they say nothing about rows of inheritance children. ``parents`` are the OIDs inherited
    from, partitioned tables included. ``definition`` is a view's query with qualified names (pg_get_viewdef
    under an empty search_path), None where it could not be read. ``extension`` names the extension it belongs to.
    ``comments`` are by column; that of the relation itself is under the empty name. Of a
    relation that the session made of a query, ``copied`` are the columns that hold copies of personal ones (``*``:
    any may), and ``copied_subject`` those that hold copies of their subject.
    """

    oid: int
    schema: str
    name: str
    kind: RelationKind
    columns: tuple[str, ...] = ()
    types: tuple[int, ...] = ()
    unique: tuple[frozenset[str], ...] = ()
    parents: tuple[int, ...] = ()
    is_partition: bool = False
    definition: str | None = None
    rules: tuple[RewriteRule, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    code: tuple[Code, ...] = ()
    row_security: bool = False
    owner: str = ""
    extension: str | None = None
    copied: tuple[str, ...] = ()
    copied_subject: tuple[str, ...] = ()
    comments: Mapping[str, str] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """``schema.name``, unquoted."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """``child`` refers to ``parent`` (OIDs). Actions as in pg_constraint: a, r, c(ascade), n(ull), d(efault)."""

    name: str
    child: int
    parent: int
    on_delete: str
    on_update: str
    columns: tuple[str, ...] = ()
    parent_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A function, procedure, aggregate or window function that is not PostgreSQL's own.

    ``kind`` and ``volatility`` as in pg_proc (f p a w; i s v). ``arguments`` are the OIDs of the input types, the
    last ``defaults`` of which may be left out. ``definition`` is its CREATE FUNCTION (pg_get_functiondef), None
    for aggregates and for languages other than sql and plpgsql. ``support`` are the OIDs of the functions an
    aggregate is made of. ``sets`` are the settings it runs under (``name=value``).
    """

    oid: int
    schema: str
    name: str
    kind: str
    language: str
    volatility: str
    security_definer: bool = False
    arguments: tuple[int, ...] = ()
    argument_names: tuple[str, ...] = ()
    variadic: bool = False
    defaults: int = 0
    returns: int = 0
    returns_set: bool = False
    definition: str | None = None
    support: tuple[int, ...] = ()
    sets: tuple[str, ...] = ()
    extension: str | None = None

    @property
    def full_name(self) -> str:
        """``schema.name``, unquoted."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator that is not PostgreSQL's own; ``left`` 0 for a prefix operator, ``function`` the OID it calls."""

    schema: str
    name: str
    left: int
    right: int
    function: int
    extension: str | None = None


@dataclass(frozen=True, slots=True)
class Cast:
    """A cast that somebody created: type OIDs, the function it calls (0: none), and when it is applied
    (e explicit, a in assignments, i implicitly)."""

    source: int
    target: int
    function: int
    context: str
    extension: str | None = None


@dataclass(frozen=True, slots=True)
class Type:
    """A type: ``kind`` as in pg_type.typtype, ``base`` a domain's base type, ``relation`` a composite's relation,
    ``element`` an array's element type (OIDs, 0 for none). ``code`` are a domain's checks and default;
    ``functions`` the OIDs of input and output functions that are not PostgreSQL's own."""

    oid: int
    schema: str
    name: str
    kind: str
    base: int = 0
    relation: int = 0
    element: int = 0
    code: tuple[Code, ...] = ()
    functions: tuple[int, ...] = ()
    extension: str | None = None


@dataclass(frozen=True, slots=True)
class OperatorClass:
    """How somebody has values of a type (its OID) sorted, hashed or looked for: ``functions`` are the OIDs of the
    functions that do it, those of its operators included, PostgreSQL's own left out."""

    schema: str
    name: str
    method: str
    type: int
    functions: tuple[int, ...] = ()
    extension: str | None = None


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """An event trigger that is switched on."""

    name: str
    event: str
    function: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """A schema: its owner, and the roles that may use it (an empty name stands for everybody).

    A schema on the search path that a role may not use is passed over when names are looked for.
    """

    name: str
    owner: str = ""
    usage: tuple[str, ...] = ()


@dataclass(frozen=True)
class SchemaSnapshot:
    """The definitions of one database at one moment; ``generation`` goes up with each change.

    ``database`` is the server's name of it. ``server_version`` is as in server_version_num, 0 where nobody asked.
    ``unavailable`` says why nothing is known although the catalog should have been read: then no name can be
    resolved, and everything that is not PostgreSQL's own is unknown.
    """

    generation: int = 0
    database: str = ""
    server_version: int = 0
    relations: tuple[Relation, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    functions: tuple[Function, ...] = ()
    operators: tuple[Operator, ...] = ()
    casts: tuple[Cast, ...] = ()
    types: tuple[Type, ...] = ()
    operator_classes: tuple[OperatorClass, ...] = ()
    event_triggers: tuple[EventTrigger, ...] = ()
    extensions: Mapping[str, str] = field(default_factory=dict)
    """Name to schema."""
    namespaces: tuple[Namespace, ...] = ()
    unavailable: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody asked, so that a name not listed is no surprise."""
        return self.server_version == 0 and self.unavailable is None

    @cached_property
    def by_oid(self) -> Mapping[int, Relation]:
        """Relations by OID."""
        return {relation.oid: relation for relation in self.relations}

    @cached_property
    def by_name(self) -> Mapping[tuple[str, str], Relation]:
        """Relations by schema and name."""
        return {(relation.schema, relation.name): relation for relation in self.relations}

    @cached_property
    def schemas(self) -> frozenset[str]:
        """Every schema there is, as far as is known."""
        named = {namespace.name for namespace in self.namespaces}
        return frozenset(named.union(relation.schema for relation in self.relations))

    @cached_property
    def children(self) -> Mapping[int, tuple[int, ...]]:
        """For each relation with inheritance children or partitions, their OIDs."""
        found: dict[int, list[int]] = {}
        for relation in self.relations:
            for parent in relation.parents:
                found.setdefault(parent, []).append(relation.oid)
        return {parent: tuple(children) for parent, children in found.items()}

    @cached_property
    def referring(self) -> Mapping[int, tuple[ForeignKey, ...]]:
        """For each relation, the foreign keys of others that refer to it."""
        return _grouped((key.parent, key) for key in self.foreign_keys)

    @cached_property
    def functions_by_oid(self) -> Mapping[int, Function]:
        """Functions by OID."""
        return {function.oid: function for function in self.functions}

    @cached_property
    def functions_by_name(self) -> Mapping[str, tuple[Function, ...]]:
        """Every overload of a bare function name, in all schemas."""
        return _grouped((function.name, function) for function in self.functions)

    @cached_property
    def operators_by_name(self) -> Mapping[str, tuple[Operator, ...]]:
        """Every overload of an operator, in all schemas."""
        return _grouped((operator.name, operator) for operator in self.operators)

    @cached_property
    def types_by_oid(self) -> Mapping[int, Type]:
        """Types by OID."""
        return {one.oid: one for one in self.types}

    @cached_property
    def types_by_name(self) -> Mapping[tuple[str, str], Type]:
        """Types by schema and name."""
        return {(one.schema, one.name): one for one in self.types}

    def find(self, schema: str | None, name: str, search_path: Iterable[str]) -> Relation | None:
        """The relation a name stands for; ``search_path`` is the effective one, in the order it is searched."""
        if schema is not None:
            return self.by_name.get((schema, name))
        for place in search_path:
            relation = self.by_name.get((place, name))
            if relation is not None:
                return relation
        return None

    def extended(self, more: "SchemaSnapshot", generation: int) -> "SchemaSnapshot":
        """This snapshot with what ``more`` has added, and its relations in place of those of the same name.

        It costs little more than what is added: whatever stays the same is shared.
        """
        replaced = {self.by_name[name].oid for name in more.by_name if name in self.by_name}
        relations = self.relations
        if replaced:
            relations = tuple(relation for relation in relations if relation.oid not in replaced)
        made = replace(
            self,
            generation=generation,
            relations=relations + more.relations,
            foreign_keys=self.foreign_keys + more.foreign_keys,
            functions=self.functions + more.functions,
            operators=self.operators + more.operators,
            types=self.types + more.types,
            operator_classes=self.operator_classes + more.operator_classes,
        )
        known = vars(made)
        for name, indexes in INDEXES.items():
            if not getattr(more, name):
                known.update({index: getattr(self, index) for index in indexes})
        if not replaced:
            known["by_oid"] = {**self.by_oid, **more.by_oid}
            known["by_name"] = {**self.by_name, **more.by_name}
            if not any(relation.parents for relation in more.relations):
                known["children"] = self.children
        return made


INDEXES: Final[Mapping[str, tuple[str, ...]]] = {
    "relations": ("by_oid", "by_name", "schemas", "children"),
    "foreign_keys": ("referring",),
    "functions": ("functions_by_oid", "functions_by_name"),
    "operators": ("operators_by_name",),
    "types": ("types_by_oid", "types_by_name"),
}
"""The properties of a snapshot that are worked out when first asked for, by what they are made of."""


def _grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, tuple[V, ...]]:
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}


EMPTY: Final = SchemaSnapshot()
