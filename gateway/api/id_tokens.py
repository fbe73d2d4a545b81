"""Reading an ID token: the one place that says whom it is about, or that it proves nothing.

Source: OpenID Connect Core 1.0, 3.1.3.7 (ID Token Validation); RFC 8725 (JSON Web Token Best Current Practices).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from gateway.config import Oidc

__all__ = ["MAX_TOKEN", "BadToken", "Keys", "UnknownKey", "read_id_token"]

MAX_TOKEN: Final = 64 * 1024
LEEWAY: Final = 30.0
"""Seconds that the provider's clock may differ from ours."""

_KINDS: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""Which kind of key an algorithm takes: a key of the wrong kind is never tried."""


class BadToken(Exception):
    """The ID token proves nothing. The text is a part of a sentence that says why."""


class UnknownKey(BadToken):
    """It is signed by a key that the provider was not known to have; it may have a new one."""


class Keys:
    """The keys a provider signs with, out of its JSON Web Key Set (RFC 7517, 5)."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Raises ValueError when ``document`` is no key set. Keys that cannot be used are left out."""
        entries = document.get("keys")
        if not isinstance(entries, list):
            raise ValueError("no list of keys")
        self._keys: list[tuple[Mapping[str, Any], Key]] = []
        for entry in entries[:100]:
            # A shared secret in a public place signs nothing, and what is for encrypting does not either.
            if not isinstance(entry, dict) or entry.get("kty") not in _KINDS.values():
                continue
            if entry.get("use", "sig") != "sig":
                continue
            try:
                self._keys.append((entry, JWKRegistry.import_key(dict(entry))))
            except (JoseError, ValueError, TypeError):
                continue

    def find(self, kid: object, algorithm: str) -> Key:
        """The key called ``kid`` that ``algorithm`` takes; a token that names none needs the only one there is.

        Raises :class:`UnknownKey`.
        """
        fit = [
            (entry, key)
            for entry, key in self._keys
            if entry["kty"] == _KINDS.get(algorithm[:2]) and entry.get("alg", algorithm) == algorithm
        ]
        if kid is not None:
            fit = [(entry, key) for entry, key in fit if entry.get("kid") == kid]
        if len(fit) != 1:
            raise UnknownKey("it is signed by a key that the provider does not publish")
        return fit[0][1]


def read_id_token(
    token: str, keys: Keys, oidc: Oidc, *, now: datetime, nonce: str | None
) -> Mapping[str, object]:
    """The claims of a token that is the provider's, for us, of now, and the answer to ``nonce`` (None: none was sent).

    Raises :class:`BadToken`.
    """
    claims = _signed(token, keys, oidc)
    if claims.get("iss") != oidc.issuer:
        raise BadToken("it is of another issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if oidc.client_id not in audiences:
        raise BadToken("it is for somebody else (aud)")
    authorized = claims.get("azp")
    if authorized != oidc.client_id and (authorized is not None or len(audiences) > 1):
        raise BadToken("it was given to somebody else (azp)")
    moment = now.timestamp()
    if _number(claims, "exp") <= moment - LEEWAY:
        raise BadToken("it has expired")
    if _number(claims, "iat") > moment + LEEWAY:
        raise BadToken("it is of the future; compare the clocks of both machines")
    if "nbf" in claims and _number(claims, "nbf") > moment + LEEWAY:
        raise BadToken("it is not valid yet")
    if nonce is not None and claims.get("nonce") != nonce:
        raise BadToken("it does not answer this sign-in (nonce)")
    return claims


def _signed(token: str, keys: Keys, oidc: Oidc) -> Mapping[str, object]:
    if len(token) > MAX_TOKEN or not token.isascii():
        raise BadToken("it cannot be read")
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, TypeError, RecursionError):
        raise BadToken("it cannot be read") from None
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in oidc.algorithms:
        raise BadToken(f"it is signed with {algorithm!a}, which oidc.algorithms does not list"[:120])
    # Keys that a token brings along (jwk, jku, x5c) are nobody's.
    key = keys.find(header.get("kid"), algorithm)
    try:
        return jwt.decode(token, key, algorithms=[algorithm]).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        raise BadToken("its signature is wrong") from None


def _number(claims: Mapping[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(f"it has no {name}")
    return value
