"""What may be read on the event loop, told without reading it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.caps import LIGHT_BYTES, LIGHT_DEPTH, LIGHT_TOKENS, is_light, weight
from rules.lexer import LexError, lex

ORM = (
    'SELECT "shop_order"."id", "shop_order"."placed_at", "shop_order"."status", "shop_customer"."id", '
    '"shop_customer"."name", "shop_customer"."email" FROM "shop_order" INNER JOIN "shop_customer" ON '
    '("shop_order"."customer_id" = "shop_customer"."id") WHERE ("shop_order"."placed_at" >= %s AND '
    '"shop_order"."status" IN (%s, %s, %s)) ORDER BY "shop_order"."placed_at" DESC LIMIT 21'
)


@pytest.mark.parametrize("sql", ["", "SELECT 1", ORM, "SELECT '" + "x" * 3000 + "'"])
def test_what_applications_send_all_day_is_light(sql: str) -> None:
    assert is_light(sql.encode())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '" + "x" * LIGHT_BYTES + "'",
        "SELECT 1" + "+1" * LIGHT_TOKENS,
        "SELECT 1" + " OR a" * LIGHT_TOKENS,
        'SELECT"a"' + 'OR"a"' * LIGHT_TOKENS,
        "SELECT 1 WHERE a IN (1" + ",1" * LIGHT_TOKENS + ")",
        "SELECT 1;" * LIGHT_TOKENS,
        "SELECT " + "NOT " * LIGHT_TOKENS + "a",
        "SELECT a" + "[1]" * LIGHT_TOKENS,
        "SELECT " + "date(" * (LIGHT_DEPTH + 1) + "a" + ")" * (LIGHT_DEPTH + 1),
        "SELECT " + "ARRAY[" * (LIGHT_DEPTH + 1) + "1" + "]" * (LIGHT_DEPTH + 1),
        ") " * 50 + "(" * (LIGHT_DEPTH + 1),
        "/*" * LIGHT_TOKENS + "*/" * LIGHT_TOKENS + "SELECT 1",
    ],
    ids=lambda sql: sql[:24],
)
def test_what_is_long_or_nested_is_heavy(sql: str) -> None:
    assert weight(sql.encode()) > LIGHT_TOKENS


def test_brackets_side_by_side_are_not_nested() -> None:
    assert is_light(b"SELECT " + b", ".join([b"f(a)"] * 20))


_PIECES = [*"abX019_$.,;:()[]+-*/<>=~!@#%^&|?'\"\n\t ", "é", "NOT ", "/*", "*/", "--", '"a"', "'b'"]


@given(st.lists(st.sampled_from(_PIECES), max_size=300).map("".join))
def test_no_text_has_many_more_tokens_than_its_weight(sql: str) -> None:
    try:
        tokens = lex(sql)
    except LexError:
        return
    assert len(tokens) <= weight(sql.encode()) * 2
