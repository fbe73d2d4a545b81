"""The second reader agrees, differs, or cannot say."""

import pytest

from rules.crosscheck import Agreement, crosscheck, is_shallow
from rules.pgquery import parse


def check(sql: str, *, seen_as: str | None = None) -> Agreement:
    ((kind, fields, _),) = parse(sql.encode()).statements
    return crosscheck(kind, fields, seen_as or sql)[0]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM b",
        "WITH x AS (DELETE FROM a RETURNING 1) INSERT INTO b SELECT * FROM x",
        "MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)",
        'SELECT * FROM "A b" AS anti, LATERAL f(1) AS final FOR UPDATE OF anti',
        "SELECT ARRAY[ARRAY[ARRAY[1]]]",
        "SELECT " + "date(" * 20 + "now()" + ")" * 20,
    ],
)
def test_both_see_the_same(sql: str) -> None:
    assert check(sql) is Agreement.BOTH


@pytest.mark.parametrize("other", ["SELECT a FROM c", "DELETE FROM b", "SELECT a FROM b; SELECT 1"])
def test_a_difference_is_noticed(other: str) -> None:
    assert check("SELECT a FROM b", seen_as=other) is Agreement.DIFFER


def test_what_the_second_cannot_read_was_read_by_one() -> None:
    assert check("SELECT a FROM b", seen_as="SELECT FROM WHERE") is Agreement.ONE


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM b JOIN c.d USING (a)",
        "WITH x AS (DELETE FROM a RETURNING 1) INSERT INTO b SELECT * FROM x",
        'SELECT \'"relname":"x"\' FROM "A b"',
        'SELECT 1 FROM "with""quote", "back\\slash"',
        "SELECT 1 FROM a FOR UPDATE OF a",
        "MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE",
    ],
)
@pytest.mark.parametrize("other", ["SELECT 1", "DELETE FROM a"])
def test_the_librarys_answer_says_the_same_as_its_tree(sql: str, other: str) -> None:
    parsed = parse(sql.encode())
    ((kind, fields, _),) = parsed.statements
    for text in (sql, other):
        assert crosscheck(kind, fields, text, parsed.answer) == crosscheck(kind, fields, text)


_DEEP = "date(" * 23 + "a" + ")" * 23


@pytest.mark.parametrize(
    "hiding",
    [
        "1",
        "')))))))))))))))))))))))'",
        '"))))))))))))))))))))))))"',
        "$$)))))))))))))))))))))))$$",
        "$x$)))))))))))))))))))))))$x$",
        "E'\\')))))))))))))))))))))))'",
        "/*)))))))))))))))))))))))*/ 1",
        "1 --)))))))))))))))))))))))\n",
        "/*'*/ 1",
    ],
)
def test_brackets_that_are_none_do_not_hide_how_deep_a_text_nests(hiding: str) -> None:
    # sqlglot takes twice the time for each of these levels, so what is deep must never get to it as it is.
    text = f"SELECT {hiding}, {_DEEP} /*'*/ FROM t"
    assert not is_shallow(text)
    kind, fields, _ = parse(text.encode()).statements[0]
    assert crosscheck(kind, fields, text)[0] in Agreement


@pytest.mark.parametrize(
    "text", ["SELECT f(')', '(') WHERE a IN (1) AND b IN (2) AND c = '(((((((('", "SELECT ($1), ($2), ($3)"]
)
def test_brackets_inside_of_strings_make_nothing_deep(text: str) -> None:
    assert is_shallow(text)
