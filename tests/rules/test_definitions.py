"""CREATE: what is read, run or brought in by it."""

import pytest

from rules.facts import Action
from tests.rules.catalogs import effect, facts, verdict


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("CREATE TABLE t (a int8, b text DEFAULT lower('A'))", "allow"),
        ("CREATE TABLE t (a int8 DEFAULT crm.constant())", "erasure"),
        ("CREATE TABLE t (a int8, CHECK (crm.constant() > a))", "erasure"),
        ("CREATE TABLE t AS SELECT id FROM customers", "allow"),
        ("CREATE TABLE t AS SELECT email FROM customers", "bulk"),
        ("CREATE MATERIALIZED VIEW t AS SELECT email FROM customers", "bulk"),
        ("CREATE VIEW t AS SELECT email FROM customers", "bulk"),
        ("CREATE VIEW t AS SELECT id, name FROM products", "allow"),
        ("CREATE RULE r AS ON INSERT TO products DO NOTHING", "default:opaque_function"),
        ("CREATE TRIGGER t AFTER INSERT ON products EXECUTE FUNCTION purge()", "default:opaque_function"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "allow"),
        ("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "default:opaque_function"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'lib', 'sym'", "default:server_files"),
        ("CREATE EXTENSION dblink", "default:opaque_function"),
        ("CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw", "default:server_files"),
        ("CREATE INDEX ON products (lower(name))", "allow"),
        ("CREATE INDEX ON products (crm.constant())", "erasure"),
        ("CREATE INDEX ON products (name) WHERE crm.constant() > 0", "erasure"),
        ("CREATE STATISTICS s ON (crm.constant()), name FROM products", "erasure"),
        ("CREATE POLICY p ON notes USING (crm.constant() > 0)", "erasure"),
        ("CREATE DOMAIN d AS int CHECK (crm.constant() > value)", "erasure"),
        ("CREATE SCHEMA s CREATE TABLE t (a int DEFAULT crm.constant())", "erasure"),
        ("CREATE SCHEMA s CREATE TABLE t (a int)", "allow"),
        ("CREATE TYPE mood AS ENUM ('a', 'b')", "allow"),
        ("CREATE SEQUENCE s", "allow"),
        ("CREATE TEXT SEARCH CONFIGURATION c (COPY = english)", "allow"),
        ("CREATE AGGREGATE a (int) (SFUNC = int4pl, STYPE = int)", "default:opaque_function"),
        ("CREATE TABLE t PARTITION OF products FOR VALUES IN (crm.constant())", "erasure"),
        ("CREATE TABLE t PARTITION OF products FOR VALUES FROM (0) TO (crm.constant())", "erasure"),
        ("ALTER TABLE products ATTACH PARTITION notes FOR VALUES IN (crm.constant())", "erasure"),
        ("CREATE TABLE t (a int, EXCLUDE (a WITH =) WHERE (crm.constant() > 0))", "erasure"),
        ("CREATE TABLE t (LIKE products INCLUDING ALL)", "allow"),
    ],
)
def test_definitions(sql: str, rule: str) -> None:
    assert verdict(sql) == rule


def test_a_table_that_inherits_is_a_change_of_its_parent() -> None:
    found = effect("CREATE TABLE t () INHERITS (customers)", Action.DDL, "crm.customers")
    assert found.touches_personal


def test_the_session_is_told_what_was_made() -> None:
    (made,) = facts("CREATE TEMP TABLE t (a int, b text)").creates
    assert (made.schema, made.name, made.columns) == ("pg_temp", "t", ("a", "b"))


def test_a_definition_of_an_unknown_kind_is_unreadable() -> None:
    assert facts("SECURITY LABEL ON TABLE products IS 'x'").unreadable is None
    assert facts("CREATE ASSERTION a CHECK (true)").unreadable is not None
