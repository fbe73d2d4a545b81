"""ID tokens: the one that is accepted, and every way in which one is not."""

import base64
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from gateway.api.id_tokens import BadToken, Keys, UnknownKey, read_id_token
from gateway.config import Oidc

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
OIDC = Oidc(issuer="https://login.example", client_id="holdgate")
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})
ELLIPTIC = ECKey.generate_key("P-256", {"kid": "two", "alg": "ES256"})
KEYS = Keys({"keys": [KEY.as_dict(private=False), ELLIPTIC.as_dict(private=False)]})
CLAIMS: dict[str, Any] = {
    "iss": "https://login.example",
    "aud": "holdgate",
    "sub": "7",
    "iat": NOW.timestamp(),
    "exp": NOW.timestamp() + 300,
    "nonce": "n",
}


def signed(
    key: Key = KEY, algorithm: str = "RS256", header: dict[str, Any] | None = None, **changes: Any
) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...}
    whole = {"alg": algorithm, "kid": key.kid, **(header or {})}
    return jwt.encode(
        {name: value for name, value in whole.items() if value is not None},
        claims,
        key,
        algorithms=[algorithm],
    )


def read(token: str, *, nonce: str | None = "n", keys: Keys = KEYS, oidc: Oidc = OIDC) -> Any:
    return read_id_token(token, keys, oidc, now=NOW, nonce=nonce)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_good_one() -> None:
    assert read(signed())["sub"] == "7"
    assert read(signed(ELLIPTIC, "ES256"))["sub"] == "7"
    assert read(signed(aud=["other", "holdgate"], azp="holdgate"))["sub"] == "7"
    assert read(signed(nonce=...), nonce=None)["sub"] == "7"
    # Clocks differ a little.
    assert read(signed(iat=NOW.timestamp() + 20, exp=NOW.timestamp() - 20))["sub"] == "7"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "https://login.example/"}, "it is of another issuer"),
        ({"iss": ...}, "it is of another issuer"),
        ({"aud": "other"}, r"it is for somebody else \(aud\)"),
        ({"aud": ...}, r"it is for somebody else \(aud\)"),
        ({"aud": []}, r"it is for somebody else \(aud\)"),
        ({"aud": {"holdgate": 1}}, r"it is for somebody else \(aud\)"),
        ({"aud": ["holdgate", "other"]}, r"it was given to somebody else \(azp\)"),
        ({"azp": "other"}, r"it was given to somebody else \(azp\)"),
        ({"azp": ["holdgate"]}, r"it was given to somebody else \(azp\)"),
        ({"exp": NOW.timestamp() - 31}, "it has expired"),
        ({"exp": ...}, "it has no exp"),
        ({"exp": "2099"}, "it has no exp"),
        ({"exp": True}, "it has no exp"),
        ({"iat": NOW.timestamp() + 31}, "it is of the future"),
        ({"iat": ...}, "it has no iat"),
        ({"nbf": NOW.timestamp() + 31}, "it is not valid yet"),
        ({"nbf": "soon"}, "it has no nbf"),
        ({"nonce": "m"}, "it does not answer this sign-in"),
        ({"nonce": ...}, "it does not answer this sign-in"),
        ({"nonce": ["n"]}, "it does not answer this sign-in"),
    ],
)
def test_claims_that_are_not_ours(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadToken, match=why):
        read(signed(**changes))


class TestSignatures:
    def test_none(self) -> None:
        for name in ("none", "None", "NONE", "nOnE"):
            with pytest.raises(BadToken, match=r"which oidc\.algorithms does not list"):
                read(f"{part({'alg': name})}.{part(CLAIMS)}.")

    def test_by_somebody_else(self) -> None:
        with pytest.raises(BadToken, match="its signature is wrong"):
            read(signed(OTHER))

    def test_a_public_key_is_no_shared_secret(self) -> None:
        """The oldest trick: HS256 with the text of the public key as its secret."""
        text = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(CLAIMS)}"
        mac = hmac.digest(KEY.as_pem(private=False), text.encode(), "sha256")
        with pytest.raises(BadToken, match="signed with 'HS256'"):
            read(f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}")

    def test_the_client_secret_signs_nothing(self) -> None:
        listed = Oidc("https://login.example", "holdgate", "secret" * 8, algorithms=("RS256", "HS256"))
        with pytest.raises(UnknownKey):
            read(signed(OctKey.import_key("secret" * 8), "HS256", {"kid": None}), oidc=listed)

    @pytest.mark.parametrize("name", ["jwk", "jku", "x5c"])
    def test_a_key_that_the_token_brings(self, name: str) -> None:
        brought: dict[str, Any] = {
            "jwk": OTHER.as_dict(private=False),
            "jku": "https://evil.example/keys",
            "x5c": ["AAAA"],
        }
        with pytest.raises(BadToken, match=r"its signature is wrong|it cannot be read"):
            read(signed(OTHER, header={name: brought[name]}))

    def test_an_algorithm_that_is_not_listed(self) -> None:
        with pytest.raises(BadToken, match="signed with 'RS512'"):
            read(signed(KEY, "RS512"))
        assert read(
            signed(KEY, "RS512"), oidc=Oidc("https://login.example", "holdgate", algorithms=("RS512",))
        )

    def test_a_key_of_another_kind_or_for_another_algorithm(self) -> None:
        with pytest.raises(UnknownKey):
            read(signed(KEY, "RS256", {"kid": "two"}))
        pinned = Keys({"keys": [{**KEY.as_dict(private=False), "alg": "RS512"}]})
        with pytest.raises(UnknownKey):
            read(signed(), keys=pinned)
        encrypting = Keys({"keys": [{**KEY.as_dict(private=False), "use": "enc"}]})
        with pytest.raises(UnknownKey):
            read(signed(), keys=encrypting)

    def test_a_token_that_names_no_key_needs_the_only_one(self) -> None:
        assert read(signed(header={"kid": None}))["sub"] == "7"
        two = Keys({"keys": [KEY.as_dict(private=False), {**OTHER.as_dict(private=False), "kid": "b"}]})
        with pytest.raises(UnknownKey):
            read(signed(header={"kid": None}), keys=two)

    def test_two_keys_of_one_name(self) -> None:
        twice = Keys({"keys": [OTHER.as_dict(private=False), KEY.as_dict(private=False)]})
        with pytest.raises(UnknownKey):
            read(signed(), keys=twice)

    def test_every_other_kind_of_key(self) -> None:
        for key, algorithm in (
            (RSAKey.generate_key(2048, {"kid": "k"}), "PS256"),
            (ECKey.generate_key("P-384", {"kid": "k"}), "ES384"),
            (OKPKey.generate_key("Ed25519", {"kid": "k"}), "Ed25519"),
        ):
            oidc = Oidc("https://login.example", "holdgate", algorithms=(algorithm,))
            keys = Keys({"keys": [key.as_dict(private=False)]})
            assert read(signed(key, algorithm), keys=keys, oidc=oidc)["sub"] == "7"


class TestTexts:
    @pytest.mark.parametrize(
        "token",
        [
            "",
            ".",
            "..",
            "a.b.c",
            "a.b.c.d",
            "é.é.é",
            f"{part([])}.{part(CLAIMS)}.AA",
            f"{part({})}.{part(CLAIMS)}.AA",
            f"{part({'alg': ['RS256']})}.{part(CLAIMS)}.AA",
            f"{part({'alg': 'RS256', 'kid': 7})}.{part(CLAIMS)}.AA",
            f"{part({'alg': 'RS256', 'kid': 'one', 'crit': ['exp']})}.{part(CLAIMS)}.AA",
            f"{part({'alg': 'RS256', 'kid': 'one', 'b64': False, 'crit': ['b64']})}.{part(CLAIMS)}.AA",
            "A" * 70_000,
        ],
    )
    def test_what_is_no_token(self, token: str) -> None:
        with pytest.raises(BadToken):
            read(token)

    @given(st.text(max_size=200))
    def test_any_text(self, token: str) -> None:
        with pytest.raises(BadToken):
            read(token)

    @given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5), st.text(max_size=20))
    def test_any_header(self, value: object, payload: str) -> None:
        for header in ({"alg": value}, {"alg": "RS256", "kid": value}, {"alg": "RS256", "typ": value}, value):
            with pytest.raises(BadToken):
                read(f"{part(header)}.{part(payload)}.AAAA")

    def test_claims_that_are_no_object(self) -> None:
        token = signed()
        head, _, signature = token.split(".")
        with pytest.raises(BadToken):
            read(f"{head}.{part(['iss'])}.{signature}")


class TestKeySets:
    @pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}])
    def test_what_is_none(self, document: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="no list of keys"):
            Keys(document)

    def test_what_cannot_be_used_is_left_out(self) -> None:
        keys = Keys(
            {
                "keys": [
                    None,
                    7,
                    {},
                    {"kty": "RSA"},
                    {"kty": "RSA", "n": 1, "e": []},
                    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "bad"},
                    {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
                    {"kty": ["RSA"]},
                    KEY.as_dict(private=False),
                ]
            }
        )
        assert read(signed(), keys=keys)["sub"] == "7"
