"""What statements of a shape have in common, and what never is of the same shape."""

import pytest

from rules import Parameter, Shape, compile_policy, is_bounded, shape_digest, shape_of
from rules.judge import Judge
from tests.rules.policies import STRICT, context

JUDGE = Judge(compile_policy(STRICT))


def digest(
    sql: str, *parameters: bytes | None, exact: bool = False, bound_to: tuple[str, ...] = ()
) -> str | None:
    facts = JUDGE.read(sql.encode(), context())
    shape = Shape(sql.encode()) if exact else shape_of(sql.encode())
    return shape_digest(shape, facts, [Parameter(0, 0, one) for one in parameters], bound_to)


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("DELETE FROM t WHERE id = 5", "DELETE FROM t WHERE id = …"),
        ("DELETE FROM t WHERE a.\"Id\"='x' AND b=7", 'DELETE FROM t WHERE a."Id"=… AND b=…'),
        ("SELECT a FROM t WHERE id IN (1, 2,'x')", "SELECT a FROM t WHERE id IN (…, …,…)"),
        ("INSERT INTO t VALUES (1, 'x'), (NULL, 2)", "INSERT INTO t VALUES (…, …), (NULL, …)"),
        ("UPDATE t SET a = 'x' WHERE id = 1", "UPDATE t SET a = … WHERE id = …"),
    ],
)
def test_what_may_differ_is_left_out(sql: str, shown: str) -> None:
    assert str(shape_of(sql.encode())) == shown


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM t WHERE id > 5",
        "DELETE FROM t WHERE id >= 5 AND b <> 5 AND c LIKE 'x%' AND d BETWEEN 1 AND 2",
        "SELECT a FROM t LIMIT 5 OFFSET 6",
        "SELECT f('x', 5), g(a => 5) FROM t",
        # Blanking is something of its own.
        "UPDATE t SET a = '', b = '  '",
        "DELETE FROM t WHERE id = 5 + 1 OR id = 5 % 2 OR id = -5 OR 5 = id",
        # What stands for a constant is no column.
        "DELETE FROM t WHERE true = 't' OR FALSE = 'f' OR current_user = 'x' OR null = 'x' OR session_user = 'x'",
        "DELETE FROM t WHERE 'id = 5' = \"b = 6\"",
        # What a few lines could misread.
        "DELETE FROM t WHERE id = 5 -- AND b = 6",
        "DELETE FROM t WHERE id = 5 /* */",
        "DELETE FROM t WHERE id = $$x$$ AND b = 5",
        "DELETE FROM t WHERE id = $a$ AND b = 5 $a$",
        "DELETE FROM t WHERE id = E'\\x' AND b = 5",
        "DELETE FROM t WHERE id = 'ä' AND b = 5",
        "DELETE FROM t WHERE a = U&'x' OR b = B'1' OR c = 0x10 OR d = 1.5 OR e = 1e5 OR f = 5::int",
        "DELETE FROM t WHERE a = 'x' 'y'",
        f"DELETE FROM t WHERE id = 5 AND b = '{'x' * 5000}'",
    ],
)
def test_what_may_not_differ_stays(sql: str) -> None:
    assert shape_of(sql.encode()) == Shape(sql.encode())


@pytest.mark.parametrize(
    ("sql", "free"),
    [
        ("DELETE FROM t WHERE id = $1 AND b = $2", {0, 1}),
        ("DELETE FROM t WHERE id = $1 AND b > $2", {0}),
        ("DELETE FROM t WHERE id IN ($2, 5, $1) LIMIT $3", {0, 1}),
        ("INSERT INTO t VALUES ($1, $2), ($3, DEFAULT)", {0, 1, 2}),
        # Used in two ways; and what a condition hangs on.
        ("DELETE FROM t WHERE id = $1 OR $1 > 5", set()),
        ("DELETE FROM t WHERE id = $1 OR $2", {0}),
        ("DELETE FROM t WHERE id = ANY($1)", set()),
        ("DELETE FROM t WHERE id = '$1' AND b = $2", {1}),
        ("DELETE FROM t WHERE id = $1::int", set()),
    ],
)
def test_parameters_that_may_differ(sql: str, free: set[int]) -> None:
    assert shape_of(sql.encode()).free == free


DELETE = "DELETE FROM crm.customers WHERE id = 5"


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM crm.customers WHERE id = 6", "DELETE FROM crm.customers WHERE id = 123456789012"],
)
def test_of_the_same_shape(sql: str) -> None:
    assert digest(sql) == digest(DELETE) is not None
    assert digest(sql, exact=True) != digest(DELETE, exact=True)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM crm.customers",
        "DELETE FROM crm.customers WHERE id = 5 OR true",
        "DELETE FROM crm.customers WHERE id IN (5)",
        "DELETE FROM crm.customers_archive WHERE id = 5",
        "DELETE FROM crm.customers WHERE name = 5",
        "delete FROM crm.customers WHERE id = 5",
        "SELECT * FROM crm.customers WHERE id = 5",
        "DELETE FROM crm.customers WHERE id = 5 RETURNING email",
    ],
)
def test_of_another_shape(sql: str) -> None:
    assert digest(sql) != digest(DELETE)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM crm.customers WHERE id = f(5)",
        "SET x.y = 1",
        f"SET search_path = x; {DELETE}",
        f"PREPARE s AS {DELETE}",
        f"EXPLAIN ANALYZE {DELETE}",
        "TRUNCATE crm.customers",
        "DELETE FROM crm.customers WHERE",
        "",
    ],
)
def test_what_does_more_than_rows_has_none(sql: str) -> None:
    assert digest(sql) is digest(sql, exact=True) is None


def test_bounds_that_a_parameter_sets_and_other_values_that_may_not_differ_count() -> None:
    sql = "SELECT email FROM crm.customers WHERE country = $1 LIMIT $2"
    assert digest(sql, b"US", b"30") == digest(sql, b"DE", b"30")
    assert digest(sql, b"US", b"30") != digest(sql, b"US", b"31")
    assert digest(sql, b"US", b"30") != digest(sql, b"US", None)
    one = "DELETE FROM crm.customers WHERE id = $1 AND meta > $2"
    assert digest(one, b"1", b"a") == digest(one, b"2", b"a") != digest(one, b"2", b"b")


def test_it_is_bound_to_what_else_is_said() -> None:
    assert digest(DELETE, bound_to=("a", "b")) != digest(DELETE, bound_to=("ab",))
    assert digest(DELETE, bound_to=("a",)) == digest(DELETE.replace("5", "7"), bound_to=("a",))


@pytest.mark.parametrize(
    ("sql", "parameters", "bounded"),
    [
        (DELETE, [], True),
        ("DELETE FROM crm.customers WHERE name = 'x'", [], False),
        ("SELECT email FROM crm.customers LIMIT 30", [], True),
        ("SELECT email FROM crm.customers LIMIT $1", [b"30"], True),
        ("SELECT email FROM crm.customers LIMIT $1", [None], False),
    ],
)
def test_whether_the_text_says_how_many_rows(sql: str, parameters: list[bytes | None], bounded: bool) -> None:
    facts = JUDGE.read(sql.encode(), context())
    assert is_bounded(facts, [Parameter(0, 0, one) for one in parameters]) is bounded
