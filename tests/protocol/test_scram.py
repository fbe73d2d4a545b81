"""SCRAM: the vectors of RFC 7677, both sides against each other, and every message that must be refused."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FrontendViolation, ProtocolViolation, UpstreamViolation
from protocol.scram import (
    MAX_ITERATIONS,
    SCRAM,
    SCRAM_PLUS,
    ScramClient,
    ScramServer,
    Verifier,
    build_verifier,
    derive_keys,
    mock_verifier,
    parse_verifier,
)

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_NONCE = b"rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SERVER_FIRST = b"r=" + CLIENT_NONCE + SERVER_NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
PENCIL = build_verifier("pencil", SALT, 4096)
KEYS = derive_keys("pencil", SALT, 4096)
HASH = bytes(range(32))


def server(
    verifier: Verifier = PENCIL,
    *,
    mechanism: str = SCRAM,
    binding: bytes | None = None,
    doomed: bool = False,
) -> ScramServer:
    return ScramServer(verifier, mechanism=mechanism, nonce=SERVER_NONCE, binding=binding, doomed=doomed)


def client(*, plus: bool = False, binding: bytes | None = None) -> ScramClient:
    return ScramClient(nonce=CLIENT_NONCE, plus=plus, binding=binding)


def exchange(left: ScramClient, right: ScramServer, password: str = "pencil") -> bytes | None:
    left.challenge(right.begin(left.first()))
    return right.finish(left.final(derive_keys(password, left.salt, left.iterations)))


def test_rfc_7677_as_server() -> None:
    subject = server()
    assert subject.begin(b"n,,n=user,r=" + CLIENT_NONCE) == SERVER_FIRST
    final = b"c=biws,r=" + CLIENT_NONCE + SERVER_NONCE + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert subject.finish(final) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_rfc_7677_as_client() -> None:
    """The vector's client sends a user name, ours does not: only the keys can be compared."""
    auth = b"n=user,r=" + CLIENT_NONCE + b"," + SERVER_FIRST + b",c=biws,r=" + CLIENT_NONCE + SERVER_NONCE
    signature = hmac.digest(hashlib.sha256(KEYS.client_key).digest(), auth, "sha256")
    proof = bytes(a ^ b for a, b in zip(KEYS.client_key, signature, strict=True))
    assert base64.b64encode(proof) == b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert base64.b64encode(hmac.digest(KEYS.server_key, auth, "sha256")) == (
        b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    )


@pytest.mark.parametrize(
    ("plus_offered", "client_binding", "mechanism", "flag"),
    [
        (False, None, SCRAM, b"n,,"),
        (True, None, SCRAM, b"n,,"),
        (False, HASH, SCRAM, b"y,,"),
        (True, HASH, SCRAM_PLUS, b"p=tls-server-end-point,,"),
    ],
)
def test_both_sides(plus_offered: bool, client_binding: bytes | None, mechanism: str, flag: bytes) -> None:
    left = client(plus=plus_offered, binding=client_binding)
    assert left.mechanism == mechanism
    assert left.first().startswith(flag)
    final = exchange(left, server(mechanism=mechanism, binding=HASH if plus_offered else None))
    assert final is not None
    left.verify(final)


def test_wrong_password_and_doomed_user_look_alike() -> None:
    assert exchange(client(), server(), "pen") is None
    assert exchange(client(), server(doomed=True)) is None
    assert exchange(client(), server(mock_verifier(b"secret", "nobody"))) is None


def test_another_certificate_in_between_is_noticed() -> None:
    left = client(plus=True, binding=bytes(32))
    with pytest.raises(FrontendViolation, match="channel binding check failed") as caught:
        exchange(left, server(mechanism=SCRAM_PLUS, binding=HASH))
    assert caught.value.sqlstate == "28000"


def test_offer_taken_out_in_between_is_noticed() -> None:
    left = client(plus=False, binding=HASH)
    with pytest.raises(FrontendViolation, match="negotiation error") as caught:
        server(binding=HASH).begin(left.first())
    assert caught.value.sqlstate == "28000"


@pytest.mark.parametrize(
    ("mechanism", "binding"), [("SCRAM-SHA-1", None), ("", None), (SCRAM_PLUS, None), ("OAUTHBEARER", HASH)]
)
def test_mechanism_that_was_not_offered(mechanism: str, binding: bytes | None) -> None:
    with pytest.raises(FrontendViolation, match="invalid SASL authentication mechanism"):
        server(mechanism=mechanism, binding=binding)


@pytest.mark.parametrize(
    ("first", "sqlstate", "detail"),
    [
        (b"", "08P01", "The message is empty."),
        (b"n,,n=,r=a\0", "08P01", "Message length does not match input length."),
        (b"n,,n=,r=" + b"a" * 1024, "08P01", ""),
        (b"x,,n=,r=a", "08P01", "Unexpected channel-binding flag \"'x'\"."),
        (b"nn", "08P01", "Comma expected, but found character \"'n'\"."),
        (b"n", "08P01", 'Comma expected, but found character "0x00".'),
        (b"p=tls-server-end-point,,n=,r=a", "08P01", "The client selected SCRAM-SHA-256 without channel"),
        (b"n,a=admin,n=,r=a", "0A000", ""),
        (b"n,x,n=,r=a", "08P01", "Unexpected attribute \"'x'\" in client-first-message."),
        (b"n,,m=ext,n=,r=a", "0A000", ""),
        (b"n,,r=a", "08P01", 'Expected attribute "n" but found "\'r\'".'),
        (b"n,,n=", "08P01", 'Expected attribute "r" but found "0x00".'),
        (b"n,,n,r=a", "08P01", 'Expected character "=" for attribute "n".'),
        (b"n,,n=,r=\x01", "08P01", ""),
        (b"n,,n=,r=a,1=b", "08P01", "Attribute expected, but found invalid character \"'1'\"."),
    ],
)
def test_client_first_refused(first: bytes, sqlstate: str, detail: str) -> None:
    with pytest.raises(FrontendViolation) as caught:
        server().begin(first)
    assert caught.value.sqlstate == sqlstate
    assert caught.value.detail.startswith(detail)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"n,,n=,r=a", "malformed SCRAM message"),
        (b"y,,n=,r=a", "malformed SCRAM message"),
        (b"p=tls-unique,,n=,r=a", 'unsupported SCRAM channel-binding type "tls-unique"'),
        (b"p=\xff\xfe,,n=,r=a", 'unsupported SCRAM channel-binding type "\\?\\?"'),
    ],
)
def test_client_first_refused_with_channel_binding(first: bytes, words: str) -> None:
    with pytest.raises(FrontendViolation, match=words):
        server(mechanism=SCRAM_PLUS, binding=HASH).begin(first)


def test_extensions_are_ignored() -> None:
    subject = server()
    assert subject.begin(b"n,,n=user,r=" + CLIENT_NONCE + b",x=1,y=2").startswith(b"r=")


def test_extensions_of_client_final_are_signed_and_ignored() -> None:
    subject = server()
    subject.begin(b"n,,n=,r=" + CLIENT_NONCE)
    without_proof = b"c=biws,r=" + CLIENT_NONCE + SERVER_NONCE + b",x=1"
    auth = b",".join((b"n=,r=" + CLIENT_NONCE, SERVER_FIRST, without_proof))
    signature = hmac.digest(KEYS.stored_key, auth, "sha256")
    proof = bytes(a ^ b for a, b in zip(KEYS.client_key, signature, strict=True))
    assert subject.finish(without_proof + b",p=" + base64.b64encode(proof)) is not None


PROOF = b",p=" + base64.b64encode(bytes(32))
NONCE = b"r=" + CLIENT_NONCE + SERVER_NONCE


@pytest.mark.parametrize(
    ("final", "words", "detail"),
    [
        (b"", "malformed", "The message is empty."),
        (b"r=x", "malformed", 'Expected attribute "c"'),
        (b"c=eSws," + NONCE + PROOF, "unexpected SCRAM channel-binding attribute", ""),
        (b"c=biws," + NONCE, "malformed", "Attribute expected, but found end of string."),
        (b"c=biws," + NONCE + b",p=AAAA", "malformed", "Malformed proof in client-final-message."),
        (b"c=biws," + NONCE + b",p=!", "malformed", "Malformed proof in client-final-message."),
        (b"c=biws," + NONCE + PROOF + b",x=1", "malformed", "Garbage found"),
        (b"c=biws,r=other" + PROOF, "invalid SCRAM response", "Nonce does not match."),
    ],
)
def test_client_final_refused(final: bytes, words: str, detail: str) -> None:
    subject = server()
    subject.begin(b"n,,n=,r=" + CLIENT_NONCE)
    with pytest.raises(FrontendViolation, match=words) as caught:
        subject.finish(final)
    assert caught.value.detail.startswith(detail)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"r=" + CLIENT_NONCE + b",s=AAAA,i=1",  # no nonce of the server's own
        b"r=other,s=AAAA,i=1",
        b"r=" + CLIENT_NONCE + b"x,s=,i=1",
        b"r=" + CLIENT_NONCE + b"x,s=AAA,i=1",
        b"r=" + CLIENT_NONCE + b"x,s=AAAA,i=0",
        b"r=" + CLIENT_NONCE + b"x,s=AAAA,i=%d" % (MAX_ITERATIONS + 1),
        b"r=" + CLIENT_NONCE + b"x,s=AAAA,i=-1",
        b"m=ext,r=" + CLIENT_NONCE + b"x,s=AAAA,i=1",
        b"r=" + CLIENT_NONCE + b"x" * 1024 + b",s=AAAA,i=1",
    ],
)
def test_server_first_refused(first: bytes) -> None:
    with pytest.raises(UpstreamViolation):
        client().challenge(first)


@pytest.mark.parametrize("final", [b"", b"v=", b"v=AAAA", b"e=invalid-proof", b"v=!"])
def test_server_that_does_not_know_the_password(final: bytes) -> None:
    left = client()
    left.challenge(server().begin(left.first()))
    left.final(KEYS)
    with pytest.raises(UpstreamViolation, match="could not prove"):
        left.verify(final)


def test_server_final_before_its_time() -> None:
    with pytest.raises(UpstreamViolation):
        client().verify(b"v=" + base64.b64encode(bytes(32)))


def test_verifier_reads_and_writes_postgresql_form() -> None:
    text = (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert parse_verifier(text) == PENCIL
    assert str(PENCIL) == text
    assert "stored_key" not in repr(PENCIL)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "md5d41d8cd98f00b204e9800998ecf8427e",
        "SCRAM-SHA-256$4096:AAAA",
        "SCRAM-SHA-256$x:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$4096:A!$AAAA:AAAA",
        str(PENCIL).replace("4096", "0"),
        str(PENCIL) + "\n",
    ],
)
def test_verifier_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_verifier(text)
    assert "AAAA" not in str(caught.value)


def test_mock_verifier_is_the_same_every_time_and_for_one_user_only() -> None:
    one = mock_verifier(b"secret", "alice")
    assert one == mock_verifier(b"secret", "alice")
    assert one.salt != mock_verifier(b"secret", "bob").salt
    assert one.salt != mock_verifier(b"other", "alice").salt
    assert (len(one.salt), one.iterations) == (16, 4096)
    assert mock_verifier(b"secret", "alice", 10_000).iterations == 10_000


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_client_message_is_read_or_refused(first: bytes, final: bytes) -> None:
    for prefix in (b"", b"n,,n=,r="):
        subject = server()
        try:
            subject.begin(prefix + first)
            assert subject.finish(final) is None
        except ProtocolViolation:
            continue


@given(st.data())
def test_a_mutated_client_message_never_logs_in(data: st.DataObject) -> None:
    left, right = client(plus=True, binding=HASH), server(mechanism=SCRAM_PLUS, binding=HASH)
    left.challenge(right.begin(left.first()))
    good = left.final(KEYS)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        assert right.finish(bad) is None
    except FrontendViolation:
        pass


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_server_message_is_read_or_refused(first: bytes, final: bytes) -> None:
    left = client()
    try:
        left.challenge(b"r=" + CLIENT_NONCE + first)
        left.verify(final)
    except UpstreamViolation:
        return
    pytest.fail("a server without the password was believed")
