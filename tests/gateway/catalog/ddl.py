"""Random definitions: statements that make, change, rename, move and drop the things of a small pool of names."""

import random
from collections.abc import Callable

__all__ = ["statement"]

_SCHEMAS = ("one", '"Zwei"')
_TABLES = ("a", "b", "c", "d")
_COLUMNS = ("id", "x", "y", '"Z z"')
_TYPES = ("int", "text", "numeric(8,2)", "timestamptz", "mood", "mail", "pair", "a", "int[]")
_FUNCTIONS = ("f", "g")
_VIEWS = ("v", "w")
_EVENTS = ("INSERT", "UPDATE", "DELETE")


def statement(r: random.Random) -> str:
    """One statement. Many of them fail, as what they name may not be there."""
    return r.choice(_STATEMENTS)(r)


def _schema(r: random.Random) -> str:
    return r.choice(_SCHEMAS)


def _in(names: tuple[str, ...]) -> Callable[[random.Random], str]:
    return lambda r: f"{_schema(r)}.{r.choice(names)}"


_table, _view, _function = _in(_TABLES), _in(_VIEWS), _in(_FUNCTIONS)
_mood, _mail, _pair, _operator = _in(("mood",)), _in(("mail",)), _in(("pair",)), _in(("+++",))


def _type(r: random.Random) -> str:
    name = r.choice(_TYPES)
    return f"{_schema(r)}.{name}" if name in ("mood", "mail", "pair", "a") else name


def _column(r: random.Random) -> str:
    return r.choice(_COLUMNS)


def _expression(r: random.Random) -> str:
    return r.choice(
        (
            "1",
            "now()::text",
            f"{_function(r)}(1)",
            f"'sad'::{_mood(r)}::text",
            f"1 OPERATOR({_schema(r)}.+++) 2",
            "length('x')",
        )
    )


def _create_table(r: random.Random) -> str:
    columns = ", ".join(f"{name} {_type(r)}" for name in _COLUMNS[1 : r.randint(1, 4)])
    rest = r.choice(("", "", f" INHERITS ({_table(r)})", " PARTITION BY LIST (id)"))
    key = r.choice(("serial", "int", "int PRIMARY KEY"))
    return f"CREATE TABLE {_table(r)} (id {key}{', ' * bool(columns)}{columns}){rest}"


def _query(r: random.Random) -> str:
    one = _table(r)
    return r.choice(
        (
            f"SELECT id, {_expression(r)} AS e FROM {one}",
            f"SELECT * FROM {one} t JOIN {_table(r)} u USING (id)",
            f"SELECT t.* FROM {one} AS t(p, q)",
            f"SELECT (f).* FROM {_function(r)}(2) f",
            f"SELECT q FROM {_function(r)}(3) AS q",
            f"SELECT id, count(*) FROM {one} GROUP BY id",
            f"SELECT ({_schema(r)}.p(1)).x",
            f"SELECT * FROM {_view(r)}",
            f"SELECT '{one}'::regclass AS t",
        )
    )


_STATEMENTS: tuple[Callable[[random.Random], str], ...] = (
    _create_table,
    _create_table,
    _create_table,
    lambda r: f"DROP TABLE {_table(r)} {r.choice(('', 'CASCADE'))}",
    lambda r: f"ALTER TABLE {_table(r)} RENAME TO {r.choice(_TABLES)}",
    lambda r: f"ALTER TABLE {_table(r)} SET SCHEMA {_schema(r)}",
    lambda r: f"ALTER TABLE {_table(r)} ADD {_column(r)} {_type(r)}",
    lambda r: f"ALTER TABLE {_table(r)} DROP {_column(r)} {r.choice(('', 'CASCADE'))}",
    lambda r: f"ALTER TABLE {_table(r)} RENAME {_column(r)} TO {_column(r)}",
    lambda r: f"ALTER TABLE {_table(r)} ALTER {_column(r)} TYPE {_type(r)} USING NULL",
    lambda r: f"ALTER TABLE {_table(r)} ALTER {_column(r)} SET DEFAULT {_expression(r)}",
    lambda r: f"ALTER TABLE {_table(r)} ALTER {_column(r)} DROP DEFAULT",
    lambda r: f"ALTER TABLE {_table(r)} ADD CHECK ({_expression(r)} IS NOT NULL)",
    lambda r: f"ALTER TABLE {_table(r)} ADD CONSTRAINT k UNIQUE ({_column(r)})",
    lambda r: f"ALTER TABLE {_table(r)} DROP CONSTRAINT k",
    lambda r: f"ALTER TABLE {_table(r)} ADD FOREIGN KEY (x) REFERENCES {_table(r)} (id) ON DELETE CASCADE",
    lambda r: f"ALTER TABLE {_table(r)} INHERIT {_table(r)}",
    lambda r: f"ALTER TABLE {_table(r)} NO INHERIT {_table(r)}",
    lambda r: f"ALTER TABLE {_table(r)} ATTACH PARTITION {_table(r)} FOR VALUES IN ({r.randint(1, 9)})",
    lambda r: f"ALTER TABLE {_table(r)} DETACH PARTITION {_table(r)}",
    lambda r: f"ALTER TABLE {_table(r)} ENABLE ROW LEVEL SECURITY",
    lambda r: f"ALTER TABLE {_table(r)} OWNER TO {r.choice(('CURRENT_USER', 'pg_monitor'))}",
    lambda r: f"ALTER SEQUENCE {_table(r)}_id_seq RENAME TO s{r.randint(1, 3)}",
    lambda r: f"COMMENT ON TABLE {_table(r)} IS '{r.randint(1, 9)}'",
    lambda r: f"COMMENT ON COLUMN {_table(r)}.id IS '{r.randint(1, 9)}'",
    lambda r: f"CREATE INDEX ON {_table(r)} ({_column(r)}, ({r.choice(('id + 1', _function(r) + '(id)'))}))",
    lambda r: f"CREATE STATISTICS {_schema(r)}.st ON (id + 1), (id * 2) FROM {_table(r)}",
    lambda r: f"CREATE OR REPLACE VIEW {_view(r)} AS {_query(r)}",
    lambda r: f"CREATE VIEW {_view(r)} AS {_query(r)}",
    lambda r: f"CREATE MATERIALIZED VIEW {_view(r)} AS {_query(r)} WITH NO DATA",
    lambda r: f"ALTER VIEW {_view(r)} RENAME TO {r.choice(_VIEWS)}",
    lambda r: f"DROP VIEW {_view(r)} CASCADE",
    lambda r: f"CREATE RULE r AS ON {r.choice(_EVENTS)} TO {_table(r)} DO ALSO DELETE FROM {_table(r)}",
    lambda r: f"DROP RULE r ON {_table(r)}",
    lambda r: (
        f"CREATE TRIGGER t AFTER {r.choice(_EVENTS)} ON {_table(r)} FOR EACH ROW "
        f"WHEN (pg_trigger_depth() = {r.randint(0, 2)}) EXECUTE FUNCTION {_schema(r)}.note()"
    ),
    lambda r: f"ALTER TABLE {_table(r)} {r.choice(('ENABLE', 'DISABLE'))} TRIGGER ALL",
    lambda r: f"DROP TRIGGER t ON {_table(r)}",
    lambda r: f"CREATE POLICY p ON {_table(r)} USING ({_expression(r)} IS NOT NULL)",
    lambda r: f"DROP POLICY p ON {_table(r)}",
    lambda r: (
        f"CREATE OR REPLACE FUNCTION {_function(r)}(n int) RETURNS text LANGUAGE sql IMMUTABLE "
        f"AS 'SELECT ''{r.randint(1, 9)}'''"
    ),
    lambda r: (
        f"CREATE FUNCTION {_function(r)}(n int) RETURNS {_type(r)} LANGUAGE sql BEGIN ATOMIC SELECT NULL; END"
    ),
    lambda r: (
        f"CREATE FUNCTION {_function(r)}(n int DEFAULT length('x')) RETURNS SETOF {_type(r)} LANGUAGE sql "
        f"AS 'SELECT NULL'"
    ),
    lambda r: f"CREATE FUNCTION {_schema(r)}.p(int) RETURNS {_pair(r)} LANGUAGE sql AS 'SELECT NULL'",
    lambda r: (
        f"CREATE FUNCTION {_schema(r)}.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    ),
    lambda r: f"ALTER FUNCTION {_function(r)}(int) RENAME TO {r.choice(_FUNCTIONS)}",
    lambda r: f"ALTER FUNCTION {_function(r)}(int) SET SCHEMA {_schema(r)}",
    lambda r: f"DROP FUNCTION {_function(r)}(int) CASCADE",
    lambda r: f"CREATE AGGREGATE {_schema(r)}.agg(int) (SFUNC = {_schema(r)}.step, STYPE = int)",
    lambda r: f"CREATE FUNCTION {_schema(r)}.step(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    lambda r: f"CREATE OPERATOR {_operator(r)} (LEFTARG = int, RIGHTARG = int, FUNCTION = {_schema(r)}.step)",
    lambda r: f"ALTER OPERATOR {_operator(r)} (int, int) SET SCHEMA {_schema(r)}",
    lambda r: f"DROP OPERATOR {_operator(r)} (int, int) CASCADE",
    lambda r: f"CREATE TYPE {_mood(r)} AS ENUM ('sad', 'glad')",
    lambda r: f"ALTER TYPE {_mood(r)} RENAME VALUE 'sad' TO 'glum'",
    lambda r: f"ALTER TYPE {_mood(r)} RENAME TO spirits",
    lambda r: f"CREATE TYPE {_pair(r)} AS (x {_type(r)}, y int)",
    lambda r: f"ALTER TYPE {_pair(r)} RENAME ATTRIBUTE {r.choice('xy')} TO {r.choice('xyz')} CASCADE",
    lambda r: f"ALTER TYPE {_pair(r)} ADD ATTRIBUTE z {_type(r)} CASCADE",
    lambda r: f"DROP TYPE {r.choice((_mood, _pair))(r)} CASCADE",
    lambda r: (
        f"CREATE DOMAIN {_mail(r)} AS text DEFAULT {_expression(r)} CHECK ({_function(r)}(1) IS NOT NULL)"
    ),
    lambda r: f"ALTER DOMAIN {_mail(r)} ADD CHECK (VALUE <> '{r.randint(1, 9)}')",
    lambda r: f"DROP DOMAIN {_mail(r)} CASCADE",
    lambda r: f"CREATE CAST ({_pair(r)} AS int) WITH FUNCTION {_schema(r)}.step(int)",
    lambda r: (
        f"CREATE EVENT TRIGGER e ON {r.choice(('ddl_command_end', 'sql_drop'))} EXECUTE FUNCTION {_schema(r)}.ev()"
    ),
    lambda r: f"CREATE FUNCTION {_schema(r)}.ev() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    lambda _: "DROP EVENT TRIGGER e",
    lambda r: f'CREATE COLLATION {_schema(r)}.co FROM "C"',
    lambda r: f"ALTER TABLE {_table(r)} ADD {_column(r)} text COLLATE {_schema(r)}.co",
    lambda r: f"ALTER COLLATION {_schema(r)}.co RENAME TO co{r.randint(1, 3)}",
    lambda r: f"ALTER SCHEMA {_schema(r)} RENAME TO moved",
    lambda r: f"ALTER SCHEMA moved RENAME TO {_schema(r)}",
    lambda r: f"CREATE SCHEMA {_schema(r)}",
    lambda r: f"GRANT USAGE ON SCHEMA {_schema(r)} TO {r.choice(('PUBLIC', 'pg_monitor'))}",
    lambda r: f"GRANT SELECT ON {_table(r)} TO PUBLIC",
    lambda r: f"TRUNCATE {_table(r)} CASCADE",
    lambda r: f"CREATE EXTENSION hstore SCHEMA {_schema(r)}",
    lambda _: "ALTER EXTENSION hstore DROP FUNCTION hstore_in(cstring)",
    lambda _: "DROP EXTENSION hstore CASCADE",
    lambda r: f"CREATE TEMPORARY TABLE t{r.randint(1, 99)} (id serial PRIMARY KEY, x {_type(r)})",
)
