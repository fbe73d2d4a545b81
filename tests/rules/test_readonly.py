"""Which messages can be run so that they cannot write, and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import Boundary, Containment, Facts, containment, joint
from rules.catalog import Function, SchemaSnapshot
from rules.facts import Action, EffectFacts, Nature, StatementFacts
from rules.readonly import way_out
from tests.rules.policies import context, cursors, strict_judge

KNOWN = SchemaSnapshot(server_version=180000)
"""A database of which something is known."""

_PREPARED = {
    "q": ("SELECT id FROM customers",),
    "c": ("COMMIT",),
    "n": ("SELECT 1",),
    "s": ("SET work_mem = 1",),
}


def contained(sql: str) -> Containment:
    """How the message is run read-only, as the judge reads it."""
    session = context(prepared=_PREPARED, cursors=cursors("cur"))
    return containment(strict_judge().judge(sql.encode(), session).facts, KNOWN)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT nextval('s')",
        "(SELECT 1)",
        "VALUES (1)",
        "TABLE crm.orders",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "SELECT 1; SELECT 2",
        "SET work_mem = '4MB'; SELECT 1",
        "SELECT set_config('search_path', '', false)",
        "INSERT INTO crm.orders VALUES (1)",
        "DELETE FROM crm.orders",
        "EXPLAIN ANALYZE SELECT 1",
        "COPY crm.orders TO STDOUT",
        "FETCH 5 FROM cur",
        "EXECUTE q",
        "EXECUTE n",
        "NOTIFY a",
        "CREATE TABLE t (a int)",
        "CREATE INDEX i ON crm.orders (id)",
        "TRUNCATE crm.orders",
        "GRANT SELECT ON crm.orders TO bob",
    ],
)
def test_what_runs_read_only_keeps_what_it_did(sql: str) -> None:
    assert contained(sql) == Containment(needed=True, undo=False)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT crm.vat(1)",
        "DO $$ BEGIN EXECUTE lower('A'); END $$",
        "CALL crm.p()",
        "SELECT lo_unlink(5)",
        "SELECT 1; CALL p()",
    ],
)
def test_what_code_did_that_nobody_has_read_is_undone(sql: str) -> None:
    found = contained(sql)
    assert (found.needed, found.undo, found.obstacle) == (True, True, None)


def test_reading_a_large_object_is_not_undone() -> None:
    assert not contained("SELECT lo_get(5)").undo


@pytest.mark.parametrize(
    "sql", ["SELECT id FROM crm.orders", "FETCH 5 FROM cur", "SELECT count(*) FROM pg_catalog.pg_class"]
)
def test_where_nothing_is_known_of_a_relation_it_may_hide_code(sql: str) -> None:
    facts = strict_judge().judge(sql.encode(), context(cursors=cursors("cur"))).facts
    assert not containment(facts, KNOWN).undo
    assert containment(facts, SchemaSnapshot()).undo is ("orders" in sql)


@pytest.mark.parametrize(
    ("sql", "boundary"),
    [
        ("BEGIN", Boundary.OPENS),
        ("START TRANSACTION READ WRITE", Boundary.OPENS),
        ("COMMIT", Boundary.CLOSES),
        ("END", Boundary.CLOSES),
        ("ROLLBACK", Boundary.CLOSES),
        ("ABORT", Boundary.CLOSES),
        ("COMMIT AND CHAIN", Boundary.KEEPS),
        ("ROLLBACK TO s", Boundary.KEEPS),
        ("ROLLBACK WORK TO SAVEPOINT s", Boundary.KEEPS),
        ("SAVEPOINT s", Boundary.KEEPS),
        ("RELEASE s", Boundary.KEEPS),
        ("SHOW work_mem", Boundary.NONE),
        ("SET work_mem = '4MB'", Boundary.NONE),
        ("RESET ALL", Boundary.NONE),
        ("DISCARD ALL", Boundary.NONE),
        ("LISTEN a", Boundary.NONE),
        ("PREPARE p AS DELETE FROM crm.orders", Boundary.NONE),
        ("DEALLOCATE q", Boundary.NONE),
        ("CLOSE cur", Boundary.NONE),
        ("", Boundary.NONE),
        (";;", Boundary.NONE),
    ],
)
def test_what_cannot_write_by_itself_runs_as_it_is(sql: str, boundary: Boundary) -> None:
    found = contained(sql)
    assert (found.needed, found.obstacle, found.boundary) == (False, None, boundary)
    assert found.shares is (boundary is Boundary.NONE and sql != "DISCARD ALL")


@pytest.mark.parametrize(
    ("sql", "obstacle"),
    [
        ("BEGIN; SELECT 1", "BEGIN is in the same message"),
        ("SELECT 1; COMMIT", "COMMIT is in the same message"),
        ("COMMIT; DELETE FROM crm.orders", "COMMIT is in the same message"),
        ("SELECT 1; ROLLBACK TO s", "ROLLBACK TO is in the same message"),
        ("COMMIT PREPARED 'x'", "COMMIT PREPARED is in the same message"),
        ("ROLLBACK PREPARED 'x'", "ROLLBACK PREPARED is in the same message"),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION is in the same message"),
        ("VACUUM", "VACUUM is not run inside a read-only transaction"),
        ("ANALYZE", "ANALYZE is not run inside a read-only transaction"),
        ("REINDEX TABLE crm.orders", "REINDEX is not run inside a read-only transaction"),
        ("CLUSTER", "CLUSTER is not run inside a read-only transaction"),
        ("CHECKPOINT", "CHECKPOINT is not run inside a read-only transaction"),
        ("LOCK TABLE crm.orders", "LOCK is not run inside a read-only transaction"),
        ("LOAD 'x'", "LOAD is not run inside a read-only transaction"),
        (
            "DECLARE cur2 CURSOR FOR SELECT 1",
            "DECLARE CURSOR is not run inside a read-only transaction",
        ),
        ("CREATE INDEX CONCURRENTLY i ON crm.orders (id)", "CREATE INDEX cannot run inside a transaction"),
        ("CREATE DATABASE d", "CREATE DATABASE cannot run inside a transaction"),
        ("ALTER SYSTEM SET work_mem = 1", "ALTER SYSTEM cannot run inside a transaction"),
        ("COPY crm.orders FROM STDIN", "COPY from the client is not run read-only"),
        ("EXECUTE c", "what EXECUTE stands for is not a query"),
        ("EXECUTE s", "what EXECUTE stands for is not a query"),
        ("SET TRANSACTION READ WRITE; SELECT 1", "it may set the transaction's own modes"),
        ("RESET transaction_read_only; SELECT 1", "it may set the transaction's own modes"),
        ("DISCARD TEMP; SELECT 1", "it may set the transaction's own modes"),
        ("SELECT set_config('transaction_read_only', NULL, true)", "it may set the transaction's own modes"),
        ("SELECT set_config(a, 'off', true) FROM crm.orders", "it may set the transaction's own modes"),
        (
            "SET work_mem = '4MB'; SELECT crm.vat(1)",
            "what code did that nobody has read is undone, and SET would be with it",
        ),
        (
            "SELECT crm.vat(1), set_config('work_mem', '4MB', false)",
            "what code did that nobody has read is undone, and set_config() would be with it",
        ),
        ("SELEC 1", "its text cannot be read with certainty"),
        ("SELECT 1; SELEC 1", "its text cannot be read with certainty"),
    ],
)
def test_what_cannot_be_run_read_only(sql: str, obstacle: str) -> None:
    assert contained(sql).obstacle == obstacle


def test_what_reaches_out_of_the_database_is_not_contained() -> None:
    for sql in (
        "SELECT pg_read_file('x')",
        "SELECT dblink('', 'DELETE FROM t')",
        "COPY crm.orders TO PROGRAM 'cat'",
    ):
        obstacle = contained(sql).obstacle
        assert obstacle is not None
        assert obstacle.startswith("a read-only transaction does not stop it")


@pytest.mark.parametrize(
    "sql",
    ["COPY crm.orders FROM STDIN", "VACUUM", "BEGIN", "LISTEN a; COMMIT", "CALL p()", "DISCARD ALL", "SELEC"],
)
def test_what_may_disturb_a_transaction_shares_none(sql: str) -> None:
    assert not contained(sql).shares


@pytest.mark.parametrize(
    "sql", ["COPY crm.orders FROM STDIN", "SELECT 1; COPY crm.orders FROM STDIN", "SELEC"]
)
def test_what_may_wait_for_data(sql: str) -> None:
    assert contained(sql).takes_data
    assert not contained("COPY crm.orders TO STDOUT").takes_data


def test_a_name_that_may_stand_for_several_texts_is_run_as_the_worst_of_them() -> None:
    select, call, begin = contained("SELECT 1"), contained("CALL p()"), contained("BEGIN")
    assert joint([select, select]) == select
    assert joint([select, call]) == Containment(undo=True, shares=False)
    mixed = joint([contained("SHOW work_mem"), begin])
    assert (mixed.needed, mixed.boundary, mixed.shares) == (False, Boundary.UNKNOWN, False)
    assert mixed.obstacle == "its name may stand for statements of different kinds"
    assert joint([select, contained("VACUUM")]).obstacle == contained("VACUUM").obstacle


def function(name: str, language: str, extension: str | None = None, kind: str = "f") -> Function:
    """A function of the catalog."""
    return Function(1, "public", name, kind, language, "v", extension=extension)


def test_what_code_could_call_to_reach_out_of_the_database() -> None:
    contained = (
        function("mine", "plpgsql"),
        function("yours", "sql"),
        function("similarity", "c", "pg_trgm"),
        function("sum", "internal", kind="a"),
    )
    assert way_out(SchemaSnapshot(server_version=180000, functions=contained)) is None
    assert way_out(SchemaSnapshot()) is None
    assert way_out(SchemaSnapshot(unavailable="no login")) == "it is not known what it could call (no login)"
    for way in (
        function("dblink_exec", "c", "dblink"),
        function("shell", "plpython3u"),
        function("mine", "c"),
        function("handler", "c", "postgres_fdw"),
        function("odd", "internal"),
    ):
        found = way_out(SchemaSnapshot(server_version=180000, functions=(*contained, way)))
        assert found == f"public.{way.name}() may reach out of the database (language {way.language})"


_KINDS = st.sampled_from(
    [
        "SELECT",
        "BEGIN",
        "COMMIT",
        "SET",
        "DO",
        "COPY",
        "EXECUTE",
        "DROP DATABASE",
        "PREPARE TRANSACTION",
        "FROBNICATE",
    ]
)
_EFFECTS = st.builds(
    EffectFacts,
    action=st.sampled_from(Action),
    nature=st.sampled_from(Nature),
    relation=st.sampled_from([None, "public.a", "transaction_read_only"]),
)
_STATEMENTS = st.builds(
    StatementFacts,
    kind=_KINDS,
    sql=st.sampled_from(["", "COMMIT PREPARED 'x'", "ROLLBACK TO s"]),
    effects=st.lists(_EFFECTS, max_size=3).map(tuple),
)


@given(st.lists(_STATEMENTS, max_size=3).map(tuple), st.sampled_from([None, "why"]))
def test_what_ends_a_transaction_or_is_not_known_never_runs_inside_one(
    statements: tuple[StatementFacts, ...], unreadable: str | None
) -> None:
    found = containment(Facts(statements, unreadable), KNOWN)
    ends = found.boundary is not Boundary.NONE
    if ends or unreadable or any(one.kind == "FROBNICATE" for one in statements):
        assert not found.shares
        assert found.obstacle is not None or not found.needed
    if found.needed and found.obstacle is None:
        assert not ends
        assert all(
            effect.nature not in (Nature.SERVER_FILE, Nature.REPLICATION)
            for s in statements
            for effect in s.effects
        )
