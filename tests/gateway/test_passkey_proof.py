"""What a passkey signed, checked by itself."""

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webauthn import verify_registration_response
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

from gateway.passkey_proof import ProofInvalid, challenge_for, check_approval, digest_of, read_proof
from tests.support.passkey import PRESENT, SoftKey

ORIGIN = "http://localhost:7433"
HELD = {"hold_id": "H-1", "digest": "d" * 64, "who": "carol"}


def options(challenge: bytes) -> dict[str, Any]:
    return {"challenge": bytes_to_base64url(challenge)}


def approval(who: str = "carol", hold: str = "H-1", digest: str = "d" * 64) -> bytes:
    return challenge_for("approve", who, hold=hold, digest=digest)


def proof_of(key: SoftKey, challenge: bytes) -> dict[str, Any]:
    """A proof as the gateway keeps it."""
    made = verify_registration_response(
        credential=SoftKey(ORIGIN, key=key.key, credential_id=key.credential_id).make(options(b"x")),
        expected_challenge=b"x",
        expected_rp_id="localhost",
        expected_origin=ORIGIN,
    )
    response = key.sign(options(challenge))["response"]
    return {
        "credential_id": key.id,
        "public_key": bytes_to_base64url(made.credential_public_key),
        "client_data": response["clientDataJSON"],
        "authenticator_data": response["authenticatorData"],
        "signature": response["signature"],
        "rp_id": "localhost",
        "origin": ORIGIN,
    }


def test_no_challenge_is_given_twice_and_all_are_ascii() -> None:
    one, other = approval(who="Zoë"), approval(who="Zoë")
    assert one != other
    assert one.isascii()
    assert json.loads(one)["who"] == "Zoë"
    assert digest_of(one) == hashlib.sha256(one).hexdigest()


def test_a_good_proof_says_what_was_signed() -> None:
    key, challenge = SoftKey(ORIGIN), approval()
    signed = check_approval(proof_of(key, challenge), **HELD)
    assert (signed.challenge, signed.sign_count) == (challenge, 1)
    assert signed.said["digest"] == "d" * 64


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"who": "dave"}, "who"), ({"hold_id": "H-2"}, "hold"), ({"digest": "e" * 64}, "digest")],
)
def test_it_is_for_one_hold_one_digest_and_one_person(changes: dict[str, str], what: str) -> None:
    proof = proof_of(SoftKey(ORIGIN), approval())
    with pytest.raises(ProofInvalid, match=rf"signed for something else \({what}\)"):
        check_approval(proof, **{**HELD, **changes})


@pytest.mark.parametrize(
    "challenge",
    [challenge_for("change", "carol"), challenge_for("register", "carol"), b"{}", b"[]", b"7", b"\xff"],
    ids=["change", "register", "empty", "list", "number", "bytes"],
)
def test_what_was_signed_for_another_purpose_is_no_approval(challenge: bytes) -> None:
    with pytest.raises(ProofInvalid):
        check_approval(proof_of(SoftKey(ORIGIN), challenge), **HELD)


@pytest.mark.parametrize("name", ["client_data", "authenticator_data", "signature", "public_key"])
def test_no_byte_of_it_can_be_changed(name: str) -> None:
    proof = proof_of(SoftKey(ORIGIN), approval())
    whole = base64url_to_bytes(proof[name])
    for at in range(0, len(whole), 7):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises(ProofInvalid):
            check_approval({**proof, name: bytes_to_base64url(changed)}, **HELD)


@pytest.mark.parametrize(
    "name", ["rp_id", "origin", "credential_id", "public_key", "signature", "client_data"]
)
@pytest.mark.parametrize("value", [None, "", 7, "evil.example", "ä", []])
def test_no_part_of_it_can_be_another(name: str, value: object) -> None:
    proof: dict[str, Any] = {**proof_of(SoftKey(ORIGIN), approval()), name: value}
    if name == "credential_id" and value in ("evil.example", ""):
        # The id only says which key is meant; whoever keeps keys compares it.
        return
    with pytest.raises(ProofInvalid):
        check_approval(proof, **HELD)


def test_a_key_of_somebody_else() -> None:
    proof, other = proof_of(SoftKey(ORIGIN), approval()), proof_of(SoftKey(ORIGIN), approval())
    with pytest.raises(ProofInvalid, match="its signature is not good"):
        read_proof({**proof, "public_key": other["public_key"]})


def test_nobody_was_verified() -> None:
    with pytest.raises(ProofInvalid, match="user was not verified"):
        read_proof(proof_of(SoftKey(ORIGIN, flags=PRESENT), approval()))


def test_the_page_of_another_site() -> None:
    for key in (SoftKey("https://evil.example"), SoftKey(ORIGIN, rp_id="evil.example")):
        with pytest.raises(ProofInvalid):
            read_proof(proof_of(key, approval()))
    with pytest.raises(ProofInvalid, match="within the page of another site"):
        read_proof(proof_of(SoftKey(ORIGIN, client={"crossOrigin": True}), approval()))


def test_what_was_signed_to_make_a_key_is_no_approval() -> None:
    with pytest.raises(ProofInvalid):
        read_proof(proof_of(SoftKey(ORIGIN, client={"type": "webauthn.create"}), approval()))


@given(
    st.dictionaries(
        st.sampled_from(
            ["credential_id", "public_key", "client_data", "authenticator_data", "signature", "rp_id"]
        ),
        st.text() | st.none() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()),
    )
)
def test_anything_else(proof: dict[str, Any]) -> None:
    with pytest.raises(ProofInvalid):
        read_proof({**proof, "origin": ORIGIN})
