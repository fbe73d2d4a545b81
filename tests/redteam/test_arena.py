"""Fresh copies, and a server that keeps nothing of the entries before."""

from collections.abc import Iterator

import pytest

from tests.redteam.__main__ import SCHEMA, SHIPPED
from tests.redteam.arena import Arena, run_arena


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with run_arena((SHIPPED / SCHEMA).read_text(encoding="utf-8"), None) as arena:
        yield arena


def test_a_copy_has_the_settings_and_privileges_of_its_template(arena: Arena) -> None:
    arena.fresh()
    with arena.postgres.connect(arena.database, user="app") as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("crm, public",)
        connection.execute("CREATE SCHEMA mine; CREATE TEMP TABLE t (a int)")


def test_what_an_entry_changes_is_not_there_for_the_next(arena: Arena) -> None:
    arena.fresh(
        [
            "DELETE FROM crm.customers",
            "CREATE ROLE somebody; GRANT somebody TO app; REVOKE owner_role FROM app",
            "ALTER ROLE app SET work_mem = '1MB'; ALTER ROLE app BYPASSRLS",
            "CREATE DATABASE elsewhere",
            "ALTER SYSTEM SET work_mem = '2MB'",
            "SELECT pg_create_logical_replication_slot('slot', 'pgoutput')",
            "BEGIN; CREATE TABLE t (a int); PREPARE TRANSACTION 'half'",
        ]
    )
    arena.fresh()
    with arena.postgres.connect(arena.database, user="app") as connection:
        checks = """SELECT (SELECT count(*) FROM pg_roles WHERE rolname = 'somebody'),
            pg_has_role('owner_role', 'member'), current_setting('work_mem'),
            (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'app'),
            (SELECT count(*) FROM pg_database WHERE datname = 'elsewhere'),
            (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_prepared_xacts),
            (SELECT count(*) FROM crm.customers)"""
        assert connection.execute(checks).fetchone() == (0, True, "4MB", False, 0, 0, 0, 550)


def test_a_new_name_leaves_nothing_of_the_old(arena: Arena) -> None:
    arena.fresh()
    before = arena.database
    arena.rename()
    arena.fresh(["ALTER DATABASE rt_work SET work_mem = '3MB'"])
    names = {name for (name,) in arena.postgres.execute("SELECT datname FROM pg_database")}
    assert arena.database in names
    assert before not in names
    assert len(arena.database) == len(before)
    assert arena.postgres.scalar("SHOW work_mem", arena.database) == "3MB"


def test_personal_rows_are_counted_under_any_name(arena: Arena) -> None:
    arena.fresh(
        [
            "ALTER TABLE crm.orders RENAME TO harmless",
            "DELETE FROM crm.harmless WHERE id <= 10",
            "DROP TABLE crm.events",
            "BEGIN; TRUNCATE crm.\"Kunden-Daten\"; PREPARE TRANSACTION 'half'",
        ]
    )
    assert arena.personal_rows() == {
        "customers": 550,
        "customers_archive": 50,
        "customer_mv": 550,
        "orders": 1990,
        "events": None,
        "Kunden-Daten": 40,
    }


def test_a_schema_goes_without_the_extensions_that_the_server_lacks() -> None:
    schema = "CREATE TABLE t (a int);\nCREATE EXTENSION IF NOT EXISTS no_such_thing WITH SCHEMA public;\n"
    with run_arena(schema, None) as arena:
        assert arena.missing_extensions == ("no_such_thing",)
        arena.fresh()
        assert arena.postgres.execute("SELECT * FROM t", arena.database) == []
