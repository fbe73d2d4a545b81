"""The catalog of a real server, read through the port."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.catalog import AskError, read, read_catalog
from gateway.catalog.build import Row
from gateway.catalog.read import differences, in_transaction, refresh
from rules.catalog import Code, Relation, SchemaSnapshot, Trigger
from tests.support.catalog import ask_through, snapshot_of
from tests.support.postgres import Postgres

SCHEMA = Path(__file__).with_name("schema.sql").read_text()


@pytest.fixture(scope="module")
def rich(postgres: Postgres) -> Iterator[str]:
    """The name of a database with one of everything; not for changing."""
    name = postgres.create_database(None, SCHEMA)
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def snapshot(postgres: Postgres, rich: str) -> SchemaSnapshot:
    return snapshot_of(postgres, rich)


def relation(snapshot: SchemaSnapshot, name: str) -> Relation:
    return snapshot.by_name["crm", name]


def texts(relation: Relation, occasion: str) -> list[str]:
    return [code.text for code in relation.code if code.occasion == occasion]


def function_oid(snapshot: SchemaSnapshot, name: str) -> int:
    (function,) = snapshot.functions_by_name[name]
    return function.oid


# --- what is in it ------------------------------------------------------------------------------------------


def test_where_it_comes_from(snapshot: SchemaSnapshot, postgres: Postgres, rich: str) -> None:
    assert snapshot.database == rich
    assert snapshot.server_version // 10_000 == postgres.major
    assert not snapshot.is_empty


def test_relations_of_every_kind(snapshot: SchemaSnapshot) -> None:
    kinds = {one.name: one.kind for one in snapshot.relations if one.extension is None}
    assert kinds == {
        "person": "r",
        "veteran": "r",
        'Straße"n': "r",
        "nothing": "r",
        "numbers": "S",
        "purchase": "p",
        "purchase_old": "r",
        "shard": "p",
        "keys": "r",
        "contact": "v",
        "contact_twice": "v",
        "contact_kept": "m",
        "pair": "c",
        "sorted": "r",
    }


def test_columns(snapshot: SchemaSnapshot) -> None:
    person = relation(snapshot, "person")
    assert person.columns == ("id", "email", "name", "born", "full_name", "seen")
    assert person.types == (20, 25, 25, 1082, 25, 1184)
    assert relation(snapshot, "nothing").columns == ()
    assert snapshot.by_name["Größe 2", 'Straße"n'].columns == ("Ä", "b c")
    assert relation(snapshot, "pair").columns == ("one", "two")
    assert person.owner == "postgres"
    assert person.comments == {"": "People", "email": 'Where "they" are reached'}


def test_keys_that_prove_a_single_row(snapshot: SchemaSnapshot) -> None:
    assert relation(snapshot, "person").unique == (frozenset({"id"}), frozenset({"email"}))
    assert relation(snapshot, "purchase").unique == (frozenset({"id", "at"}),)
    assert relation(snapshot, "keys").unique == (frozenset({"a", "b"}), frozenset({"g"}))
    assert relation(snapshot, "veteran").unique == ()


def test_inheritance_and_partitions(snapshot: SchemaSnapshot) -> None:
    person, veteran = relation(snapshot, "person"), relation(snapshot, "veteran")
    purchase, old = relation(snapshot, "purchase"), relation(snapshot, "purchase_old")
    assert (veteran.parents, veteran.is_partition) == ((person.oid,), False)
    assert (old.parents, old.is_partition) == ((purchase.oid,), True)
    assert snapshot.children[person.oid] == (veteran.oid,)
    assert texts(relation(snapshot, "shard"), "partition") == ["(id % 10)"]


def test_foreign_keys(snapshot: SchemaSnapshot) -> None:
    person, purchase = relation(snapshot, "person"), relation(snapshot, "purchase")
    keys = {key.child: key for key in snapshot.referring[person.oid]}
    assert keys.keys() == {purchase.oid, relation(snapshot, "purchase_old").oid}
    key = keys[purchase.oid]
    assert (key.on_delete, key.on_update, key.columns, key.parent_columns) == ("c", "n", ("person",), ("id",))


def test_views_name_what_they_read_in_full(snapshot: SchemaSnapshot) -> None:
    definition = relation(snapshot, "contact").definition
    assert definition is not None
    assert "crm.person" in definition
    assert "crm.contact" in (relation(snapshot, "contact_kept").definition or "")
    assert relation(snapshot, "contact_twice").rules == ()
    assert relation(snapshot, "person").definition is None


def test_rules(snapshot: SchemaSnapshot) -> None:
    also, never = relation(snapshot, "keys").rules
    assert (also.name, also.event, also.instead) == ("also", "update", False)
    assert "DELETE FROM crm.person" in also.definition
    assert (never.name, never.event, never.instead) == ("never", "delete", True)


def test_triggers(snapshot: SchemaSnapshot) -> None:
    note = function_oid(snapshot, "note")
    emptied, on_change, sometimes = relation(snapshot, "person").triggers
    assert emptied == Trigger("emptied", frozenset({"truncate"}), note)
    assert on_change == Trigger("on_change", frozenset({"insert", "update"}), note, ("email", "name"))
    assert (sometimes.events, sometimes.function) == (frozenset({"delete"}), note)
    assert "old.id > 5" in (sometimes.definition or "")
    assert relation(snapshot, "veteran").triggers == ()


def test_triggers_of_partitions_are_theirs_too(snapshot: SchemaSnapshot) -> None:
    note = function_oid(snapshot, "note")
    for name in ("purchase", "purchase_old"):
        (trigger,) = relation(snapshot, name).triggers
        assert (trigger.events, trigger.function) == (frozenset({"delete"}), note)


def test_code_that_runs_by_itself(snapshot: SchemaSnapshot) -> None:
    person, keys = relation(snapshot, "person"), relation(snapshot, "keys")
    assert Code("default", "now()", "seen") in person.code
    assert Code("generated", "upper(name)", "full_name") in person.code
    assert texts(person, "check") == ["(born > '1900-01-01'::date)"]
    assert texts(person, "policy")[0] == "(id > 0)"
    assert "CURRENT_USER" in texts(person, "policy")[1]
    assert sorted(texts(keys, "index")) == ["(b > 0)", "lower(f)", "upper(f), (a + b)"]
    assert person.row_security
    assert not keys.row_security


def test_a_collation_of_somebodys_own_belongs_to_its_column(snapshot: SchemaSnapshot) -> None:
    assert relation(snapshot, "sorted").code == (Code("collation", 'crm."Mine"', "a"),)


def test_constant_defaults_are_no_code(snapshot: SchemaSnapshot) -> None:
    assert [code.column for code in relation(snapshot, "person").code if code.occasion == "default"] == [
        "seen"
    ]


def test_expressions_of_statistics(snapshot: SchemaSnapshot) -> None:
    if snapshot.server_version >= 140_000:
        assert texts(relation(snapshot, "person"), "index") == ["lower(email)"]


def test_functions(snapshot: SchemaSnapshot) -> None:
    (sum_of,) = snapshot.functions_by_name["sum_of"]
    assert (sum_of.kind, sum_of.language, sum_of.volatility) == ("f", "sql", "s")
    assert sum_of.security_definer
    assert (sum_of.arguments, sum_of.argument_names) == ((23, 1007), ("a", "b"))
    assert (sum_of.variadic, sum_of.defaults) == (True, 1)
    assert sum_of.sets == ("search_path=crm, public",)
    assert "SELECT a, 1" in (sum_of.definition or "")
    (rows_of,) = snapshot.functions_by_name["rows_of"]
    assert rows_of.returns_set
    assert snapshot.types_by_oid[rows_of.returns].relation == relation(snapshot, "person").oid
    (listed,) = snapshot.functions_by_name["listed"]
    assert (listed.arguments, listed.argument_names) == ((23,), ("p",))
    (purge,) = snapshot.functions_by_name["purge"]
    assert (purge.kind, purge.language) == ("p", "plpgsql")
    assert "DELETE FROM crm.person" in (purge.definition or "")


def test_aggregates_and_operators(snapshot: SchemaSnapshot) -> None:
    step, finish = function_oid(snapshot, "step"), function_oid(snapshot, "finish")
    (gathered,) = snapshot.functions_by_name["gathered"]
    assert (gathered.kind, gathered.definition, gathered.support) == ("a", None, (step, finish))
    (plus,) = snapshot.operators_by_name["<+>"]
    (prefix,) = snapshot.operators_by_name["!!!"]
    assert (plus.schema, plus.left, plus.right, plus.function) == ("crm", 23, 23, step)
    assert (prefix.left, prefix.right, prefix.function) == (0, 23, finish)


def test_types(snapshot: SchemaSnapshot) -> None:
    mail = snapshot.types_by_name["crm", "mail"]
    assert (mail.kind, mail.base) == ("d", 25)
    assert mail.code == (
        Code("default", "lower('A'::text)"),
        Code("check", "crm.fine(VALUE)"),
        Code("check", "(VALUE <> ''::text)"),
    )
    assert snapshot.types_by_name["crm", "mood"].kind == "e"
    assert snapshot.types_by_name["crm", "span"].kind == "r"
    pair = snapshot.types_by_name["crm", "pair"]
    assert (pair.kind, pair.relation) == ("c", relation(snapshot, "pair").oid)
    assert snapshot.types_by_name["crm", "_pair"].element == pair.oid


def test_types_that_run_code_of_their_own(snapshot: SchemaSnapshot) -> None:
    hstore = snapshot.types_by_name["public", "hstore"]
    assert hstore.extension == "hstore"
    named = {snapshot.functions_by_oid[oid].name for oid in hstore.functions}
    assert {"hstore_in", "hstore_out", "hstore_recv", "hstore_send"} <= named


def test_operator_classes(snapshot: SchemaSnapshot) -> None:
    classes = {(one.schema, one.name, one.method): one for one in snapshot.operator_classes}
    moods = classes["crm", "moods", "btree"]
    assert moods.type == snapshot.types_by_name["crm", "mood"].oid
    assert moods.functions == (function_oid(snapshot, "compare"),)
    assert {one.extension for name, one in classes.items() if name[0] == "public"} == {"hstore"}


def test_casts(snapshot: SchemaSnapshot) -> None:
    pair, mood = snapshot.types_by_name["crm", "pair"].oid, snapshot.types_by_name["crm", "mood"].oid
    casts = {(cast.source, cast.target): cast for cast in snapshot.casts}
    assert casts[pair, 23].function == function_oid(snapshot, "to_int")
    assert casts[pair, 23].context == "i"
    assert (casts[mood, 25].function, casts[mood, 25].context) == (0, "a")


def test_event_triggers(snapshot: SchemaSnapshot) -> None:
    (one,) = snapshot.event_triggers
    assert (one.name, one.event, one.function) == (
        "watcher",
        "ddl_command_end",
        function_oid(snapshot, "watch"),
    )


def test_extensions_and_what_belongs_to_them(snapshot: SchemaSnapshot) -> None:
    assert snapshot.extensions == {"plpgsql": "pg_catalog", "dblink": "crm", "hstore": "public"}
    assert {one.extension for one in snapshot.functions_by_name["dblink"]} == {"dblink"}
    assert relation(snapshot, "dblink_pkey_results").extension == "dblink"
    assert {one.extension for one in snapshot.operators if one.schema == "public"} == {"hstore"}
    assert {cast.extension for cast in snapshot.casts} == {None, "hstore"}


def test_schemas(snapshot: SchemaSnapshot) -> None:
    named = {one.name: one for one in snapshot.namespaces}
    assert named.keys() == {"pg_catalog", "information_schema", "public", "crm", "Größe 2", "empty"}
    assert "" in named["crm"].usage
    assert named["empty"].usage == ("postgres",)
    assert "empty" in snapshot.schemas


def test_nothing_of_the_system(postgres: Postgres, empty_database: str) -> None:
    snapshot = snapshot_of(postgres, empty_database)
    assert (snapshot.relations, snapshot.types, snapshot.operators, snapshot.casts) == ((), (), (), ())
    assert {function.schema for function in snapshot.functions} <= {"pg_catalog"}
    assert all(function.extension == "plpgsql" for function in snapshot.functions)


# --- how it is read -----------------------------------------------------------------------------------------


async def test_temporary_objects_neither_appear_nor_deceive(postgres: Postgres, empty_database: str) -> None:
    with postgres.connect(empty_database) as connection:
        ask = ask_through(connection)
        await ask("CREATE TABLE plain (a int)")
        for statement in (
            "CREATE TEMPORARY TABLE pg_class AS SELECT * FROM pg_catalog.pg_class WHERE false",
            "CREATE TEMPORARY TABLE plain (b int)",
            "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (VALUE = '')",
            "CREATE FUNCTION pg_temp.hidden() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SET search_path = pg_temp, pg_catalog, public",
        ):
            await ask(statement)
        snapshot = await read_catalog(ask)
    assert [one.full_name for one in snapshot.relations] == ["public.plain"]
    assert {one.schema for one in snapshot.types} == {"public"}
    assert "hidden" not in snapshot.functions_by_name


async def test_the_connection_is_left_as_it_was(postgres: Postgres, rich: str) -> None:
    with postgres.connect(rich) as connection:
        ask = ask_through(connection)
        await ask("SET search_path = crm")
        await read(in_transaction(ask))
        assert await ask("SELECT current_setting('search_path'), current_setting('jit')") == [("crm", "on")]
        assert connection.info.transaction_status == 0


async def test_nothing_can_be_written_meanwhile(postgres: Postgres, empty_database: str) -> None:
    with postgres.connect(empty_database) as connection:
        ask = ask_through(connection)

        async def writing(sql: str) -> Sequence[Row]:
            return await ask("CREATE TABLE public.t ()" if "json_build_array" in sql else sql)

        with pytest.raises(AskError) as refused:
            await read(in_transaction(writing))
    assert refused.value.sqlstate == "25006"


async def test_a_login_without_privileges_reads_all_of_it(
    postgres: Postgres, rich: str, snapshot: SchemaSnapshot
) -> None:
    role = postgres.create_role()
    with postgres.connect(rich, user=role) as connection:
        assert await read_catalog(ask_through(connection)) == snapshot
    postgres.drop_role(role)


async def test_what_somebody_changes_is_read_without_its_text(postgres: Postgres, rich: str) -> None:
    with postgres.connect(rich) as changing, postgres.connect(rich) as reading, changing.transaction():
        changing.execute("LOCK TABLE crm.person IN ACCESS EXCLUSIVE MODE")
        result = await read(in_transaction(ask_through(reading)))
    assert not result.complete
    person = relation(result.snapshot, "person")
    assert {code.text for code in person.code} == {""}
    assert {trigger.definition for trigger in person.triggers} == {None, ""}
    assert relation(result.snapshot, "contact").definition is None
    assert relation(result.snapshot, "contact_twice").definition is not None
    also, never = relation(result.snapshot, "keys").rules
    assert also.definition == ""
    assert never.definition != ""


async def test_what_has_changed_is_read_without_its_text_while_somebody_changes_it(
    postgres: Postgres, empty_database: str
) -> None:
    with postgres.connect(empty_database) as changing, postgres.connect(empty_database) as reading:
        changing.execute("CREATE TABLE t (a int)")
        changing.execute("CREATE VIEW v AS SELECT 1 AS a")
        look = in_transaction(ask_through(reading))
        known = await read(look)
        changing.execute("CREATE OR REPLACE VIEW v AS SELECT a FROM t")
        with changing.transaction():
            changing.execute("LOCK TABLE t")
            locked = await refresh(look, known, generation=2)
        whole = await refresh(look, locked, generation=3)
    assert not locked.complete
    assert locked.snapshot.by_name["public", "v"].definition is None
    assert "FROM public.t" in (whole.snapshot.by_name["public", "v"].definition or "")


async def test_a_refresh_fails_as_a_reading_does(postgres: Postgres, rich: str) -> None:
    with postgres.connect(rich) as connection:
        ask = ask_through(connection)
        known = await read(in_transaction(ask))

        async def failing(sql: str) -> Sequence[Row]:
            return await ask("SELECT 1/0" if "pg_policy" in sql else sql)

        with pytest.raises(AskError):
            await refresh(in_transaction(failing), known, generation=2)
        assert await refresh(in_transaction(ask), known, generation=2) == known


async def test_temporary_objects_are_compared_with_nothing(postgres: Postgres, empty_database: str) -> None:
    with postgres.connect(empty_database) as connection:
        connection.execute("CREATE TEMPORARY TABLE t (a int)")
        reading = await read(in_transaction(ask_through(connection)), temporary=True)
    assert (len(reading.snapshot.relations), reading.mark) == (1, "")


async def test_how_two_snapshots_differ(snapshot: SchemaSnapshot) -> None:
    fewer = replace(snapshot, relations=snapshot.relations[1:], generation=9)
    renamed = replace(snapshot, functions=(replace(snapshot.functions[0], name="x"), *snapshot.functions[1:]))
    assert await differences(snapshot, replace(snapshot, generation=9)) == []
    assert await differences(snapshot, fewer) == ["relations"]
    assert await differences(renamed, replace(snapshot, extensions={})) == ["functions", "extensions"]


async def test_waiting_for_a_lock_is_taken_for_holding_it(postgres: Postgres, rich: str) -> None:
    with (
        postgres.connect(rich) as holding,
        postgres.connect(rich) as waiting,
        postgres.connect(rich) as reading,
    ):
        holding.execute("BEGIN")
        holding.execute("LOCK TABLE crm.keys IN ACCESS SHARE MODE")
        waiting.pgconn.send_query(b"BEGIN; LOCK TABLE crm.keys IN ACCESS EXCLUSIVE MODE; ROLLBACK")
        pid = waiting.info.backend_pid
        postgres.wait_until(f"EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)", rich)
        result = await read(in_transaction(ask_through(reading)))
        holding.execute("ROLLBACK")
        while waiting.pgconn.get_result() is not None:
            pass
    assert not result.complete
    assert set(texts(relation(result.snapshot, "keys"), "index")) == {""}


async def test_other_errors_of_the_server_end_the_reading(postgres: Postgres, rich: str) -> None:
    with postgres.connect(rich) as connection:
        ask = ask_through(connection)

        async def failing(sql: str) -> Sequence[Row]:
            return await ask("SELECT 1/0" if "pg_policy" in sql else sql)

        with pytest.raises(AskError) as failed:
            await read(in_transaction(failing))
        assert failed.value.sqlstate == "22012"
        assert connection.info.transaction_status == 0


async def test_answers_of_another_shape_are_refused(postgres: Postgres, rich: str) -> None:
    with postgres.connect(rich) as connection:
        ask = ask_through(connection)

        async def odd(sql: str) -> Sequence[Row]:
            rows = await ask(sql)
            return [("{}",)] if "pg_event_trigger" in sql and "count" not in sql else rows

        with pytest.raises(ValueError, match="JSON array"):
            await read(in_transaction(odd))


async def test_others_have_their_turn_while_it_is_built(postgres: Postgres, rich: str) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with postgres.connect(rich) as connection:
        counting = asyncio.ensure_future(count())
        await asyncio.sleep(0)
        before = turns
        await read(in_transaction(ask_through(connection)))
        counting.cancel()
    assert turns > before


async def test_a_server_that_gives_no_mark(postgres: Postgres, empty_database: str) -> None:
    with postgres.connect(empty_database) as connection:
        ask = ask_through(connection)

        async def silent(sql: str) -> Sequence[Row]:
            return [(None,)] if "AS MATERIALIZED" in sql else await ask(sql)

        with pytest.raises(ValueError, match="no mark"):
            await read(in_transaction(silent))
