"""Code is read where it can be, and opaque where it cannot."""

import pytest

from rules.facts import Action
from tests.rules.catalogs import effect, facts, judgement


@pytest.mark.parametrize("sql", ["SELECT vat(1)", "SELECT vat(id) FROM products", "SELECT may_read(1)"])
def test_what_only_computes_passes(sql: str) -> None:
    assert judgement(sql).verdict.decision.word == "allow"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT dynamic()",
        "SELECT native()",
        "SELECT 1::int8 === 2",
        "SELECT 'x'::checked",
        "SELECT vat(dynamic())",
        "DO $$ BEGIN EXECUTE 'DELETE' || ' FROM x'; END $$",
        "DO LANGUAGE plpython3u $$ x $$",
    ],
)
def test_what_cannot_be_read_is_opaque(sql: str) -> None:
    assert judgement(sql).verdict.rule == "default:opaque_function"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT constant()",
        "DO $$ BEGIN DELETE FROM crm.orders; END $$",
        "DO $$ BEGIN PERFORM crm.constant(); END $$",
    ],
)
def test_static_statements_are_read(sql: str) -> None:
    assert effect(sql, Action.DELETE, "crm.orders").touches_personal


def test_a_loop_repeats_what_is_in_it() -> None:
    assert str(effect("SELECT each()", Action.READ, "crm.customers").row_bound) == "UNBOUNDED"


def test_a_volatile_function_is_not_run_by_planning() -> None:
    assert not [one for one in facts("EXPLAIN SELECT constant()").effects if one.action is Action.DELETE]


def test_a_block_that_is_not_grammar_is_unreadable() -> None:
    assert facts("DO $$ BEGIN WHAT; END $$").unreadable is not None
