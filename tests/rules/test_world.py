"""What names stand for: along the path, temporary relations included; and which types run code."""

from dataclasses import replace

import pytest

from rules import compile_policy
from rules.catalog import EMPTY, Cast, OperatorClass, Relation, SchemaSnapshot, Type
from rules.world import World
from tests.rules.catalogs import SHOP, facts, shop, table, verdict
from tests.rules.policies import STRICT

_PERSONAL = compile_policy(STRICT).personal
_HIDING = shop(
    relations=(
        table(17000, "customers", "id", "email", schema="pg_temp"),
        table(17001, "own", "id", schema="pg_temp"),
        table(17002, "pg_class", "id"),
    )
)


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("customers", ("pg_catalog", "crm", "public"), "crm.customers"),
        ("products", ("pg_catalog", "crm", "public"), "public.products"),
        ("pg_class", ("pg_catalog", "crm"), "pg_catalog.pg_class"),
        ("pg_class", ("crm",), "pg_catalog.pg_class"),
        ("nowhere", ("crm",), "nowhere"),
    ],
)
def test_the_path_decides(name: str, path: tuple[str, ...], expected: str) -> None:
    assert World(_PERSONAL, SHOP).relation(None, name, path).full_name == expected


@pytest.mark.parametrize(
    ("path", "expected", "personal"),
    [
        (("pg_temp_3", "pg_catalog", "crm"), "pg_temp.customers", False),
        (("pg_catalog", "crm", "pg_temp_3"), "crm.customers", True),
        (("crm", "pg_temp"), "crm.customers", True),
        # Where the session's temporary schema is in the path nobody has said yet.
        (("pg_catalog", "crm"), "pg_temp.customers", True),
    ],
)
def test_a_temporary_relation_hides_what_comes_behind_it(
    path: tuple[str, ...], expected: str, personal: bool
) -> None:
    named = World(_PERSONAL, _HIDING).relation(None, "customers", path)
    assert (named.full_name, named.mark is not None) == (expected, personal)


def test_a_schema_of_somebodys_own_may_come_before_the_systems() -> None:
    assert (
        World(_PERSONAL, _HIDING).relation(None, "pg_class", ("crm", "pg_catalog")).full_name
        == "crm.pg_class"
    )


_TEMPORARY_FIRST = ("pg_temp_3", "pg_catalog", "crm", "public")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT email FROM customers",
        "SELECT email FROM pg_temp.customers",
        "DELETE FROM customers",
        "DROP TABLE customers",
        "DROP TABLE IF EXISTS pg_temp.customers",
        "TRUNCATE customers",
        "COPY customers TO STDOUT",
        "CREATE TEMP TABLE orders (id int)",
        "DELETE FROM own; SELECT 1",
    ],
)
def test_a_temporary_relation_is_not_the_personal_one_of_its_name(sql: str) -> None:
    assert verdict(sql, catalog=_HIDING, search_path=_TEMPORARY_FIRST) == "allow"


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE customers; DELETE FROM customers",
        "COMMIT; DELETE FROM customers",
        "DO $$ BEGIN DROP TABLE customers; DELETE FROM customers; END $$",
        "DO $$ BEGIN FOR i IN 1..2 LOOP DELETE FROM customers; DROP TABLE customers; END LOOP; END $$",
        "DELETE FROM crm.customers",
    ],
)
def test_what_it_hides_may_be_meant_once_it_is_gone(sql: str) -> None:
    assert verdict(sql, catalog=_HIDING, search_path=_TEMPORARY_FIRST) == "erasure"


def test_then_it_is_not_known_what_is_meant() -> None:
    hiding = shop(relations=(table(17000, "pings", "id", schema="pg_temp"),))
    sql = "DROP TABLE pings; UPDATE pings SET id = 1"
    assert verdict(sql, catalog=hiding, search_path=_TEMPORARY_FIRST) == "default:unknown_relation"


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("DROP TABLE IF EXISTS nowhere", "allow"),
        ("DROP TABLE IF EXISTS products, public.nowhere CASCADE", "allow"),
        ("DROP VIEW IF EXISTS nowhere", "allow"),
        ("DROP TYPE IF EXISTS nothing CASCADE", "allow"),
        ("DROP TABLE nowhere", "default:unknown_relation"),
        ("DROP TABLE IF EXISTS crm.customer_mv", "erasure"),
        ("DROP TABLE IF EXISTS customers", "erasure"),
        ("ALTER TABLE products RENAME TO nowhere; DROP TABLE IF EXISTS nowhere", "default:unknown_relation"),
        ("DO $$ BEGIN DROP TABLE IF EXISTS nowhere; END $$", "default:unknown_relation"),
    ],
)
def test_what_is_not_there_cannot_be_dropped(sql: str, rule: str) -> None:
    assert verdict(sql) == rule


def test_it_is_looked_for_once_more() -> None:
    assert facts("DROP TABLE IF EXISTS public.nowhere").missing == ("public.nowhere",)
    assert facts("DROP TYPE IF EXISTS x.y CASCADE").missing == ("x.y",)


def test_nothing_is_certain_without_a_catalog() -> None:
    unknown = SchemaSnapshot(generation=3, unavailable="nobody answers")
    assert verdict("DROP TABLE IF EXISTS nowhere", catalog=unknown) == "default:unknown_relation"
    assert verdict("DROP SCHEMA aa CASCADE", catalog=EMPTY) == "erasure"


@pytest.mark.parametrize(
    ("oid", "expected"),
    [(23, False), (25, True), (16471, True), (17010, True), (17011, True), (17012, False), (17013, False)],
)
def test_types_run_code_that_their_parts_run(oid: int, expected: bool) -> None:
    catalog = replace(
        shop(
            relations=(Relation(17020, "crm", "pair", "c", ("a",), (16471,)),),
            types=(
                Type(17010, "crm", "pair", "c", relation=17020),
                Type(17011, "crm", "_pair", "b", element=17010),
                Type(17012, "crm", "mood", "e"),
                Type(17013, "public", "citext", "b", functions=(16453,), extension="citext"),
            ),
        ),
        casts=(Cast(25, 1, 16453, "i"),),
        operator_classes=(OperatorClass("public", "o", "btree", 17012, (1,), "citext"),),
    )
    assert World(_PERSONAL, catalog).runs_code(oid) == expected
