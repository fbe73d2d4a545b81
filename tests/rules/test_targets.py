"""What follows from a write: cascades, rules, triggers, and code that the server runs by itself."""

from dataclasses import replace

import pytest

from rules.catalog import Code, ForeignKey, RewriteRule, SchemaSnapshot, Trigger
from rules.facts import Action, Nature
from tests.rules.catalogs import effect, facts, judgement, shop, table, verdict


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


def _parted(*, moved: str, kind: str) -> SchemaSnapshot:
    trigger = (Trigger("t", frozenset([moved]), 16454),)
    return shop(
        relations=(
            table(16510, "whole", "id", "a", kind="p"),
            table(
                16511, "part", "id", "a", parents=(16510,), is_partition=kind == "partition", triggers=trigger
            ),
        )
    )


@pytest.mark.parametrize("moved", ["insert", "delete"])
def test_an_updated_row_may_move_to_another_partition(moved: str) -> None:
    sql = "UPDATE whole SET a = 'x'"
    assert verdict(sql, catalog=_parted(moved=moved, kind="partition")) == "erasure"
    assert verdict(sql, catalog=_parted(moved=moved, kind="child")) == "allow"


def test_a_generated_column_changes_with_what_it_is_made_of() -> None:
    trigger = (Trigger("t", frozenset(["update"]), 16454, ("text",)),)
    plain = table(16510, "kept", "id", "a", "text", triggers=trigger)
    made = replace(plain, code=(Code("generated", "upper(a)", "text"),))
    sql = "UPDATE kept SET a = 'x'"
    assert verdict(sql, catalog=shop(relations=(plain,))) == "allow"
    assert verdict(sql, catalog=shop(relations=(made,))) == "erasure"


def test_a_trigger_may_change_a_key_that_the_statement_does_not() -> None:
    deleting = (Trigger("t", frozenset(["update"]), 16454),)
    harmless = (Trigger("t", frozenset(["update"]), 16456),)
    child = table(16511, "child", "id", "k", triggers=deleting)
    key = (ForeignKey("k", 16511, 16510, "a", "c", ("k",), ("a",)),)
    sql = "UPDATE kept SET b = 'x'"
    for triggers, rule in (((), "allow"), (harmless, "erasure")):
        parent = table(16510, "kept", "id", "a", "b", triggers=triggers)
        assert verdict(sql, catalog=shop(relations=(parent, child), foreign_keys=key)) == rule


def test_the_condition_of_a_rule_is_code() -> None:
    text = "CREATE RULE r AS ON INSERT TO crm.kept WHERE (crm.constant() > 0) DO ALSO NOTHING;"
    kept = table(16510, "kept", "id", rules=(RewriteRule("r", "insert", False, text),))
    assert verdict("INSERT INTO kept VALUES (1)", catalog=shop(relations=(kept,))) == "erasure"
