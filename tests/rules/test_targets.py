"""What follows from a write: cascades, rules, triggers, and code that the server runs by itself."""

import pytest

from rules.facts import Action, Nature
from tests.rules.catalogs import effect, facts, judgement


def test_a_cascade_is_a_deletion_and_says_from_where() -> None:
    found = effect("DELETE FROM customers", Action.DELETE, "crm.orders")
    assert found.touches_personal
    assert found.detail == "ON DELETE CASCADE from crm.customers"


@pytest.mark.parametrize(
    "sql",
    ["UPDATE pings SET n = 1", "UPDATE products SET name = 'x'", "TRUNCATE products"],
)
def test_rules_and_triggers_delete_elsewhere(sql: str) -> None:
    assert effect(sql, Action.DELETE, "crm.customers").touches_personal
    assert judgement(sql).verdict.rule == "erasure"


def test_a_trigger_on_other_columns_does_not_fire() -> None:
    assert not [one for one in facts("UPDATE products SET id = 1").effects if one.action is Action.DELETE]


def test_defaults_and_policies_are_read() -> None:
    called = {one.relation for one in facts("INSERT INTO notes (id) VALUES (1)").effects}
    assert {"crm.next_note", "crm.may_read"} <= called
    assert "crm.may_read" in {one.relation for one in facts("SELECT id FROM notes").effects}


def test_a_second_deletion_in_the_statement_unbounds_what_goes_along() -> None:
    sql = "WITH a AS (DELETE FROM customers WHERE id = 1) DELETE FROM customers"
    bounds = {str(one.row_bound) for one in facts(sql).effects if one.relation == "crm.orders"}
    assert bounds == {"UNBOUNDED"}


def test_planning_runs_nothing_of_it() -> None:
    read = facts("EXPLAIN DELETE FROM customers")
    assert {one.action for one in read.effects} == {Action.READ}
    assert all(one.nature is Nature.PLAIN for one in read.effects)
