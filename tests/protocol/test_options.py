"""The ``options`` parameter, split as the server splits it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.options import Setting, split_options, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t ", []),
        ("-c a=b", ["-c", "a=b"]),
        ("  -c\n a=b  ", ["-c", "a=b"]),
        (r"-c a=b\ c", ["-c", "a=b c"]),
        (r"a\\b", [r"a\b"]),
        (r"\a", ["a"]),
        ("a\\", ["a"]),
        (r"\  b", [" ", "b"]),
        ("\\", [""]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("-c search_path=a,b", [("search_path", "a,b")]),
        ("-csearch_path=a", [("search_path", "a")]),
        ("--search_path=a", [("search_path", "a")]),
        ("--search-path=a", [("search_path", "a")]),
        ("-ec search_path=a", [("search_path", "a")]),
        ("-sc Search_Path=A", [("search_path", "A")]),
        ("-e-search_path=a", [("search_path", "a")]),
        ("-c a=", [("a", "")]),
        ("-c a=b=c", [("a", "b=c")]),
        ("-c", [("", "-c")]),
        ("-c a", [("", "-c a")]),
        ("-c =a", [("", "-c =a")]),
        ("-ca", [("", "-ca")]),
        ("-S 100 -c a=b", [("", "-S 100"), ("a", "b")]),
        ("-e", [("", "-e")]),
        ("-z", [("", "-z")]),
        ("-", [("", "-")]),
        ("-- -c a=b", [("", "--"), ("a", "b")]),
        ("word -c a=b", [("", "word"), ("a", "b")]),
        ("-c myext.KEY=v", [("myext.key", "v")]),
        ("-c Ünï=v", [("Ünï", "v")]),
    ],
)
def test_settings(text: str, settings: list[tuple[str, str]]) -> None:
    assert split_options(text) == tuple(Setting(name, value) for name, value in settings)


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    assert all(isinstance(setting, Setting) for setting in split_options(text))


@given(st.text(alphabet=st.characters(exclude_characters="\0", max_codepoint=0x2FF), max_size=30))
def test_an_escaped_value_arrives_whole(value: str) -> None:
    escaped = "".join("\\" + c if c in " \t\n\v\f\r\\" else c for c in value)
    assert split_options(f"-c a={escaped}") == (Setting("a", value),)
