"""The measurement runs; its figures are for people."""

import gc
import json
from pathlib import Path

import pytest

from tests.bench.catalog import main


@pytest.mark.timeout(90)
def test_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    try:
        assert main(["--tables", "40", "--json", str(file)]) == 0
    finally:
        gc.unfreeze()
    figures = json.loads(file.read_text())
    lines = capsys.readouterr().out.splitlines()
    assert [one["what"] for one in figures] == [
        "first",
        "unchanged",
        "after CREATE TABLE",
        "after ADD COLUMN",
        "after CREATE VIEW",
        "after DROP TABLE",
        "20 definitions",
    ]
    assert [line.split("  ")[0] for line in lines[2:]] == [one["what"] for one in figures]
    assert all(one["seconds"] > one["held"] for one in figures)
