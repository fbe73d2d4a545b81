"""DROP and TRUNCATE: what goes, and what goes along with it."""

from dataclasses import replace

import pytest

from rules.catalog import Namespace, Relation, Type
from rules.facts import Action
from tests.rules.catalogs import SHOP, effect, facts, shop, table, verdict


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


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("DROP SCHEMA aa CASCADE", "allow"),
        ("DROP SCHEMA aa", "allow"),
        ("DROP SCHEMA aa, crm CASCADE", "erasure"),
        ("DROP SCHEMA unknown CASCADE", "erasure"),
        ("ALTER TABLE products SET SCHEMA aa; DROP SCHEMA aa CASCADE", "erasure"),
        ("DROP TYPE aa.mood CASCADE", "allow"),
        ("DROP DOMAIN street CASCADE", "erasure"),
        ("DROP TYPE unknown CASCADE", "erasure"),
        ("DROP FUNCTION vat(int8) CASCADE", "erasure"),
        ("DROP TABLE customers CASCADE", "erasure"),
        ("DROP TABLE products CASCADE", "allow"),
        ("DROP TABLE aa.t CASCADE", "allow"),
        ("DROP VIEW contacts CASCADE", "erasure"),
        ("ALTER TABLE aa.t DROP COLUMN id CASCADE", "allow"),
        ("ALTER TYPE addressed DROP ATTRIBUTE a CASCADE", "erasure"),
    ],
)
def test_cascades_are_followed(sql: str, rule: str) -> None:
    catalog = shop(
        namespaces=(Namespace("aa"), Namespace("crm"), Namespace("public")),
        relations=(
            table(16510, "t", "id", schema="aa"),
            Relation(16511, "crm", "addressed", "c", ("a",), (25,)),
            replace(SHOP.by_name["crm", "orders"], types=(20, 20, 16522)),
            replace(SHOP.by_name["crm", "customers"], types=(20, 16523, 25)),
            table(
                16512, "copied", "id", kind="m", definition="SELECT contacts.contact AS id FROM crm.contacts;"
            ),
        ),
        types=(
            Type(16521, "aa", "mood", "e"),
            Type(16522, "public", "street", "d", base=25),
            Type(16523, "crm", "addressed", "c", relation=16511),
        ),
    )
    assert verdict(sql, catalog=catalog) == rule
