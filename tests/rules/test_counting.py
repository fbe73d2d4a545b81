"""From a DELETE or UPDATE to the rows it would change: the SELECT that is made of it, or why there is none."""

import pytest

from rules.counting import CHANGES, NotCounted, Rows, bracketed, changing, parameters_of, quoted, rows_of
from rules.pgquery import parse


def rows(sql: str) -> Rows:
    """The rows of the last statement that changes any."""
    (statement,) = parse(sql.encode()).statements
    kind, fields, raw = statement
    return rows_of(list(changing(kind, fields, raw.decode()))[-1])


@pytest.mark.parametrize(
    ("sql", "select"),
    [
        ("DELETE FROM t", "SELECT 1 FROM t"),
        ("delete from t where a=1", "SELECT 1 FROM t\nWHERE a=1"),
        ("DELETE FROM ONLY s.t AS x WHERE x.a = 1 RETURNING *", "SELECT 1 FROM ONLY s.t AS x\nWHERE x.a = 1"),
        ("DELETE FROM t * USING u, v JOIN w USING (a) WHERE t.b = u.b",
         "SELECT 1 FROM t *, u, v JOIN w USING (a)\nWHERE t.b = u.b"),
        ("UPDATE t SET a = 1, (b, c) = (SELECT 2, 3) WHERE d", "SELECT 1 FROM t\nWHERE d"),
        ("UPDATE t x SET a = b IS DISTINCT FROM c FROM u WHERE u.d = x.d", "SELECT 1 FROM t x, u\nWHERE u.d = x.d"),
        ("UPDATE t SET a = extract(year from b)", "SELECT 1 FROM t"),
        ("WITH k AS (SELECT 1 AS id) DELETE FROM t WHERE id IN (SELECT id FROM k)",
         "WITH k AS (SELECT 1 AS id) SELECT 1 FROM t\nWHERE id IN (SELECT id FROM k)"),
        ("WITH RECURSIVE k(n) AS (SELECT 1 UNION SELECT n + 1 FROM k WHERE n < 3) UPDATE t SET a = 2 FROM k"
         " WHERE n = id",
         "WITH RECURSIVE k(n) AS (SELECT 1 UNION SELECT n + 1 FROM k WHERE n < 3) SELECT 1 FROM t, k\nWHERE n = id"),
        ("DELETE FROM s.where WHERE a = 1", "SELECT 1 FROM s.where\nWHERE a = 1"),
        ('DELETE FROM "from" "where" WHERE "where".a = \'x WHERE y\'',
         'SELECT 1 FROM "from" "where"\nWHERE "where".a = \'x WHERE y\''),
        ("DELETE FROM t -- where\n WHERE /* using */ a = $$ RETURNING $$ RETURNING a",
         "SELECT 1 FROM t\nWHERE a = $$ RETURNING $$"),
        ("UPDATE set SET a = 1", "SELECT 1 FROM set"),
        ("UPDATE t SET (a) = ROW (1) WHERE (b) RETURNING old.a", "SELECT 1 FROM t\nWHERE (b)"),
    ],
)  # fmt: skip
def test_the_select_of_a_statement(sql: str, select: str) -> None:
    assert rows(sql).whole("1") == select


def test_what_the_changed_table_is_called() -> None:
    assert rows("DELETE FROM s.t").name == '"t"'
    assert rows('DELETE FROM t AS "a""b"').name == '"a""b"'
    assert not rows("DELETE FROM t").joined
    assert rows("UPDATE t SET a = 1 FROM u").joined


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DELETE FROM t WHERE CURRENT OF c", "cursor"),
        ("UPDATE t AS set SET a = 1 WHERE b", "cannot be selected"),
        ("WITH d AS (DELETE FROM u RETURNING id) DELETE FROM t USING d WHERE d.id = t.id", "another part"),
        ("WITH d AS (DELETE FROM u RETURNING id) DELETE FROM t WHERE id IN (TABLE d)", "another part"),
    ],
)
def test_what_is_not_counted(sql: str, why: str) -> None:
    with pytest.raises(NotCounted, match=why):
        rows(sql)


def parts(sql: str) -> list[tuple[str, str]]:
    """Everything in a statement that changes rows: what it does, and its SELECT or why there is none."""
    ((kind, fields, raw),) = parse(sql.encode()).statements
    found = []
    for one in changing(kind, fields, raw.decode()):
        try:
            found.append((one.kind, rows_of(one).whole("1") if one.kind in CHANGES else ""))
        except NotCounted as error:
            found.append((one.kind, str(error)))
    return found


def test_every_part_of_a_with_that_changes_rows() -> None:
    assert parts(
        "WITH keep AS (SELECT 1), d(x) AS NOT MATERIALIZED (DELETE FROM a WHERE (b) RETURNING c), "
        "u AS (UPDATE e SET f = 1 WHERE g IN (TABLE keep)), i AS (INSERT INTO h SELECT 1) SELECT * FROM d"
    ) == [
        ("DeleteStmt", "SELECT 1 FROM a\nWHERE (b)"),
        ("UpdateStmt", "its rows depend on another part of the statement"),
        ("InsertStmt", ""),
    ]
    assert parts("WITH d AS (DELETE FROM a) DELETE FROM b") == [
        ("DeleteStmt", "SELECT 1 FROM a"),
        ("DeleteStmt", "SELECT 1 FROM b"),
    ]
    assert parts('WITH "Ä" AS (UPDATE a SET b = 1 RETURNING *) INSERT INTO c TABLE "Ä"')[0] == (
        "UpdateStmt",
        "SELECT 1 FROM a",
    )


def test_quoting_and_parameters() -> None:
    assert quoted('a"b') == '"a""b"'
    assert parameters_of("SELECT $1, '$2', $3 /* $4 */, $$ $5 $$") == {1, 3}


def test_what_stands_in_brackets() -> None:
    assert bracketed("COPY (SELECT f(a) FROM t) TO STDOUT", "copy") == "SELECT f(a) FROM t"
    with pytest.raises(NotCounted):
        bracketed("COPY t TO STDOUT", "copy")
    with pytest.raises(NotCounted, match="do not match"):
        bracketed("copy (a", "copy")
    with pytest.raises(NotCounted, match="words"):
        bracketed("copy ('", "copy")
