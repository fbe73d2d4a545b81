"""Messages of authentication, and the watch over one that is passed through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.authentication import (
    AuthCode,
    Authentication,
    ChannelBindingLost,
    Passthrough,
    authentication_sasl,
    decode_authentication,
    decode_password,
    decode_sasl_initial,
    md5_password,
    password_message,
    sasl_initial_response,
    sasl_mechanisms,
    sasl_response,
)
from protocol.errors import FrontendViolation, ProtocolViolation, UpstreamViolation
from protocol.messages import authentication

PASSWORD = ord("p")


def payload(message: bytes) -> bytes:
    return message[5:]


def offer(*mechanisms: str) -> bytes:
    return payload(authentication_sasl(mechanisms))


def state(watch: Passthrough) -> str:
    if watch.done:
        return "done"
    return "asking" if watch.awaiting_client else "waiting"


def test_requests_of_a_server() -> None:
    assert decode_authentication(payload(authentication(0))) == Authentication(AuthCode.OK, b"")
    assert decode_authentication(payload(authentication(5, b"salt"))) == Authentication(
        AuthCode.MD5_PASSWORD, b"salt"
    )
    request = decode_authentication(offer("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))
    assert sasl_mechanisms(request.data) == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")


@pytest.mark.parametrize(
    "raw", [b"", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\x63", b"\0\0\0\5abc", b"\0\0\0\5abcde", b"\0\0\0\0x"]
)
def test_malformed_request_of_a_server(raw: bytes) -> None:
    with pytest.raises(UpstreamViolation):
        decode_authentication(raw)


@pytest.mark.parametrize("raw", [b"", b"\0", b"\0\0", b"A", b"A\0", b"A\0\0\0", b"\xff\0\0", b"A\0\0B\0\0"])
def test_malformed_list_of_mechanisms(raw: bytes) -> None:
    with pytest.raises(UpstreamViolation):
        sasl_mechanisms(raw)


def test_sasl_initial_response() -> None:
    assert decode_sasl_initial(payload(sasl_initial_response("X", b"data"))) == ("X", b"data")
    assert decode_sasl_initial(b"X\0\xff\xff\xff\xff") == ("X", None)
    assert decode_sasl_initial(b"X\0\0\0\0\0") == ("X", b"")
    assert payload(sasl_response(b"data")) == b"data"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"X",
        b"X\0",
        b"X\0\0\0\0",
        b"X\0\0\0\0\5data",
        b"X\0\0\0\0\3data",
        b"X\0\xff\xff\xff\xffdata",
        b"X\0\xff\xff\xff\xfedata",
        b"X\0\x7f\xff\xff\xffdata",
    ],
)
def test_sasl_initial_response_with_a_length_that_lies(raw: bytes) -> None:
    with pytest.raises(FrontendViolation):
        decode_sasl_initial(raw)


def test_password() -> None:
    assert decode_password(payload(password_message(b"secret"))) == b"secret"
    assert decode_password(b"\0") == b""
    for raw in (b"", b"secret", b"sec\0ret\0"):
        with pytest.raises(FrontendViolation, match="invalid password packet size"):
            decode_password(raw)


def test_md5() -> None:
    """concat('md5', md5(md5('secretalice') || salt)), as the documentation writes it."""
    assert md5_password("alice", "secret", b"\x01\x02\x03\x04") == (b"md5" + MD5_OF_ALICE)


MD5_OF_ALICE = b"98a0412b9c31436fc53776e863350083"


def test_passing_scram_through_takes_channel_binding_out() -> None:
    watch = Passthrough()
    assert watch.from_server(offer("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")) == authentication_sasl(
        ("SCRAM-SHA-256",)
    )
    assert state(watch) == "asking"
    first = sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc")
    assert watch.from_client(PASSWORD, payload(first)) == first
    assert state(watch) == "waiting"
    assert watch.from_server(payload(authentication(11, b"r=..."))) == authentication(11, b"r=...")
    assert watch.from_client(PASSWORD, b"c=...") == sasl_response(b"c=...")
    assert watch.from_server(payload(authentication(12, b"v=..."))) == authentication(12, b"v=...")
    assert state(watch) == "waiting"
    assert watch.from_server(payload(authentication(0))) == authentication(0)
    assert state(watch) == "done"


@pytest.mark.parametrize("code", [AuthCode.CLEARTEXT_PASSWORD, AuthCode.MD5_PASSWORD])
def test_passing_a_password_through(code: AuthCode) -> None:
    watch = Passthrough()
    body = b"salt" if code == AuthCode.MD5_PASSWORD else b""
    assert watch.from_server(payload(authentication(code, body))) == authentication(code, body)
    assert watch.cleartext == (code == AuthCode.CLEARTEXT_PASSWORD)
    assert watch.from_client(PASSWORD, b"secret\0") == password_message(b"secret")


def test_trusting_server_asks_for_nothing() -> None:
    watch = Passthrough()
    watch.from_server(payload(authentication(0)))
    assert watch.done
    assert not watch.began


def test_client_that_would_have_bound_the_channel() -> None:
    watch = Passthrough()
    watch.from_server(offer("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))
    with pytest.raises(ChannelBindingLost) as caught:
        watch.from_client(PASSWORD, payload(sasl_initial_response("SCRAM-SHA-256", b"y,,n=,r=abc")))
    assert caught.value.sqlstate == "28000"
    assert "channel_binding=disable" in caught.value.hint


def test_client_may_say_so_when_nothing_was_taken_out() -> None:
    watch = Passthrough()
    watch.from_server(offer("SCRAM-SHA-256"))
    first = sasl_initial_response("SCRAM-SHA-256", b"y,,n=,r=abc")
    assert watch.from_client(PASSWORD, payload(first)) == first


@pytest.mark.parametrize("request_", [authentication(7), authentication(9), authentication(2)])
def test_methods_that_cannot_be_passed_through(request_: bytes) -> None:
    with pytest.raises(UpstreamViolation, match="cannot be passed through") as caught:
        Passthrough().from_server(payload(request_))
    assert caught.value.sqlstate == "0A000"


def test_server_that_offers_only_channel_binding() -> None:
    with pytest.raises(UpstreamViolation, match="insists on channel binding"):
        Passthrough().from_server(offer("SCRAM-SHA-256-PLUS"))


def test_client_that_sends_something_else() -> None:
    watch = Passthrough()
    watch.from_server(payload(authentication(3)))
    with pytest.raises(FrontendViolation, match="expected password response, got message type 81"):
        watch.from_client(ord("Q"), b"SELECT 1\0")


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 255))
def test_any_bytes_are_read_or_refused(server: bytes, client: bytes, tag: int) -> None:
    watch = Passthrough()
    for raw in (server, b"\0\0\0\x0a" + server, b"\0\0\0\x0aSCRAM-SHA-256\0\0"):
        try:
            watch.from_server(raw)
            watch.from_client(tag, client)
            watch.from_client(PASSWORD, client)
        except ProtocolViolation:
            continue
