"""What differs between two catalogs, in words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.catalog.described import Described, SearchPaths
from gateway.catalog.difference import Change, differences
from gateway.catalog.document import to_document
from rules.catalog import SchemaSnapshot
from tests.support.catalog import snapshot_of
from tests.support.postgres import Postgres

SCHEMA = Path(__file__).with_name("schema.sql").read_text()


@pytest.fixture
def changing(postgres: Postgres) -> Iterator[str]:
    name = postgres.create_database(None, SCHEMA)
    yield name
    postgres.drop_database(name)


def found(before: SchemaSnapshot, after: SchemaSnapshot) -> list[Change]:
    return differences(to_document(Described(before)), to_document(Described(after)))


def test_nothing_differs(postgres: Postgres, changing: str) -> None:
    assert found(snapshot_of(postgres, changing), snapshot_of(postgres, changing)) == []


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE SCHEMA more", [Change("added", "schema", "more")]),
        ("DROP VIEW crm.contact_twice", [Change("removed", "relation", "crm.contact_twice")]),
        (
            "ALTER TABLE crm.person ADD shoe_size int",
            [
                Change("changed", "relation", "crm.person", ('+  "shoe_size": "int4"',)),
                Change("changed", "relation", "crm.veteran", ('+  "shoe_size": "int4"',)),
            ],
        ),
        (
            "ALTER TABLE crm.purchase DROP CONSTRAINT purchase_person_fkey",
            None,
        ),
        ("DROP OPERATOR crm.!!! (NONE, int)", [Change("removed", "operator", "crm.!!!(none, int4)")]),
        ("DROP CAST (crm.mood AS text)", [Change("removed", "cast", "crm.mood as text")]),
        (
            "DROP OPERATOR CLASS crm.moods USING btree",
            [Change("removed", "operator class", "crm.moods using btree")],
        ),
        ("DROP EVENT TRIGGER watcher", [Change("removed", "event trigger", "watcher")]),
        ("DROP FUNCTION crm.listed", [Change("removed", "function", "crm.listed(int4)")]),
        ("DROP EXTENSION hstore", None),
        (
            "CREATE OR REPLACE FUNCTION crm.finish(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1'",
            [
                Change(
                    "changed",
                    "function",
                    "crm.finish(int4)",
                    (
                        '- "volatility": "immutable"',
                        '+ "volatility": "stable"',
                        '-  " IMMUTABLE"',
                        '+  " STABLE"',
                    ),
                )
            ],
        ),
        ("ALTER DOMAIN crm.mail DROP DEFAULT", None),
    ],
)
def test_what_differs(postgres: Postgres, changing: str, sql: str, expected: list[Change] | None) -> None:
    before = snapshot_of(postgres, changing)
    postgres.execute(sql, changing)
    changes = found(before, snapshot_of(postgres, changing))
    assert changes
    if expected is not None:
        assert changes == expected


def test_there_and_back(postgres: Postgres, changing: str) -> None:
    before = snapshot_of(postgres, changing)
    postgres.execute("DROP EXTENSION hstore; CREATE TABLE crm.fresh ()", changing)
    after = snapshot_of(postgres, changing)
    there = {(change.change, change.name) for change in found(before, after)}
    back = {(change.change, change.name) for change in found(after, before)}
    assert ("removed", "hstore") in there
    assert ("added", "crm.fresh") in there
    opposite = {"added": "removed", "removed": "added", "changed": "changed"}
    assert back == {(opposite[change], name) for change, name in there}


def test_other_search_paths() -> None:
    snapshot = SchemaSnapshot(server_version=1)
    one = Described(snapshot, SearchPaths("crm", {"app": "a", "old": "b"}))
    other = Described(snapshot, SearchPaths("crm", {"app": "a, b", "new": "c"}))
    assert differences(to_document(one), to_document(other)) == [
        Change("changed", "search path of", "app", ('-"a"', '+"a, b"')),
        Change("added", "search path of", "new"),
        Change("removed", "search path of", "old"),
    ]
