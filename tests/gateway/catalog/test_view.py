"""The catalog as one session sees it, on a real session that the test follows statement by statement."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from gateway.catalog import Catalog, SessionCatalog
from gateway.catalog.build import Row
from gateway.catalog.kept import Looker
from gateway.catalog.marks import IDENTITY
from gateway.catalog.queries import SETTINGS
from gateway.catalog.read import AskError, in_transaction
from gateway.metrics import Metrics
from rules import Action, EffectFacts, Facts, Nature, StatementFacts
from rules.catalog import Relation
from tests.support.catalog import ask_through
from tests.support.postgres import Postgres


class Client:
    """A session whose statements pass through the gateway: what succeeded is told to its view of the catalog."""

    def __init__(
        self, postgres: Postgres, database: str, catalog: Catalog, generations: Iterator[int]
    ) -> None:
        self.connection = postgres.connect(database)
        self.batches = 0
        self.open = True
        self.view = SessionCatalog(catalog, generations, self)

    # Its way to look --------------------------------------------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        return self.connection.info.transaction_status != TransactionStatus.IDLE

    async def run(self, queries: Sequence[str]) -> Sequence[Sequence[Row]]:
        self.batches += 1
        ask = ask_through(self.connection)
        if not self.in_transaction:
            return await in_transaction(ask)(queries)
        await ask("SAVEPOINT own")
        try:
            for setting in SETTINGS:
                await ask(setting)
            return [await ask(query) for query in queries]
        finally:
            await ask("ROLLBACK TO own")
            await ask("RELEASE own")

    # What it does -----------------------------------------------------------------------------------------

    def does(self, sql: str, facts: Facts | None = None) -> None:
        """Run a statement with these facts: of a definition, unless others are given."""
        facts = defining() if facts is None else facts
        self.view.forwarded(facts)
        try:
            cursor = self.connection.execute(sql.encode())
        except psycopg.Error:
            return
        finally:
            self.view.settled()
            if not self.in_transaction:
                self.view.idle()
        self.view.finished(facts, (cursor.statusmessage or "").split(" ")[0])
        if not self.in_transaction:
            self.view.idle()

    async def sees(self) -> set[str]:
        """The names of all relations that its next statement is judged by."""
        await self.look()
        return {relation.full_name for relation in self.view.snapshot.relations}

    async def look(self) -> None:
        if not self.view.fresh:
            await self.view.ready()
        assert self.view.snapshot.unavailable is None


def defining(*creates: Relation, statements: int = 1) -> Facts:
    effect = EffectFacts(Action.DDL)
    return Facts((StatementFacts("DDL", "", (effect,)),) * statements, changes_catalog=True, creates=creates)


def making(name: str) -> Facts:
    """Of a statement that makes a temporary table and nothing else."""
    return defining(Relation(0, "pg_temp", name, "r"))


QUERY = Facts((StatementFacts("SELECT", "", (EffectFacts(Action.READ),)),))
OPAQUE = Facts((StatementFacts("SELECT", "", (EffectFacts(Action.CALL, nature=Nature.OPAQUE),)),))


class Elsewhere(Looker):
    """A login that looks at another database than the sessions are in."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._ask = ask_through(connection)

    async def run(self, queries: Sequence[str]) -> list[list[Row]]:
        return [list(rows) for rows in await in_transaction(self._ask)(queries)]

    def close(self) -> None:
        """It is opened and closed by the test."""


class World:
    def __init__(self, postgres: Postgres, database: str) -> None:
        self.postgres, self.database = postgres, database
        self.generations = count(1)
        self.catalog = Catalog("shop", poll=lambda: 100.0, generations=self.generations, metrics=Metrics())
        self.clients: list[Client] = []

    def client(self) -> Client:
        client = Client(self.postgres, self.database, self.catalog, self.generations)
        self.clients.append(client)
        return client


@pytest.fixture
def world(postgres: Postgres, empty_database: str) -> Iterator[World]:
    postgres.execute("CREATE TABLE plain (a int)", empty_database)
    world = World(postgres, empty_database)
    yield world
    for client in world.clients:
        client.connection.close()


PLAIN = {"public.plain"}


async def test_everybody_sees_the_same_snapshot(world: World) -> None:
    one, other = world.client(), world.client()
    assert await one.sees() == PLAIN
    other.batches = 0
    assert await other.sees() == PLAIN
    assert one.view.snapshot is other.view.snapshot is world.catalog.snapshot
    assert other.batches == 0


async def test_before_anybody_looked_nothing_is_known(world: World) -> None:
    client = world.client()
    assert not client.view.fresh
    assert client.view.snapshot.unavailable is not None


async def test_a_definition_is_known_to_all_once_it_is_committed(world: World) -> None:
    one, other = world.client(), world.client()
    await one.look()
    one.does("CREATE TABLE fresh ()")
    assert not other.view.fresh
    assert await other.sees() == PLAIN | {"public.fresh"}
    assert await one.sees() == PLAIN | {"public.fresh"}
    assert one.view.snapshot is other.view.snapshot


async def test_an_uncommitted_definition_is_seen_by_its_session_alone(world: World) -> None:
    one, other = world.client(), world.client()
    await one.look()
    one.does("BEGIN", QUERY)
    one.does("CREATE TABLE fresh ()")
    assert (one.view.fresh, other.view.fresh) == (False, True)
    assert await one.sees() == PLAIN | {"public.fresh"}
    assert await other.sees() == PLAIN
    one.does("ALTER TABLE fresh RENAME TO fresher")
    assert await one.sees() == PLAIN | {"public.fresher"}
    one.does("COMMIT", QUERY)
    assert not other.view.fresh
    assert await other.sees() == PLAIN | {"public.fresher"}
    assert await one.sees() == PLAIN | {"public.fresher"}


async def test_many_definitions_in_one_transaction_are_read_bit_by_bit(world: World) -> None:
    client = world.client()
    await client.look()
    client.does("BEGIN", QUERY)
    plain = client.view.snapshot.by_name["public", "plain"]
    for number in range(3):
        client.does(f"CREATE TABLE t{number} ()")
        client.batches = 0
        await client.look()
        # The isolation level, what has changed, and whether there is anything temporary.
        assert client.batches == 3
        assert client.view.snapshot.by_name["public", "plain"] is plain
    # The same row a second time in one transaction.
    client.does("ALTER TABLE t2 RENAME TO t3")
    assert await client.sees() == PLAIN | {"public.t0", "public.t1", "public.t3"}


@pytest.mark.parametrize("end", ["ROLLBACK", "COMMIT"])
async def test_what_is_rolled_back_is_forgotten(world: World, end: str) -> None:
    client = world.client()
    await client.look()
    client.does("BEGIN", QUERY)
    client.does("CREATE TABLE fresh ()")
    client.does("CREATE TEMPORARY TABLE mine ()", making("mine"))
    assert await client.sees() == PLAIN | {"public.fresh", "pg_temp.mine"}
    if end == "COMMIT":
        client.does("SELEC", QUERY)  # what fails makes a COMMIT roll back
    client.does(end, QUERY)
    assert await client.sees() == PLAIN


async def test_a_savepoint_brings_back_what_was(world: World) -> None:
    client = world.client()
    await client.look()
    client.does("BEGIN", QUERY)
    client.does("CREATE TABLE first ()")
    client.does("SAVEPOINT s", QUERY)
    client.does("CREATE TABLE second ()")
    client.does("DROP TABLE plain")
    client.does("CREATE TEMPORARY TABLE mine ()", making("mine"))
    assert await client.sees() == {"public.first", "public.second", "pg_temp.mine"}
    client.does("ROLLBACK TO s", QUERY)
    assert await client.sees() == PLAIN | {"public.first"}
    client.does("COMMIT", QUERY)
    assert await client.sees() == PLAIN | {"public.first"}


async def test_a_transaction_that_changed_nothing_shared_goes_on_with_what_all_see(world: World) -> None:
    client = world.client()
    await client.look()
    shared = world.catalog.snapshot
    client.does("BEGIN", QUERY)
    client.does("GRANT SELECT ON plain TO PUBLIC")
    await client.look()
    assert client.view.snapshot is shared
    client.does("ROLLBACK", QUERY)


async def test_others_changes_are_seen_by_a_transaction_with_changes_of_its_own(world: World) -> None:
    one, other = world.client(), world.client()
    await one.look()
    one.does("BEGIN", QUERY)
    one.does("CREATE TABLE mine ()")
    await one.look()
    other.does("CREATE TABLE theirs ()")
    assert not one.view.fresh
    assert await one.sees() == PLAIN | {"public.mine", "public.theirs"}
    one.does("COMMIT", QUERY)


async def test_a_transaction_that_sees_the_past_does_not_tell_what_is(world: World) -> None:
    one, other = world.client(), world.client()
    await one.look()
    one.does("BEGIN ISOLATION LEVEL REPEATABLE READ", QUERY)
    one.does("SELECT 1", QUERY)
    other.does("CREATE TABLE theirs ()")
    await one.view.ready()
    assert one.view.snapshot.unavailable is not None
    assert await other.sees() == PLAIN | {"public.theirs"}
    assert await one.sees() == PLAIN | {"public.theirs"}
    one.does("CREATE TABLE mine ()")
    await one.view.ready()
    assert "as they were" in (one.view.snapshot.unavailable or "")
    one.does("ROLLBACK", QUERY)
    assert await one.sees() == PLAIN | {"public.theirs"}


async def test_a_transaction_of_reads_looks_for_everybody(world: World) -> None:
    one, other = world.client(), world.client()
    await one.look()
    one.does("BEGIN", QUERY)
    other.does("CREATE TABLE theirs ()")
    assert await one.sees() == PLAIN | {"public.theirs"}
    assert world.catalog.fresh
    one.does("COMMIT", QUERY)


# --- temporary objects --------------------------------------------------------------------------------------


async def test_a_temporary_table_is_known_to_its_session_until_it_is_dropped(world: World) -> None:
    one, other = world.client(), world.client()
    await one.look()
    one.does("CREATE TEMPORARY TABLE plain (b int UNIQUE)", making("plain"))
    assert other.view.fresh
    assert await one.sees() == PLAIN | {"pg_temp.plain"}
    mine = one.view.snapshot.by_name["pg_temp", "plain"]
    assert (mine.columns, mine.unique) == (("b",), (frozenset({"b"}),))
    assert await other.sees() == PLAIN
    one.does("SELECT 1", QUERY)
    assert one.view.fresh
    one.does("DROP TABLE pg_temp.plain")
    assert await one.sees() == PLAIN


@pytest.mark.parametrize("end", ["DISCARD ALL", "DISCARD TEMP"])
async def test_discarded_temporary_tables_are_gone(world: World, end: str) -> None:
    client = world.client()
    await client.look()
    client.does("CREATE TEMPORARY TABLE mine ()", making("mine"))
    assert "pg_temp.mine" in await client.sees()
    client.does(end, QUERY)
    assert await client.sees() == PLAIN


async def test_a_temporary_table_that_its_commit_drops(world: World) -> None:
    client = world.client()
    await client.look()
    client.does("BEGIN", QUERY)
    client.does("CREATE TEMPORARY TABLE plain () ON COMMIT DROP", making("plain"))
    assert "pg_temp.plain" in await client.sees()
    client.does("COMMIT", QUERY)
    assert await client.sees() == PLAIN
    client.does("CREATE TEMPORARY TABLE plain () ON COMMIT DROP", making("plain"))
    assert await client.sees() == PLAIN


async def test_code_may_have_dropped_a_temporary_table(world: World) -> None:
    client = world.client()
    await client.look()
    client.does("DO $$BEGIN END$$", OPAQUE)
    assert client.view.fresh
    client.does("CREATE TEMPORARY TABLE mine ()", making("mine"))
    await client.look()
    client.does("DO $$BEGIN DROP TABLE mine; END$$", OPAQUE)
    assert await client.sees() == PLAIN


async def test_temporary_functions_types_and_rules_are_read_too(world: World) -> None:
    client = world.client()
    await client.look()
    client.does("CREATE TEMPORARY TABLE mine (a int)", making("mine"))
    client.does("CREATE RULE also AS ON INSERT TO mine DO ALSO DELETE FROM public.plain")
    client.does("CREATE FUNCTION pg_temp.hidden() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    client.does("CREATE DOMAIN pg_temp.mood AS text")
    client.does("CREATE OPERATOR pg_temp.<+> (RIGHTARG = int, FUNCTION = int4abs)")
    await client.look()
    snapshot = client.view.snapshot
    assert "public.plain" in snapshot.by_name["pg_temp", "mine"].rules[0].definition
    assert [one.schema for one in snapshot.functions_by_name["hidden"]] == ["pg_temp"]
    assert [one.schema for one in snapshot.operators_by_name["<+>"]] == ["pg_temp"]
    assert ("pg_temp", "mood") in snapshot.types_by_name


async def test_a_temporary_table_made_where_event_triggers_run_may_have_changed_more(world: World) -> None:
    world.postgres.execute(
        "CREATE FUNCTION follow() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$BEGIN CREATE OR REPLACE VIEW followed AS SELECT 1; END$$;"
        "CREATE EVENT TRIGGER t ON ddl_command_end WHEN TAG IN ('CREATE TABLE')"
        " EXECUTE FUNCTION follow()",
        world.database,
    )
    client = world.client()
    await client.look()
    client.does("CREATE TEMPORARY TABLE mine ()", making("mine"))
    assert await client.sees() == PLAIN | {"pg_temp.mine", "public.followed"}


async def test_a_composition_stays_the_same_as_long_as_its_parts(world: World) -> None:
    client = world.client()
    client.does("CREATE TEMPORARY TABLE mine ()", making("mine"))
    await client.look()
    first = client.view.snapshot
    client.does("SELECT 1", QUERY)
    assert client.view.snapshot is first
    world.catalog.changed()
    await client.look()
    assert client.view.snapshot is first
    client.does("CREATE TABLE fresh ()")
    await client.look()
    assert client.view.snapshot.generation > first.generation


# --- what cannot be asked -----------------------------------------------------------------------------------


async def test_where_the_session_cannot_be_asked_its_own_changes_are_not_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = world.client()
    await client.look()
    client.does("BEGIN", QUERY)
    client.does("CREATE TABLE fresh ()")

    async def refuse(queries: Sequence[str]) -> Sequence[Sequence[Row]]:
        raise OSError("inside COPY")

    with monkeypatch.context() as patched:
        patched.setattr(client, "run", refuse)
        await client.view.ready()
        assert "inside COPY" in (client.view.snapshot.unavailable or "")
        assert not client.view.fresh
        assert not await client.view.look_again(["x"])
    assert await client.sees() == PLAIN | {"public.fresh"}
    client.does("ROLLBACK", QUERY)


async def test_a_session_in_the_middle_of_something_is_not_asked(world: World) -> None:
    client = world.client()
    await client.look()
    client.open = False
    client.batches = 0
    world.catalog.changed()
    await client.view.ready()
    assert client.batches == 0
    assert client.view.snapshot.unavailable is not None


async def test_an_error_of_the_server_is_the_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.client()

    async def refuse(queries: Sequence[str]) -> Sequence[Sequence[Row]]:
        raise AskError("57014", "canceling statement due to statement timeout")

    monkeypatch.setattr(client, "run", refuse)
    await client.view.ready()
    assert "statement timeout" in (client.view.snapshot.unavailable or "")


# --- within one request, and at the end ---------------------------------------------------------------------


async def test_the_next_statement_of_a_request_sees_what_the_one_before_will_make(world: World) -> None:
    client = world.client()
    await client.look()
    before = client.view.snapshot
    after = client.view.after
    assert after(before, QUERY) is before
    made = after(
        before, defining(Relation(0, "public", "one", "r"), Relation(0, "public", "two", "r"), statements=2)
    )
    assert {("public", "one"), ("public", "two"), ("public", "plain")} == set(made.by_name)
    assert len(made.by_oid) == 3
    assert made.generation > before.generation
    assert after(before, defining()).unavailable is not None
    assert after(before, defining(Relation(0, "public", "one", "r"), statements=2)).unavailable is not None
    unread = Facts((), "odd", changes_catalog=True)
    assert after(before, unread).unavailable is not None


ROLLBACK = Facts((StatementFacts("ROLLBACK", "", ()),))


async def test_what_is_under_way_is_waited_for(world: World) -> None:
    client = world.client()
    await client.look()
    for facts in (QUERY, OPAQUE, ROLLBACK):
        client.view.forwarded(facts)
        assert client.view.fresh
    client.view.forwarded(defining())
    seen = [client.view.fresh]
    client.view.settled()
    assert [*seen, client.view.fresh] == [False, True]


@pytest.mark.parametrize("facts", [ROLLBACK, OPAQUE])
async def test_what_may_take_away_what_only_this_session_sees(world: World, facts: Facts) -> None:
    client = world.client()
    await client.look()
    assert client.view.after(client.view.snapshot, facts) is client.view.snapshot
    client.does("CREATE TEMPORARY TABLE mine ()", making("mine"))
    await client.look()
    assert client.view.own
    assert client.view.after(client.view.snapshot, facts).unavailable is not None
    assert client.view.after(client.view.snapshot, QUERY) is client.view.snapshot
    client.view.forwarded(facts)
    assert not client.view.fresh


async def test_where_every_verdict_is_the_same_nothing_is_asked(world: World) -> None:
    client = world.client()
    view = SessionCatalog(world.catalog, world.generations, client, wanted=lambda: False)
    assert view.snapshot.is_empty
    assert view.after(view.snapshot, defining()) is view.snapshot
    await client.look()
    assert view.snapshot is world.catalog.snapshot


@pytest.mark.parametrize("finished", [False, True])
async def test_a_session_that_ends_in_the_middle_leaves_doubt(world: World, finished: bool) -> None:
    one, other = world.client(), world.client()
    await other.look()
    await one.look()
    one.does("BEGIN", QUERY)
    one.view.forwarded(defining())
    if finished:
        one.view.finished(defining(), "CREATE")
    assert other.view.fresh
    one.view.close()
    assert not other.view.fresh


async def test_a_session_that_ends_in_peace_leaves_none(world: World) -> None:
    one, other = world.client(), world.client()
    await other.look()
    await one.look()
    one.does("SELECT 1", QUERY)
    one.view.close()
    assert other.view.fresh


async def test_a_prepared_transaction_is_seen_once_it_is_committed(world: World) -> None:
    one, other = world.client(), world.client()
    await one.look()
    one.does("BEGIN", QUERY)
    one.does("CREATE TABLE fresh ()")
    one.does("PREPARE TRANSACTION 'later'", QUERY)
    assert await other.sees() == PLAIN
    other.connection.execute("COMMIT PREPARED 'later'")
    other.view.finished(QUERY, "COMMIT PREPARED")
    assert await one.sees() == PLAIN | {"public.fresh"}


async def test_a_session_in_another_database_sees_nothing_of_this_one(
    world: World, postgres: Postgres, database: str
) -> None:
    here, there = world.client(), Client(postgres, database, world.catalog, world.generations)
    world.clients.append(there)
    assert await here.sees() == PLAIN
    for client in (here, there):
        ((identity,),) = await ask_through(client.connection)(f"SELECT {IDENTITY}")
        client.view.is_in(identity or "")
    assert [client.view.fresh for client in (here, there)] == [True, False]
    assert there.view.snapshot.unavailable is not None
    # In the middle of a series it cannot be asked, and what is kept is not its own.
    there.open = False
    await there.view.ready()
    assert there.view.snapshot.unavailable is not None
    there.open = True
    assert "public.customer" in await there.sees()
    assert [client.view.fresh for client in (here, there)] == [False, True]
    assert await here.sees() == PLAIN


async def test_who_looks_elsewhere_is_not_believed(world: World, postgres: Postgres, database: str) -> None:
    other = postgres.connect(database)
    world.catalog.looker = Elsewhere(other)
    client = world.client()
    ((identity,),) = await ask_through(client.connection)(f"SELECT {IDENTITY}")
    client.view.is_in(identity or "")
    await client.view.ready()
    assert "another database" in (client.view.snapshot.unavailable or "")
    assert not client.view.fresh
    other.close()
