"""The measurement runs; its figures are for people."""

import json
from pathlib import Path

import pytest

from tests.bench.sessions import main


@pytest.mark.timeout(90)
def test_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert main(["--sessions", "20", "--many", "20", "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = json.loads(file.read_text())
    assert list(figures) == ["idle", "idle, TLS", "held", "idle, many"]
    assert [line.split("  ")[0] for line in lines] == list(figures)
    assert all(figure["sessions"] == 20 for figure in figures.values())
