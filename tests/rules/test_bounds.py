"""How many people a statement can reach, as far as it proves it."""

import pytest

from rules.facts import Action, ParameterBound
from tests.rules.catalogs import effect, facts


@pytest.mark.parametrize(
    ("condition", "bound"),
    [
        ("id = 5", "POINT"),
        ("5 = id AND name > 'a'", "POINT"),
        ("id = 2 + 3", "POINT"),
        ("email = 'a@b'", "POINT"),
        ("id = (SELECT max(id) FROM orders)", "POINT"),
        ("id IN (1, 2, 3)", "BOUNDED(3)"),
        ("id = ANY('{1,2}')", "BOUNDED(2)"),
        ("id = ANY(ARRAY[1, 2])", "BOUNDED(2)"),
        ("id IN (VALUES (1), (2))", "BOUNDED(2)"),
        ("id = 1 OR id IN (2, 3)", "BOUNDED(3)"),
        ("(id, name) = (1, 'a')", "POINT"),
        ("id IN (SELECT customer_id FROM orders WHERE id = 3)", "POINT"),
        ("false", "BOUNDED(0)"),
        ("1 = 0", "BOUNDED(0)"),
        ("true", "UNBOUNDED"),
        ("id = 1 OR true", "UNBOUNDED"),
        ("id > 5", "UNBOUNDED"),
        ("NOT id = 5", "UNBOUNDED"),
        ("id = (random() * 9)::int", "UNBOUNDED"),
        ("id = length(name)", "UNBOUNDED"),
        ("name = 'a'", "UNBOUNDED"),
        ("id = 1 OR name = 'a'", "UNBOUNDED"),
    ],
)
def test_conditions(condition: str, bound: str) -> None:
    found = effect(f"SELECT email FROM customers WHERE {condition}", Action.READ, "crm.customers")
    assert str(found.row_bound) == bound


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("SELECT email FROM customers LIMIT 5", "BOUNDED(5)"),
        ("SELECT email FROM customers FETCH FIRST ROW ONLY", "POINT"),
        ("SELECT email FROM customers ORDER BY id FETCH FIRST 5 ROWS WITH TIES", "UNBOUNDED"),
        ("SELECT email FROM customers LIMIT ALL", "UNBOUNDED"),
        ("SELECT string_agg(email, ',') FROM customers LIMIT 1", "UNBOUNDED"),
        ("SELECT contact FROM contacts WHERE ref = 3", "POINT"),
        ("SELECT c.email FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.id = 5", "POINT"),
        ("SELECT c.email FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.customer_id = 5", "POINT"),
        ("SELECT c.email FROM orders o LEFT JOIN customers c ON c.id = 5", "POINT"),
        ("SELECT c.email FROM customers c LEFT JOIN orders o ON c.id = 5", "UNBOUNDED"),
        ("SELECT email FROM customers WHERE id = 1 UNION ALL SELECT email FROM customers WHERE id = 2", "BOUNDED(2)"),
        ("SELECT (SELECT email FROM customers c WHERE c.id = p.id LIMIT 1) FROM products p", "UNBOUNDED"),
        ("SELECT email FROM products p, LATERAL (SELECT email FROM customers WHERE id > p.id LIMIT 1) x", "UNBOUNDED"),
        ("SELECT email_of(5)", "POINT"),
        ("SELECT email_of(id) FROM products", "UNBOUNDED"),
        ("SELECT email_of(id) FROM products WHERE id = 5", "POINT"),
        ("SELECT email_of(g) FROM generate_series(1, 300) g", "UNBOUNDED"),
        ("SELECT email_of(generate_series(1, 300))", "UNBOUNDED"),
        ("SELECT email FROM customers WHERE id = 1; SELECT email FROM customers WHERE id = 2", None),
    ],
)  # fmt: skip
def test_statements(sql: str, bound: str | None) -> None:
    if bound is None:
        bounds = {str(one.row_bound) for one in facts(sql).effects if one.personal}
        assert bounds == {"BOUNDED(2)"}, "a message's reads count together"
        return
    assert str(effect(sql, Action.READ, "crm.customers").row_bound) == bound


def test_what_only_a_parameter_knows() -> None:
    found = effect("SELECT email FROM customers WHERE id = ANY($1) LIMIT $2", Action.READ, "crm.customers")
    assert set(found.parameter_bounds) == {ParameterBound(0, "array"), ParameterBound(1, "limit")}


def test_rows_that_go_with_others_are_of_the_same_subject() -> None:
    sql = "DELETE FROM customers WHERE id = 5"
    assert str(effect(sql, Action.DELETE, "crm.customers").row_bound) == "POINT"
    assert str(effect(sql, Action.DELETE, "crm.orders").row_bound) == "POINT"
