"""Whose rows a statement touches, by what a server says: never anybody who was not named."""

import random
from datetime import UTC, datetime

import psycopg
import pytest

from rules import Context, Judge, compile_policy
from rules.catalog import ForeignKey, Relation, SchemaSnapshot
from tests.support.postgres import Postgres

STATEMENTS = 600
SCHEMA = """
CREATE TABLE p (id int PRIMARY KEY, name text, code varchar UNIQUE, num numeric UNIQUE, c char(3));
INSERT INTO p SELECT i, 'n' || i % 3, i::text, i, i::text FROM generate_series(1, 9) i;
CREATE TABLE k (kid int PRIMARY KEY, pid int REFERENCES p ON DELETE CASCADE, note text);
INSERT INTO k SELECT i, (i + 1) / 2, 'k' || i FROM generate_series(1, 16) i;
CREATE VIEW v AS SELECT id AS vid, name AS vname FROM p WHERE id < 8;
"""
KEY = (frozenset(["id"]),)
CATALOG = SchemaSnapshot(
    generation=1,
    database="x",
    server_version=180000,
    relations=(
        Relation(
            20000, "public", "p", "r", ("id", "name", "code", "num", "c"), (23, 25, 1043, 1700, 1042), KEY
        ),
        Relation(20001, "public", "k", "r", ("kid", "pid", "note"), (23, 23, 25), (frozenset(["kid"]),)),
        Relation(
            *(20002, "public", "v", "v", ("vid", "vname"), (23, 25)),
            definition="SELECT p.id AS vid, p.name AS vname FROM public.p WHERE p.id < 8;",
        ),
    ),
    foreign_keys=(ForeignKey("f", 20001, 20000, "c", "a", ("pid",), ("id",)),),
)
VALUES = {
    "int": (
        "{n} '{n}' ' {n}' '0{n}' {n}.0 {n}::int8 '{n}'::int2 -(-{n}) -{n} {n}e0 U&'\\003{n}' E'\\x3{n}' "
        "('{n}'::text)::int $${n}$$ {n}+0 abs(-{n}) NULL (SELECT({n})) coalesce({n},1)"
    ),
    "text": (
        "'{n}' '{n}'::text '{n}'::varchar '{n}x'::varchar(1) {n}::text '0{n}'::int::text {n}.0::text {n}e0::text "
        "lower('{n}') U&'\\003{n}'"
    ),
    "numeric": "{n} {n}.00 '{n}.0' {n}e0 '{n}'::numeric '{n}'::int {n}.4::int",
    "bpchar": "'{n}' '{n}'::text '{n}'::char(3)",
}
SUBJECTS = {"id": "int", "code": "text", "num": "numeric", "c": "bpchar", "pid": "int"}
CASTS = ("int[]", "text[]", "int8[]", "numeric[]", "varchar(1)[]", "int[]::text[]")


class Writer:
    """Writes conditions on a column, and statements around them."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def value(self, subject: str) -> str:
        spelled = self._dice.choice(VALUES[SUBJECTS[subject]].replace("' {n}'", "'~{n}'").split())
        return spelled.replace("~", " ").replace("{n}", str(self._dice.randint(0, 9)))

    def condition(self, column: str, subject: str, depth: int = 0) -> str:
        roll, dice = self._dice.random(), self._dice
        if depth < 3 and roll < 0.3:
            parts = [self.condition(column, subject, depth + 1) for _ in range(dice.randint(2, 3))]
            return f"({dice.choice([' AND ', ' OR ']).join(parts)})"
        if depth < 3 and roll < 0.35:
            return f"NOT {self.condition(column, subject, depth + 1)}"
        one, other = self.value(subject), self.value(subject)
        return dice.choice(
            [
                *([f"{column} = {one}", f"{one} = {column}", f"{column} IN ({one}, {other})"] * 2),
                f"{column} = ANY(ARRAY[{one}, {other}])",
                f"{column} = ANY(ARRAY[{one}]::{dice.choice(CASTS)})",
                f"{column} = ANY('{{1, {dice.randint(1, 9)}}}'::{dice.choice(CASTS)})",
                f"({column}, 1) = ({one}, 1)",
                f"{column} <> {one}",
                f"({column} = {one}) IS NOT FALSE",
                *("true", "false", "1 = 0"),
            ]
        )

    def statement(self) -> tuple[str, str, str]:
        """The column that tells people apart, the relation, and a statement that returns those it touches."""
        subject = self._dice.choice(["id", "id", "code", "num", "c"])
        own, joined = self.condition(subject, subject), self.condition("k.pid", "pid")
        return self._dice.choice(
            [
                (subject, "p", f"SELECT {subject}::text FROM p WHERE {own}"),
                (subject, "p", f"DELETE FROM p WHERE {own} RETURNING {subject}::text"),
                (subject, "p", f"SELECT x.{subject}::text FROM p x LEFT JOIN k ON {joined} WHERE {own}"),
                ("id", "p", f"SELECT x.id::text FROM p x JOIN k ON k.pid = x.id WHERE {joined}"),
                ("id", "p", f"SELECT id::text FROM p WHERE id IN (SELECT pid FROM k WHERE {joined})"),
                ("id", "p", f"SELECT vid::text FROM v WHERE {self.condition('vid', 'id')}"),
                ("pid", "k", f"DELETE FROM k WHERE {joined} RETURNING pid::text"),
                (subject, "p", f"DELETE FROM p USING k WHERE {own} AND {joined} RETURNING p.{subject}::text"),
            ]
        )


@pytest.mark.parametrize("seed", [1])
def test_nobody_is_touched_who_was_not_named(postgres: Postgres, empty_database: str, seed: int) -> None:
    postgres.execute(SCHEMA, empty_database)
    context = Context("alice", datetime(2030, 1, 1, tzinfo=UTC), search_path=("public",), catalog=CATALOG)
    judges = {}
    for subject in ("id", "code", "num", "c"):
        marks = [
            {"relation": "public.p", "subject": subject},
            {"relation": "public.k", "subject": "pid"},
        ]
        judges[subject] = Judge(compile_policy({"personal_data": marks}))
    writer = Writer(seed)
    named = 0
    with postgres.connect(empty_database) as connection:
        for _ in range(STATEMENTS):
            subject, relation, sql = writer.statement()
            try:
                with connection.transaction(force_rollback=True):
                    rows = connection.execute(sql.encode()).fetchall()
            except psycopg.Error:
                continue
            judge = judges["id" if subject == "pid" else subject]
            touches = [
                one for one in judge.touches(sql.encode(), context) if one.relation == f"public.{relation}"
            ]
            values = [one.values for one in touches]
            if not values or None in values:
                continue
            named += 1
            people = frozenset[str]().union(*(one for one in values if one is not None))
            touched = {row[0].rstrip() if subject == "c" else row[0] for row in rows if row[0] is not None}
            assert touched <= people, sql
    assert named > STATEMENTS / 8, "most say nothing, which would prove nothing"
