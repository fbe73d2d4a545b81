"""Reading a corpus."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.redteam.corpus import read_corpus

LINE: dict[str, Any] = {"id": "a", "cat": "lexer", "expect": "hold_delete", "sql": "SELECT 1"}


def write(tmp_path: Path, *lines: dict[str, Any]) -> Path:
    file = tmp_path / "corpus.jsonl"
    file.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    return file


def test_a_line_needs_little(tmp_path: Path) -> None:
    (entry,) = read_corpus(write(tmp_path, LINE))
    assert (entry.messages, entry.role, entry.startup, entry.setup) == ((b"SELECT 1",), "app", {}, ())
    assert not entry.innocent
    assert not entry.side_channel


def test_a_line_separator_inside_a_statement_ends_no_line(tmp_path: Path) -> None:
    (entry,) = read_corpus(write(tmp_path, {**LINE, "sql": "SELECT\u2028\u00851"}))
    assert entry.messages == ("SELECT\u2028\u00851".encode(),)


def test_hex_stands_for_bytes_and_a_list_for_messages(tmp_path: Path) -> None:
    raw, several = read_corpus(
        write(tmp_path, {**LINE, "sql": None, "hex": "ff00"}, {**LINE, "id": "b", "sql": ["BEGIN", "END"]})
    )
    assert raw.messages == (b"\xff\0",)
    assert several.messages == (b"BEGIN", b"END")
    assert several.text == "BEGIN ⏎ END"


@pytest.mark.parametrize(
    "lines",
    [
        [{**LINE, "expect": "hold"}],
        [{key: value for key, value in LINE.items() if key != "sql"}],
        [{**LINE, "sql": None, "hex": "xyz"}],
        [LINE, LINE],
    ],
    ids=["unknown expectation", "no statement", "no bytes", "the same id twice"],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"corpus\.jsonl"):
        read_corpus(write(tmp_path, *lines))
