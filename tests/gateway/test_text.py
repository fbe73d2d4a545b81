"""Text from outside, fit for a terminal and a log."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.text import kind_of, one_line, same_name, visible


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


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "nothing"),
        (True, "true or false"),
        (0, "a number"),
        (1.5, "a number"),
        ("secret", "text"),
        (["secret"], "a list"),
        ({"secret": 1}, "a mapping"),
    ],
)
def test_a_value_is_named_and_not_shown(value: object, kind: str) -> None:
    assert kind_of(value) == kind


@pytest.mark.parametrize(
    ("one", "other"),
    [("alice", "Alice"), ("alice", "ａＬＩＣＥ"), ("straße", "STRASSE"), ("é", "e\u0301"), ("ﬁ", "FI")],
)
def test_spellings_of_one_name(one: str, other: str) -> None:
    assert same_name(one) == same_name(other)


@given(st.text(), st.text())
def test_the_same_name_of_a_name_is_the_name(one: str, other: str) -> None:
    assert same_name(same_name(one)) == same_name(one)
    assert (same_name(one) == same_name(other)) or one != other
