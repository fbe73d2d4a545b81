"""What a session must be like for its texts to be read."""

import pytest

from tests.rules.policies import context

PLAIN, BACKSLASH, UMLAUT = b"SELECT 'a'", rb"SELECT '\'", "SELECT 'ä'".encode()


@pytest.mark.parametrize("encoding", ["UTF8", "utf-8", "Unicode", "'utf_8'"])
def test_a_session_that_can_be_read(encoding: str) -> None:
    for text in (PLAIN, BACKSLASH, UMLAUT):
        assert context(client_encoding=encoding).unreadable(text) is None


@pytest.mark.parametrize("encoding", ["LATIN1", "SJIS", "SQL_ASCII", ""])
def test_in_another_encoding_what_is_ascii_can_be_read(encoding: str) -> None:
    other = context(client_encoding=encoding)
    assert (other.unreadable(PLAIN), other.unreadable(BACKSLASH)) == (None, None)
    assert (
        other.unreadable(UMLAUT)
        == f"client_encoding is {encoding}, and the text is not ASCII; set it to UTF8"
    )


def test_with_other_strings_what_has_no_backslash_can_be_read() -> None:
    other = context(standard_conforming_strings=False)
    assert (other.unreadable(PLAIN), other.unreadable(UMLAUT)) == (None, None)
    assert other.unreadable(BACKSLASH) == (
        "standard_conforming_strings is off in this session, and the text has a backslash in it"
    )


def test_nothing_can_be_read_in_a_session_of_which_nothing_is_known() -> None:
    assert context(unknown="nobody said").unreadable(PLAIN) == "nobody said"
