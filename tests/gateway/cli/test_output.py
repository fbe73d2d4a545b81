"""What the commands print: nothing that a terminal would obey."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.output import moment, one_line, print_fields, print_json, print_table, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ü, 漢字, \U0001f44d", "plain, ü, 漢字, \U0001f44d"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwrite\x08", r"over\x0dwrite\x08"),
        ("\x9b2J\x00\x7f", r"\x9b2J\x00\x7f"),
        ("safe\u202etxt.exe", r"safe\u202etxt.exe"),
        ("a\u2066b\u2069\u200b\ufeff", r"a\u2066b\u2069\u200b\ufeff"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("a\u00a0b\u3164\u2800\u115f", r"a\xa0b\u3164\u2800\u115f"),
        ("\ud800", r"\ud800"),
        ("\U000e0041\ue000", r"\U000e0041\ue000"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters()))
def test_nothing_invisible_is_left(text: str) -> None:
    shown = visible(text)
    assert not [char for char in shown if unicodedata.category(char) in ("Cf", "Cs", "Co", "Zl", "Zp")]
    assert not [char for char in shown if unicodedata.category(char) == "Cc" and char not in "\n\t"]
    assert "\n" not in one_line(text)
    shown.encode()


def test_a_line_is_cut_to_its_width() -> None:
    assert one_line("SELECT  1\n FROM\tt") == "SELECT 1 FROM t"
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
    assert one_line(5) == "5"


def test_a_time_is_shown_where_people_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert moment("2030-01-31T12:00:00.999Z") == "2030-01-31 21:00:00"
    finally:
        monkeypatch.undo()
        time.tzset()
    assert moment(None) == ""


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"sql": "ü\x1b\u2028\n"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1
    assert json.loads(out) == {"sql": "ü\x1b\u2028\n"}


def test_a_table_is_aligned_by_what_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ID", "NAME"), [("1", "漢字"), ("22", None), ("3", "e\u0301\x1b\n")], empty="nothing")
    assert capsys.readouterr().out == "ID  NAME\n1   漢字\n22\n3   e\u0301\\x1b\n"
    print_table(("A", "B"), [("漢字", "x"), ("ab", "y")], empty="nothing")
    assert capsys.readouterr().out == "A     B\n漢字  x\nab    y\n"


def test_an_empty_table_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ID",), [], empty="nothing waits")
    assert capsys.readouterr() == ("", "nothing waits\n")


def test_fields_leave_out_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"id": "H-1", "statement": "SELECT 1\nFROM t\x1b", "none": None, "empty": "", "zero": 0})
    assert capsys.readouterr().out == (
        "id:        H-1\nstatement: SELECT 1\n           FROM t\\x1b\nzero:      0\n"
    )
    print_fields({})
    assert capsys.readouterr().out == ""
