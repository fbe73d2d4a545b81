"""Looking at a database once."""

from pathlib import Path
from typing import Any

import pytest

from gateway.catalog import AskError
from gateway.catalog.live import LiveError, connected, has_inspector, read_live
from gateway.config import Config, load_config
from tests.support.gateway import make_config, write_config
from tests.support.postgres import Postgres

LOGIN = {"inspect": {"user": "postgres"}}


def config(postgres: Postgres, directory: Path, **databases: dict[str, Any]) -> Config:
    return load_config(write_config(directory, make_config(postgres, {"databases": databases})))


async def test_a_database_reached_by_any_name(postgres: Postgres, tmp_path: Path, database: str) -> None:
    found = config(postgres, tmp_path, **{"*": LOGIN})
    assert has_inspector(found, database)
    read = await read_live(found, database)
    assert read.snapshot.database == database
    assert ("public", "customer") in read.snapshot.by_name


async def test_without_a_login(postgres: Postgres, tmp_path: Path) -> None:
    found = config(postgres, tmp_path, shop={"host": "db"})
    assert not has_inspector(found, "shop")
    for name, key in (("shop", "databases.shop.inspect"), ("other", 'databases."*".inspect')):
        with pytest.raises(LiveError, match="is missing") as refused:
            await read_live(found, name)
        assert str(refused.value).startswith(key)


async def test_an_answer_that_is_an_error_is_one_line(
    postgres: Postgres, tmp_path: Path, empty_database: str
) -> None:
    found = config(postgres, tmp_path, **{"*": LOGIN})
    with pytest.raises(LiveError, match=f"the catalog of {empty_database} cannot be read") as refused:
        async with connected(found, empty_database) as inspector:
            await inspector.run(["SELECT 1/0"])
    assert isinstance(refused.value.__cause__, AskError)
    assert "\n" not in str(refused.value)


async def test_what_somebody_is_changing_is_not_left_out(
    postgres: Postgres, tmp_path: Path, database: str
) -> None:
    postgres.execute("CREATE VIEW people AS SELECT email FROM customer", database)
    found = config(postgres, tmp_path, **{"*": LOGIN})
    with postgres.connect(database) as changing, changing.transaction():
        changing.execute("LOCK TABLE customer")
        with pytest.raises(LiveError, match="somebody is changing a definition at this moment; try again"):
            await read_live(found, database)
    assert (await read_live(found, database)).snapshot.by_name["public", "people"].definition
