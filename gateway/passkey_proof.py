"""What a passkey signed: a proof that stands for itself, long after the approval and without the gateway.

The challenge that the authenticator signs is a text that says what it is for: which hold, by its id and by the
digest of the very bytes that will run, and who approves. A proof keeps all that is needed to check the signature once
more: it needs no store, and no trust in whoever kept it. Source: Web Authentication Level 2, 7.2.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webauthn import verify_authentication_response
from webauthn.helpers import base64url_to_bytes

__all__ = [
    "ProofInvalid",
    "Signed",
    "challenge_for",
    "check_approval",
    "check_confirmation",
    "digest_of",
    "read_proof",
]

VERSION = 1


class ProofInvalid(Exception):
    """The proof proves nothing. The text is a part of a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed, and by which use of the key it was. ``challenge`` are the bytes of ``said``."""

    said: Mapping[str, object]
    challenge: bytes
    sign_count: int


def challenge_for(purpose: str, who: str, **about: str) -> bytes:
    """A new challenge, which nobody was given before: a JSON object in ASCII."""
    said = {"holdgate": purpose, "v": VERSION, "who": who, **about, "nonce": secrets.token_urlsafe(24)}
    return json.dumps(said, separators=(",", ":")).encode("ascii")


def read_proof(proof: Mapping[str, Any]) -> Signed:
    """What a proof says, once its signature is found good for its own key. Whose key that is, is the caller's to know.

    ``proof`` has ``credential_id``, ``public_key`` (COSE), ``client_data``, ``authenticator_data``, ``signature``, all
    in base64url, ``rp_id`` and ``origin``. Raises :class:`ProofInvalid`.
    """
    try:
        client_data = json.loads(base64url_to_bytes(proof["client_data"]))
        challenge = base64url_to_bytes(client_data["challenge"])
        said = json.loads(challenge)
        elsewhere = client_data.get("crossOrigin", False)
        credential_id = proof["credential_id"]
        verified = verify_authentication_response(
            credential={
                "id": credential_id,
                "rawId": credential_id,
                "type": "public-key",
                "response": {
                    "clientDataJSON": proof["client_data"],
                    "authenticatorData": proof["authenticator_data"],
                    "signature": proof["signature"],
                },
            },
            expected_challenge=challenge,
            expected_rp_id=proof["rp_id"],
            expected_origin=proof["origin"],
            credential_public_key=base64url_to_bytes(proof["public_key"]),
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except Exception as error:
        # The library has many words for it, and not only its own: all of it was sent by a stranger.
        raise ProofInvalid(f"its signature is not good: {error}"[:200]) from None
    if not isinstance(said, dict):
        raise ProofInvalid("what was signed is not a challenge of ours")
    if elsewhere is not False:
        raise ProofInvalid("it was signed within the page of another site")
    return Signed(said, challenge, verified.new_sign_count)


def check_approval(proof: Mapping[str, Any], *, hold_id: str, digest: str, who: str) -> Signed:
    """The proof, if it is that ``who`` approved the hold of this id and digest. Raises :class:`ProofInvalid`."""
    return _check("approve", proof, hold_id, digest, who)


def check_confirmation(proof: Mapping[str, Any], *, hold_id: str, digest: str, who: str) -> Signed:
    """The proof, if it is that ``who``, who asked, confirmed the hold of this id and digest. Raises
    :class:`ProofInvalid`."""
    return _check("confirm", proof, hold_id, digest, who)


def _check(purpose: str, proof: Mapping[str, Any], hold_id: str, digest: str, who: str) -> Signed:
    signed = read_proof(proof)
    expected = {"holdgate": purpose, "v": VERSION, "who": who, "hold": hold_id, "digest": digest}
    for name, value in expected.items():
        if signed.said.get(name) != value:
            raise ProofInvalid(f"it was signed for something else ({name})")
    return signed


def digest_of(challenge: bytes) -> str:
    """By what a challenge is remembered."""
    return hashlib.sha256(challenge).hexdigest()
