"""What the commands print: nothing that a terminal would obey."""

import json

import pytest

from gateway.cli.output import moment, print_fields, print_json, print_table


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
