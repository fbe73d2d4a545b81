"""Settling by the server's own tree what the static reading had to leave open: which code a query leads to.

By its name a function or an operator may be any of those that are called so; the tree names the one that the server has
chosen, behind views and policies too. Where all that it names is PostgreSQL's own, or computes only, the query is read
again as if nothing else were there to be called. What it reads, and how many rows of it, is what it was.
"""

from dataclasses import replace
from typing import Final

from rules.builtin import FUNCTION_BY_OID
from rules.catalog import FIRST_NORMAL_OID, SchemaSnapshot
from rules.context import Context
from rules.facts import Facts
from rules.functions import Conduct, known
from rules.message import read_message
from rules.personal import PersonalData
from rules.rewritten import Rewritten
from rules.world import HARMLESS_EXTENSIONS, World

__all__ = ["may_settle", "settled"]

_ROWS: Final = frozenset("rpvm")
"""Kinds of relations whose rows come from this server and from nobody's code."""
_OF_A_TYPE: Final = "type "
"""In the way to every effect of a type's code (``Bodies.type_code``)."""
_NOT_RUN: Final = frozenset(["default", "check", "collation"])
"""Code of a relation that a SELECT does not run: a default, a check, and what is no code."""


def may_settle(facts: Facts) -> bool:
    """Whether the tree may say more about a message: it is one query that was read, and may call somebody's code.

    Not that of a type: converting a constant, the server runs it when it only analyses the query.
    """
    return (
        facts.unreadable is None
        and not facts.changes_catalog
        and not facts.session_dependent
        and facts.runs_code_when_planned
        and len(facts.statements) == 1
        and facts.statements[0].kind == "SELECT"
        and not any(_OF_A_TYPE in effect.detail for effect in facts.effects)
    )


def settled(sql: bytes, tree: Rewritten, context: Context, personal: PersonalData) -> Facts | None:
    """The facts of such a message, without the code that it does not run; None where the tree does not prove that it
    runs none."""
    catalog = context.catalog
    # Binding converts a parameter that the query does not use, which then is not in its tree.
    if context.parameter_types or context.unreadable(sql) is not None:
        return None
    if tree.commands != {"SELECT"} or not _harmless(tree, catalog):
        return None
    facts = read_message(
        sql, World(personal, _without_code(catalog)), context.search_path, {}, context.cursors
    )
    return None if facts.unreadable is not None else facts


def _without_code(catalog: SchemaSnapshot) -> SchemaSnapshot:
    """The catalog with nothing to be called but what computes only."""
    bare = replace(
        catalog,
        functions=tuple(one for one in catalog.functions if one.extension in HARMLESS_EXTENSIONS),
        operators=tuple(one for one in catalog.operators if one.extension in HARMLESS_EXTENSIONS),
        casts=tuple(one for one in catalog.casts if one.extension in HARMLESS_EXTENSIONS),
    )
    for index in ("by_oid", "by_name", "schemas", "children", "referring", "types_by_oid", "types_by_name"):
        vars(bare)[index] = getattr(catalog, index)
    return bare


def _harmless(tree: Rewritten, catalog: SchemaSnapshot) -> bool:
    # How values are sorted and looked for is in no tree.
    if any(one.extension is None for one in catalog.operator_classes):
        return False
    return (
        all(_relation(oid, kind, catalog) for oid, kind in tree.relations.items())
        and all(_function(oid, catalog) for oid in tree.functions)
        and all(0 < oid < FIRST_NORMAL_OID for oid in tree.operators)
        and all(_type(oid, catalog, 0) for oid in tree.types)
    )


def _relation(oid: int, kind: str, catalog: SchemaSnapshot) -> bool:
    if oid < FIRST_NORMAL_OID:
        return True
    found = catalog.by_oid.get(oid)
    return (
        found is not None
        and found.kind in _ROWS
        and kind in ("", found.kind)
        and all(code.occasion in _NOT_RUN for code in found.code)
    )


def _function(oid: int, catalog: SchemaSnapshot) -> bool:
    if oid < FIRST_NORMAL_OID:
        name = FUNCTION_BY_OID.get(oid)
        return name is not None and known("pg_catalog", name).conduct is Conduct.HARMLESS
    found = catalog.functions_by_oid.get(oid)
    return found is not None and found.extension in HARMLESS_EXTENSIONS


def _type(oid: int, catalog: SchemaSnapshot, depth: int) -> bool:
    if oid < FIRST_NORMAL_OID:
        return True
    found = catalog.types_by_oid.get(oid)
    if found is None or depth > 8 or found.code or (found.functions and found.extension is None):
        return False
    row = catalog.by_oid.get(found.relation)
    inside = (found.base, found.element, *(row.types if row is not None else ()))
    return all(_type(one, catalog, depth + 1) for one in inside)
