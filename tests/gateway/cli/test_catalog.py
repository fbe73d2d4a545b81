"""Commands about a database's definitions."""

import json
from pathlib import Path

import pytest

from gateway.catalog.load import load
from tests.gateway.cli.running import holdgate
from tests.support.gateway import make_config, write_config
from tests.support.postgres import Postgres


@pytest.fixture
def config(postgres: Postgres, database: str, tmp_path: Path) -> str:
    """Of a gateway that looks at ``database`` under the name shop."""
    place = {"host": postgres.host, "port": postgres.port, "sslmode": "disable", "dbname": database}
    place |= {"inspect": {"user": postgres.superuser}}
    return str(write_config(tmp_path, make_config(postgres, {"databases": {"shop": place}})))


async def test_a_dump_is_the_catalog(config: str, database: str, tmp_path: Path) -> None:
    said = await holdgate("catalog", "dump", "-c", config)
    assert (said.code, said.err) == (0, "")
    assert load(said.out).snapshot.database == database
    file = tmp_path / "shop.json"
    written = await holdgate("catalog", "dump", "-c", config, "--database", "shop", "-o", str(file))
    assert (written.code, written.out, file.read_text()) == (0, "", said.out)


async def test_a_file_that_cannot_be_written(config: str, tmp_path: Path) -> None:
    said = await holdgate("catalog", "dump", "-c", config, "-o", str(tmp_path))
    assert said.failed() == f"cannot write {tmp_path}: Is a directory"


async def test_what_differs(postgres: Postgres, config: str, database: str, tmp_path: Path) -> None:
    before, after = str(tmp_path / "before.json"), str(tmp_path / "after.json")
    await holdgate("catalog", "dump", "-c", config, "-o", before)
    said = await holdgate("catalog", "diff", before, "-c", config)
    assert (said.code, said.out, said.err) == (0, "", "")
    postgres.execute(
        'CREATE TABLE "a\x1b[2J" (i int); DROP TABLE invoice_line; ALTER TABLE customer ADD shoe_size int',
        database,
    )
    said = await holdgate("catalog", "diff", before, "-c", config)
    assert said.code == 1
    assert '+ relation public."a\\x1b[2J"\n' in said.out
    assert "- relation public.invoice_line\n" in said.out
    assert '~ relation public.customer\n    +  "shoe_size": "int4"\n' in said.out
    await holdgate("catalog", "dump", "-c", config, "-o", after)
    assert (await holdgate("catalog", "diff", before, after)).out == said.out
    (found,) = (await holdgate("catalog", "diff", before, after, "--json")).json
    assert {"change": "removed", "kind": "relation", "name": "public.invoice_line", "lines": []} in found


async def test_it_must_be_clear_what_is_meant(config: str, postgres: Postgres, tmp_path: Path) -> None:
    said = await holdgate("catalog", "diff", "a.json")
    assert said.failed(2) == "give two dumps, or one and where the database is: -c FILE"
    assert (await holdgate("catalog", "diff", "a", "b", "-c", config)).failed(2) == said.failed(2)
    assert (await holdgate("catalog", "diff", "nowhere", "b")).failed(2).startswith("cannot read nowhere: ")
    some = str(write_config(tmp_path, make_config(postgres)))
    assert (await holdgate("catalog", "dump", "-c", some)).failed(2) == "say which database: --database D"
    said = await holdgate("catalog", "dump", "-c", some, "--database", "shop")
    assert said.failed().startswith('databases."*".inspect is missing')
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"format": "other"}))
    assert (await holdgate("catalog", "diff", str(bad), str(bad))).failed(2).startswith(f"{bad}:1: format: ")
