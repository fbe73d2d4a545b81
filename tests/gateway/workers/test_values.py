"""Values that cross between processes: they arrive as they were, or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Any, Literal

import pytest

from gateway.workers.values import MalformedValue, decode, decode_members, encode


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    YES = "yes"


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    at: datetime | None = None


@dataclass(slots=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...]
    pair: tuple[int, str]
    words: frozenset[Word]
    notes: Mapping[str, object]
    share: float = 1.0


MOMENT = datetime(2026, 11, 24, 12, 0, 0, 123456, UTC)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, None),
        (True, bool),
        (7, int),
        (1.5, float),
        ("a\ud800\n\0é", str),
        (b"\0\xff", bytes),
        (MOMENT, datetime),
        (Colour.RED, Colour),
        (Word.YES, Word),
        (None, str | None),
        ("x", str | None),
        ([1, 2], list[int]),
        ((1, 2, 3), tuple[int, ...]),
        ((), tuple[str, ...]),
        (frozenset({"a"}), frozenset[str]),
        ({"a": [1]}, dict[str, list[int]]),
        ({"deep": [{"x": None}]}, Any),
        ("on", Literal["on", "off"]),
        (
            Outer(Inner("ü"), (Inner("b", MOMENT),), (1, "x"), frozenset({Word.YES}), {"n": [1]}, 2.0),
            Outer,
        ),
    ],
)
def test_a_value_arrives_as_it_was(value: object, hint: Any) -> None:
    arrived = decode(encode(value), hint)
    assert arrived == value
    assert type(arrived) is type(value)


def test_a_sequence_arrives_as_a_list() -> None:
    assert decode(encode(("a", "b")), Sequence[str]) == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"1", str),
        (b"true", int),
        (b'"x"', int | None),
        (b"null", str),
        (b'"blue"', Colour),
        (b'"maybe"', Literal["on", "off"]),
        (b"[1]", tuple[int, int]),
        (b'{"name": "a", "more": 1}', Inner),
        (b"{}", Inner),
        (b'"2026"x', datetime),
        (b'"soon"', datetime),
        (b'"zz"', bytes),
        (b"[" * 100_000, list[int]),
        (b"", int),
    ],
)
def test_what_does_not_fit_is_refused(data: bytes, hint: Any) -> None:
    with pytest.raises(MalformedValue):
        decode(data, hint)


def test_members_are_those_that_are_expected() -> None:
    hints = {"name": str, "at": datetime | None}
    assert decode_members(encode({"name": "a", "at": None}), hints) == {"name": "a", "at": None}
    for wrong in (b"[]", b"{}", b'{"name": "a", "at": 1}', b'{"name": "a", "at": null, "x": 1}'):
        with pytest.raises(MalformedValue):
            decode_members(wrong, hints)


def test_what_is_no_value_cannot_cross() -> None:
    with pytest.raises(TypeError, match="object cannot cross to another process"):
        encode(object())
