"""The catalog as a document: stable, sorted, and the same catalog again when it is loaded."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.described import Described, SearchPaths
from gateway.catalog.document import dump, implied_types, to_document
from gateway.catalog.load import load
from rules.catalog import ForeignKey, Function, Relation, SchemaSnapshot, Trigger, Type
from tests.support.catalog import snapshot_of
from tests.support.postgres import Postgres

SCHEMA = Path(__file__).with_name("schema.sql").read_text()


@pytest.fixture(scope="module")
def snapshot(postgres: Postgres) -> Iterator[SchemaSnapshot]:
    name = postgres.create_database(None, SCHEMA)
    yield snapshot_of(postgres, name)
    postgres.drop_database(name)


def named(document: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    (found,) = (part for part in document[section] if part["name"] == name)
    return dict(found)


def test_it_says_what_there_is(snapshot: SchemaSnapshot) -> None:
    document = to_document(Described(snapshot))
    assert (document["format"], document["version"]) == ("holdgate-catalog", 1)
    assert document["extensions"] == {"dblink": "crm", "hstore": "public", "plpgsql": "pg_catalog"}
    person = named(document, "relations", "person")
    assert person["columns"] == {
        "id": "int8",
        "email": "text",
        "name": "text",
        "born": "date",
        "full_name": "text",
        "seen": "timestamptz",
    }
    assert person["keys"] == [["id"], ["email"]]
    assert [trigger["name"] for trigger in person["triggers"]] == ["emptied", "on_change", "sometimes"]
    assert person["triggers"][0]["function"] == "crm.note()"
    assert named(document, "relations", "veteran")["inherits"] == ["crm.person"]
    assert named(document, "relations", "keys")["rules"][0]["definition"][0].startswith("CREATE RULE also AS")
    (key,) = named(document, "relations", "purchase")["foreign_keys"]
    assert (key["references"], key["on_delete"]) == ("crm.person", "cascade")
    rows_of = named(document, "functions", "rows_of")
    assert (rows_of["arguments"], rows_of["returns"], rows_of["returns_set"]) == (
        ["text"],
        "crm.person",
        True,
    )
    assert named(document, "types", "mail")["base"] == "text"
    assert {
        "source": "crm.pair",
        "target": "int4",
        "function": "crm.to_int(crm.pair)",
        "context": "implicit",
    } in (document["casts"])
    assert named(document, "operator_classes", "moods") == {
        "schema": "crm",
        "name": "moods",
        "method": "btree",
        "type": "crm.mood",
        "functions": ["crm.compare(crm.mood, crm.mood)"],
    }


def test_what_goes_without_saying_is_not_said(snapshot: SchemaSnapshot) -> None:
    document = to_document(Described(snapshot))
    assert "partition" not in named(document, "relations", "person")
    assert "owner" in named(document, "relations", "person")
    assert not [part for part in document["types"] if part["name"] in ("person", "_person", "_mail", "_pair")]
    assert not any("without_array" in part for part in document["types"])
    assert not any("without_row_type" in part for part in document["relations"])


def test_it_is_the_same_catalog_again(snapshot: SchemaSnapshot) -> None:
    described = Described(snapshot, SearchPaths("crm, public", {"app": '"Kunden"'}))
    text = dump(described)
    again = load(text)
    assert again.search_paths == described.search_paths
    assert dump(again) == text
    loaded = again.snapshot
    assert len(loaded.types) == len(snapshot.types)
    assert len({*loaded.by_oid, *loaded.types_by_oid, *loaded.functions_by_oid}) == (
        len(loaded.relations) + len(loaded.types) + len(loaded.functions)
    )
    for relation in snapshot.relations:
        found = loaded.by_name[relation.schema, relation.name]
        assert (found.columns, found.unique, found.definition) == (
            relation.columns,
            relation.unique,
            relation.definition,
        )
        assert {code.text for code in found.code} == {code.text for code in relation.code}
        assert [loaded.by_oid[oid].full_name for oid in found.parents] == [
            snapshot.by_oid[oid].full_name for oid in relation.parents
        ]
    person = loaded.by_name["crm", "person"]
    assert loaded.types_by_name["crm", "person"].relation == person.oid
    assert {loaded.by_oid[key.child].name for key in loaded.referring[person.oid]} == {
        "purchase",
        "purchase_old",
    }


def test_it_does_not_depend_on_oids_or_order(postgres: Postgres, snapshot: SchemaSnapshot) -> None:
    other = postgres.create_database(None, "CREATE TABLE first (); DROP TABLE first;" + SCHEMA)
    again = snapshot_of(postgres, other)
    assert again.by_name["crm", "person"].oid != snapshot.by_name["crm", "person"].oid
    renamed = replace(
        again, database=snapshot.database, relations=again.relations[::-1], types=again.types[::-1]
    )
    assert dump(Described(renamed)) == dump(Described(snapshot))
    postgres.drop_database(other)


def test_the_sample(postgres: Postgres, database: str) -> None:
    snapshot = snapshot_of(postgres, database)
    assert dump(load(dump(Described(snapshot)))) == dump(Described(snapshot))


# --- corners ------------------------------------------------------------------------------------------------


def test_names_are_quoted_as_postgresql_would_need_them() -> None:
    relations = tuple(
        Relation(at, schema, name, "S")
        for at, (schema, name) in enumerate(
            [("public", "a.b"), ("public.a", "b"), ("A", 'q"q'), ("ä", "1")], 1
        )
    )
    keys = tuple(ForeignKey("k", relations[0].oid, one.oid, "a", "a") for one in relations)
    (part,) = (
        one
        for one in to_document(Described(SchemaSnapshot(relations=relations, foreign_keys=keys)))["relations"]
        if "foreign_keys" in one
    )
    assert [key["references"] for key in part["foreign_keys"]] == [
        'public."a.b"',
        '"public.a".b',
        '"A"."q""q"',
        '"ä"."1"',
    ]


def test_what_is_not_described_is_named_by_its_number() -> None:
    snapshot = SchemaSnapshot(
        server_version=1,
        relations=(
            Relation(
                20_000,
                "public",
                "t",
                "S",
                ("a",),
                (77_777,),
                parents=(88_888,),
                triggers=(Trigger("x", frozenset({"insert"}), 1250),),
            ),
        ),
    )
    (part,) = to_document(Described(snapshot))["relations"]
    assert (part["columns"], part["inherits"]) == ({"a": "oid 77777"}, ["oid 88888"])
    loaded = load(dump(Described(snapshot))).snapshot.relations[0]
    assert (loaded.types, loaded.parents, loaded.triggers[0].function) == ((77_777,), (88_888,), 1250)
    assert loaded.oid > 88_888


def test_types_that_are_not_as_usual_are_described() -> None:
    relation = Relation(1, "public", "t", "r")
    row = Type(2, "public", "t", "c", relation=1)
    lonely = Type(4, "public", "lonely", "d", base=25)
    odd = Type(5, "public", "_lonely", "b", element=25)
    snapshot = SchemaSnapshot(
        server_version=1,
        relations=(relation, Relation(3, "public", "rowless", "v")),
        types=(row, lonely, odd),
    )
    assert implied_types(snapshot) == ({1: 2}, {})
    document = to_document(Described(snapshot))
    assert named(document, "relations", "t")["without_row_array"]
    assert named(document, "relations", "rowless")["without_row_type"]
    assert named(document, "types", "lonely")["without_array"]
    assert named(document, "types", "_lonely")["element"] == "text"
    assert dump(load(dump(Described(snapshot)))) == dump(Described(snapshot))


def test_texts_are_lists_of_lines_where_they_have_lines() -> None:
    function = Function(1, "public", "f", "f", "sql", "v", definition="one\ntwo\n")
    other = replace(function, oid=2, name="g", definition="one")
    document = to_document(Described(SchemaSnapshot(server_version=1, functions=(function, other))))
    assert [part["definition"] for part in document["functions"]] == [["one", "two", ""], "one"]
    assert [one.definition for one in load(json.dumps(document)).snapshot.functions] == ["one\ntwo\n", "one"]
