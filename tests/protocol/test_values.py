"""Parameter values as a person reads them, against the text a real server makes of the same bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.values import parameter_text
from tests.support.postgres import Postgres


def binary(value: bytes, type_oid: int) -> str | None:
    return parameter_text(value, format_code=1, type_oid=type_oid)


def array(element: int, *items: bytes | None) -> bytes:
    body = b"".join(
        struct.pack("!i", -1) if item is None else struct.pack("!i", len(item)) + item for item in items
    )
    return struct.pack("!iiIii", 1, 1, element, len(items), 1) + body


def test_null() -> None:
    assert parameter_text(None) is None
    assert parameter_text(None, format_code=1, type_oid=23) is None


def test_text_format() -> None:
    assert parameter_text("süß".encode(), type_oid=23) == "süß"
    assert parameter_text(b"") == ""
    assert parameter_text(b"caf\xe9") == "caf\\xe9"


@pytest.mark.parametrize(
    ("type_oid", "raw", "text"),
    [
        (16, "01", "true"),
        (16, "00", "false"),
        (17, "deadbeef", "\\xdeadbeef"),
        (18, "41", "A"),
        (19, "6e616d65", "name"),
        (20, "8000000000000000", "-9223372036854775808"),
        (21, "fffe", "-2"),
        (23, "00000005", "5"),
        (25, "c3bc", "ü"),
        (26, "ffffffff", "4294967295"),
        (114, "7b7d", "{}"),
        (700, "3dcccccd", "0.1"),
        (700, "7f7fffff", "3.4028235e+38"),
        (700, "7f800000", "Infinity"),
        (701, "3fb999999999999a", "0.1"),
        (701, "7ff8000000000000", "NaN"),
        (701, "fff0000000000000", "-Infinity"),
        (701, "3fd5555555555555", "0.3333333333333333"),
        (701, "3fd3333333333334", "0.30000000000000004"),
        (1042, "61202020", "a   "),
        (1043, "61", "a"),
        (1082, "00000000", "2000-01-01"),
        (1082, "ffffffff", "1999-12-31"),
        (1082, "7fffffff", "infinity"),
        (1082, "80000000", "-infinity"),
        (1083, "00000002b6bf52e4", "03:14:15.9265"),
        (1083, "0000000000000000", "00:00:00"),
        (1083, "000000141dd76000", "24:00:00"),
        (1114, "0000000000000001", "2000-01-01 00:00:00.000001"),
        (1114, "7fffffffffffffff", "infinity"),
        (1184, "0000000000000000", "2000-01-01 00:00:00+00"),
        (1184, "8000000000000000", "-infinity"),
        (1700, "0000000000000000", "0"),
        (1700, "0000000000000002", "0.00"),
        (1700, "0001000000000000" + "0005", "5"),
        (1700, "0002000000000002" + "007b" + "1194", "123.45"),
        (1700, "0001000140000000" + "0001", "-10000"),
        (1700, "0001ffff00000004" + "000a", "0.0010"),
        (1700, "0001fffe00000008" + "0001", "0.00000001"),
        (1700, "0003000100000003" + "0001" + "0000" + "0001", "10000.000"),
        (1700, "00000000c0000000", "NaN"),
        (1700, "00000000d0000000", "Infinity"),
        (1700, "00000000f0000000", "-Infinity"),
        (2950, "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        (3802, "017b7d", "{}"),
    ],
)
def test_binary_format(type_oid: int, raw: str, text: str) -> None:
    assert binary(bytes.fromhex(raw), type_oid) == text


@pytest.mark.parametrize(
    ("type_oid", "raw"),
    [
        (16, "02"),
        (16, ""),
        (23, "0000"),
        (1082, "7ffffffe"),
        (1083, "ffffffffffffffff"),
        (1114, "7ffffffffffffffe"),
        (1700, "00"),
        (1700, "0001000000000000"),
        (1700, "0001000012340000" + "0005"),
        (1700, "0001000000000000" + "2710"),
        (1700, "00017fff00000000" + "0001"),
        (2950, "00"),
        (3802, "027b7d"),
        (3802, "01ff"),
        (1007, "00"),
        (1007, "0000000200000000000000170000000100000001"),
        (600, "0011"),
        (0, "61"),
    ],
)
def test_what_does_not_fit_its_type_is_shown_as_bytes(type_oid: int, raw: str) -> None:
    assert binary(bytes.fromhex(raw), type_oid) == "\\x" + raw


def test_arrays() -> None:
    assert binary(array(23, b"\0\0\0\1", None, b"\0\0\0\3"), 1007) == "{1,NULL,3}"
    assert binary(array(25, b"a b", b"", b'q"', b"null", b"x"), 1009) == '{"a b","","q\\"","null",x}'
    assert binary(struct.pack("!iiI", 0, 0, 23), 1007) == "{}"


@pytest.mark.parametrize(
    "raw",
    [
        array(25, b"a"),  # of another type than the parameter says
        array(23, b"\0\0\0\1") + b"x",
        array(23, b"\0\0\0\1")[:-1],
        struct.pack("!iiI", 0, 0, 23) + b"x",
        struct.pack("!iiIii", 1, 0, 23, 2_000_000_000, 1),
        struct.pack("!iiIiii", 1, 0, 23, 1, 1, -2),
    ],
)
def test_array_that_lies(raw: bytes) -> None:
    assert binary(raw, 1007) == "\\x" + raw.hex()


def test_long_values_are_cut_with_a_note() -> None:
    assert parameter_text(b"x" * 20, limit=10) == "xxxxxxxxxx… (20 bytes in all)"
    assert parameter_text(b"x" * 50_000_000, limit=5) == "xxxxx… (50000000 bytes in all)"
    assert parameter_text(b"\0" * 100, format_code=1, type_oid=17, limit=6) == "\\x0000… (100 bytes in all)"
    assert parameter_text(b"x" * 10, limit=10) == "x" * 10


SAMPLES = [
    ("bool", "true"),
    ("int2", "-7"),
    ("int4", "2147483647"),
    ("int8", "-9223372036854775808"),
    ("oid", "4294967295"),
    ("float4", "0.1"),
    ("float8", "123456.789"),
    ("text", "süß"),
    ("bpchar", "a  "),
    ("name", "a_name"),
    ("bytea", "\\x00ff"),
    ("uuid", "123e4567-e89b-12d3-a456-426614174000"),
    ("date", "1582-10-15"),
    ("date", "infinity"),
    ("time", "23:59:59.999999"),
    ("timestamp", "1999-12-31 23:59:59.5"),
    ("timestamptz", "2026-02-03 04:05:06.000007+00"),
    ("numeric", "-12345678901234567890.000100"),
    ("numeric", "0.00000000001"),
    ("numeric", "1000000000000"),
    ("numeric", "NaN"),
    ("json", '{"a": 1}'),
    ("jsonb", '{"a": [1, null]}'),
    ("int4[]", "{1,NULL,-3}"),
    ("int8[]", "{}"),
    ("text[]", '{a,"b c","",NULL,"NULL","q\\"q"}'),
    ("numeric[]", "{1.50,NULL}"),
    ("uuid[]", "{123e4567-e89b-12d3-a456-426614174000}"),
    ("date[]", "{2026-01-01}"),
]


def test_as_the_server_shows_the_same_bytes(postgres: Postgres) -> None:
    """The server sends each value in binary and as text; both must be the same to the approver."""
    with postgres.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        for type_name, text in SAMPLES:
            query = f"SELECT %s::{type_name}"
            row = connection.cursor(binary=True).execute(query, (text,)).pgresult
            shown = connection.cursor(binary=False).execute(query, (text,)).pgresult
            assert row is not None
            assert shown is not None
            got = parameter_text(row.get_value(0, 0), format_code=1, type_oid=row.ftype(0))
            written = shown.get_value(0, 0)
            assert written is not None
            expected = written.decode()
            if type_name == "bool":
                expected = {"t": "true", "f": "false"}[expected]
            assert got == expected, type_name


@given(st.binary(max_size=60), st.integers(0, 4000), st.integers(0, 1))
def test_any_bytes_are_shown(raw: bytes, type_oid: int, format_code: int) -> None:
    shown = parameter_text(raw, format_code=format_code, type_oid=type_oid)
    assert shown is not None
    shown.encode()


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers(number: int) -> None:
    assert binary(struct.pack("!q", number), 20) == str(number)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_real_numbers_read_back_the_same(number: float) -> None:
    text = binary(struct.pack("!f", number), 700)
    assert text is not None
    assert struct.unpack("!f", struct.pack("!f", float(text)))[0] == number
