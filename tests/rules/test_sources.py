"""What stands in FROM: joins, functions, tables made of documents, views, samples."""

import pytest

from rules.facts import Action
from tests.rules.catalogs import effect, judgement, verdict


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT c.email FROM customers c CROSS JOIN products", ("email",)),
        ("SELECT email FROM customers NATURAL JOIN orders", ("email",)),
        ("SELECT j.id FROM customers JOIN orders USING (id) AS j", ()),
        ("SELECT x.email FROM (customers c LEFT JOIN orders o ON o.customer_id = c.id) x", ("email",)),
        ("SELECT x.b FROM (SELECT id, email FROM customers) AS x (a, b)", ("email",)),
        ("SELECT x.n FROM products p, LATERAL (SELECT name AS n FROM customers c WHERE c.id = p.id) x", ("name",)),
        ("SELECT e FROM customers c, unnest(ARRAY[c.email]) e", ("email",)),
        ("SELECT e.value FROM customers c, jsonb_each_text(to_jsonb(c)) e", ("email", "name")),
        ("SELECT t.b FROM customers c, ROWS FROM (unnest(ARRAY[1]), unnest(ARRAY[c.email])) AS t (a, b)", ("email",)),
        ("SELECT v FROM customers c, unnest(ARRAY[c.email]) WITH ORDINALITY AS t (v, n)", ("email",)),
        ("SELECT t.a FROM customers c, ROWS FROM (unnest(ARRAY[c.email]), vat(1)) AS t (a, x)", ("email",)),
        ("SELECT t.a FROM ROWS FROM (unnest(ARRAY[1]), everybody()) AS t (q, x, y, a)", ("email", "name")),
        ("SELECT x.e FROM customers c, XMLTABLE('/a' PASSING xmlforest(c.email) COLUMNS e xml PATH '.') x", ("email",)),
        ("SELECT t.e FROM customers c, JSON_TABLE(to_jsonb(c), '$' COLUMNS (e text)) t", ("email", "name")),
        ("SELECT email FROM customers TABLESAMPLE SYSTEM (5)", ("email",)),
        ("SELECT contact FROM ONLY contacts", ("email",)),
        ("SELECT c.* FROM customers AS c (a, b)", ("email", "name")),
        ("SELECT c.b FROM customers AS c (a, b)", ("name",)),
    ],
)  # fmt: skip
def test_what_leaves_through_a_source(sql: str, columns: tuple[str, ...]) -> None:
    assert tuple(sorted(effect(sql, Action.READ, "crm.customers").personal)) == columns


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("SELECT c.email FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = 1", "POINT"),
        (
            "SELECT c.email FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.id = 1",
            "POINT",
        ),
        ("SELECT c.email FROM customers c JOIN products p ON true AND c.id = 1", "POINT"),
        ("SELECT c.email FROM customers c LEFT JOIN products p ON c.id = 1", "UNBOUNDED"),
        ("SELECT c.email FROM products p LEFT JOIN customers c ON c.id = 1", "POINT"),
        ("SELECT c.email FROM customers c RIGHT JOIN products p ON c.id = 1", "POINT"),
        ("SELECT c.email FROM products p FULL JOIN customers c ON c.id = 1", "UNBOUNDED"),
        ("SELECT c.email FROM (VALUES (1), (2)) v (id) JOIN customers c USING (id)", "BOUNDED(2)"),
        (
            "SELECT c.email FROM unnest('{1,2,3}'::int8[]) u (id) JOIN customers c ON c.id = u.id",
            "UNBOUNDED",
        ),
        ("SELECT c.email FROM generate_series(1, 9) g (id) JOIN customers c ON c.id = g.id", "UNBOUNDED"),
    ],
)
def test_joins_prove_what_they_filter(sql: str, bound: str) -> None:
    assert str(effect(sql, Action.READ, "crm.customers").row_bound) == bound


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("SELECT 1 FROM products TABLESAMPLE own_method (5)", "default:opaque_function"),
        ("SELECT 1 FROM products TABLESAMPLE SYSTEM (crm.constant())", "erasure"),
        ("SELECT 1 FROM products TABLESAMPLE SYSTEM (5) REPEATABLE (crm.constant())", "erasure"),
        ("SELECT 1 FROM remote", "default:server_files"),
        ("SELECT 1 FROM products JOIN notes ON crm.constant() = 1", "erasure"),
    ],
)
def test_code_in_a_source_runs(sql: str, rule: str) -> None:
    assert verdict(sql) == rule


def test_a_materialised_view_is_personal_by_what_it_was_made_of() -> None:
    assert judgement("SELECT address FROM mailing").verdict.rule == "bulk"
    assert verdict("SELECT id FROM mailing") == "allow"
