"""DROP and TRUNCATE: what goes, and what goes along with it."""

import pytest

from rules.facts import Action
from tests.rules.catalogs import effect, facts, verdict


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("DROP TABLE customers", "erasure"),
        ("DROP TABLE products", "allow"),
        ("DROP TABLE products, orders", "erasure"),
        ("DROP TABLE events_1", "erasure"),
        ("DROP SCHEMA crm CASCADE", "erasure"),
        ("DROP DATABASE shop", "erasure"),
        ("DROP OWNED BY app", "erasure"),
        ("DROP TRIGGER t ON products", "default:guarded_settings"),
        ("DROP RULE r ON pings", "default:guarded_settings"),
        ("DROP POLICY p ON customers", "default:guarded_settings"),
        ("DROP INDEX somewhere", "allow"),
        ("DROP FUNCTION vat(int8)", "allow"),
        ("DROP VIEW contacts", "allow"),
        ("TRUNCATE customers", "erasure"),
        ("TRUNCATE ONLY events", "erasure"),
        ("TRUNCATE notes", "allow"),
        ("TRUNCATE notes, orders", "erasure"),
        ("TRUNCATE nowhere CASCADE", "erasure"),
    ],
)
def test_losses(sql: str, rule: str) -> None:
    assert verdict(sql) == rule


def test_truncating_takes_along_what_refers() -> None:
    found = effect("TRUNCATE customers CASCADE", Action.DELETE, "crm.orders")
    assert found.detail == "TRUNCATE … CASCADE from crm.customers"


def test_triggers_of_truncate_run() -> None:
    assert effect("TRUNCATE products", Action.DELETE, "crm.customers").detail


def test_dropping_a_parent_takes_its_children_along() -> None:
    lost = {one.relation for one in facts("DROP TABLE events CASCADE").effects if one.action is Action.DELETE}
    assert lost == {"crm.events", "crm.events_1"}
