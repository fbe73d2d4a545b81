"""The server's own trees: those of real servers are read, and nothing that has another shape."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rules.rewritten import Rewritten, UnknownShape, read_rewritten
from tests.support.postgres import Postgres, run_postgres, tls_bindir

SCHEMA = """
CREATE TABLE people (id int PRIMARY KEY, name text, born date);
CREATE VIEW grown AS SELECT id, lower(name) AS called FROM people WHERE born < now();
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';
CREATE DOMAIN short AS text CHECK (length(VALUE) < 9);
CREATE TYPE pair AS (a int, b short)
"""
QUERIES = (
    "SELECT called, twice(id) FROM grown WHERE called = $1",
    "SELECT name AS \":relid\", '{:relid 5}(', 'a\nb \\' AS \"a b}\" FROM people",
    "SELECT CASE WHEN id = 1 THEN 1 ELSE 2 END, COALESCE(name, ''), GREATEST(1, 2), NULLIF(1, 2) FROM people",
    "SELECT ROW(1, 2) < ROW(3, 4), ARRAY[1, 2], (ARRAY[1])[1], 1 = ANY(ARRAY[1]), true IS TRUE FROM people",
    "SELECT count(*) FILTER (WHERE id > 1), sum(id) OVER (ORDER BY id ROWS 1 PRECEDING) FROM people GROUP BY id",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r ORDER BY n LIMIT 1",
    "SELECT * FROM generate_series(1, 2) WITH ORDINALITY g(a, b) LEFT JOIN LATERAL (SELECT a) l ON true",
    "SELECT id FROM people TABLESAMPLE SYSTEM (1) FOR UPDATE",
    "SELECT DISTINCT ON (id) id FROM people",
    "SELECT 'x'::short, ROW(1, 'x')::pair, (ROW(1, 'x')::pair).a, '1'::varchar(3)::text, now()::text, CURRENT_USER",
    "SELECT id FROM people p WHERE EXISTS (SELECT 1 FROM grown g WHERE g.id = p.id) AND id IN (1, 2)",
    "INSERT INTO people VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING id",
    "UPDATE people SET name = 'b' FROM grown WHERE grown.id = people.id",
    "WITH d AS (DELETE FROM people RETURNING id) SELECT * FROM d",
    "MERGE INTO people p USING grown g ON p.id = g.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING",
)


class Server:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._notices: list[str] = []
        connection.add_notice_handler(lambda one: self._notices.append(one.message_detail or ""))

    def tree(self, sql: str) -> str:
        self._notices.clear()
        result = self._connection.pgconn.prepare(b"", sql.encode())
        assert not result.error_message, sql
        return self._notices[-1]

    def oid(self, what: str) -> int:
        row = self._connection.execute(f"SELECT {what}::oid::int".encode()).fetchone()
        assert row is not None
        return int(row[0])


def on(postgres: Postgres) -> Iterator[Server]:
    name = postgres.create_database(None, SCHEMA)
    with postgres.connect(name) as connection:
        server = Server(connection)
        connection.execute(
            "SET client_min_messages = log; SET debug_pretty_print = off; SET debug_print_rewritten = on"
        )
        yield server
    postgres.drop_database(name)


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Server]:
    yield from on(postgres)


@pytest.fixture(scope="module")
def installed() -> Iterator[Postgres]:
    """A server of another version, where one is installed; else the same one again."""
    bindir: Path | None = tls_bindir()
    with run_postgres(bindir=bindir) as running:
        yield running


def test_what_a_query_names_is_found_behind_views(server: Server) -> None:
    tree = read_rewritten(server.tree(QUERIES[0]))
    assert tree.commands == {"SELECT"}
    assert tree.relations == {server.oid("'people'::regclass"): "r", server.oid("'grown'::regclass"): "v"}
    assert {server.oid("'twice'::regproc"), server.oid("'lower(text)'::regprocedure")} <= tree.functions
    assert server.oid("'=(text,text)'::regoperator") in tree.operators
    assert {23, 25} <= tree.types


def test_types_and_commands_are_found_wherever_they_stand(server: Server) -> None:
    types = read_rewritten(server.tree("SELECT ROW(1, 'x')::pair IS NULL, 'x'::short")).types
    assert {server.oid("'pair'::regtype"), server.oid("'short'::regtype")} <= types
    assert read_rewritten(server.tree(QUERIES[-2])).commands == {"SELECT", "DELETE"}
    assert read_rewritten(server.tree(QUERIES[-1])).commands >= {"MERGE"}


def test_trees_of_this_server_are_read(server: Server) -> None:
    for sql in QUERIES:
        assert read_rewritten(server.tree(sql)).commands, sql


def test_trees_of_the_installed_server_are_read(installed: Postgres) -> None:
    for server in on(installed):
        for sql in QUERIES:
            assert read_rewritten(server.tree(sql)).commands, sql


def test_a_name_like_a_field_is_none(server: Server) -> None:
    assert read_rewritten(server.tree(QUERIES[1])).relations == {server.oid("'people'::regclass"): "r"}


def test_a_utility_statement_has_none(server: Server) -> None:
    for sql in ("DROP TABLE people", "EXPLAIN SELECT 1", "DECLARE c CURSOR FOR SELECT 1"):
        with pytest.raises(UnknownShape):
            read_rewritten(server.tree(sql))


def query(*fields: str) -> str:
    return "({QUERY " + " ".join((":commandType 1", ":utilityStmt <>", *fields)) + "})"


def test_the_smallest_tree() -> None:
    empty: frozenset[int] = frozenset()
    assert read_rewritten(query()) == Rewritten(frozenset({"SELECT"}), {}, empty, empty, empty)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "()",
        "<>",
        "({QUERY})",
        "({QUERY :commandType 1})",
        "({QUERY :commandType 6 :utilityStmt <>})",
        query()[:-1],
        query()[:-2],
        query() + " <>",
        query(":novelty 1"),
        query(":hasAggs"),
        query(":hasAggs true :hasAggs true"),
        query("hasAggs true"),
        query(":jointree {NOVELTY :a 1}"),
        query(":targetList ({FUNCEXPR :funcid x})"),
        query(":targetList ({FUNCEXPR :funcid 99999999999})"),
        query(":targetList ({CONST :consttype 23 :constvalue 4})"),
        query(":targetList ({CONST :consttype 23 :constvalue 4 [ 1 0"),
        query(":targetList ({CONST :consttype 23 :constvalue 4 [ {"),
        query(":rtable ({RANGETBLENTRY :relid <>})"),
        query(":rtable (]"),
        query(":rtable ("),
        query(':rtable ("'),
        query(":jointree " + "{FROMEXPR :quals " * 500),
    ],
)
def test_any_other_shape_is_unknown(text: str) -> None:
    with pytest.raises(UnknownShape):
        read_rewritten(text)
