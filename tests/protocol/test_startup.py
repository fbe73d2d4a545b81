"""The first packet: what is read from it, what is refused, and in whose words."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FrontendViolation, ProtocolViolation
from protocol.messages import decode_report, negotiate_protocol_version
from protocol.startup import (
    CancelRequest,
    GssEncRequest,
    Replication,
    Setting,
    SslRequest,
    StartupMessage,
    StartupRefused,
    cancel_request,
    packet_length,
    parse_first_packet,
    ssl_request,
)


def packet(code: int, body: bytes) -> bytes:
    return struct.pack("!II", len(body) + 8, code) + body


def startup(*pairs: tuple[str, str], major: int = 3, minor: int = 0) -> bytes:
    body = "".join(f"{name}\0{value}\0" for name, value in pairs).encode("utf-8", "surrogateescape") + b"\0"
    return packet((major << 16) | minor, body)


def parsed(*pairs: tuple[str, str], minor: int = 0) -> StartupMessage:
    message = parse_first_packet(startup(*pairs, minor=minor))
    assert isinstance(message, StartupMessage)
    return message


def refused(raw: bytes) -> StartupRefused:
    with pytest.raises(StartupRefused) as caught:
        parse_first_packet(raw)
    assert caught.value.report.severity == "FATAL"
    return caught.value


def test_requests_without_a_body() -> None:
    assert parse_first_packet(ssl_request()) == SslRequest()
    assert parse_first_packet(packet((1234 << 16) | 5680, b"")) == GssEncRequest()


@pytest.mark.parametrize("size", [4, 32, 256])
def test_cancel_request(size: int) -> None:
    secret = bytes(range(size % 256)) + b"x" * (size - size % 256)
    assert parse_first_packet(cancel_request(4_000_000_000, secret)) == CancelRequest(4_000_000_000, secret)


@pytest.mark.parametrize("body", [b"", b"\0\0\0\1", b"\0\0\0\1" + b"x" * 257])
def test_cancel_request_with_a_key_of_impossible_length(body: bytes) -> None:
    with pytest.raises(FrontendViolation) as caught:
        parse_first_packet(packet((1234 << 16) | 5678, body))
    assert not isinstance(caught.value, StartupRefused)


@pytest.mark.parametrize("length", [0, 4, 7, 10_005, 0x7FFFFFFF, 0xFFFFFFFF])
def test_length_is_checked_before_it_is_believed(length: int) -> None:
    with pytest.raises(FrontendViolation):
        packet_length(struct.pack("!I", length))


def test_largest_and_smallest_lengths() -> None:
    assert packet_length(struct.pack("!I", 8)) == 8
    assert packet_length(struct.pack("!I", 10_004)) == 10_004


@pytest.mark.parametrize("raw", [b"", b"\0\0\0\x09\0\3\0\0", startup(("user", "a")) + b"\0"])
def test_packet_and_length_must_agree(raw: bytes) -> None:
    with pytest.raises(FrontendViolation):
        parse_first_packet(raw)


def test_second_encryption_request_is_an_unknown_version() -> None:
    with pytest.raises(StartupRefused, match=r"unsupported frontend protocol 1234\.5679") as caught:
        parse_first_packet(ssl_request(), ssl_done=True)
    assert caught.value.sqlstate == "0A000"
    with pytest.raises(StartupRefused, match=r"1234\.5680"):
        parse_first_packet(packet((1234 << 16) | 5680, b""), gss_done=True)


def test_ordinary_startup() -> None:
    message = parsed(("user", "alice"), ("database", "shop"), ("client_encoding", "UTF8"))
    assert (message.user, message.database, message.minor) == ("alice", "shop", 0)
    assert message.parameters == {"user": "alice", "database": "shop", "client_encoding": "UTF8"}
    assert message.replication is Replication.NONE
    assert message.negotiation() is None


@pytest.mark.parametrize("pairs", [(("user", "alice"),), (("user", "alice"), ("database", ""))])
def test_database_defaults_to_the_user(pairs: tuple[tuple[str, str], ...]) -> None:
    assert parsed(*pairs).database == "alice"


def test_a_database_goes_on_as_it_was_named_or_not_at_all() -> None:
    named = parsed(("user", "alice"), ("database", "shop"))
    assert parse_first_packet(named.encode()) == named
    unnamed = parsed(("user", "alice"))
    assert b"database" not in unnamed.encode()
    assert parse_first_packet(unnamed.encode()) == unnamed


def test_last_of_duplicates_counts_and_all_are_passed_on() -> None:
    message = parsed(("user", "a"), ("user", "b"), ("work_mem", "1MB"), ("Work_Mem", "2MB"))
    assert message.user == "b"
    assert message.settings == {"work_mem": "2MB"}
    again = parse_first_packet(message.encode())
    assert isinstance(again, StartupMessage)
    assert again.pairs == (("user", "b"), ("work_mem", "1MB"), ("Work_Mem", "2MB"))


def test_names_are_cut_as_the_server_cuts_them() -> None:
    message = parsed(("user", "u" * 70), ("database", "d" * 62 + "ä"))
    assert message.user == "u" * 63
    assert message.database == "d" * 62


def test_unsupported_major_version() -> None:
    error = refused(startup(("user", "a"), major=4))
    assert error.sqlstate == "0A000"
    assert error.message == "unsupported frontend protocol 4.0: server supports 3.0 to 3.2"
    assert decode_report(error.encoded()[5:])["C"] == "0A000"


def test_version_2_client_reads_an_error_it_understands() -> None:
    error = refused(packet(2 << 16, b"\0" * 288))
    assert error.encoded() == b"EFATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.2\n\0"


@pytest.mark.parametrize(
    ("sqlstate", "body", "words"),
    [
        ("08P01", b"", "expected terminator as last byte"),
        ("08P01", b"user\0a\0", "expected terminator as last byte"),
        ("08P01", b"user\0a", "expected terminator as last byte"),
        ("08P01", b"user\0a\0\0\0", "expected terminator as last byte"),
        ("08P01", b"user\0\0", "expected terminator as last byte"),
        ("08P01", b"\0user\0a\0\0", "expected terminator as last byte"),
        ("28000", b"\0", "no PostgreSQL user name specified in startup packet"),
        ("28000", b"user\0\0\0", "no PostgreSQL user name specified in startup packet"),
        ("22021", b"user\0\xff\0\0", "UTF8"),
        (
            "22023",
            b"user\0a\0replication\0perhaps\0\0",
            'invalid value for parameter "replication": "perhaps"',
        ),
        ("22023", b"user\0a\0replication\0\0\0", "replication"),
    ],
)
def test_refused_startup(sqlstate: str, body: bytes, words: str) -> None:
    error = refused(packet(3 << 16, body))
    assert error.sqlstate == sqlstate
    assert words in error.message


def test_refused_replication_says_what_is_valid() -> None:
    error = refused(startup(("user", "a"), ("replication", "x")))
    assert error.report.hint == 'Valid values are: "false", 0, "true", 1, "database".'


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("database", Replication.LOGICAL),
        ("true", Replication.PHYSICAL),
        ("T", Replication.PHYSICAL),
        ("yes", Replication.PHYSICAL),
        ("on", Replication.PHYSICAL),
        ("1", Replication.PHYSICAL),
        ("off", Replication.NONE),
        ("of", Replication.NONE),
        ("n", Replication.NONE),
        ("FALSE", Replication.NONE),
        ("0", Replication.NONE),
    ],
)
def test_replication_values(value: str, kind: Replication) -> None:
    assert parsed(("user", "a"), ("replication", value)).replication is kind


def test_ambiguous_replication_is_refused() -> None:
    assert refused(startup(("user", "a"), ("replication", "o"))).sqlstate == "22023"


def test_replication_is_passed_only_when_told_to() -> None:
    message = parsed(("user", "a"), ("replication", "database"))
    assert b"replication" not in message.encode()
    assert b"replication\0database\0" in message.encode(replication=True)


@pytest.mark.parametrize(
    ("minor", "options", "sent"),
    [
        (0, (), None),
        (1, (), None),
        (2, (), None),
        (3, (), negotiate_protocol_version(2, [])),
        (9999, (), negotiate_protocol_version(2, [])),
        (0, ("_pq_.a",), negotiate_protocol_version(0, ["_pq_.a"])),
        (9999, ("_pq_.b", "_pq_.a"), negotiate_protocol_version(2, ["_pq_.b", "_pq_.a"])),
    ],
)
def test_negotiation(minor: int, options: tuple[str, ...], sent: bytes | None) -> None:
    message = parsed(("user", "a"), *((name, "1") for name in options), minor=minor)
    assert message.negotiation() == sent
    assert message.minor == min(minor, 2)
    assert b"_pq_" not in message.encode()


def test_negotiation_down_to_an_older_server() -> None:
    message = parsed(("user", "a"), minor=2)
    assert message.negotiation(newest=0) == negotiate_protocol_version(0, [])
    assert message.negotiation(newest=7) is None


def test_settings_of_options_yield_to_parameters() -> None:
    message = parsed(
        ("user", "a"),
        ("search_path", "crm"),
        ("options", r"-c search_path=evil --standard-conforming-strings=off -c Role=app"),
    )
    assert message.settings == {"search_path": "crm", "standard_conforming_strings": "off", "role": "app"}
    assert message.options[0] == Setting("search_path", "evil")


def test_application_name_as_the_server_cleans_it() -> None:
    assert parsed(("user", "a"), ("application_name", "psql\x1b[2J ü")).application_name == (
        "psql\\x1b[2J \\xc3\\xbc"
    )
    assert parsed(("user", "a")).application_name == ""


def test_encode_for_the_server_behind() -> None:
    message = parsed(
        ("database", "shop"), ("user", "alice"), ("options", "-c x=y\\ z"), ("role", "boss"), minor=9999
    )
    again = parse_first_packet(message.encode(user="app", database="shop_prod", role="app_ro"))
    assert isinstance(again, StartupMessage)
    assert again.requested_minor == 2
    assert again.pairs == (
        ("user", "app"),
        ("database", "shop_prod"),
        ("options", "-c x=y\\ z"),
        ("role", "boss"),
        ("role", "app_ro"),
    )
    assert again.settings["role"] == "app_ro"


def test_bytes_that_are_not_utf8_pass_unchanged() -> None:
    raw = packet(3 << 16, b"user\0a\0application_name\0caf\xe9\0\0")
    message = parse_first_packet(raw)
    assert isinstance(message, StartupMessage)
    assert message.encode() == raw
    assert message.application_name == "caf\\xe9"


@given(st.binary(max_size=300), st.sampled_from([3 << 16, (3 << 16) | 2, (1234 << 16) | 5678, 0]))
def test_any_body_is_read_or_refused(body: bytes, code: int) -> None:
    try:
        message = parse_first_packet(packet(code, body))
    except ProtocolViolation:
        return
    if isinstance(message, StartupMessage):
        assert isinstance(parse_first_packet(message.encode(replication=True)), StartupMessage)


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        parse_first_packet(raw)
    except ProtocolViolation:
        return


@given(st.data())
def test_a_mutated_packet_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(startup(("user", "alice"), ("database", "shop"), ("options", "-c a=b"), minor=2))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for candidate in (bytes(raw), bytes(raw[:cut])):
        try:
            parse_first_packet(candidate)
        except ProtocolViolation:
            continue
