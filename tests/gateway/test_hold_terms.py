"""The words of holding."""

import pytest

from gateway.hold_terms import (
    REASON_LENGTH,
    AlreadyResolved,
    ClaimRefused,
    HoldError,
    HoldNotFound,
    HoldsFull,
    InvalidReason,
    NotAllowed,
    checked_reason,
    storable,
)
from gateway.store import HoldState
from tests.gateway.store.samples import hold


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        (None, ""),
        ("", ""),
        ("  \n ", ""),
        (" as asked\n", "as asked"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("Anfrage № 4711, 漢字, \U0001f44d", "Anfrage № 4711, 漢字, \U0001f44d"),
        ("x" * REASON_LENGTH, "x" * REASON_LENGTH),
    ],
)
def test_a_reason_is_kept_as_it_was_meant(reason: str | None, kept: str) -> None:
    assert checked_reason(reason, required=False) == kept


@pytest.mark.parametrize("reason", [None, "", " \n\t "])
def test_a_rejection_needs_a_reason(reason: str | None) -> None:
    with pytest.raises(InvalidReason, match="a rejection needs a reason"):
        checked_reason(reason, required=True)


def test_a_reason_has_an_end() -> None:
    with pytest.raises(InvalidReason, match=f"at most {REASON_LENGTH} characters"):
        checked_reason("x" * (REASON_LENGTH + 1), required=False)


@pytest.mark.parametrize(
    "char",
    [
        *map(
            chr, [0, 7, 8, 0x0B, 0x0D, 0x1B, 0x7F, 0x80, 0x9B, 0xD800, 0x200E, 0x202E, 0x2066, 0x2069, 0x061C]
        )
    ],
)
def test_a_reason_cannot_speak_to_a_terminal_or_turn_text_around(char: str) -> None:
    with pytest.raises(InvalidReason, match="cannot contain control characters"):
        checked_reason(f"fine{char}fine", required=False)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("SELECT 1", "SELECT 1"), ("a\0b", "a\\x00b"), ("\ud800", "\\ud800"), ("ü\x1b", "ü\x1b")],
)
def test_what_a_database_cannot_keep_becomes_visible(text: str, kept: str) -> None:
    assert storable(text) == kept
    storable(text).encode()


def test_whoever_comes_second_is_told_what_became_of_it() -> None:
    error = AlreadyResolved(hold(state=HoldState.EXPIRED))
    assert str(error) == f"{hold().id} is expired already"
    assert error.hold.state is HoldState.EXPIRED


def test_every_refusal_is_a_hold_error() -> None:
    for kind in (HoldsFull, HoldNotFound, NotAllowed, InvalidReason, ClaimRefused):
        assert isinstance(kind("why"), HoldError)
