"""Statements without their values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.redact import redact_literals


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT 1", "SELECT ?"),
        ("SELECT 'a', 'it''s', ''", "SELECT ?, ?, ?"),
        ("SELECT E'a\\'b', e'\\\\', N'x', B'01', x'ff'", "SELECT ?, ?, ?, ?, ?"),
        ("SELECT U&'d\\0061t' UESCAPE '!'", "SELECT ? UESCAPE ?"),
        ("SELECT $$a'b$$, $t$ $$ $t$", "SELECT ?, ?"),
        ("SELECT $1, $23", "SELECT $1, $23"),
        ("SELECT 1.5, .5, 1e10, 1.e-5, 0xFF, 1_000", "SELECT ?, ?, ?, ?, ?, ?"),
        ("SELECT -1", "SELECT -?"),
        ('SELECT "1", "a""b", U&"x", t1.c2', 'SELECT "1", "a""b", U&"x", t1.c2'),
        ("SELECT a1, _2, b$3 FROM ä1", "SELECT a1, _2, b$3 FROM ä1"),
        ("SELECT 1 -- my 'secret'\nFROM t", "SELECT ?  \nFROM t"),
        ("SELECT /* a 'secret' /* nested */ here */ 2", "SELECT   ?"),
        ("SELECT 'unclosed", "SELECT ..."),
        ('SELECT "unclosed', "SELECT ..."),
        ("SELECT $a$unclosed", "SELECT ..."),
        ("SELECT 1 /* unclosed 'x'", "SELECT ? ..."),
        ("SELECT 1 /* /* */ 'x'", "SELECT ? ..."),
        ("", ""),
        ("SELECT 1;", "SELECT ?;"),
        ("SELECT a -'5' -- x", "SELECT a -?  "),
        ("SELECT 'x'\n'y'", "SELECT ?\n?"),
        ("SELECT\x00'x'", "SELECT\x00?"),
    ],
)
def test_literals_go_and_names_stay(sql: str, shown: str) -> None:
    assert redact_literals(sql) == shown


SECRET = "geheim"
PIECES = st.sampled_from(
    [
        "SELECT ",
        "'",
        "''",
        '"',
        "$$",
        "$a$",
        "--",
        "/*",
        "*/",
        "\n",
        "\\",
        "E'",
        "U&'",
        " ",
        "1",
        "$1",
        "t",
        ";",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_it_always_ends_and_never_grows_much(sql: str) -> None:
    assert len(redact_literals(sql)) <= len(sql) + len("...")


@given(st.lists(PIECES, max_size=8).map("".join))
def test_what_is_in_a_string_never_stays(before: str) -> None:
    # However a string is written before it: if it is one literal to the server, its content is gone.
    shown = redact_literals(f"SELECT '{before.replace(chr(39), chr(39) * 2)}{SECRET}'")
    assert SECRET not in shown
