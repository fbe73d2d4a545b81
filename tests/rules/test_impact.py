"""What is asked for a preview, and that the answers are what then happens."""

from collections.abc import Iterator
from typing import Any

import pytest

from rules import Facts, Judge, compile_policy
from rules.catalog import SchemaSnapshot
from rules.impact import MAX_TEXT, Impact, plan_impact
from tests.rules.policies import context
from tests.support.catalog import snapshot_of
from tests.support.postgres import Postgres

SCHEMA = """
CREATE TABLE a (id int PRIMARY KEY, n int, t text, "Odd ""name" int UNIQUE);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE, n int);
CREATE TABLE c (id int, b int REFERENCES b ON DELETE SET NULL, a int REFERENCES a ("Odd ""name") ON DELETE CASCADE);
CREATE TABLE ring (id int PRIMARY KEY, next int REFERENCES ring ON DELETE CASCADE);
CREATE TABLE part (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
CREATE TABLE of_part (id int, k int, FOREIGN KEY (id, k) REFERENCES part ON DELETE CASCADE);
CREATE TABLE parent (id int PRIMARY KEY, n int);
CREATE TABLE child (m int) INHERITS (parent);
CREATE TABLE guarded (id int);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE VIEW seen AS SELECT id, n FROM a WHERE n > 1;
CREATE FUNCTION code() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER on_n BEFORE UPDATE OF n ON a FOR EACH ROW EXECUTE FUNCTION fires();
CREATE TRIGGER gone AFTER DELETE ON b FOR EACH ROW EXECUTE FUNCTION fires();
CREATE TABLE watched (id int);
CREATE RULE noted AS ON DELETE TO watched DO ALSO DELETE FROM ring;
INSERT INTO a SELECT i, i % 4, 'row ' || i, i * 10 FROM generate_series(1, 20) i;
INSERT INTO b SELECT i, (i + 1) / 2, i % 3 FROM generate_series(1, 40) i;
INSERT INTO c SELECT i, (i + 1) / 2, ((i - 1) % 20 + 1) * 10 FROM generate_series(1, 80) i;
INSERT INTO ring SELECT i, NULLIF(i - 1, 0) FROM generate_series(1, 9) i;
INSERT INTO part SELECT i, i % 2 + 1 FROM generate_series(1, 10) i;
INSERT INTO of_part SELECT id, k FROM part, generate_series(1, 2);
INSERT INTO parent VALUES (1, 1), (2, 2);
INSERT INTO child VALUES (3, 2, 0), (4, 4, 0);
ANALYZE;
"""


class Desk:
    """A database, what is known of it, and the means to look and to do."""

    def __init__(self, postgres: Postgres, name: str) -> None:
        self.catalog: SchemaSnapshot = snapshot_of(postgres, name)
        self._judge = Judge(compile_policy({}))
        self.connection = postgres.connect(name, autocommit=False)

    def reads(self, sql: bytes) -> Facts:
        return self._judge.read(sql, context(catalog=self.catalog, search_path=("public",)))

    def plan(self, sql: str) -> Impact:
        return plan_impact(sql.encode(), self.catalog, self.reads)

    def ask(self, sql: str) -> int:
        return int(self.connection.execute(sql.encode()).fetchall()[0][0])

    def counted(self, sql: str) -> dict[str, int | None]:
        """The answers of the plan, by what they are about."""
        found: dict[str, int | None] = {}
        for change in self.plan(sql).changes:
            found[change.relation] = None if change.question is None else self.ask(change.question.sql)
            for one in change.reached:
                assert one.question is not None
                key = f"{one.relation}.{one.constraint} {one.rule}"
                found[key] = found.get(key, 0) or 0
                found[key] = (found[key] or 0) + self.ask(one.question.sql)
        return found

    def done(self, sql: str) -> int:
        """The rows that the statement changes when it runs; it is undone."""
        with self.connection.transaction(force_rollback=True):
            return self.connection.execute(sql.encode()).rowcount


@pytest.fixture(scope="module")
def desk(postgres: Postgres) -> Iterator[Desk]:
    name = postgres.create_database(template=None, sql=SCHEMA)
    desk = Desk(postgres, name)
    yield desk
    desk.connection.close()
    postgres.drop_database(name)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM a WHERE id = 5",
        "DELETE FROM a",
        "DELETE FROM ONLY parent",
        "DELETE FROM parent WHERE n = 2",
        "DELETE FROM public.a AS x WHERE x.n IN (SELECT n FROM a LIMIT 1)",
        "DELETE FROM a USING b WHERE b.a = a.id AND b.n = 1",
        "DELETE FROM a USING b, c WHERE b.a = a.id AND c.b = b.id",
        "DELETE FROM a x USING a y WHERE x.n = y.n AND y.id < x.id RETURNING x.id",
        "WITH few AS (SELECT id FROM a WHERE n < 2) DELETE FROM a WHERE id IN (SELECT id FROM few)",
        "UPDATE a SET n = n + 1 WHERE n BETWEEN 1 AND 2",
        "UPDATE a SET t = b.n::text FROM b WHERE b.a = a.id",
        "UPDATE part SET k = k WHERE id < 4",
        "DELETE FROM part_2",
        'DELETE FROM a WHERE "Odd ""name" > 100 OR t = \'row 3 WHERE\'',
        "UPDATE seen SET n = 7 WHERE id < 9",
        "DELETE FROM seen WHERE id < 9",
        "DELETE FROM a WHERE NOT EXISTS (SELECT FROM b WHERE b.a = a.id) OR n = ANY ('{1,2}')",
    ],
)
def test_the_count_is_what_then_changes(desk: Desk, sql: str) -> None:
    (change,) = desk.plan(sql).changes
    assert change.question is not None, change.unseen
    assert desk.ask(change.question.sql) == desk.done(sql)


def test_rows_are_followed_along_the_foreign_keys(desk: Desk) -> None:
    assert desk.counted("DELETE FROM a WHERE id IN (1, 2)") == {
        "public.a": 2,
        "public.b.b_a_fkey CASCADE": 4,
        "public.c.c_a_fkey CASCADE": 8,
        "public.c.c_b_fkey SET NULL": 8,
    }
    assert desk.counted("DELETE FROM part WHERE id < 5") == {
        "public.part": 4,
        "public.of_part.of_part_id_k_fkey CASCADE": 8,
    }


def test_an_update_follows_keys_it_changes(desk: Desk) -> None:
    assert desk.counted("UPDATE a SET id = id + 100 WHERE id = 3") == {
        "public.a": 1,
        "public.b.b_a_fkey CASCADE": 2,
    }
    assert desk.counted("UPDATE a SET n = 0 WHERE id = 3") == {"public.a": 1}
    # NO ACTION: it would stop the change of a key that is referred to.
    assert desk.counted('UPDATE a SET "Odd ""name" = 0 WHERE id = 3') == {
        "public.a": 1,
        "public.c.c_a_fkey NO ACTION": 4,
    }


def test_a_ring_is_followed_for_a_while(desk: Desk) -> None:
    (change,) = desk.plan("DELETE FROM ring WHERE id = 2").changes
    assert [desk.ask(one.question.sql) for one in change.reached if one.question is not None] == [1] * 5
    assert change.unseen == ("foreign keys are not followed further than public.ring",)


def test_triggers_on_the_way(desk: Desk) -> None:
    (change,) = desk.plan("DELETE FROM a WHERE id = 1").changes
    assert change.triggers == ("public.b: gone (public.fires)",)
    (change,) = desk.plan("UPDATE a SET n = 1").changes
    assert change.triggers == ("public.a: on_n (public.fires)",)
    (change,) = desk.plan("UPDATE a SET t = ''").changes
    assert change.triggers == ()


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DELETE FROM a WHERE id = code()", "code()"),
        ("DELETE FROM nowhere", "nowhere"),
        ("DELETE FROM a WHERE pg_advisory_lock(id) IS NULL", "pg_advisory_lock() acts"),
        ("DELETE FROM a WHERE random() < 0.5", "random() acts"),
        ("DELETE FROM a WHERE id IN (SELECT nextval('s'))", "nextval() acts"),
        ("DELETE FROM a WHERE t = current_user", "who asks"),
        ("DELETE FROM a WHERE set_config('a.b', t, false) = t", "changes a.b"),
        ("DELETE FROM a WHERE id = (SELECT 1 FROM pg_read_file('x'))", "pg_read_file"),
        ("DELETE FROM a WHERE lo_creat(1) > 0", "lo_creat"),
        ("DELETE FROM a WHERE CURRENT OF x", "cursor"),
    ],
)
def test_what_is_not_asked(desk: Desk, sql: str, why: str) -> None:
    (change,) = desk.plan(sql).changes
    assert change.question is None
    assert len(change.unseen) == 1
    assert change.unseen[0].startswith("not counted: ")
    assert why in change.unseen[0]


def test_what_a_count_does_not_show_is_said(desk: Desk) -> None:
    (change,) = desk.plan("DELETE FROM guarded").changes
    assert change.unseen == ("row-level security of public.guarded may hide rows from the login that counts",)
    (change,) = desk.plan("DELETE FROM watched").changes
    assert change.unseen == (
        "rule noted of public.watched puts other statements in place of or beside this one",
    )
    (change,) = desk.plan("DELETE FROM seen").changes
    assert change.unseen == ("public.seen is a view: what follows in the tables behind it is not counted",)


def test_several_statements_and_parts(desk: Desk) -> None:
    impact = desk.plan("DELETE FROM c; DELETE FROM b WHERE id = 1; COMMIT; VACUUM")
    assert [change.relation for change in impact.changes] == ["public.c", "public.b"]
    assert impact.unseen == (
        "every statement is counted as things are before the first of them runs",
        "VACUUM is not previewed",
    )
    impact = desk.plan(
        "WITH x AS (DELETE FROM c WHERE id < 3 RETURNING b) DELETE FROM b WHERE id IN (TABLE x)"
    )
    counted, other = impact.changes
    assert counted.question is not None
    assert desk.ask(counted.question.sql) == 2
    assert other.question is None
    assert "another part" in other.unseen[0]


def test_truncate_counts_everything(desk: Desk) -> None:
    impact = desk.plan('TRUNCATE a, public.c, ONLY "ring" CASCADE')
    assert [desk.ask(change.question.sql) for change in impact.changes if change.question] == [20, 80, 9]
    assert impact.changes[0].unseen == ("the tables that refer to it are emptied too, and not counted",)
    (change,) = desk.plan("TRUNCATE nowhere").changes
    assert change.question is None
    assert "nowhere" in change.unseen[0]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT t FROM a",
        "COPY a TO STDOUT",
        "COPY (SELECT t FROM a) TO STDOUT",
        "TABLE a",
        "COPY public.a (t) TO STDOUT",
    ],
)
def test_reads_are_explained(desk: Desk, sql: str) -> None:
    (question,) = desk.plan(sql).reads
    (plan,) = desk.connection.execute(question.sql.encode()).fetchall()[0][0]
    assert plan["Plan"]["Plan Rows"] == 20


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT code()", "code()"),
        ("SELECT t FROM nowhere", "nowhere"),
        ("COPY (DELETE FROM a RETURNING t) TO STDOUT", "what a change returns"),
        ("SELECT pg_read_file('x')", "pg_read_file"),
    ],
)
def test_what_is_not_explained(desk: Desk, sql: str, why: str) -> None:
    impact = desk.plan(sql)
    assert impact.reads == ()
    assert why in impact.unseen[0]


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DO $$ BEGIN END $$", "DO is not previewed"),
        ("MERGE INTO a USING b ON a.id = b.a WHEN MATCHED THEN DELETE", "MERGE"),
        ("DELETE FROM", "cannot be read"),
        ("EXECUTE x", "EXECUTE is not previewed"),
        ("SELECT " + "1 + " * MAX_TEXT + "1", "not previewed"),
        ("SELECT " + "/*" * 100 + "*/" * 100 + "1", "so many comments"),
    ],
)
def test_what_is_not_previewed(desk: Desk, sql: str, why: str) -> None:
    impact = desk.plan(sql)
    assert impact.changes == ()
    assert any(why in text for text in impact.unseen)


def test_a_look_alike_operator_is_not_used(postgres: Postgres) -> None:
    """Rows are met by PostgreSQL's own equality, whatever the session searches first."""
    name = postgres.create_database(template=None, sql=SCHEMA)
    try:
        desk = Desk(postgres, name)
        desk.connection.execute(
            "CREATE FUNCTION never(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
            "CREATE OPERATOR = (LEFTARG = int, RIGHTARG = int, FUNCTION = never);"
            "SET search_path = public, pg_catalog"
        )
        (change,) = desk.plan("DELETE FROM a").changes
        assert [desk.ask(one.question.sql) for one in change.reached if one.question] == [40, 80, 80]
        desk.connection.close()
    finally:
        postgres.drop_database(name)


def test_parameters_are_those_of_the_condition(desk: Desk) -> None:
    (change,) = desk.plan("UPDATE a SET t = $1, n = $2 WHERE id = $3 RETURNING $4").changes
    assert change.question is not None
    assert change.question.parameters == {3}
    (question,) = desk.plan("SELECT t FROM a WHERE id = $2").reads
    assert question.parameters == {2}


def test_it_never_raises(desk: Desk) -> None:
    def deaf(sql: bytes) -> Any:
        return Facts((), "nobody can read")

    impact = plan_impact(b"DELETE FROM a; SELECT t FROM a; TRUNCATE a", desk.catalog, deaf)
    assert {change.unseen for change in impact.changes} == {("not counted: nobody can read",)}
    assert impact.reads == ()
    assert len(impact.changes) == 2
