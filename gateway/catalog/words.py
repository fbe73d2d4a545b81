"""What writing and reading a catalog document have in common: its words, and the names of things in it."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from rules.catalog import Occasion, Relation, RelationKind, Type

FORMAT: Final = "holdgate-catalog"
VERSION: Final = 1

KINDS: Final[Mapping[str, RelationKind]] = {
    "table": "r",
    "partitioned table": "p",
    "view": "v",
    "materialized view": "m",
    "foreign table": "f",
    "sequence": "S",
    "composite type": "c",
    "toast table": "t",
}
ACTIONS: Final = {"no action": "a", "restrict": "r", "cascade": "c", "set null": "n", "set default": "d"}
FUNCTION_KINDS: Final = {"function": "f", "procedure": "p", "aggregate": "a", "window function": "w"}
VOLATILITIES: Final = {"immutable": "i", "stable": "s", "volatile": "v"}
TYPE_KINDS: Final = {
    "base": "b",
    "composite": "c",
    "domain": "d",
    "enum": "e",
    "pseudo": "p",
    "range": "r",
    "multirange": "m",
}
CONTEXTS: Final = {"explicit": "e", "assignment": "a", "implicit": "i"}
RULE_EVENTS: Final[Mapping[str, Literal["select", "insert", "update", "delete"]]] = {
    "select": "select",
    "insert": "insert",
    "update": "update",
    "delete": "delete",
}
TRIGGER_EVENTS: Final = ("delete", "insert", "truncate", "update")
OCCASIONS: Final[Mapping[str, Occasion]] = {
    "default": "default",
    "check": "check",
    "generated": "generated",
    "index": "index",
    "policy": "policy",
    "partition": "partition",
    "collation": "collation",
}


def identity(*names: str) -> str:
    """Names with dots between them, quoted where PostgreSQL would fold them or misread them."""
    return ".".join(
        name
        if name.isascii() and name.isidentifier() and name.islower()
        else '"' + name.replace('"', '""') + '"'
        for name in names
    )


def signature(schema: str, name: str, arguments: Iterable[str]) -> str:
    return f"{identity(schema, name)}({', '.join(arguments)})"


def has_row_type(relation: Relation) -> bool:
    return relation.kind not in ("S", "t")


def row_type(relation: Relation, oid: int) -> Type:
    extension = relation.extension if relation.kind == "c" else None
    return Type(oid, relation.schema, relation.name, "c", relation=relation.oid, extension=extension)


def array_type(element: Type, oid: int) -> Type:
    return Type(
        oid, element.schema, f"_{element.name}", "b", element=element.oid, extension=element.extension
    )
