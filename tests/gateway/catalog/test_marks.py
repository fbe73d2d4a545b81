"""Which definitions have changed: what was known and brought up to date is what reading everything shows."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from gateway.catalog.build import Row
from gateway.catalog.marks import MARK, Differing, changes_query, server_of, span
from gateway.catalog.queries import SETTINGS
from gateway.catalog.read import Reading, Run, in_transaction, read, refresh
from tests.gateway.catalog import ddl
from tests.gateway.catalog.test_read import SCHEMA
from tests.support.catalog import ask_through
from tests.support.postgres import Postgres


@pytest.fixture
def rich(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with one of everything."""
    name = postgres.create_database(None, SCHEMA)
    with postgres.connect(name) as connection:
        yield connection
    postgres.drop_database(name)


def eyes(connection: psycopg.Connection[Any]) -> Run:
    """The connection as a way to look, in its open transaction if there is one."""
    ask = ask_through(connection)

    async def run(queries: Sequence[str]) -> Sequence[Sequence[Row]]:
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            return await in_transaction(ask)(queries)
        await ask("SAVEPOINT own")
        try:
            for setting in SETTINGS:
                await ask(setting)
            return [await ask(query) for query in queries]
        finally:
            await ask("ROLLBACK TO own")
            await ask("RELEASE own")

    return run


async def mark(connection: psycopg.Connection[Any]) -> str:
    ((row,),) = await eyes(connection)([MARK])
    return row[0] or ""


CHANGES = (
    "CREATE TABLE crm.fresh (a int)",
    "ALTER TABLE crm.fresh RENAME COLUMN a TO b",
    "ALTER TABLE crm.fresh ADD UNIQUE (b)",
    "ALTER TABLE crm.fresh ALTER b SET DEFAULT random()",
    "ALTER TABLE crm.fresh RENAME TO fresher",
    "ALTER TABLE crm.fresher ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON crm.fresher USING (b > 1)",
    "ALTER POLICY p ON crm.fresher USING (b > 2)",
    "CREATE RULE r AS ON INSERT TO crm.fresher DO ALSO DELETE FROM crm.keys",
    "ALTER TABLE crm.fresher DISABLE RULE r",
    "CREATE TRIGGER t AFTER INSERT ON crm.fresher EXECUTE FUNCTION crm.note()",
    "ALTER TABLE crm.fresher DISABLE TRIGGER t",
    "ALTER TABLE crm.fresher INHERIT crm.nothing",
    "COMMENT ON TABLE crm.fresher IS 'x'",
    "CREATE OR REPLACE VIEW crm.contact AS SELECT id, lower(email) AS address FROM crm.person",
    "CREATE OR REPLACE FUNCTION crm.finish(int) RETURNS int LANGUAGE sql AS $$SELECT 2$$",
    "ALTER DOMAIN crm.mail DROP DEFAULT",
    "ALTER DOMAIN crm.mail ADD CHECK (VALUE <> 'a')",
    "ALTER TYPE crm.mood RENAME VALUE 'sad' TO 'glum'",
    "DROP CAST (crm.mood AS text)",
    "DROP OPERATOR crm.!!! (NONE, int)",
    'ALTER COLLATION crm."Mine" RENAME TO "Yours"',
    "ALTER EXTENSION hstore DROP FUNCTION hstore_in(cstring)",
    "ALTER EVENT TRIGGER blind ENABLE",
    "ALTER SCHEMA empty RENAME TO filled",
    "ALTER TABLE crm.purchase DETACH PARTITION crm.purchase_old",
    "ALTER TABLE crm.keys ADD FOREIGN KEY (a) REFERENCES crm.person",
    "ALTER TABLE crm.keys OWNER TO pg_monitor",
    "DROP TABLE crm.fresher",
)


@pytest.mark.parametrize("one_transaction", [False, True])
async def test_every_change_shows_and_is_followed(
    rich: psycopg.Connection[Any], one_transaction: bool
) -> None:
    known = await read(eyes(rich))
    seen = {known.mark}
    if one_transaction:
        rich.execute("BEGIN")
    for change in CHANGES:
        rich.execute(change.encode())
        known = await followed(known, rich, change)
        assert known.mark not in seen, change
        seen.add(known.mark)


async def followed(known: Reading, connection: psycopg.Connection[Any], why: str) -> Reading:
    """What was known, brought up to date, once it is proven to be what there is."""
    now, everything = await refresh(eyes(connection), known, generation=1), await read(eyes(connection))
    assert now == everything, why
    return now


NO_CHANGES = (
    "INSERT INTO crm.person (id) VALUES (1)",
    "DELETE FROM crm.person",
    "TRUNCATE crm.person CASCADE",
    "REFRESH MATERIALIZED VIEW crm.contact_kept",
    "ANALYZE",
    "VACUUM",
    "SELECT nextval('crm.numbers')",
    "CREATE TEMPORARY TABLE t (a serial PRIMARY KEY, b text CHECK (b > '') DEFAULT random()::text)",
    "CREATE TEMPORARY VIEW v AS SELECT * FROM t",
    "CREATE RULE r AS ON INSERT TO t DO ALSO DELETE FROM crm.keys",
    "COMMENT ON COLUMN t.a IS 'x'",
    "DROP TABLE t CASCADE",
)


async def test_work_with_data_does_not_show(rich: psycopg.Connection[Any]) -> None:
    before = await mark(rich)
    for statement in NO_CHANGES:
        rich.execute(statement.encode())
        assert await mark(rich) == before, statement


UNCHANGED = (
    "GRANT SELECT ON crm.person TO PUBLIC",
    "GRANT SELECT (name) ON crm.person TO PUBLIC",
    "ALTER TABLE crm.person ALTER name SET STATISTICS 5",
    "REINDEX TABLE CONCURRENTLY crm.person",
)


async def test_what_is_in_no_snapshot_leaves_it_the_same_object(rich: psycopg.Connection[Any]) -> None:
    known = await read(eyes(rich))
    for statement in UNCHANGED:
        rich.execute(statement.encode())
        now = await refresh(eyes(rich), known, generation=2)
        assert now.snapshot is known.snapshot, statement
        known = now


@pytest.mark.parametrize("seed", range(2))
async def test_random_definitions(postgres: Postgres, empty_database: str, seed: int) -> None:
    """By two connections, in transactions and without, committed, rolled back, and back to savepoints."""
    r = random.Random(seed)
    with postgres.connect(empty_database) as one, postgres.connect(empty_database) as other:
        for schema in ("one", '"Zwei"'):
            one.execute(f"CREATE SCHEMA {schema}".encode())
        known = await read(eyes(one))
        for _ in range(18):
            connection = r.choice((one, other))
            if r.random() < 0.5:
                _define(r, connection, r.randint(1, 6))
            else:
                connection.execute("BEGIN")
                inside = known
                for _ in range(r.randint(1, 3)):
                    connection.execute("SAVEPOINT s")
                    _define(r, connection, r.randint(1, 3))
                    if r.random() < 0.3:
                        connection.execute("ROLLBACK TO s")
                    inside = await followed(inside, connection, "in a transaction")
                connection.execute(r.choice((b"COMMIT", b"COMMIT", b"ROLLBACK")))
            known = await followed(known, r.choice((one, other)), "committed")


def _define(r: random.Random, connection: psycopg.Connection[Any], count: int) -> None:
    """Run random statements until so many of them have succeeded."""
    while count:
        try:
            with connection.transaction():
                connection.execute(ddl.statement(r).encode())
            count -= 1
        except psycopg.Error:
            continue


async def test_a_server_started_again_is_read_anew(rich: psycopg.Connection[Any]) -> None:
    known = await read(eyes(rich))
    identity, database, version, started = server_of(known.mark)
    assert (database, int(version)) == (rich.info.dbname, rich.info.server_version)
    earlier = known.mark.replace(started, str(int(started) - 1))
    before = Reading(known.snapshot, earlier, complete=True)
    now = await refresh(eyes(rich), before, generation=2)
    assert now.identity == identity
    assert now.snapshot is not known.snapshot
    assert now.mark == known.mark


async def test_of_very_many_changes_everything_is_read(
    rich: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await read(eyes(rich))
    monkeypatch.setattr("gateway.catalog.marks.MAX_REACHED", 3)
    rich.execute("ALTER TABLE crm.person RENAME TO people")
    ((answer,), (left,)) = await eyes(rich)(
        [changes_query(known.mark), "SELECT current_setting('holdgate.relations')"]
    )
    assert (answer[0] or "").endswith(', true, "{}", "{}", "{}"]')
    assert left == ("{}",)
    await followed(known, rich, "everything")


def test_what_two_marks_tell() -> None:
    before, after = (
        '[[], [["relation", 3, "5"], ["type", 4, "6"]]]',
        '[[], [["relation", 3, "7"], ["type", 4, "6"]]]',
    )
    differing = Differing.between(before, after, {"type": [70_000]})
    inside, outside = 3 << 6, 4 << 6
    assert span(inside) == span(inside + 63) == 3
    assert differing.holds("relation", inside)
    assert not differing.holds("relation", outside)
    assert not differing.holds("type", outside)
    assert differing.holds("type", 70_000)
    gone = Differing.between(before, '[[], [["type", 4, "6"]]]', {})
    assert gone.holds("relation", inside)
