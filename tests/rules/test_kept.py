"""What was decided once: for which texts it is kept, and which of them leave a session as it is."""

import dataclasses

import pytest

from rules import Facts, Judge, Kept, Verdict, compile_policy
from tests.rules.catalogs import SHOP
from tests.rules.policies import context, strict_judge


def kept(one: Judge, text: str, *, times: int = 3) -> Kept | None:
    """What is kept of a text once it was judged a few times, with other numbers each time if it has a place for one."""
    sql = b""
    for number in range(times):
        sql = text.format(number).encode()
        one.judge(sql, context(catalog=SHOP))
    return one.kept(sql, context(catalog=SHOP))


def test_a_text_is_kept_once_it_was_judged() -> None:
    one = strict_judge()
    assert one.kept(b"SELECT name FROM customers WHERE id = 1", context(catalog=SHOP)) is None
    found = kept(one, "SELECT name FROM customers WHERE id = 1")
    assert found is not None
    assert found.template is None
    assert found.of(b"SELECT name FROM customers WHERE id = 1") is found.judgement


def test_texts_of_a_template_are_kept_together() -> None:
    one = strict_judge()
    found = kept(one, "SELECT name FROM customers WHERE id = {}")
    assert found is not None
    assert found.template is not None
    text = b"SELECT name FROM customers WHERE id = 77"
    assert found.of(text) == one.judge(text, context(catalog=SHOP))


def test_it_is_kept_for_one_view_only() -> None:
    one = strict_judge()
    text = b"SELECT name FROM customers WHERE id = 1"
    one.judge(text, context(catalog=SHOP))
    for other in (
        {"user": "somebody"},
        {"role": "other"},
        {"search_path": ("crm",)},
        {"application_name": "x"},
    ):
        assert one.kept(text, context(catalog=SHOP, **other)) is None
    newer = dataclasses.replace(SHOP, generation=SHOP.generation + 1)
    assert one.kept(text, context(catalog=newer)) is None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM customers WHERE id = {}",
        "SELECT 1",
        "SELECT lower('X')",
        "INSERT INTO orders (id) VALUES ({})",
    ],
)
def test_what_only_reads_and_writes_rows_is_ordinary(sql: str) -> None:
    found = kept(strict_judge(), sql)
    assert found is not None
    assert found.ordinary


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM customers",
        "DELETE FROM customers WHERE id = 1",
        "SELECT 1; SELECT 2",
        "SET search_path = crm",
        "SELECT set_config('search_path', 'crm', false)",
        "BEGIN",
        "COMMIT",
        "CREATE TABLE t (n int)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "SELECT nobody_knows(1)",
        "SELECT * FROM nowhere",
        "LOCK TABLE orders",
        "COPY orders TO STDOUT",
        "PREPARE p AS SELECT 1",
        "DECLARE c CURSOR FOR SELECT 1",
        "NOTIFY x",
        "EXPLAIN SELECT 1",
        "",
        "SELEC",
    ],
)
def test_what_does_more_or_is_not_allowed_is_not(sql: str) -> None:
    found = kept(strict_judge(), sql)
    assert found is None or not found.ordinary


def test_what_depends_on_parameters_is_not() -> None:
    found = kept(strict_judge(), "SELECT name FROM customers LIMIT $1")
    assert found is None or not found.ordinary


def test_what_must_run_read_only_is_not() -> None:
    rule = {"name": "rest", "when": {}, "then": "allow", "obligations": ["read_only"]}
    one = Judge(compile_policy({"rules": [rule]}))
    found = kept(one, "SELECT 1 FROM orders WHERE id = 1")
    assert found is None or not found.ordinary


def test_whoever_adds_to_facts_or_verdicts_thinks_of_it() -> None:
    """``ordinary`` knows these. What is new in facts counts unless it is as by default; what is new here does not."""
    assert {field.name for field in dataclasses.fields(Verdict)} == {
        *("decision", "rule", "reason", "approval", "effects", "obligations"),
    }
    assert Facts() == Facts(())
