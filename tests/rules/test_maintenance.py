"""Upkeep evaluates what indexes, checks and views are made of."""

from dataclasses import replace

import pytest

from rules.catalog import EMPTY, Code, EventTrigger, SchemaSnapshot
from tests.rules.catalogs import shop, table, verdict


def _catalog(text: str) -> SchemaSnapshot:
    indexed = table(16510, "indexed", "id", schema="public", code=(Code("index", text),))
    child = table(16511, "child", "id", schema="public", parents=(16512,), code=(Code("index", text),))
    return shop(relations=(indexed, child, table(16512, "parent", "id", schema="public")))


@pytest.mark.parametrize(
    "sql",
    [
        "REINDEX TABLE indexed",
        "REINDEX TABLE CONCURRENTLY public.indexed",
        "REINDEX INDEX somewhere",
        "REINDEX SCHEMA public",
        "REINDEX DATABASE shop",
        "REINDEX SYSTEM",
        "VACUUM",
        "VACUUM (FULL) indexed",
        "VACUUM products, parent",
        "ANALYZE indexed (id)",
        "ANALYZE",
        "CLUSTER",
        "CLUSTER indexed USING somewhere",
        "ALTER TABLE indexed SET LOGGED",
        "SELECT brin_summarize_new_values('somewhere'::regclass)",
        "SELECT gin_clean_pending_list(17000)",
    ],
)
def test_code_in_an_index_runs(sql: str) -> None:
    assert verdict(sql, catalog=_catalog("crm.constant()")) == "erasure"
    assert verdict(sql, catalog=_catalog("crm.vat(id)")) == "allow"


@pytest.mark.parametrize("sql", ["REINDEX SCHEMA crm", "VACUUM products", "ANALYZE crm.customers"])
def test_code_elsewhere_does_not(sql: str) -> None:
    assert verdict(sql, catalog=_catalog("crm.constant()")) == "allow"


def test_without_a_catalog_nobody_knows_what_an_index_is_made_of() -> None:
    assert (
        verdict("SELECT brin_summarize_range('b'::regclass, 1)", catalog=EMPTY) == "default:opaque_function"
    )


@pytest.mark.parametrize("sql", ["REFRESH MATERIALIZED VIEW CONCURRENTLY mailing", "REINDEX TABLE products"])
def test_event_triggers_run(sql: str) -> None:
    watched = replace(shop(), event_triggers=(EventTrigger("e", "ddl_command_start", 16453),))
    assert verdict(sql) == "allow"
    assert verdict(sql, catalog=watched) == "default:opaque_function"


def test_refreshing_without_data_empties() -> None:
    assert verdict("REFRESH MATERIALIZED VIEW mailing WITH NO DATA") == "erasure"
