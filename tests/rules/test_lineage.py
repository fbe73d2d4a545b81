"""Shapes and scopes: where a column comes from, and how sure that is."""

import pytest

from rules.catalog import Relation
from rules.lineage import NOTHING, Found, Mark, Output, Reference, Scope, Shape, merged, relation_shape
from rules.personal import ALL

_CUSTOMERS = Reference(
    "crm.customers", Relation(1, "crm", "customers", "r", ("id", "email")), Mark(frozenset(["email"]))
)
_UNKNOWN = Reference("elsewhere", mark=Mark(frozenset(["email"]), frozenset(["id"])))


def _scope(*sources: tuple[str, Shape], outer: Scope | None = None) -> Scope:
    scope = Scope(outer)
    for alias, shape in sources:
        scope.add(alias, shape)
    return scope


def test_a_known_relation_has_its_columns_and_no_other() -> None:
    shape = relation_shape(_CUSTOMERS)
    assert shape.column("email") == Found(frozenset([(_CUSTOMERS, "email")]), True, True)
    assert shape.column("phone") is None
    assert [one.name for one in shape.outputs] == ["id", "email"]
    assert shape.everything() == {(_CUSTOMERS, "id"), (_CUSTOMERS, "email")}
    assert (shape.rows, shape.open) == (frozenset([_CUSTOMERS]), False)


def test_an_unknown_relation_may_have_any_column() -> None:
    shape = relation_shape(_UNKNOWN)
    assert shape.column("phone") == Found(frozenset([(_UNKNOWN, "phone")]), True, False)
    assert shape.column("email") == Found(frozenset([(_UNKNOWN, "email")]), True, True)
    assert shape.everything() == {(_UNKNOWN, ALL)}
    assert shape.renamed(["x"]).column("x") == Found(frozenset([(_UNKNOWN, ALL)]), False, True)


def test_columns_are_renamed_in_order() -> None:
    shape = relation_shape(_CUSTOMERS).renamed(["a"])
    assert [one.name for one in shape.outputs] == ["a", "email"]
    assert shape.column("id") is None
    assert shape.renamed([]) is shape


def test_two_columns_of_one_name_are_both() -> None:
    one, other = frozenset([(_CUSTOMERS, "id")]), frozenset([(_CUSTOMERS, "email")])
    shape = Shape([Output("a", one, True), Output("a", other, True), Output("a", NOTHING)])
    assert shape.column("a") == Found(one | other, False, True)


def test_an_open_shape_may_have_any_column_of_its_rest() -> None:
    rest = frozenset([(_CUSTOMERS, "email")])
    assert Shape(rest=rest).column("x") == Found(rest, False, False)
    assert Shape().column("x") is None
    assert Shape([Output("n")], rest).renamed(["a", "b"]).column("a") == Found(rest, False, True)


def test_set_aside_nothing_is_handed_on_unchanged() -> None:
    shape = Shape([Output("a", NOTHING, True)], rows=[_CUSTOMERS]).aside()
    assert (shape.outputs[0].direct, shape.rows) == (False, frozenset())


@pytest.mark.parametrize(
    ("qualifier", "name", "column"),
    [("c", "email", "email"), (None, "email", "email"), ("c", "phone", None), ("x", "email", None)],
)
def test_a_column_is_found_by_its_source(qualifier: str | None, name: str, column: str | None) -> None:
    found = _scope(("c", relation_shape(_CUSTOMERS)), ("v", Shape([Output("n")]))).find(qualifier, name)
    assert (None if found is None else {each for _, each in found.origins}) == (
        None if column is None else {column}
    )


def test_the_nearest_scope_decides_and_reaching_out_is_noted() -> None:
    outer = _scope(("c", relation_shape(_CUSTOMERS)))
    inner = _scope(("v", Shape([Output("email")])), outer=outer)
    reached = []
    for qualifier, origins in ((None, NOTHING), ("c", frozenset([(_CUSTOMERS, "email")]))):
        assert inner.resolve(qualifier, "email") == origins
        reached.append((inner.reached_out, outer.reached_out))
    assert reached == [(False, False), (True, False)]


def test_where_it_is_not_certain_all_that_are_possible_count() -> None:
    possible = Shape(rest=frozenset([(_UNKNOWN, ALL)]))
    outer = _scope(("c", relation_shape(_CUSTOMERS)))
    inner = _scope(("f", possible), outer=outer)
    assert inner.resolve(None, "email") == frozenset([(_UNKNOWN, ALL), (_CUSTOMERS, "email")])


def test_a_sources_name_is_its_row_unless_it_is_a_column() -> None:
    scope = _scope(("c", relation_shape(_CUSTOMERS)))
    assert scope.resolve(None, "c") == frozenset([(_CUSTOMERS, "id"), (_CUSTOMERS, "email")])
    assert _scope(("email", relation_shape(_CUSTOMERS))).resolve(None, "email") == frozenset(
        [(_CUSTOMERS, "email")]
    )
    assert scope.resolve(None, "ctid") == NOTHING
    assert scope.resolve("c", "tableoid") == NOTHING
    assert scope.resolve(None, "nobody") is None
    assert scope.resolve("c", "nobody") is None


def test_the_same_alias_twice_is_both() -> None:
    scope = _scope(("c", relation_shape(_CUSTOMERS)), ("c", Shape([Output("email")])))
    found = scope.find("c", "email")
    assert found is not None
    assert found.origins == {(_CUSTOMERS, "email")}


def test_certain_answers_outweigh_possible_ones() -> None:
    sure, maybe = Found(NOTHING, True, True), Found(frozenset([(_UNKNOWN, "x")]), True, False)
    assert merged([maybe, None, sure]) == sure
    assert merged([maybe, maybe]) == maybe
    assert merged([None]) is None


def test_marks_join() -> None:
    one, other = (
        Mark(frozenset(["a"]), frozenset(["id"]), frozenset(["x"])),
        Mark(frozenset(["b"]), frozenset(["k"])),
    )
    joined = one.joined(other)
    assert joined == Mark(frozenset(["a", "b"]), frozenset(["id"]), frozenset(["x"]))
    assert one.joined(None) is one
    assert [one.holds(column) for column in ("A", ALL, "b")] == [True, True, False]
    assert one.is_subject("ID")
