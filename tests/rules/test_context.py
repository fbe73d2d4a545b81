"""What a session must be like for its texts to be read."""

import pytest

from tests.rules.policies import context


@pytest.mark.parametrize("encoding", ["UTF8", "utf-8", "Unicode"])
def test_a_session_that_can_be_read(encoding: str) -> None:
    assert context(client_encoding=encoding).readable is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"client_encoding": "LATIN1"}, "client_encoding is LATIN1, not UTF8"),
        ({"standard_conforming_strings": False}, "standard_conforming_strings is off in this session"),
        ({"unknown": "nobody said"}, "nobody said"),
    ],
)
def test_one_that_cannot(changes: dict[str, object], why: str) -> None:
    assert context(**changes).readable == why
