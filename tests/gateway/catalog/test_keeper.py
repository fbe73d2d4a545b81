"""The catalogs of all databases: which there are, who looks at them and for how long."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog import Catalog, Copy, Keeper
from gateway.catalog import keeper as module
from gateway.config import Config, load_config
from gateway.metrics import Metrics
from gateway.tasks import running
from gateway.upstream import Connector
from tests.support.gateway import make_config, write_config
from tests.support.postgres import Postgres

PERIOD = 0.1
"""Of the tests that wait for a poll; no other may depend on how long anything takes."""
LOGIN = {"inspect": {"user": "postgres"}}


async def until(condition: Callable[[], bool]) -> None:
    """Return once it is true; what a poll finds is announced to nobody."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


class Kept:
    """A keeper and its configuration, which a test may replace."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self._directory = directory
        self.use(config)
        self.metrics = Metrics()
        self.keeper = Keeper(lambda: self.config, Connector(), self.metrics)

    config: Config

    def use(self, config: dict[str, Any]) -> None:
        self.config = load_config(write_config(self._directory, config))

    def metric(self, line: str) -> bool:
        return line.encode() in self.metrics.render()[0]


def databases(postgres: Postgres, poll: float = 100.0, /, **named: dict[str, Any]) -> dict[str, Any]:
    server = {"host": postgres.host, "port": postgres.port, "sslmode": "disable"}
    return make_config(
        postgres,
        {"databases": {name: {**server, **settings} for name, settings in named.items()}},
        {"catalog": {"poll": poll}},
    )


@contextlib.asynccontextmanager
async def keeping(directory: Path, config: dict[str, Any]) -> AsyncIterator[Kept]:
    kept = Kept(directory, config)
    try:
        yield kept
    finally:
        await kept.keeper.stop()
    # What has just finished is still counted until the loop has come round.
    await until(lambda: not [task for task in running() if task.get_name().startswith("catalog")])


async def test_what_can_be_read_is_read_at_the_start(
    postgres: Postgres, tmp_path: Path, empty_database: str, database: str
) -> None:
    config = databases(postgres, **{empty_database: {}, database: LOGIN, "*": LOGIN})
    async with keeping(tmp_path, config) as kept:
        await kept.keeper.start()
        assert kept.keeper.of(database).fresh
        assert kept.keeper.of(empty_database).snapshot is None
        kept.keeper.measure()
        assert kept.metric(f'holdgate_catalog_age_seconds{{database="{database}"}}')
        assert not kept.metric(f'holdgate_catalog_age_seconds{{database="{empty_database}"}}')
        assert kept.metric("holdgate_catalog_reload_seconds_count 1")


async def test_a_database_that_is_away_does_not_keep_the_gateway_from_starting(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.05)
    config = databases(postgres, refused={**LOGIN, "host": "127.0.0.1", "port": 1}, silent=LOGIN)
    async with keeping(tmp_path, config) as kept:
        silent = kept.keeper.of("silent")
        async with silent._turn:
            await kept.keeper.start()
        assert kept.keeper.of("refused").snapshot is None
        assert not silent.fresh
        await until(lambda: not [task for task in running() if task.get_name() == "catalog of silent"])


async def test_nothing_configured_nothing_to_start(postgres: Postgres, tmp_path: Path) -> None:
    async with keeping(tmp_path, databases(postgres)) as kept:
        await kept.keeper.start()
        assert kept.keeper._catalogs == {}


async def test_two_names_of_one_database_share_its_catalog(postgres: Postgres, tmp_path: Path) -> None:
    config = databases(postgres, a={"dbname": "shop"}, b={"dbname": "shop"}, c={})
    async with keeping(tmp_path, config) as kept:
        of = kept.keeper.of
        assert of("a") is of("b") is of("shop")
        assert of("a") is not of("c")


async def test_a_database_that_is_not_configured(postgres: Postgres, tmp_path: Path) -> None:
    config = databases(postgres, shop={})
    del config["databases"]["*"]
    async with keeping(tmp_path, config) as kept:
        with pytest.raises(KeyError):
            kept.keeper.join("other")


@pytest.fixture
def joined(postgres: Postgres, empty_database: str) -> dict[str, Any]:
    """A configuration under which ``empty_database`` is reached by any name."""
    return databases(postgres, PERIOD, **{"*": {**LOGIN, "dbname": empty_database}})


async def test_what_changes_elsewhere_is_found_by_looking_again(
    postgres: Postgres, tmp_path: Path, empty_database: str, joined: dict[str, Any]
) -> None:
    async with keeping(tmp_path, joined) as kept:
        catalog = kept.keeper.join("shop")
        before = await catalog.ready()
        await asyncio.to_thread(postgres.execute, "CREATE TABLE elsewhere ()", empty_database)
        await until(lambda: catalog.snapshot is not None and catalog.snapshot is not before)
        assert catalog.snapshot is not None
        assert [relation.name for relation in catalog.snapshot.relations] == ["elsewhere"]
        assert kept.metric(
            f'holdgate_catalog_generation{{database="shop"}} {catalog.snapshot.generation:.1f}'
        )
        kept.keeper.leave(catalog)


async def test_a_database_nobody_uses_is_forgotten(
    postgres: Postgres, tmp_path: Path, joined: dict[str, Any]
) -> None:
    async with keeping(tmp_path, joined) as kept:
        catalog = kept.keeper.join("shop")
        await catalog.ready()
        assert kept.keeper.join("shop") is catalog
        kept.keeper.leave(catalog)
        kept.keeper.leave(catalog)
        await until(lambda: not kept.keeper._catalogs)
        assert not kept.metric('database="shop"')
        again = kept.keeper.join("shop")
        assert again is not catalog
        kept.keeper.leave(again)


async def test_a_database_of_the_configuration_is_remembered(
    postgres: Postgres, tmp_path: Path, empty_database: str
) -> None:
    async with keeping(tmp_path, databases(postgres, PERIOD, **{empty_database: LOGIN})) as kept:
        catalog = kept.keeper.join(empty_database)
        await catalog.ready()
        kept.keeper.leave(catalog)
        await until(lambda: not kept.keeper._polling)
        assert kept.keeper.of(empty_database) is catalog
        assert catalog.snapshot is not None


async def test_another_login_counts_after_a_reload(
    postgres: Postgres, tmp_path: Path, empty_database: str
) -> None:
    def looks(catalog: Catalog) -> str | None:
        if catalog.looker is None or catalog.looker.database.inspect is None:
            return None
        return catalog.looker.database.inspect.user

    async with keeping(tmp_path, databases(postgres, **{empty_database: LOGIN})) as kept:
        catalog = kept.keeper.of(empty_database)
        looker = catalog.looker
        await catalog.ready()
        kept.keeper.reload()
        assert catalog.looker is looker
        kept.use(databases(postgres, **{empty_database: {"inspect": {"user": "other"}}}))
        kept.keeper.reload()
        assert looks(catalog) == "other"
        kept.use(databases(postgres, **{empty_database: {}}))
        kept.keeper.reload()
        assert looks(catalog) is None
        kept.use(databases(postgres, **{empty_database: {**LOGIN, "port": 1}}))
        kept.keeper.reload()
        assert looks(catalog) is None


async def test_asking_about_any_name_begins_no_catalog(
    postgres: Postgres, tmp_path: Path, empty_database: str, joined: dict[str, Any]
) -> None:
    async with keeping(tmp_path, joined) as kept:
        assert (await kept.keeper.described("shop")).snapshot.is_empty
        assert kept.keeper._catalogs == {}
        catalog = kept.keeper.join("shop")
        assert (await kept.keeper.described("shop")).snapshot is catalog.snapshot is not None
        kept.keeper.leave(catalog)
    async with keeping(tmp_path, databases(postgres, **{empty_database: LOGIN})) as kept:
        assert (await kept.keeper.described(empty_database)).snapshot.database == empty_database
        assert (await kept.keeper.described("*")).snapshot.is_empty
    only = databases(postgres, **{empty_database: LOGIN})
    del only["databases"]["*"]
    async with keeping(tmp_path, only) as kept:
        assert (await kept.keeper.described("other")).snapshot.is_empty


async def test_other_processes_are_told_of_changes_and_tell_of_theirs(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    async with keeping(tmp_path, databases(postgres, **{database: LOGIN})) as kept:
        told: list[tuple[str, int, str]] = []
        kept.keeper.tell = told.append
        catalog = kept.keeper.of(database)
        await catalog.ready()
        place = (postgres.host, postgres.port, database)
        kept.keeper.changed_elsewhere(("elsewhere", 1, database))
        unmoved = catalog.fresh
        kept.keeper.changed_elsewhere(place)
        assert (unmoved, catalog.fresh) == (True, False)
        # Whoever told us has told the others too.
        assert told == []
        catalog.changed()
        assert told == [place]


async def test_other_processes_are_told_of_copies_and_tell_of_theirs(
    tmp_path: Path, postgres: Postgres, empty_database: str
) -> None:
    async with keeping(tmp_path, databases(postgres, **{empty_database: LOGIN})) as kept:
        told: list[tuple[object, tuple[Copy, ...]]] = []
        kept.keeper.tell_copies = lambda place, copies: told.append((place, copies))
        catalog = kept.keeper.of(empty_database)
        await catalog.ready()
        place = (postgres.host, postgres.port, empty_database)
        one, other = Copy("public", "one", ("e",)), Copy("public", "other", ("e",))
        kept.keeper.copied_elsewhere(("elsewhere", 1, empty_database), (one,))
        kept.keeper.copied_elsewhere(place, (other,))
        assert told == []
        catalog.expect((one,))
        assert told == [(place, (one,))]
        await asyncio.to_thread(
            postgres.execute, "CREATE TABLE one (e text); CREATE TABLE other (e text)", empty_database
        )
        catalog.changed()
        snapshot = await catalog.ready()
        assert {relation.name: relation.copied for relation in snapshot.relations} == {
            "one": ("e",),
            "other": ("e",),
        }
        table = snapshot.by_name["public", "one"]
        kept.keeper.copied_elsewhere(place, (Copy("public", "one", ("f",), oid=table.oid),))
        assert catalog.snapshot is not None
        assert catalog.snapshot.by_oid[table.oid].copied == ("*",)
        assert catalog.snapshot.generation > snapshot.generation
        filled = (Copy("public", "one", ("g",), oid=table.oid),)
        assert [catalog.filled(filled), catalog.filled(filled)] == [True, False]
        assert told[1:] == [(place, filled)]


async def test_copies_are_remembered_for_catalogs_that_begin_later(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    postgres.execute("CREATE TABLE copied AS SELECT email AS e FROM customer", database)
    place = (postgres.host, postgres.port, database)
    oid = postgres.scalar("SELECT 'genre'::regclass::oid::int", database)
    made, filled = Copy("public", "copied", ("e",)), Copy("public", "genre", ("name",), oid=oid)
    async with keeping(tmp_path, databases(postgres, **{database: LOGIN})) as kept:
        for copy in (made, filled):
            kept.keeper.copied_elsewhere(place, (copy,))
        assert kept.keeper.known_copies == ((place, (made, filled)),)
        snapshot = await kept.keeper.of(database).ready()
        assert snapshot.by_name["public", "copied"].copied == ("e",)
        assert snapshot.by_name["public", "genre"].copied == ("name",)
