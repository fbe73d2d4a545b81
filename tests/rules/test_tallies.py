"""Whether command tags say how many rows a message changes."""

import pytest

from rules import Facts, Judge, compile_policy
from rules.tallies import NotTallied, tallies
from tests.rules.policies import STRICT, context

PREPARED = {
    "d": ("DELETE FROM t",),
    "s": ("SELECT 1",),
    "w": ("WITH x AS (DELETE FROM t) SELECT 1", "DELETE FROM t"),
}


def read(sql: bytes) -> Facts:
    return Judge(compile_policy(STRICT)).read(sql, context())


@pytest.mark.parametrize(
    ("sql", "counted"),
    [
        ("DELETE FROM t WHERE a = 1", True),
        ("UPDATE t SET a = 1 FROM u RETURNING *", True),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", True),
        ("WITH x AS (SELECT 1) DELETE FROM t USING x", True),
        ("SELECT 1; DELETE FROM t; INSERT INTO u VALUES (1); SHOW all; SET a.b = 1", True),
        ("EXECUTE d; SELECT 1", True),
        ("BEGIN", False),
        ("START TRANSACTION READ WRITE", False),
        ("SELECT f(1)", False),
        ("EXECUTE s", False),
        ("", False),
    ],
)
def test_what_is_counted(sql: str, counted: bool) -> None:
    assert tallies(read(sql.encode()), PREPARED) is counted


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("WITH x AS (DELETE FROM t) SELECT 1", "a part of its WITH"),
        ("WITH x AS (INSERT INTO t VALUES (1)) DELETE FROM u", "a part of its WITH"),
        ("DELETE FROM t; WITH x AS (UPDATE t SET a = 1) INSERT INTO u SELECT 1", "a part of its WITH"),
        ("DELETE FROM t; COMMIT", "COMMIT"),
        ("DELETE FROM t; SAVEPOINT s", "SAVEPOINT"),
        ("TRUNCATE t", "TRUNCATE"),
        ("EXPLAIN ANALYZE DELETE FROM t", "EXPLAIN"),
        ("COPY (DELETE FROM t RETURNING a) TO STDOUT", "COPY"),
        ("CREATE TABLE c AS EXECUTE d", "CREATE TABLE AS"),
        ("CALL p()", "CALL"),
        ("DO ''", "DO"),
        ("EXECUTE nobody", "nobody stands for"),
        ("EXECUTE w", "a part of its WITH"),
        ("DELETE FROM", "cannot be read"),
    ],
)
def test_what_is_not(sql: str, why: str) -> None:
    with pytest.raises(NotTallied, match=why):
        tallies(read(sql.encode()), PREPARED)


def test_a_text_that_is_not_utf_8() -> None:
    with pytest.raises(NotTallied, match="cannot be read"):
        tallies(read(b"DELETE FROM t WHERE a = '\xff'"), {})


def test_a_text_that_takes_long_is_not_read_for_its_name() -> None:
    text = f"DELETE FROM t WHERE a IN ({', '.join(map(str, range(2000)))})"
    assert tallies(read(text.encode()), {})
    with pytest.raises(NotTallied, match="what EXECUTE long stands for is too long"):
        tallies(read(b"EXECUTE long"), {"long": (text,)})
