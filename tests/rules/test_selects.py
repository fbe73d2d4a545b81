"""SELECT: select lists, WITH, set operations, grouping, limits."""

import pytest

from rules.facts import Action
from tests.rules.catalogs import effect, facts, verdict


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("SELECT email FROM customers LIMIT 5", "BOUNDED(5)"),
        ("SELECT email FROM customers LIMIT 5 OFFSET 10", "BOUNDED(5)"),
        ("SELECT email FROM customers FETCH FIRST ROW ONLY", "POINT"),
        ("SELECT email FROM customers ORDER BY id FETCH FIRST 2 ROWS WITH TIES", "UNBOUNDED"),
        ("SELECT email FROM customers LIMIT ALL", "UNBOUNDED"),
        ("SELECT email FROM customers LIMIT NULL", "UNBOUNDED"),
        ("SELECT email FROM customers LIMIT 2 + 2", "UNBOUNDED"),
        ("SELECT array_agg(email) FROM customers LIMIT 1", "UNBOUNDED"),
        ("SELECT name, array_agg(email) FROM customers GROUP BY name LIMIT 1", "UNBOUNDED"),
        ("SELECT array_agg(email) OVER () FROM customers LIMIT 1", "UNBOUNDED"),
        ("SELECT DISTINCT email FROM customers LIMIT 3", "BOUNDED(3)"),
        ("SELECT email FROM (SELECT email FROM customers LIMIT 9) q LIMIT 3", "BOUNDED(3)"),
        (
            "SELECT email FROM customers WHERE id = 1 UNION SELECT email FROM customers WHERE id = 2",
            "BOUNDED(2)",
        ),
        (
            "(SELECT email FROM customers LIMIT 3) UNION ALL (SELECT email FROM customers LIMIT 4)",
            "BOUNDED(7)",
        ),
        ("SELECT email FROM customers UNION ALL SELECT email FROM customers LIMIT 2", "BOUNDED(4)"),
        ("WITH c AS (SELECT email FROM customers LIMIT 2) SELECT * FROM c", "BOUNDED(2)"),
        ("WITH c AS (SELECT * FROM customers) SELECT email FROM c WHERE id = 1", "POINT"),
        ("SELECT (SELECT email FROM customers c WHERE c.id = p.id LIMIT 1) FROM products p", "UNBOUNDED"),
        ("SELECT (SELECT email FROM customers WHERE id = 1)", "POINT"),
    ],
)
def test_how_many_leave(sql: str, bound: str) -> None:
    assert str(effect(sql, Action.READ, "crm.customers").row_bound) == bound


def test_a_recursion_reads_as_often_as_it_likes() -> None:
    sql = (
        "WITH RECURSIVE w (id, e) AS (SELECT id, email FROM customers WHERE id = 1 UNION ALL "
        "SELECT c.id, c.email FROM customers c JOIN w ON c.id = w.id + 1) SELECT e FROM w"
    )
    assert str(effect(sql, Action.READ, "crm.customers").row_bound) == "UNBOUNDED"


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("WITH customers AS (SELECT 1 AS email) SELECT email FROM customers", "allow"),
        ("WITH a AS (SELECT email FROM customers), customers AS (SELECT 1) SELECT * FROM a", "bulk"),
        (
            "WITH RECURSIVE a AS (SELECT * FROM customers), customers AS (SELECT 1 AS x) SELECT x FROM a",
            "allow",
        ),
        ("SELECT * FROM (WITH customers AS (SELECT 1) SELECT 1) q, customers", "bulk"),
        ("WITH a AS (DELETE FROM customers) SELECT 1", "erasure"),
        ("SELECT (WITH a AS (SELECT email FROM customers) SELECT max(email) FROM a)", "bulk"),
        ("TABLE customers", "bulk"),
        ("VALUES ((SELECT string_agg(email, '') FROM customers))", "bulk"),
        ("SELECT id FROM customers ORDER BY email", "allow"),
        ("SELECT DISTINCT ON (email) id FROM customers", "allow"),
        ("SELECT email AS x FROM customers GROUP BY x HAVING count(*) > 1", "bulk"),
        ("SELECT count(*) FROM customers GROUP BY GROUPING SETS ((email), ())", "allow"),
        ("SELECT 1 FROM products WINDOW w AS (ORDER BY crm.constant())", "erasure"),
        ("SELECT 1 LIMIT crm.constant()", "erasure"),
        ("SELECT 1 OFFSET crm.constant()", "erasure"),
        ("SELECT 1 UNION SELECT 2 ORDER BY crm.constant()", "erasure"),
        ("SELECT id FROM customers FOR UPDATE OF customers", "allow"),
    ],
)
def test_selects(sql: str, rule: str) -> None:
    assert verdict(sql) == rule


@pytest.mark.parametrize("sql", ["SELECT id, name INTO TEMP kept FROM products", "SELECT 1 AS a INTO kept"])
def test_select_into_makes_a_relation(sql: str) -> None:
    assert verdict(sql) == "allow"
    assert [one.name for one in facts(sql).creates] == ["kept"]


def test_a_copy_made_by_select_into_is_personal() -> None:
    (made,) = facts("SELECT id, email INTO kept FROM customers").creates
    assert (made.copied, made.copied_subject) == (("email",), ("id",))
