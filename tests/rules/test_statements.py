"""Statements that are about the session: settings, prepared statements, COPY, EXPLAIN, locks, blocks."""

import pytest

from rules.facts import Action
from tests.rules.catalogs import effect, facts, verdict


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("BEGIN", "allow"),
        ("SHOW search_path", "allow"),
        ("LISTEN x", "allow"),
        ("CHECKPOINT", "allow"),
        ("DISCARD ALL", "allow"),
        ("DEALLOCATE ALL", "allow"),
        ("CLOSE ALL", "allow"),
        ("SET CONSTRAINTS ALL DEFERRED", "allow"),
        ("SET standard_conforming_strings = off", "default:guarded_settings"),
        ("PREPARE p AS DELETE FROM customers", "allow"),
        ("EXECUTE p", "default:unreadable"),
        ("FETCH ALL FROM c", "default:unreadable"),
        ("DECLARE c CURSOR FOR SELECT email FROM customers", "bulk"),
        ("DECLARE c CURSOR FOR SELECT id FROM customers", "allow"),
        ("EXPLAIN SELECT email FROM customers", "allow"),
        ("EXPLAIN ANALYZE SELECT email FROM customers", "bulk"),
        ("EXPLAIN (ANALYZE off) DELETE FROM customers", "allow"),
        ("EXPLAIN (ANALYZE) DELETE FROM customers", "erasure"),
        ("COPY customers TO STDOUT", "bulk"),
        ("COPY customers (id) TO STDOUT", "allow"),
        ("COPY (DELETE FROM customers RETURNING id) TO STDOUT", "erasure"),
        ("COPY products FROM STDIN", "allow"),
        ("COPY products FROM STDIN WHERE crm.constant() = 1", "erasure"),
        ("COPY products TO '/tmp/x'", "default:server_files"),
        ("COPY products FROM PROGRAM 'x'", "default:server_files"),
        ("LOAD 'x'", "default:server_files"),
        ("LOCK TABLE customers IN EXCLUSIVE MODE", "default:guarded_settings"),
        ("LOCK TABLE customers IN ROW SHARE MODE", "allow"),
        ("LOCK TABLE products", "allow"),
        ("DO $$ BEGIN NULL; END $$", "allow"),
        ("DO LANGUAGE plpython3u $$ x $$", "default:opaque_function"),
        ("CALL purge()", "erasure"),
        ("SELECT 1; DELETE FROM customers; SELECT 2", "erasure"),
        ("SET search_path = public; DELETE FROM products", "allow"),
        ("SELECT set_config('search_path', 'crm', false); DELETE FROM products", "default:unreadable"),
    ],
)
def test_statements(sql: str, rule: str) -> None:
    assert verdict(sql) == rule


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("EXECUTE p", "erasure"),
        ("EXPLAIN ANALYZE EXECUTE p", "erasure"),
        ("EXPLAIN EXECUTE p", "allow"),
        ("CREATE TABLE t AS EXECUTE q", "bulk"),
        ("EXECUTE q (crm.constant())", "erasure"),
        ("EXECUTE twice", "erasure"),
    ],
)
def test_execute_is_what_was_prepared(sql: str, rule: str) -> None:
    prepared = {
        "p": ("DELETE FROM customers",),
        "q": ("SELECT email FROM customers",),
        "twice": ("SELECT 1", "DELETE FROM customers"),
    }
    assert verdict(sql, prepared=prepared) == rule


def test_the_session_is_told_what_was_prepared() -> None:
    found = facts("PREPARE p (int8) AS SELECT (SELECT 1) AS a FROM products WHERE id = $1; DEALLOCATE q")
    assert found.prepares == (("p", "SELECT (SELECT 1) AS a FROM products WHERE id = $1"),)
    assert found.deallocates == ("q",)


def test_copying_out_shows_the_columns_named() -> None:
    assert effect("COPY customers (name) TO STDOUT", Action.READ, "crm.customers").personal == ("name",)


def test_names_behind_a_new_path_are_looked_for_along_it() -> None:
    sql = "SET search_path = public, crm; SELECT email FROM customers"
    assert effect(sql, Action.READ, "crm.customers").personal == ("email",)
