"""Expressions: what they are made of, and the code that they call."""

from dataclasses import replace

import pytest

from rules.catalog import Operator
from tests.rules.catalogs import function, shop, verdict


@pytest.mark.parametrize(
    ("name", "call", "since"),
    [
        ("json_scalar", "json_scalar('x')", 17),
        ("json_serialize", "json_serialize('x')", 17),
        ("json_exists", "json_exists('{}', '$')", 17),
        ("json_value", "json_value('{}', '$')", 17),
        ("json_query", "json_query('{}', '$')", 17),
        ("json", "json('x')", 17),
        ("merge_action", "merge_action()", 17),
        ("json_array", "json_array('a', 'b')", 16),
        ("json_arrayagg", "json_arrayagg('a')", 16),
        ("json_object", "json_object('a', 'b')", 16),
    ],
)
def test_a_later_grammars_word_is_a_function_on_older_servers(name: str, call: str, since: int) -> None:
    own = function(16500, name, "BEGIN DELETE FROM crm.customers; RETURN 1; END", (25,))
    catalog = shop(functions=(own,))
    sql = f"SELECT {call}"
    assert verdict(sql, catalog=replace(catalog, server_version=(since - 1) * 10_000)) == "erasure"
    assert verdict(sql, catalog=replace(catalog, server_version=since * 10_000)) == "allow"


def test_what_such_a_function_returns_leaves() -> None:
    own = function(
        16500, "json_scalar", "SELECT email FROM crm.customers", (25,), language="sql", result="text"
    )
    older = replace(shop(functions=(own,)), server_version=150_000)
    assert verdict("SELECT json_scalar('x')", catalog=older) == "bulk"


def test_a_later_servers_value_is_a_column_on_older_ones() -> None:
    sql = "SELECT system_user FROM (SELECT email AS system_user FROM customers) c"
    assert verdict(sql, catalog=replace(shop(), server_version=150_000)) == "bulk"
    assert verdict(sql, catalog=shop()) == "allow"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM products ORDER BY id USING <#",
        "SELECT id FROM products ORDER BY id USING OPERATOR(crm.<#)",
        "SELECT 1 WHERE 1 <# ANY (SELECT id FROM products)",
        "CREATE TABLE t (a int8, EXCLUDE USING gist (a WITH crm.<#))",
    ],
)
def test_operators_are_code_wherever_they_stand(sql: str) -> None:
    catalog = shop(operators=(Operator("crm", "<#", 20, 20, 16453),))
    assert verdict(sql, catalog=catalog) == "default:opaque_function"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT JSON_VALUE('1', '$' RETURNING checked)",
        "SELECT * FROM JSON_TABLE('[1]'::jsonb, '$[*]' COLUMNS (a checked PATH '$')) t",
        "SELECT * FROM JSON_TABLE('[1]'::jsonb, '$[*]' COLUMNS (NESTED '$.x' COLUMNS (a checked PATH '$'))) t",
        "SELECT * FROM XMLTABLE('/a' PASSING xmlparse(CONTENT '<a/>') COLUMNS b checked PATH '.') t",
        "SELECT JSON_SERIALIZE('1' RETURNING checked)",
        "SELECT * FROM json_to_record('{}') AS t(a checked)",
    ],
)
def test_types_are_checked_wherever_they_stand(sql: str) -> None:
    assert verdict(sql) == "default:opaque_function"
