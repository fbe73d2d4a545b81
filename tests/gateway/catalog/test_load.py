"""Documents that cannot be used, and everything that is said of them."""

import json
from typing import Any

import pytest

from gateway.catalog.described import DEFAULT_PATH, Described, SearchPaths
from gateway.catalog.document import dump
from gateway.catalog.load import DocumentError, load
from rules.catalog import Relation, SchemaSnapshot

GOOD: dict[str, Any] = {
    "format": "holdgate-catalog",
    "version": 1,
    "database": "shop",
    "server_version": 180_000,
    "relations": [
        {"schema": "public", "name": "t", "kind": "table", "columns": {"a": "int4"}, "keys": [["a"]]}
    ],
}


def problems(**parts: Any) -> list[str]:
    """What is wrong with the good document once these parts are in it."""
    with pytest.raises(DocumentError) as refused:
        load(json.dumps({**GOOD, **parts}))
    assert str(refused.value).splitlines()[:50] == [str(problem) for problem in refused.value.problems][:50]
    return [str(problem) for problem in refused.value.problems]


def test_a_small_document() -> None:
    snapshot = load(json.dumps(GOOD)).snapshot
    (relation,) = snapshot.relations
    assert (snapshot.database, snapshot.server_version, snapshot.generation) == ("shop", 180_000, 1)
    assert (relation.full_name, relation.columns, relation.types) == ("public.t", ("a",), (23,))
    assert relation.unique == (frozenset({"a"}),)
    assert {one.name for one in snapshot.types} == {"t", "_t"}


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "[" * 100_000, "\ud800"])
def test_what_is_not_a_document(text: str) -> None:
    with pytest.raises(DocumentError):
        load(text)


@pytest.mark.parametrize("given", [{"format": "other"}, {"version": 2}, {"version": None}])
def test_another_format_or_version_is_not_read_further(given: dict[str, Any]) -> None:
    (problem,) = problems(**given, relations=5)
    assert "holdgate catalog dump" in problem


def test_every_problem_at_once() -> None:
    found = problems(
        databse="shop",
        server_version="18",
        extensions=["x"],
        schemas=[{"name": "a", "usage": "b"}],
        relations=[
            {"schema": "public", "kind": "tabel", "columns": {"a": "int5"}, "keys": [["b"]], "colums": {}},
            {
                "schema": "public",
                "name": "u",
                "kind": "view",
                "definition": 5,
                "partition": "no",
                "inherits": ["public.v"],
            },
            5,
        ],
        functions=[
            {
                "schema": "public",
                "name": "f",
                "arguments": ["nothing"],
                "kind": "function",
                "language": "sql",
                "volatility": "stable",
                "support": ["public.g()"],
                "defaults": True,
            }
        ],
    )
    assert sorted(found) == sorted(
        [
            "server_version: expected a whole number, found text",
            "extensions: expected a mapping from text to text",
            "schemas[0].usage: expected a list of texts",
            "relations[0].name: is missing",
            "relations[0].keys: b: there is no such column",
            "relations[0].kind: expected one of table, partitioned table, view, materialized view, foreign table,"
            " sequence, composite type, toast table",
            "relations[0].columns: type int5 is not described here",
            "relations[0].colums: unknown key; did you mean columns?",
            "relations[1].inherits: relation public.v is not described here",
            "relations[1].partition: expected true or false, found text",
            "relations[1].definition: expected text or a list of its lines",
            "relations[2]: expected a mapping, found a number",
            "relations[2].schema: is missing",
            "relations[2].name: is missing",
            "relations[2].kind: expected one of table, partitioned table, view, materialized view, foreign table,"
            " sequence, composite type, toast table",
            "functions[0].arguments: type nothing is not described here",
            "functions[0].support: function public.g() is not described here",
            "functions[0].defaults: expected a whole number, found true or false",
            "databse: unknown key; did you mean database?",
        ]
    )


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"relations": {}}, "relations: expected a list, found a mapping"),
        (
            {"relations": [*GOOD["relations"], *GOOD["relations"]]},
            "relations[1]: public.t is described twice",
        ),
        (
            {"types": [{"schema": "public", "name": "_t", "kind": "base", "element": "text"}]},
            "types: public._t is described, and implied by something else",
        ),
        (
            {"types": [{"schema": 5, "name": "x", "kind": "enum"}]},
            "types[0].schema: expected text, found a number",
        ),
        (
            {"relations": [{"schema": "a", "name": "b", "kind": "sequence", "keys": [[]]}]},
            "relations[0].keys: expected a list of lists of texts",
        ),
        (
            {
                "relations": [
                    {
                        "schema": "a",
                        "name": "b",
                        "kind": "sequence",
                        "triggers": [{"name": "t", "events": ["delte"], "function": "oid 5"}],
                    }
                ]
            },
            "relations[0].triggers[0].events: delte: expected some of delete, insert, truncate, update",
        ),
        (
            {"relations": [{"schema": "a", "name": "b", "kind": "sequence", "columns": {"c": 5}}]},
            "relations[0].columns: expected a mapping from text to text",
        ),
        (
            {"event_triggers": [{"name": "e", "event": "sql_drop", "function": "a.b()"}]},
            "event_triggers[0].function: function a.b() is not described here",
        ),
        (
            {"casts": [{"source": "text", "target": "x.y", "context": "implicit"}]},
            "casts[0].target: type x.y is not described here",
        ),
        (
            {"operators": [{"schema": "a", "name": "+", "left": None, "right": [], "function": "oid 7"}]},
            "operators[0].right: expected text, found a list",
        ),
    ],
)
def test_a_problem(parts: dict[str, Any], problem: str) -> None:
    assert problem in problems(**parts)


def test_endless_problems_are_not_all_printed() -> None:
    with pytest.raises(DocumentError) as refused:
        load(json.dumps({**GOOD, **{f"x{i}": 1 for i in range(60)}}))
    assert len(refused.value.problems) == 60
    assert str(refused.value).endswith("and 10 more")


def test_numbers_made_up_are_not_those_in_use() -> None:
    snapshot = SchemaSnapshot(
        server_version=1, database="d", relations=(Relation(5, "public", "t", "r", ("a",), (16_500,)),)
    )
    loaded = load(dump(Described(snapshot))).snapshot
    assert min([*loaded.by_oid, *loaded.types_by_oid]) > 16_500


def test_search_paths() -> None:
    assert load(json.dumps(GOOD)).search_paths == SearchPaths(DEFAULT_PATH, {})
    paths = {"": "crm", "app": "a, b"}
    assert load(json.dumps({**GOOD, "search_paths": paths})).search_paths == SearchPaths(
        "crm", {"app": "a, b"}
    )
    assert problems(search_paths=["crm"]) == ["search_paths: expected a mapping from text to text"]
