"""Commands about a database's definitions."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from gateway.catalog.load import load
from gateway.config import load_config
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


class TestScan:
    async def test_the_proposal_is_a_part_of_a_configuration(
        self, postgres: Postgres, config: str, tmp_path: Path
    ) -> None:
        said = await holdgate("catalog", "scan", "-c", config)
        assert (said.code, said.err) == (0, "")
        proposed = yaml.safe_load(said.out)
        file = write_config(tmp_path, make_config(postgres, proposed))
        found = load_config(file).policy.personal
        customer = found.find("public", "customer", ())
        assert customer is not None
        assert {"email", "phone", "address", "postal_code"} <= set(customer.columns)
        assert customer.subject == "customer_id"
        invoice = found.find("public", "invoice", ())
        assert invoice is not None
        assert (invoice.subject, "billing_address" in invoice.columns) == ("customer_id", True)
        for name in ("album", "artist", "genre", "track", "invoice_line", "media_type", "playlist"):
            assert found.find("public", name, ()) is None, name

    async def test_no_value_is_printed(self, postgres: Postgres, config: str, database: str) -> None:
        said = await holdgate("catalog", "scan", "-c", config, "--confidence", "0")
        shown = await holdgate("catalog", "scan", "-c", config, "--json")
        with postgres.connect(database) as connection:
            rows = connection.execute("SELECT email, phone, address, last_name FROM customer").fetchall()
        for value in {str(value) for row in rows for value in row if value and len(str(value)) > 4}:
            assert value not in said.out + shown.out

    async def test_what_may_be_said(self, config: str) -> None:
        (found,) = (await holdgate("catalog", "scan", "-c", config, "--json", "--rows", "0")).json
        assert {one["why"] for one in found["not_sampled"]} == {"no values were asked for"}
        assert "public.customer" in [one["relation"] for one in found["personal_data"]]
        (none,) = (await holdgate("catalog", "scan", "-c", config, "--json", "--schema", "nowhere")).json
        assert (none["relations"], none["personal_data"]) == (0, [])
        for wrong in (["--confidence", "2"], ["--rows", "-1"], ["--seconds", "x"]):
            assert (await holdgate("catalog", "scan", "-c", config, *wrong)).failed(2)

    async def test_without_its_packages_it_says_how_to_get_them(
        self, config: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "gateway.catalog.scan.values", raising=False)
        monkeypatch.setitem(sys.modules, "phonenumbers", None)
        said = await holdgate("catalog", "scan", "-c", config)
        assert said.failed() == (
            "looking at values needs phonenumbers: install it with pip install 'holdgate[scan]', or look at names "
            "alone with --rows 0"
        )
        assert (await holdgate("catalog", "scan", "-c", config, "--rows", "0")).code == 0

    async def test_a_database_that_cannot_be_asked(self, postgres: Postgres, tmp_path: Path) -> None:
        some = str(write_config(tmp_path, make_config(postgres)))
        said = await holdgate("catalog", "scan", "-c", some, "--database", "shop")
        assert said.failed().startswith('databases."*".inspect is missing')
