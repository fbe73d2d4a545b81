"""Messages read and written, against messages made by hand."""

import contextlib
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import messages
from protocol.errors import FrontendViolation, ServerError, UpstreamViolation
from tests.support import answers, wire
from tests.support.wire import B, C, D, E, F, P, Q

NAMES = st.binary(max_size=10).map(lambda raw: raw.replace(b"\0", b"x"))
TEXTS = st.binary(max_size=50).map(lambda raw: raw.replace(b"\0", b"x"))
VALUES = st.lists(st.none() | st.binary(max_size=20), max_size=5)


def payload(raw: bytes) -> bytes:
    return raw[5:]


# --- what is written ------------------------------------------------------------------------------------


def test_a_message_is_its_tag_its_length_and_its_payload() -> None:
    assert messages.message(ord("Q"), b"x\0") == b"Q\0\0\0\x06x\0"
    assert messages.message(ord("S")) == b"S\0\0\0\x04"


def test_what_the_gateway_sends_to_servers() -> None:
    assert messages.query(b"SELECT 1") == Q("SELECT 1")
    assert messages.parse(b"s", b"SELECT 1") == P("SELECT 1", "s")
    assert messages.close_statement(b"s") == C("S", "s")
    assert messages.close_portal(b"p") == C("P", "p")
    assert messages.bind(b"p", b"s") == B(portal="p", statement="s")
    assert messages.execute(b"p") == E("p")
    assert messages.parse(b"", b"SELECT $1, $2", [23, 0]) == P("SELECT $1, $2", types=(23, 0))
    assert messages.bind(b"", b"", [(0, b"5"), (1, None)]) == B([b"5", None], formats=(0, 1))
    assert (wire.S(), wire.H(), wire.X()) == (messages.SYNC, messages.FLUSH, messages.TERMINATE)


def test_what_the_gateway_sends_to_clients() -> None:
    assert messages.ready_for_query(ord("T")) == answers.ready("T")
    assert messages.parameter_status("TimeZone", "Europe/Zürich") == answers.parameter_status(
        "TimeZone", "Europe/Zürich"
    )
    assert messages.backend_key_data(7, b"abcd") == answers.backend_key_data(7, b"abcd")
    assert messages.backend_key_data(-1, b"abcd")[5:9] == b"\xff\xff\xff\xff"
    assert messages.authentication(0) == b"R\0\0\0\x08\0\0\0\0"
    assert messages.authentication(5, b"salt") == b"R\0\0\0\x0c\0\0\0\x05salt"


def test_negotiation_names_the_version_and_the_options() -> None:
    raw = messages.negotiate_protocol_version(2, ["_pq_.x", "_pq_.y"])
    assert raw == wire.message("v", struct.pack("!II", 3 << 16 | 2, 2) + b"_pq_.x\0_pq_.y\0")
    assert messages.negotiate_protocol_version(0, []) == wire.message("v", struct.pack("!II", 3 << 16, 0))


class TestReports:
    def test_an_error_has_its_fields_in_the_servers_order(self) -> None:
        report = ServerError("42501", "no", detail="why", hint="ask", extra={"s": "public", "t": "customer"})
        raw = messages.error_response(report)
        assert raw[:1] == b"E"
        assert payload(raw) == b"SERROR\0VERROR\0C42501\0Mno\0Dwhy\0Hask\0spublic\0tcustomer\0\0"
        assert int.from_bytes(raw[1:5], "big") == len(raw) - 1

    def test_a_notice_without_more(self) -> None:
        raw = messages.notice_response(ServerError("01000", "wait", severity="NOTICE"))
        assert raw == wire.message("N", b"SNOTICE\0VNOTICE\0C01000\0Mwait\0\0")

    def test_no_text_can_add_a_field(self) -> None:
        raw = messages.error_response(ServerError("42501", "no\0C00000\0Mfine", hint="\0\0"))
        fields = messages.decode_report(payload(raw))
        assert fields == {
            "S": "ERROR",
            "V": "ERROR",
            "C": "42501",
            "M": "no\\x00C00000\\x00Mfine",
            "H": "\\x00\\x00",
        }

    @given(st.text(max_size=50), st.text(max_size=50))
    def test_any_text_is_read_back_as_it_is_shown(self, message: str, detail: str) -> None:
        raw = messages.error_response(ServerError("42501", message, detail=detail))
        fields = messages.decode_report(payload(raw))
        assert fields["M"] == messages.printable(message)
        assert fields.get("D", "") == messages.printable(detail)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, süß and 日本", "plain, süß and 日本"),
        ("line\n\tindented", "line\n\tindented"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\r\0\x7f", "\\x0d\\x00\\x7f"),
        ("\x80\x9b31m\x9f", "\\x80\\x9b31m\\x9f"),
        ("\xa0", "\xa0"),
        ("\u202eabc\u202c \u2066x\u2069", "\\u202eabc\\u202c \\u2066x\\u2069"),
        ("\u200e\u200f\u2028\u2029", "\\u200e\\u200f\\u2028\\u2029"),
        ("\u200d", "\u200d"),
        ("\udcff", "\\udcff"),
    ],
)
def test_nothing_a_terminal_obeys_is_left(text: str, shown: str) -> None:
    assert messages.printable(text) == shown


@given(st.text())
def test_what_is_shown_is_utf8_and_shown_the_same_again(text: str) -> None:
    shown = messages.printable(text)
    shown.encode()
    assert messages.printable(shown) == shown
    assert not any(ord(char) < 32 and char not in "\n\t" for char in shown)


# --- what is read of clients ----------------------------------------------------------------------------


@given(TEXTS)
def test_a_query(sql: bytes) -> None:
    assert messages.decode_query(payload(Q(sql))) == sql


@given(NAMES, TEXTS, st.lists(st.integers(0, 0xFFFFFFFF), max_size=5))
def test_a_parse(name: bytes, sql: bytes, types: list[int]) -> None:
    raw = wire.message("P", name + b"\0" + sql + b"\0" + struct.pack(f"!H{len(types)}I", len(types), *types))
    assert messages.decode_parse(payload(raw)) == messages.Parse(name, sql, tuple(types))


def test_a_parse_with_as_many_types_as_the_count_can_say() -> None:
    types = (23,) * 65_535
    raw = b"\0SELECT 1\0" + struct.pack("!H65535I", 65_535, *types)
    assert messages.decode_parse(raw).parameter_types == types


@given(NAMES, NAMES, VALUES, st.integers(0, 3), st.lists(st.integers(-1, 2), max_size=3))
def test_a_bind(
    portal: bytes, statement: bytes, values: list[bytes | None], how: int, results: list[int]
) -> None:
    formats = {0: [], 1: [1], 2: [0]}.get(how, [index % 2 for index in range(len(values))])
    body = portal + b"\0" + statement + b"\0" + struct.pack(f"!H{len(formats)}h", len(formats), *formats)
    body += struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    body += struct.pack(f"!H{len(results)}h", len(results), *results)
    bind = messages.decode_bind(body)
    assert (bind.portal, bind.statement, bind.values) == (portal, statement, tuple(values))
    each = formats if len(formats) == len(values) else (formats or [0]) * len(values)
    assert bind.formats == tuple(each)


def test_a_bind_with_as_many_values_as_the_count_can_say() -> None:
    bind = messages.decode_bind(payload(B(["1"] * 65_535)))
    assert bind.values == (b"1",) * 65_535
    assert bind.formats == (0,) * 65_535


@pytest.mark.parametrize(("kind", "name"), [("S", "s1"), ("P", ""), ("P", "p")])
def test_a_describe_and_a_close(kind: str, name: str) -> None:
    target = messages.Target(ord(kind), name.encode())
    assert messages.decode_target(payload(D(kind, name)), "DESCRIBE") == target
    assert messages.decode_target(payload(C(kind, name)), "CLOSE") == target


@given(NAMES, st.integers(-(2**31), 2**31 - 1))
def test_an_execute(portal: bytes, limit: int) -> None:
    raw = wire.message("E", portal + b"\0" + struct.pack("!i", limit))
    assert messages.decode_execute(payload(raw)) == (portal, limit)


@given(st.integers(0, 0xFFFFFFFF), VALUES, st.sampled_from([(), (0,), (1,)]))
def test_a_function_call(oid: int, values: list[bytes | None], formats: tuple[int, ...]) -> None:
    call = messages.decode_function_call(payload(F(oid, values, formats=formats)))
    assert (call.oid, call.values) == (oid, tuple(values))
    assert call.formats == (formats or (0,)) * len(values)


def test_a_function_call_with_a_format_for_each_argument() -> None:
    assert messages.decode_function_call(payload(F(1, [b"a", None], formats=(0, 1)))).formats == (0, 1)


DECODERS: dict[str, Callable[[bytes], object]] = {
    "Q": messages.decode_query,
    "P": messages.decode_parse,
    "B": messages.decode_bind,
    "D": lambda raw: messages.decode_target(raw, "DESCRIBE"),
    "E": messages.decode_execute,
    "F": messages.decode_function_call,
}
WHOLE = [
    Q("SELECT 1"),
    P("SELECT $1, $2", "s1", (23, 0)),
    B(["one", None, b"\0\xff"], portal="p", statement="s1", formats=(0, 1, 0), results=(0, 1)),
    D("S", "s1"),
    E("p", 10),
    F(2000, [b"a", None, b""], formats=(0, 1, 1)),
]


@pytest.mark.parametrize("raw", WHOLE, ids=lambda raw: raw[:1].decode())
class TestMalformed:
    def test_cut_short_anywhere(self, raw: bytes) -> None:
        decode, whole = DECODERS[raw[:1].decode()], payload(raw)
        decode(whole)
        for end in range(len(whole)):
            with pytest.raises(FrontendViolation):
                decode(whole[:end])

    def test_bytes_behind_the_end(self, raw: bytes) -> None:
        for extra in (b"\0", b"\0\0", b"\0\0\0\0", b"x"):
            with pytest.raises(FrontendViolation):
                DECODERS[raw[:1].decode()](payload(raw) + extra)

    def test_any_byte_changed_is_read_or_refused(self, raw: bytes) -> None:
        whole = payload(raw)
        for at in range(len(whole)):
            for byte in (0, 1, 0x7F, 0x80, 0xFF):
                changed = whole[:at] + bytes((byte,)) + whole[at + 1 :]
                with contextlib.suppress(FrontendViolation):
                    DECODERS[raw[:1].decode()](changed)


@pytest.mark.parametrize("tag", DECODERS)
@given(data=st.binary(max_size=200))
def test_random_payloads_are_read_or_refused(tag: str, data: bytes) -> None:
    with contextlib.suppress(FrontendViolation):
        DECODERS[tag](data)


@pytest.mark.parametrize(
    ("decode", "data", "why"),
    [
        (messages.decode_query, b"SELECT 1\0; DROP TABLE x\0", "invalid message format"),
        (messages.decode_query, b"no end", "invalid string"),
        (messages.decode_parse, b"\0SELECT 1\0\xff\xff", "invalid message format"),
        (messages.decode_parse, b"\0SELECT 1\0\0", "insufficient data"),
        (messages.decode_bind, b"\0\0\xff\xff\0\0\0\0", "insufficient data"),
        (messages.decode_bind, b"\0\0\0\0\0\1\x7f\xff\xff\xff\0\0", "insufficient data"),
        (messages.decode_bind, b"\0\0\0\0\0\1\x80\0\0\0\0\0", "insufficient data"),
        (messages.decode_bind, b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0", "insufficient data"),
        (messages.decode_bind, b"\0\0\0\0\xff\xff", "insufficient data"),
        (messages.decode_execute, b"p\0\0\0\0", "invalid message format"),
        (messages.decode_function_call, b"\0\0\0", "insufficient data"),
        (messages.decode_function_call, b"\0\0\0\1\0\0\0\1\xff\xff\xff\xfd\0\0", "insufficient data"),
        (messages.decode_function_call, b"\0\0\0\1\0\0", "insufficient data"),
        (messages.decode_function_call, b"\0\0\0\1\0\0\0\1\0\0", "insufficient data"),
    ],
)
def test_counts_and_lengths_that_lie(decode: Callable[[bytes], object], data: bytes, why: str) -> None:
    with pytest.raises(FrontendViolation, match=why):
        decode(data)


def test_formats_must_be_none_one_or_one_for_each() -> None:
    with pytest.raises(FrontendViolation, match="bind message has 2 parameter formats but 3 parameters"):
        messages.decode_bind(payload(B(["1", "2", "3"], formats=(0, 1))))
    with pytest.raises(FrontendViolation, match="2 argument formats but 1 arguments"):
        messages.decode_function_call(payload(F(1, [b"1"], formats=(0, 1))))


@pytest.mark.parametrize(("raw", "subtype"), [(b"", 0), (b"X\0", 88), (b"s\0", 115)])
def test_a_describe_of_neither_statement_nor_portal(raw: bytes, subtype: int) -> None:
    with pytest.raises(FrontendViolation, match=f"invalid CLOSE message subtype {subtype}"):
        messages.decode_target(raw, "CLOSE")


# --- what is read of servers ----------------------------------------------------------------------------


def test_a_report() -> None:
    raw = payload(answers.error("division by zero", "22012", extra=b"Fint.c\0L841\0"))
    assert messages.decode_report(raw) == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "22012",
        "M": "division by zero",
        "F": "int.c",
        "L": "841",
    }


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        (b"", {}),
        (b"\0", {}),
        (b"Mcut sh", {"M": "cut sh"}),
        (b"Mcaf\xe9\0\0", {"M": "caf\ufffd"}),
        (b"M\0C42501\0\0behind the end", {"M": "", "C": "42501"}),
    ],
)
def test_a_report_that_is_not_whole(raw: bytes, fields: dict[str, str]) -> None:
    assert messages.decode_report(raw) == fields


@given(st.binary(max_size=200))
def test_any_report_can_be_read(raw: bytes) -> None:
    messages.decode_report(raw)


def test_a_parameter_status() -> None:
    raw = payload(answers.parameter_status("TimeZone", "Europe/Zürich"))
    assert messages.decode_parameter_status(raw) == ("TimeZone", "Europe/Zürich")
    assert messages.decode_parameter_status(b"a\0caf\xe9\0") == ("a", "caf\ufffd")


def test_backend_key_data() -> None:
    assert messages.decode_backend_key_data(b"\xff\0\0\1abcd") == (0xFF000001, b"abcd")
    assert messages.decode_backend_key_data(bytes(4) + b"x" * 256) == (0, b"x" * 256)


def test_a_parameter_description() -> None:
    raw = payload(answers.parameter_description(23, 0, 0xFFFFFFFF))
    assert messages.decode_parameter_description(raw) == (23, 0, 0xFFFFFFFF)
    assert (
        messages.decode_parameter_description(struct.pack("!H65535I", 65535, *[23] * 65535)) == (23,) * 65535
    )


def test_a_parameter_description_whose_count_has_wrapped_around() -> None:
    for count in (65_536, 65_538):
        raw = struct.pack(f"!H{count}I", count & 0xFFFF, *[23] * count)
        assert messages.decode_parameter_description(raw) == (23,) * count


@given(VALUES)
def test_the_values_of_a_row(values: list[bytes | None]) -> None:
    body = b"".join(
        b"\xff\xff\xff\xff" if value is None else struct.pack("!i", len(value)) + value for value in values
    )
    assert messages.decode_data_row(struct.pack("!H", len(values)) + body) == tuple(values)


@pytest.mark.parametrize(
    ("decode", "raw"),
    [
        (messages.decode_parameter_status, b""),
        (messages.decode_parameter_status, b"name\0value"),
        (messages.decode_parameter_status, b"name\0value\0more"),
        (messages.decode_parameter_status, b"name\0value\0\0"),
        (messages.decode_backend_key_data, b"\0\0\0\1abc"),
        (messages.decode_backend_key_data, bytes(261)),
        (messages.decode_parameter_description, b"\0"),
        (messages.decode_parameter_description, b"\0\1\0\0\0"),
        (messages.decode_parameter_description, b"\0\1\0\0\0\0\0"),
        (messages.decode_data_row, b"\0"),
        (messages.decode_data_row, b"\0\1\0\0\0"),
        (messages.decode_data_row, b"\0\1\0\0\0\2a"),
        (messages.decode_data_row, b"\0\1\xff\xff\xff\xfe"),
        (messages.decode_data_row, b"\0\0a"),
    ],
)
def test_what_a_server_does_not_send(decode: Callable[[bytes], object], raw: bytes) -> None:
    with pytest.raises(UpstreamViolation, match="malformed"):
        decode(raw)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("SELECT 5", ("SELECT 5", 5)),
        ("INSERT 0 12", ("INSERT 0 12", 12)),
        ("COPY 0", ("COPY 0", 0)),
        ("BEGIN", ("BEGIN", None)),
        ("CREATE TABLE", ("CREATE TABLE", None)),
        ("", ("", None)),
        ("SELECT ٣", ("SELECT ٣", None)),
    ],
)
def test_a_command_tag_and_its_rows(tag: str, expected: tuple[str, int | None]) -> None:
    assert messages.decode_command_tag(payload(answers.command_complete(tag))) == expected
