"""SQL laid out for people: never another text, and never at the price of the event loop."""

import pytest

from rules import format_sql

DEEP = "date(" * 23 + "a" + ")" * 23
_CLOSE = ")" * 23
HIDING = [f"'{_CLOSE}'", f'"{_CLOSE}"', f"$${_CLOSE}$$", f"/*{_CLOSE}*/ 1"]


def test_a_statement_is_laid_out() -> None:
    assert format_sql("DELETE FROM t WHERE a = 1 AND b = 2") == "DELETE FROM t\nWHERE\n  a = 1 AND b = 2"


@pytest.mark.parametrize("sql", ["SELECT 1::int", "SELEC", "SELECT ARRAY[1]", "SELECT 'a' 'b'"])
def test_what_would_be_respelled_is_shown_as_it_came(sql: str) -> None:
    assert format_sql(sql) == sql


@pytest.mark.parametrize("hiding", ["1", *HIDING])
def test_what_nests_deep_is_shown_as_it_came(hiding: str) -> None:
    # sqlglot takes twice the time for each of these levels: laid out, it would take hours.
    sql = f"DELETE FROM t WHERE a = {hiding} OR a = {DEEP}"
    assert format_sql(sql) == sql
