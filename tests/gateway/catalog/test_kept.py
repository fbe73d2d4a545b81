"""One database's catalog as it is kept: fresh, stale, unknown, and who looks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import psycopg
import pytest

from gateway.catalog import AskError, Catalog
from gateway.catalog import kept as module
from gateway.catalog.build import Row
from gateway.catalog.kept import Looker
from gateway.catalog.read import Run, in_transaction
from gateway.config import Database, Login
from gateway.metrics import Metrics
from gateway.upstream import Connector
from rules.catalog import SchemaSnapshot
from tests.support.catalog import ask_through
from tests.support.postgres import Postgres
from tests.support.relay import Relay


class Eyes:
    """A way to look that counts how often it was used."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.batches = 0
        self.failure: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self._run = in_transaction(ask_through(connection))

    async def run(self, queries: Sequence[str]) -> Sequence[Sequence[Row]]:
        self.batches += 1
        if self.failure is not None:
            raise self.failure
        await asyncio.sleep(0)
        result = await self._run(queries)
        self.meanwhile()
        return result


@pytest.fixture
def eyes(postgres: Postgres, empty_database: str) -> Iterator[Eyes]:
    with postgres.connect(empty_database) as connection:
        yield Eyes(connection)


def a_catalog(poll: float = 100.0, metrics: Metrics | None = None) -> Catalog:
    return Catalog("shop", poll=lambda: poll, generations=count(1), metrics=metrics or Metrics())


async def ready(catalog: Catalog, run: Run | None) -> SchemaSnapshot:
    """A snapshot that is known."""
    snapshot = await catalog.ready(run)
    assert snapshot.unavailable is None
    return snapshot


def names(snapshot: SchemaSnapshot) -> set[str]:
    return {relation.name for relation in snapshot.relations}


async def test_it_is_read_when_somebody_needs_it(eyes: Eyes) -> None:
    catalog = a_catalog()
    assert catalog.age == float("inf")
    snapshot = await ready(catalog, eyes.run)
    assert catalog.fresh
    assert catalog.age < 10
    assert catalog.snapshot is snapshot
    looked = eyes.batches
    assert await ready(catalog, eyes.run) is snapshot
    assert eyes.batches == looked


async def test_after_a_change_everybody_waits_for_the_new_one(eyes: Eyes) -> None:
    catalog = a_catalog()
    first = await ready(catalog, eyes.run)
    eyes.connection.execute("CREATE TABLE fresh ()")
    catalog.changed()
    assert not catalog.fresh
    both = await asyncio.gather(ready(catalog, eyes.run), ready(catalog, eyes.run))
    assert both[0] is both[1]
    assert both[0].generation > first.generation
    assert names(both[0]) == {"fresh"}


async def test_only_what_has_changed_is_read_after_the_first_time(eyes: Eyes) -> None:
    eyes.connection.execute("CREATE TABLE first ()")
    catalog = a_catalog()
    first = await ready(catalog, eyes.run)
    eyes.batches = 0
    eyes.connection.execute("CREATE TABLE second ()")
    catalog.changed()
    second = await ready(catalog, eyes.run)
    assert (names(second), eyes.batches, catalog.differences) == ({"first", "second"}, 1, 1)
    assert second.by_name["public", "first"] is first.by_name["public", "first"]
    eyes.connection.execute("GRANT SELECT ON first TO PUBLIC")
    catalog.changed()
    assert await ready(catalog, eyes.run) is second
    assert catalog.differences == 1


async def test_what_did_not_change_stays_the_same_snapshot(eyes: Eyes) -> None:
    catalog = a_catalog()
    first = await ready(catalog, eyes.run)
    eyes.batches = 0
    catalog.changed()
    assert await ready(catalog, eyes.run) is first
    assert eyes.batches == 1


async def test_a_change_while_it_is_read_is_not_lost(eyes: Eyes) -> None:
    catalog = a_catalog()
    eyes.meanwhile = catalog.changed
    await catalog.ready(eyes.run)
    assert not catalog.fresh
    eyes.meanwhile = lambda: None
    await ready(catalog, eyes.run)
    assert catalog.fresh


async def test_after_a_period_it_is_compared_again(eyes: Eyes) -> None:
    catalog = a_catalog(poll=0.0)
    first = await ready_once(catalog, eyes)
    assert not catalog.fresh
    eyes.connection.execute("CREATE TABLE fresh ()")
    second = await ready_once(catalog, eyes)
    assert second is not first
    assert names(second) == {"fresh"}


async def ready_once(catalog: Catalog, eyes: Eyes) -> SchemaSnapshot:
    await catalog.ready(eyes.run)
    assert catalog.snapshot is not None
    return catalog.snapshot


@pytest.mark.parametrize(
    "failure", [AskError("42501", "permission denied for table pg_proc"), OSError("gone"), ValueError("odd")]
)
async def test_what_cannot_be_read_is_not_known(eyes: Eyes, failure: Exception) -> None:
    metrics = Metrics()
    catalog = a_catalog(metrics=metrics)
    eyes.failure = failure
    snapshot = await catalog.ready(eyes.run)
    assert str(failure) in (snapshot.unavailable or "")
    assert "shop" in (snapshot.unavailable or "")
    assert not snapshot.is_empty
    assert await catalog.ready(eyes.run) is snapshot
    assert b'holdgate_catalog_failures_total{database="shop"} 2.0' in metrics.render()[0]


async def test_it_is_known_again_once_it_can_be_read(eyes: Eyes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    catalog = a_catalog()
    first = await ready(catalog, eyes.run)
    catalog.changed()
    eyes.failure = OSError("gone")
    assert (await catalog.ready(eyes.run)).unavailable is not None
    assert (await catalog.ready(eyes.run)).unavailable is not None
    eyes.failure = None
    assert await ready(catalog, eyes.run) is first
    messages = [record.message for record in caplog.records]
    assert messages == [
        "the catalog of database shop cannot be read: gone",
        "the catalog of database shop can be read again",
    ]


async def test_who_cannot_look_goes_on_until_something_changes(eyes: Eyes) -> None:
    catalog = a_catalog(poll=0.0)
    assert (await catalog.ready(None)).unavailable is not None
    known = await ready_once(catalog, eyes)
    assert not catalog.fresh
    assert await catalog.ready(None) is known
    catalog.changed()
    assert (await catalog.ready(None)).unavailable is not None


async def test_what_somebody_changes_is_read_again_soon(
    postgres: Postgres, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    eyes.connection.execute("CREATE TABLE busy (a int DEFAULT random())")
    catalog = a_catalog()
    with postgres.connect(eyes.connection.info.dbname) as changing, changing.transaction():
        changing.execute("LOCK TABLE busy")
        partial = await ready(catalog, eyes.run)
    assert partial.relations[0].code[0].text == ""
    assert catalog.fresh
    monkeypatch.setattr(module, "LOCKED_SECONDS", 0.0)
    catalog.changed()
    whole = await ready(catalog, eyes.run)
    assert whole.relations[0].code[0].text == "random()"


# --- names nobody knows -------------------------------------------------------------------------------------


async def test_an_unknown_name_is_looked_for_once(eyes: Eyes) -> None:
    catalog = a_catalog()
    first = await ready(catalog, eyes.run)
    assert not catalog.may_help([])
    assert catalog.may_help(["public.fresh"])
    assert not await catalog.look_again(["public.fresh"], eyes.run)
    assert not catalog.may_help(["public.fresh"])
    assert catalog.may_help(["public.fresh", "public.other"])
    eyes.connection.execute("CREATE TABLE fresh ()")
    assert await catalog.look_again(["public.other"], eyes.run)
    assert catalog.snapshot is not first
    assert catalog.may_help(["public.fresh"])


async def test_two_who_look_for_names_look_once(eyes: Eyes) -> None:
    catalog = a_catalog()
    await ready(catalog, eyes.run)
    eyes.connection.execute("CREATE TABLE fresh ()")
    eyes.batches = 0
    both = await asyncio.gather(catalog.look_again(["a"], eyes.run), catalog.look_again(["b"], eyes.run))
    assert all(both)
    assert eyes.batches == 3


async def test_nobody_makes_it_remember_names_without_end(
    eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MISSED", 3)
    catalog = a_catalog()
    await ready(catalog, eyes.run)
    await catalog.look_again(["a", "b", "c"], eyes.run)
    assert not catalog.may_help(["d"])


async def test_names_are_not_looked_for_while_nothing_is_known(eyes: Eyes) -> None:
    catalog = a_catalog()
    assert not catalog.may_help(["a"])


# --- a login of its own -------------------------------------------------------------------------------------


async def test_the_gateway_looks_for_itself_first(postgres: Postgres, eyes: Eyes) -> None:
    catalog = a_catalog()
    database = Database(postgres.host, postgres.port, sslmode="disable", inspect=Login("postgres"))
    catalog.looker = Looker(Connector(), database, eyes.connection.info.dbname)
    first = await ready(catalog, None)
    eyes.connection.execute("CREATE TABLE fresh ()")
    catalog.changed()
    assert await ready(catalog, eyes.run) is not first
    assert eyes.batches == 0
    eyes.connection.execute("CREATE TABLE fresher ()")
    await catalog.poll()
    assert catalog.snapshot is not None
    assert names(catalog.snapshot) == {"fresh", "fresher"}
    catalog.looker.close()
    catalog.looker.close()


async def test_where_its_login_fails_the_session_looks(postgres: Postgres, eyes: Eyes) -> None:
    catalog = a_catalog()
    database = Database(postgres.host, postgres.port, sslmode="disable", inspect=Login("no_such_role"))
    catalog.looker = Looker(Connector(), database, eyes.connection.info.dbname)
    assert (await catalog.ready(None)).unavailable is not None
    catalog.changed()
    # Just now it failed; nobody tries again at once.
    assert (await catalog.ready(eyes.run)).unavailable is not None
    assert eyes.batches == 0
    catalog._retry_at = 0.0
    await ready(catalog, eyes.run)
    assert eyes.batches > 0
    await catalog.poll()
    assert not catalog.fresh


async def test_polling_is_nothing_where_there_is_no_login(eyes: Eyes) -> None:
    catalog = a_catalog()
    await catalog.poll()
    assert catalog.snapshot is None


async def test_a_database_away_and_back(postgres: Postgres, eyes: Eyes) -> None:
    async with Relay(postgres.host, postgres.port) as relay:
        catalog = a_catalog()
        database = Database(relay.host, relay.port, sslmode="disable", inspect=Login("postgres"))
        catalog.looker = Looker(Connector(), database, eyes.connection.info.dbname)
        first = await ready(catalog, None)
        relay.refuse()
        relay.cut()
        await catalog.poll()
        assert not catalog.fresh
        assert (await catalog.ready(None)).unavailable is not None
        eyes.connection.execute("CREATE TABLE meanwhile ()")
        relay.refuse(False)
        catalog._retry_at = 0.0
        second = await ready(catalog, None)
        assert second is not first
        assert names(second) == {"meanwhile"}
        catalog.looker.close()


async def test_a_connection_the_server_ended_is_opened_again_at_once(postgres: Postgres, eyes: Eyes) -> None:
    async with Relay(postgres.host, postgres.port) as relay:
        catalog = a_catalog()
        database = Database(relay.host, relay.port, sslmode="disable", inspect=Login("postgres"))
        catalog.looker = Looker(Connector(), database, eyes.connection.info.dbname)
        first = await ready(catalog, None)
        relay.cut()
        catalog.changed()
        assert await ready(catalog, None) is first
        catalog.looker.close()


async def test_what_no_session_has_sent_is_judged_by(postgres: Postgres, eyes: Eyes) -> None:
    catalog = a_catalog()
    assert (await catalog.described()).snapshot.is_empty
    seen = await ready(catalog, eyes.run)
    assert (await catalog.described()).snapshot is seen
    name = eyes.connection.info.dbname
    eyes.connection.execute(f"ALTER DATABASE {name} SET search_path = crm")
    async with Relay(postgres.host, postgres.port) as relay:
        database = Database(relay.host, relay.port, sslmode="disable", inspect=Login("postgres"))
        catalog.looker = Looker(Connector(), database, name)
        described = await catalog.described()
        assert (described.snapshot, described.search_paths.everybody) == (seen, "crm")
        relay.refuse()
        relay.cut()
        assert (await catalog.described()).snapshot.unavailable is not None
        catalog.looker.close()


# --- seeing that nothing was overlooked ---------------------------------------------------------------------


@pytest.fixture
async def overlooking(
    postgres: Postgres, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Catalog, Metrics]]:
    """A catalog that has a login of its own, and is checked each time it is polled."""
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.0)
    metrics = Metrics()
    catalog = a_catalog(metrics=metrics)
    database = Database(postgres.host, postgres.port, sslmode="disable", inspect=Login("postgres"))
    catalog.looker = Looker(Connector(), database, eyes.connection.info.dbname)
    yield catalog, metrics
    catalog.looker.close()


async def test_what_was_overlooked_is_found_and_told(
    overlooking: tuple[Catalog, Metrics], eyes: Eyes, caplog: pytest.LogCaptureFixture
) -> None:
    catalog, metrics = overlooking
    eyes.connection.execute("CREATE TABLE there ()")
    first = await ready(catalog, None)
    await catalog.poll()
    assert catalog.snapshot is first
    assert catalog.reading is not None
    catalog.reading = replace(catalog.reading, snapshot=replace(first, relations=()))
    await catalog.poll()
    assert catalog.snapshot is not None
    assert names(catalog.snapshot) == {"there"}
    assert catalog.snapshot.generation > first.generation
    assert "was not kept up to date: relations differ" in caplog.text
    assert b'holdgate_catalog_mismatches_total{database="shop"} 1.0' in metrics.render()[0]


async def test_what_changes_while_it_is_checked_proves_nothing(
    overlooking: tuple[Catalog, Metrics],
) -> None:
    catalog, metrics = overlooking
    await ready(catalog, None)
    assert catalog.reading is not None
    assert catalog.looker is not None
    catalog.reading = known = replace(catalog.reading, mark=catalog.reading.mark + " ")
    await catalog._check(catalog.looker)
    assert catalog.reading is known
    assert b"holdgate_catalog_mismatches_total{" not in metrics.render()[0]


async def test_a_check_that_fails_takes_nothing_away(
    overlooking: tuple[Catalog, Metrics], postgres: Postgres, eyes: Eyes
) -> None:
    catalog, metrics = overlooking
    first = await ready(catalog, None)
    stranger = Database(postgres.host, postgres.port, sslmode="disable", inspect=Login("no_such_role"))
    await catalog._check(Looker(Connector(), stranger, eyes.connection.info.dbname))
    assert catalog.snapshot is first
    assert b'holdgate_catalog_failures_total{database="shop"} 1.0' in metrics.render()[0]
