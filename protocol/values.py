"""Parameter values of a Bind as text for the person who decides.

What is shown is what the server will read: text format as it stands, binary format by the type's own layout.
A value that does not fit its layout, or whose type is not known here, is shown as ``\\x`` and its bytes in
hex, which says less but never something else.

Source: PostgreSQL documentation, "Formats and Format Codes"; the binary layouts are those of the types'
``send`` functions.
"""

import struct
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Final

__all__ = ["MAX_CHARACTERS", "parameter_text"]

MAX_CHARACTERS: Final = 2_000
"""Longer values are cut, with a note of their full size."""

_DAY_ZERO: Final = date(2000, 1, 1)
_TIME_ZERO: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - timestamp without time zone has none
_MAX_ARRAY: Final = 1_000


def parameter_text(
    value: bytes | None, *, format_code: int = 0, type_oid: int = 0, limit: int = MAX_CHARACTERS
) -> str | None:
    """``value`` as text, None for NULL.

    ``format_code`` is 0 for text and 1 for binary, ``type_oid`` 0 where the client left the type open. At
    most ``limit`` characters of the value are kept.
    """
    if value is None:
        return None
    if format_code == 0 and len(value) <= limit:
        return _utf8(value)
    # Cutting before reading keeps the work on a 50 MB parameter small; a character of UTF-8 has at most four
    # bytes. A layout that was cut is not read at all, its bytes are shown instead.
    head = value[: 4 * limit + 16]
    text = _utf8(head) if format_code == 0 else _binary(head, type_oid, whole=len(head) == len(value))
    if len(text) > limit or len(head) < len(value):
        return f"{text[:limit]}… ({len(value)} bytes in all)"
    return text


def _utf8(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _hex(raw: bytes) -> str:
    return "\\x" + raw.hex()


def _binary(raw: bytes, type_oid: int, *, whole: bool) -> str:
    if type_oid in _TEXT_OIDS:
        return _utf8(raw)
    if not whole:
        return _hex(raw)
    try:
        if type_oid in _ARRAYS:
            return _array(raw, _ARRAYS[type_oid])
        reader = _READERS.get(type_oid)
        return reader(raw) if reader is not None else _hex(raw)
    except (struct.error, ValueError, OverflowError, UnicodeDecodeError):
        return _hex(raw)


def _number(layout: str) -> Callable[[bytes], str]:
    unpack = struct.Struct(layout).unpack

    def read(raw: bytes) -> str:
        return str(unpack(raw)[0])

    return read


def _float(layout: str, digits: int) -> Callable[[bytes], str]:
    unpack = struct.Struct(layout).unpack

    def read(raw: bytes) -> str:
        number: float = unpack(raw)[0]
        if number != number:
            return "NaN"
        if number in (float("inf"), float("-inf")):
            return "Infinity" if number > 0 else "-Infinity"
        # The shortest text that reads back as the same number.
        for precision in range(1, digits):
            short = f"{number:.{precision}g}"
            if _same(layout, float(short), number):
                return short
        return f"{number:.{digits}g}"

    return read


def _same(layout: str, candidate: float, number: float) -> bool:
    try:
        return bool(struct.unpack(layout, struct.pack(layout, candidate))[0] == number)
    except OverflowError:  # rounded up beyond the largest number of the type
        return False


def _bool(raw: bytes) -> str:
    return {b"\0": "false", b"\1": "true"}.get(raw) or _hex(raw)


def _date(raw: bytes) -> str:
    days: int = struct.unpack("!i", raw)[0]
    if days in (0x7FFFFFFF, -0x80000000):
        return "infinity" if days > 0 else "-infinity"
    return (_DAY_ZERO + timedelta(days=days)).isoformat()


def _timestamp(suffix: str) -> Callable[[bytes], str]:
    def read(raw: bytes) -> str:
        micros: int = struct.unpack("!q", raw)[0]
        if micros in (0x7FFFFFFFFFFFFFFF, -0x8000000000000000):
            return "infinity" if micros > 0 else "-infinity"
        text = (_TIME_ZERO + timedelta(microseconds=micros)).isoformat(" ")
        return (text.rstrip("0") if "." in text else text) + suffix

    return read


def _time(raw: bytes) -> str:
    micros: int = struct.unpack("!q", raw)[0]
    if not 0 <= micros <= 86_400_000_000:
        raise ValueError("not a time of day")
    seconds, fraction = divmod(micros, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}".rstrip("0") if fraction else text


_NUMERIC_SPECIAL: Final = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}


def _numeric(raw: bytes) -> str:
    """Base-10000 digits with a weight; see ``numeric_send``."""
    count, weight, sign, scale = struct.unpack_from("!HhHH", raw)
    if sign in _NUMERIC_SPECIAL and not count:
        return _NUMERIC_SPECIAL[sign]
    if sign not in (0, 0x4000) or len(raw) != 8 + 2 * count or scale > 0x3FFF or abs(weight) > 10_000:
        raise ValueError("not a numeric")
    digits = struct.unpack_from(f"!{count}H", raw, 8)
    if any(digit > 9999 for digit in digits):
        raise ValueError("not a numeric")
    whole = "".join(f"{digits[i] if i < count else 0:04}" for i in range(weight + 1)).lstrip("0") or "0"
    # Digits behind the point start at place weight + 1, which is negative for a number below 1/10000.
    groups = range(weight + 1, weight + 1 + (scale + 3) // 4)
    fraction = "".join(f"{digits[i] if 0 <= i < count else 0:04}" for i in groups)[:scale]
    minus = "-" if sign else ""
    return f"{minus}{whole}.{fraction}" if scale else minus + whole


def _jsonb(raw: bytes) -> str:
    if raw[:1] != b"\1":
        raise ValueError("not jsonb version 1")
    return raw[1:].decode("utf-8")


def _uuid(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))


def _array(raw: bytes, element: int) -> str:
    """A one-dimensional array in the form of ``array_out``; others stay hex."""
    dimensions, _, given = struct.unpack_from("!iiI", raw)
    if given != element or dimensions not in (0, 1):
        raise ValueError("not an array shown here")
    if dimensions == 0:
        if len(raw) != 12:
            raise ValueError("bytes behind an empty array")
        return "{}"
    count = struct.unpack_from("!i", raw, 12)[0]
    if not 0 <= count <= _MAX_ARRAY:
        raise ValueError("too many elements")
    at = 20
    items: list[str] = []
    for _ in range(count):
        length = struct.unpack_from("!i", raw, at)[0]
        at += 4
        if length == -1:
            items.append("NULL")
            continue
        if length < 0 or at + length > len(raw):
            raise ValueError("element beyond the end")
        items.append(_quoted(_binary(raw[at : at + length], element, whole=True)))
        at += length
    if at != len(raw):
        raise ValueError("bytes behind the last element")
    return "{" + ",".join(items) + "}"


def _quoted(item: str) -> str:
    if item and item.upper() != "NULL" and not any(c in '{},"\\' or c.isspace() for c in item):
        return item
    return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'


_TEXT_OIDS: Final = frozenset({19, 25, 114, 142, 705, 1042, 1043})
"""name, text, json, xml, unknown, bpchar, varchar: their binary form is their text."""

_READERS: Final[dict[int, Callable[[bytes], str]]] = {
    16: _bool,
    17: _hex,
    18: _utf8,
    20: _number("!q"),
    21: _number("!h"),
    23: _number("!i"),
    26: _number("!I"),
    700: _float("!f", 9),
    701: _float("!d", 17),
    1082: _date,
    1083: _time,
    1114: _timestamp(""),
    1184: _timestamp("+00"),
    1700: _numeric,
    2950: _uuid,
    3802: _jsonb,
}

_ARRAYS: Final = {
    199: 114,
    1000: 16,
    1001: 17,
    1002: 18,
    1003: 19,
    1005: 21,
    1007: 23,
    1009: 25,
    1014: 1042,
    1015: 1043,
    1016: 20,
    1021: 700,
    1022: 701,
    1028: 26,
    1115: 1114,
    1182: 1082,
    1183: 1083,
    1185: 1184,
    1231: 1700,
    2951: 2950,
    3807: 3802,
}
"""Array type to element type (pg_type.typelem)."""
