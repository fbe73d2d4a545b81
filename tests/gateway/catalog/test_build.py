"""From rows to values, without a server: what a real one never says. The rest is tested by reading."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.catalog.build import Row, build, decoded, rebuild
from gateway.catalog.marks import Differing
from gateway.catalog.queries import catalog_queries
from rules.catalog import SchemaSnapshot


def built(**rows: Sequence[Sequence[Any]]) -> tuple[SchemaSnapshot, int]:
    """The snapshot of these rows, and in how many steps it was built."""
    given: dict[str, list[Row]] = {
        name: [(json.dumps(row),) for row in rows.get(name, ())] for name in catalog_queries(180_000)
    }
    steps = build(given, generation=7, database="shop", server_version=180_000)
    count = 0
    while True:
        try:
            next(steps)
            count += 1
        except StopIteration as end:
            return end.value, count


@pytest.mark.parametrize("row", [(), ("1", "2"), (None,), ("{}",), ("1",), ('"text"',), ("[",)])
def test_rows_of_another_shape(row: Row) -> None:
    with pytest.raises(ValueError):
        decoded(row)


def test_an_empty_catalog() -> None:
    snapshot, _ = built()
    assert (snapshot.generation, snapshot.database, snapshot.server_version) == (7, "shop", 180_000)
    assert snapshot.relations == ()
    assert not snapshot.is_empty


def test_every_object_is_a_step() -> None:
    _, none = built()
    relations = [
        [16_384 + i, "public", f"t{i}", "r", ["id"], [23], False, False, "o", None, None] for i in range(50)
    ]
    snapshot, steps = built(relations=relations)
    assert len(snapshot.relations) == 50
    assert steps >= none + 50


def test_what_many_have_in_common_is_kept_once() -> None:
    relations = [
        [oid, "public", f"t{oid}", "r", ["id", "a"], [23, 25], False, False, "o", None, None]
        for oid in (1, 2)
    ]
    snapshot, _ = built(
        relations=relations,
        unique=[[1, ["id"]], [2, ["id"]]],
        code=[[1, "default", "a", "now()"], [2, "default", "a", "now()"]],
    )
    one, two = snapshot.relations
    assert one.columns is two.columns
    assert one.types is two.types
    assert one.unique[0] is two.unique[0]
    assert one.code[0] is two.code[0]


def test_texts_that_could_not_be_read_are_empty() -> None:
    snapshot, _ = built(
        relations=[[1, "public", "t", "r", None, None, False, False, "o", None, None]],
        rules=[[1, "r", "4", True, None]],
        triggers=[[1, "t", 4 | 32, 9, None, True, None]],
        code=[[1, "check", None, None]],
    )
    (relation,) = snapshot.relations
    assert (relation.columns, relation.parents) == ((), ())
    assert relation.rules[0].definition == ""
    assert relation.triggers[0].definition == ""
    assert relation.triggers[0].events == {"insert", "truncate"}
    assert relation.code[0].text == ""


def test_the_indexes_are_made_before_anybody_asks() -> None:
    snapshot, _ = built()
    for name in ("by_oid", "by_name", "children", "functions_by_name", "types_by_name"):
        assert name in vars(snapshot)


# --- what has changed ---------------------------------------------------------------------------------------


def table(oid: int, name: str) -> list[Any]:
    return [oid, "public", name, "r", ["id"], [23], False, False, "o", None, None]


def rebuilt(known: SchemaSnapshot, *oids: int, **rows: Sequence[Sequence[Any]]) -> SchemaSnapshot:
    """What was known once these relations were looked at again."""
    given: dict[str, list[Row]] = {
        name: [(json.dumps(row),) for row in rows.get(name, ())] for name in catalog_queries(180_000)
    }
    steps = rebuild(known, given, Differing({}, {"relation": frozenset(oids)}), generation=8)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: SchemaSnapshot = end.value
            return made


def test_what_stays_the_same_is_the_same_object() -> None:
    known, _ = built(
        relations=[table(1, "a"), table(2, "b"), table(4, "d")],
        foreign_keys=[["k", 2, 1, "c", "a", ["id"], ["id"]]],
        functions=[],
        namespaces=[["public", "o", ["x"]]],
    )
    same = {"namespaces": [["public", "o", ["x"]]]}
    assert rebuilt(known, 4, relations=[table(4, "d")], **same) is known
    new = rebuilt(known, 3, 4, relations=[table(3, "c"), table(4, "d")], **same)
    assert [one.name for one in new.relations] == ["a", "b", "c", "d"]
    assert [new.by_oid[oid] is known.by_oid[oid] for oid in (1, 2, 4)] == [True] * 3
    assert new.generation == 8
    assert new.foreign_keys is known.foreign_keys
    assert new.referring is known.referring
    assert new.namespaces is known.namespaces


def test_what_is_gone_is_in_no_index() -> None:
    known, _ = built(
        relations=[table(1, "a"), table(2, "b")], foreign_keys=[["k", 2, 1, "c", "a", ["id"], ["id"]]]
    )
    new = rebuilt(known, 2)
    assert set(new.by_name) == {("public", "a")}
    assert not new.referring


def test_a_schema_that_is_new_is_known() -> None:
    known, _ = built(relations=[table(1, "a")])
    new = rebuilt(known, namespaces=[["fresh", "o", None]])
    assert sorted(known.schemas) == ["public"]
    assert sorted(new.schemas) == ["fresh", "public"]
    assert new.by_oid is known.by_oid
