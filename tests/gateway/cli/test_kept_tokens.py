"""The file of tokens: whose it is, and what it may not be."""

import json
import stat
from pathlib import Path

import pytest

from gateway.cli.errors import CliError
from gateway.cli.kept_tokens import forget_token, keep_token, kept_token, tokens_file

HERE, THERE = "http://127.0.0.1:7433", "https://holdgate.example"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for configuration that is not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def test_each_server_has_its_token(folder: Path) -> None:
    assert kept_token(HERE) is None
    assert keep_token(HERE, "hg_1") == folder / "holdgate" / "tokens.json"
    keep_token(THERE, "hg_2")
    keep_token(HERE, "hg_3")
    assert (kept_token(HERE), kept_token(THERE)) == ("hg_3", "hg_2")
    forget_token(HERE)
    forget_token(HERE)
    assert (kept_token(HERE), kept_token(THERE)) == (None, "hg_2")


def test_only_its_owner_can_read_it(folder: Path) -> None:
    file = keep_token(HERE, "hg_1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [one.name for one in file.parent.iterdir()] == ["tokens.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_read_is_not_used(mode: int) -> None:
    file = keep_token(HERE, "hg_1")
    file.chmod(mode)
    with pytest.raises(CliError, match=f"so its tokens are not used: chmod 600 {file}"):
        kept_token(HERE)


@pytest.mark.parametrize("content", ["", "[]", "null", '{"a": 1}', "[" * 100_000, "\xff"])
def test_a_file_that_is_something_else(content: str) -> None:
    file = keep_token(HERE, "hg_1")
    file.write_text(content, encoding="latin-1")
    with pytest.raises(CliError, match="is not a file of tokens; remove it, then holdgate login"):
        kept_token(HERE)


def test_a_folder_that_cannot_be_made(folder: Path) -> None:
    folder.write_text("a file in its place")
    assert kept_token(HERE) is None
    with pytest.raises(CliError, match="cannot write"):
        keep_token(HERE, "hg_1")


def test_a_file_that_cannot_be_replaced(folder: Path) -> None:
    (folder / "holdgate" / "tokens.json" / "a folder in its place").mkdir(parents=True)
    with pytest.raises(CliError, match="cannot read"):
        kept_token(HERE)


def test_without_a_folder_of_ones_own_it_is_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert tokens_file() == tmp_path / ".config" / "holdgate" / "tokens.json"


def test_what_is_kept_is_ascii() -> None:
    file = keep_token("https://hölle.example", "hg_1")
    assert file.read_bytes().isascii()
    assert json.loads(file.read_text()) == {"https://hölle.example": "hg_1"}
