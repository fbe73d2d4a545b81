"""ALTER: code that runs for the rows that are there, and what is lost or moved out of sight."""

import pytest

from rules.catalog import Code, Relation, SchemaSnapshot, Type
from rules.facts import Action
from tests.rules.catalogs import effect, shop, table, verdict


def _catalog(occasion: str) -> SchemaSnapshot:
    code = (Code(occasion, "crm.constant() > 0"),)  # type: ignore[arg-type]
    return shop(
        relations=(
            table(16510, "kept", "id", "a", schema="public", code=code),
            table(16511, "part", "id", "a", schema="public"),
        )
    )


@pytest.mark.parametrize("occasion", ["check", "index", "generated", "partition"])
@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE kept VALIDATE CONSTRAINT c",
        "ALTER TABLE kept ALTER a TYPE varchar",
        "ALTER TABLE kept ATTACH PARTITION part FOR VALUES IN (1)",
        "ALTER TABLE part ATTACH PARTITION kept DEFAULT",
        "ALTER TABLE kept ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES products",
        "ALTER TABLE kept SET UNLOGGED",
        "CREATE TABLE new PARTITION OF kept FOR VALUES IN (2)",
        "CREATE UNIQUE INDEX ON kept (a)",
    ],
)
def test_code_of_a_relation_that_is_scanned_runs(sql: str, occasion: str) -> None:
    assert verdict(sql, catalog=_catalog(occasion)) == "erasure"
    assert verdict(sql, catalog=_catalog("policy")) == "allow"


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE kept ALTER a TYPE checked",
        "ALTER TABLE kept ALTER a TYPE checked[]",
        "ALTER TABLE kept ADD b checked DEFAULT 'x'",
        "ALTER TABLE kept ADD CHECK (dynamic() > 0)",
        "ALTER TABLE kept ADD EXCLUDE USING gist (a WITH crm.===)",
        "CREATE TABLE new (a checked)",
        "CREATE DOMAIN further AS checked",
        "CREATE TYPE pair AS (a checked)",
        "ALTER DOMAIN checked VALIDATE CONSTRAINT c",
        "ALTER DOMAIN checked ADD CHECK (VALUE <> '')",
        "ALTER DOMAIN plain SET DEFAULT dynamic()",
        "ALTER TABLE kept ALTER a SET DEFAULT dynamic()",
        "ALTER TABLE kept ALTER a SET EXPRESSION AS (dynamic())",
    ],
)
def test_types_and_operators_of_somebodys_own_run_code(sql: str) -> None:
    assert verdict(sql, catalog=_catalog("policy")) == "default:opaque_function"


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE kept ADD b text DEFAULT (SELECT string_agg(email, ',') FROM customers)",
        "ALTER TABLE kept ALTER a TYPE text USING (SELECT max(email) FROM customers)",
        "ALTER TABLE kept ADD b text GENERATED ALWAYS AS (everybody()::text) STORED",
        "ALTER TABLE kept ALTER a SET DEFAULT everybody()::text",
    ],
)
def test_personal_values_put_into_other_columns_leave(sql: str) -> None:
    assert effect(sql, Action.READ, "crm.customers", catalog=_catalog("policy")).personal


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE customers DROP COLUMN email",
        "ALTER TABLE customers RENAME TO others",
        "ALTER TABLE customers RENAME email TO mail",
        "ALTER TABLE customers SET SCHEMA public",
        "ALTER SCHEMA crm RENAME TO other",
        "ALTER TABLE events DETACH PARTITION events_1",
        "ALTER TABLE events_1 NO INHERIT events",
        "ALTER TABLE customers ALTER email TYPE int USING 0",
    ],
)
def test_what_is_lost_or_hidden_is_a_deletion(sql: str) -> None:
    assert verdict(sql) == "erasure"


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("ALTER TABLE customers DISABLE TRIGGER ALL", "default:guarded_settings"),
        ("ALTER TABLE customers DISABLE ROW LEVEL SECURITY", "default:guarded_settings"),
        ("ALTER EVENT TRIGGER e DISABLE", "default:guarded_settings"),
        ("ALTER ROLE app SET standard_conforming_strings = off", "default:guarded_settings"),
        ("ALTER FUNCTION vat(int8) SECURITY DEFINER", "default:opaque_function"),
        ("ALTER FUNCTION vat(int8) RENAME TO tax", "default:opaque_function"),
        ("ALTER TABLE products ADD COLUMN weight int NOT NULL DEFAULT 0", "allow"),
        ("ALTER TABLE products RENAME COLUMN name TO label", "allow"),
        ("ALTER TABLE products OWNER TO app", "allow"),
        ("ALTER POLICY p ON notes USING (id > 0)", "allow"),
        ("ALTER ROLE app SET statement_timeout = '5s'", "allow"),
        ("ALTER ROLE app CONNECTION LIMIT 5", "allow"),
        ("ALTER TABLE products REPLICA IDENTITY FULL", "allow"),
        ("COMMENT ON TABLE products IS 'x'", "allow"),
    ],
)
def test_other_changes(sql: str, rule: str) -> None:
    assert verdict(sql) == rule


def test_a_domain_inside_of_a_composite_is_found_when_a_column_becomes_one() -> None:
    catalog = shop(
        relations=(Relation(16510, "crm", "pair", "c", ("a",), (16471,)),),
        types=(Type(16512, "crm", "pair", "c", relation=16510),),
    )
    assert verdict("ALTER TABLE products ADD p pair", catalog=catalog) == "default:opaque_function"
