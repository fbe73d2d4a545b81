"""Where the source comes from."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.regression import source
from tests.regression.__main__ import main
from tests.regression.source import FetchError, fetch, scripts

DEB822 = """Types: deb
URIs: http://archive.example/debian
Suites: stable
Components: main

Types: deb
URIs: http://archive.example/debian-security
Suites: stable-security
Components: main
"""


def unpacked(folder: Path) -> Path:
    for name, text in {
        "src/test/regress/sql/a.sql": "SELECT 1;\nSELEC 2;\n",
        "src/test/isolation/specs/b.spec": "setup { SELECT 3; }\n",
        "contrib/x/sql/c.sql": "\\set a 1\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_scripts_are_found_in_order(tmp_path: Path) -> None:
    found = scripts(unpacked(tmp_path))
    assert [path.name for path in found] == ["a.sql", "b.spec", "c.sql"]


def test_a_folder_without_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="no regression tests"):
        scripts(tmp_path)
    assert main([str(tmp_path)]) == 2


def test_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(unpacked(tmp_path)), "--show", "none", "--show", "not the grammar"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("| SELEC 2")
    assert [line.split()[-1] for line in lines if line.startswith("all")] == ["3"]


def test_apt_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "debian.sources").write_text(DEB822, encoding="utf-8")
    (lists / "old.list").write_text("deb http://archive.example/debian old main\n# deb x\n", encoding="utf-8")
    (lists / "other.list").write_text("deb http://elsewhere.example stable main\n", encoding="utf-8")
    monkeypatch.setattr(source, "_LISTS", (tmp_path / "none", lists))
    asked: list[str] = []

    def run(command: list[str], work: Path) -> None:
        asked.append(" ".join(command[-2:]))
        if command[-1] == "update":
            entries = "".join(path.read_text(encoding="utf-8") for path in sorted((work / "parts").iterdir()))
            assert "Types: deb-src\nURIs: http://archive.example/debian\n" in entries
            assert "deb-src http://archive.example/debian old main" in entries
            assert "security" not in entries
            assert "elsewhere" not in entries
            return
        unpacked(work / "postgresql-1")
        with tarfile.open(work / "postgresql_1.orig.tar.gz", "w:gz") as archive:
            archive.add(work / "postgresql-1", "postgresql-1")

    monkeypatch.setattr(source, "_run", run)
    for _ in range(2):
        assert len(scripts(fetch("postgresql-1", tmp_path / "cache"))) == 3
    assert asked == ["-qq update", "--download-only postgresql-1"]


def test_a_failure_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 100, "", "W: slow\nE: nothing there\n")

    monkeypatch.setattr(subprocess, "run", failed)
    with pytest.raises(FetchError, match="E: nothing there"):
        fetch("postgresql-1", tmp_path)

    def missing(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(FetchError, match="apt-get: No such file"):
        fetch("postgresql-1", tmp_path)
