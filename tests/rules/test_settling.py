"""What a tree settles, and what it leaves as it was."""

from dataclasses import replace
from typing import Any

import pytest

from rules import Context, compile_policy
from rules.catalog import OperatorClass, Relation, Type
from rules.rewritten import Rewritten
from rules.settling import may_settle, settled
from tests.rules.catalogs import SHOP, facts, function, shop
from tests.rules.policies import STRICT, context

_SHADOWED = shop(
    functions=(function(16500, "lower", "BEGIN EXECUTE x; RETURN 1; END", (16510,)),),
    types=(
        Type(16510, "crm", "sly", "c", relation=16511),
        Type(16512, "crm", "mood", "e"),
        Type(16513, "crm", "_checked", "b", element=16471),
    ),
    relations=(Relation(16511, "crm", "sly", "c", ("a",), (23,)),),
)
_SQL = "SELECT lower(name) FROM products WHERE id = 1"
_LOWER, _TEXT_TYPE, _PRODUCTS = 870, 25, 16404


def tree(**changes: Any) -> Rewritten:
    """The tree of a query that calls PostgreSQL's own lower()."""
    plain = Rewritten(
        frozenset({"SELECT"}),
        {_PRODUCTS: "r"},
        frozenset({_LOWER}),
        frozenset({96}),
        frozenset({_TEXT_TYPE}),
    )
    return replace(plain, **changes)


def surroundings(**changes: Any) -> Context:
    path = ("pg_catalog", "crm", "public")
    return context(**{"catalog": _SHADOWED, "search_path": path, **changes})


def test_code_that_is_not_run_is_dropped_and_all_else_stays() -> None:
    before = facts(_SQL, catalog=_SHADOWED)
    assert may_settle(before)
    after = settled(_SQL.encode(), tree(), surroundings(), compile_policy(STRICT).personal)
    assert after is not None
    assert after.effects == facts(_SQL, catalog=SHOP).effects
    assert not after.runs_code_when_planned
    assert {effect.nature.name for effect in before.effects} > {
        effect.nature.name for effect in after.effects
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"commands": frozenset({"SELECT", "DELETE"})},
        {"commands": frozenset({"UPDATE"})},
        {"functions": frozenset({_LOWER, 16500})},
        {"functions": frozenset({99_999})},
        {"functions": frozenset({2923})},
        {"functions": frozenset({9_999})},
        {"operators": frozenset({16_600})},
        {"types": frozenset({16471})},
        {"types": frozenset({16513})},
        {"types": frozenset({99_999})},
        {"relations": {99_999: "r"}},
        {"relations": {16409: "f"}},
        {"relations": {_PRODUCTS: "v"}},
        {"relations": {16408: "r"}},
    ],
)
def test_what_a_tree_does_not_prove_is_not_settled(changes: dict[str, Any]) -> None:
    personal = compile_policy(STRICT).personal
    assert settled(_SQL.encode(), tree(**changes), surroundings(), personal) is None


def test_types_that_run_nothing_do_not_matter() -> None:
    harmless = tree(types=frozenset({16510, 16512, 25}))
    assert settled(_SQL.encode(), harmless, surroundings(), compile_policy(STRICT).personal) is not None


def test_what_is_in_no_tree_is_not_settled() -> None:
    personal = compile_policy(STRICT).personal
    assert settled(_SQL.encode(), tree(), surroundings(parameter_types=(16471,)), personal) is None
    assert settled(_SQL.encode(), tree(), surroundings(unknown="nobody knows"), personal) is None
    sorted_otherwise = replace(
        _SHADOWED, operator_classes=(OperatorClass("crm", "own", "btree", 23, (16500,)),)
    )
    assert settled(_SQL.encode(), tree(), surroundings(catalog=sorted_otherwise), personal) is None


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1", "DELETE FROM products", "SELECT lower('a'); SELECT 1", "SELEC", "EXPLAIN SELECT lower('a')"],
)
def test_what_is_no_single_query_that_may_run_code_is_not_asked_about(sql: str) -> None:
    assert not may_settle(facts(sql, catalog=_SHADOWED))
