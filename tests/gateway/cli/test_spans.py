"""Lengths of time as people type them."""

import pytest

from gateway.cli.errors import USAGE, CliError
from gateway.cli.spans import seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000)])
def test_a_length_of_time(text: str, seconds: int) -> None:
    assert seconds_of("--expires", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "0d", "-1d", "1.5h", "1 d", "1w", "1h30m", "٣d", "9" * 400 + "d", "\x1b[2Jd"]
)
def test_what_is_none_is_named(text: str) -> None:
    with pytest.raises(
        CliError, match=r"--expires .* is not a length of time such as 30m, 12h or 90d"
    ) as error:
        seconds_of("--expires", text)
    assert error.value.code == USAGE
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("text", ["36501d", "999999999d", "999999999h"])
def test_a_hundred_years_are_enough(text: str) -> None:
    with pytest.raises(CliError, match="is longer than a hundred years"):
        seconds_of("--expires", text)
