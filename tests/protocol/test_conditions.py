"""A text for every SQLSTATE there is."""

import re

import pytest

from gateway.demo.server import embedded_bindir
from protocol.conditions import CLASSES, CONDITIONS, WITHOUT_PARAMETERS, words

_LINE = re.compile(r"^(\w{5})\s+[EWS]\s+ERRCODE_", re.MULTILINE)


def test_every_sqlstate_of_the_server_has_its_text() -> None:
    listed = (embedded_bindir().parent / "share" / "errcodes.txt").read_text(encoding="utf-8")
    codes = set(_LINE.findall(listed))
    assert len(codes) > 250
    assert codes - CONDITIONS.keys() == set()
    assert {code[:2] for code in codes} <= CLASSES.keys()


@pytest.mark.parametrize(
    ("sqlstate", "text"),
    [
        ("22P02", "invalid input syntax"),
        ("22999", "data exception"),
        ("ZZ999", "error"),
        ("P0001", "exception raised by a function"),
        ("00000", "message of the server"),
    ],
)
def test_words(sqlstate: str, text: str) -> None:
    assert words(sqlstate) == text


def test_no_text_has_a_parameter() -> None:
    for text in [*CLASSES.values(), *CONDITIONS.values(), *WITHOUT_PARAMETERS]:
        assert text.isascii()
        assert text.isprintable()
        assert text.strip() == text != ""
        assert "%" not in text
        assert '"' not in text
