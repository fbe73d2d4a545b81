"""A comment inside of a string that goes on is white space, and nothing else is."""

import pytest

from rules.continued import without_comments
from tests.rules.catalogs import facts, verdict


@pytest.mark.parametrize(
    ("sql", "same"),
    [
        ("SELECT 'a' -- x\n'b'", "SELECT 'a'     \n'b'"),
        ("SELECT 'a' -- é\n -- y\n 'b'", "SELECT 'a'      \n     \n 'b'"),
        ("SELECT E'a\\'' -- x\n'b', 1", "SELECT E'a\\''     \n'b', 1"),
        ("SELECT 'a'\n'b' --x\n'c'", "SELECT 'a'\n'b'    \n'c'"),
        ("SELECT U&'a' -- x\r'b'", "SELECT U&'a'     \r'b'"),
    ],
)
def test_comments_between_the_parts_are_blanked(sql: str, same: str) -> None:
    assert without_comments(sql.encode()) == same.encode()
    assert len(same.encode()) == len(sql.encode())
    assert facts(sql).unreadable is None
    assert [one.sql for one in facts(sql).statements] == [sql]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a' 'b'",
        "SELECT 'a'\n'b'",
        "SELECT 'a' /* x */\n'b'",
        "SELECT $$'a' -- x\n'b'$$",
        "SELECT '''a'' -- x\n''b'''",
        "/* 'a' -- x\n'b' */ SELECT 1",
        "SELECT \"'a' -- x\n'b'\"",
        "SELECT 'a' -- x 'b'",
        "SELECT 'open -- x\n",
        b"SELECT '\xff' -- x\n'b'",
    ],
)
def test_nothing_else_is_touched(sql: str | bytes) -> None:
    assert without_comments(sql if isinstance(sql, bytes) else sql.encode()) is None


def test_what_stands_behind_is_read() -> None:
    assert verdict("SELECT 'a' -- x\n'b'; DELETE FROM customers") == "erasure"
    assert verdict("SELECT 'a' -- ; DELETE FROM customers\n'b'") == "allow"
