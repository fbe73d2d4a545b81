"""SASLprep: the examples of RFC 4013 and PostgreSQL's exceptions."""

import pytest

from protocol.saslprep import saslprep


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("user", b"user"),
        ("USER", b"USER"),
        ("I\u00adX", b"IX"),
        ("\u00aa", b"a"),
        ("\u2168", b"IX"),
        ("a\u00a0b", b"a b"),
        ("a\u200bb", b"a b"),
        ("\u0627\u0628", "\u0627\u0628".encode()),
    ],
)
def test_prepared(password: str, prepared: bytes) -> None:
    assert saslprep(password) == prepared


@pytest.mark.parametrize(
    "password",
    [
        "",
        "tab\tand\x07bell",  # ASCII is never touched, not even control characters
        "ü\x07",  # a prohibited character: as it is
        "\u0627\u0031",  # right-to-left that ends otherwise
        "\u0627a\u0628",  # right-to-left with left-to-right inside
        "\u00ad",  # nothing would be left
        "ü\ue000",  # private use
        "ü\U000e0001",  # tagging
    ],
)
def test_what_cannot_be_prepared_is_used_as_it_is(password: str) -> None:
    assert saslprep(password) == password.encode()


def test_bytes_that_are_not_utf8() -> None:
    assert saslprep(b"caf\xe9".decode("utf-8", "surrogateescape")) == b"caf\xe9"
