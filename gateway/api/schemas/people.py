"""Who somebody is on the management port, how they sign in and how they prove it."""

from typing import Any

from pydantic import BaseModel, Field

from gateway.api.schemas.base import In, Readable, Time
from gateway.config import Role

__all__ = [
    "CodeIn",
    "DeviceIn",
    "DeviceOut",
    "LoginIn",
    "MeOut",
    "OidcOut",
    "OptionsOut",
    "PasskeyIn",
    "PasskeyOut",
    "PasskeysOut",
    "PeopleOut",
    "PersonOut",
    "ProofIn",
    "SignedOut",
    "TokenIn",
    "TokenMade",
    "TokenOut",
    "TokensOut",
    "TotpMade",
    "TotpOut",
    "WaysOut",
]


class LoginIn(In):
    """A user of the configuration and the password of its SCRAM verifier."""

    user: str = Field(min_length=1, max_length=256)
    password: str = Field(min_length=1, max_length=1024)


class MeOut(BaseModel):
    """Who is signed in. ``stands_in_for`` are those in whose name they may decide today, with their groups.
    ``csrf_token`` is for browsers: it goes back in ``X-CSRF-Token``."""

    user: str
    roles: list[Role]
    groups: list[str]
    stands_in_for: dict[str, list[str]]
    csrf_token: str | None


class OidcOut(BaseModel):
    """Signing in through an OpenID provider: what it is called, and the page that leads to it."""

    name: str
    url: str


class DeviceOut(BaseModel):
    """A sign-in on a device, RFC 8628: ``user_code`` is shown to a person, ``device_code`` is kept. ``expires_in`` and
    ``interval`` are in seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int
    interval: int


class DeviceIn(In):
    """The device code of a sign-in that was begun."""

    device_code: str = Field(min_length=1, max_length=4096)


class WaysOut(BaseModel):
    """The ways to sign in."""

    password: bool
    oidc: OidcOut | None


class SignedOut(BaseModel):
    """The session is over here. ``provider`` is where a browser can go to end it at the OpenID provider too."""

    provider: str


class PersonOut(BaseModel):
    """Who somebody of the OpenID provider is here. ``claim`` is what the provider calls them."""

    name: str
    issuer: str
    subject: str
    claim: str
    first_at: Time
    seen_at: Time


class PeopleOut(BaseModel):
    """Everybody the provider vouched for, by name."""

    people: list[PersonOut]


class ProofIn(In):
    """A proof of who changes their proofs: a code of their authenticator, or what the browser signed with a passkey."""

    totp: str | None = Field(default=None, max_length=16)
    passkey: dict[str, Any] | None = None


class PasskeyIn(ProofIn):
    """A new passkey, as the browser made it (RegistrationResponseJSON), and what its owner calls it."""

    label: Readable = Field(min_length=1, max_length=100)
    credential: dict[str, Any]


class OptionsOut(BaseModel):
    """What a browser needs to make or use a passkey, in the JSON form of Web Authentication Level 3."""

    options: dict[str, Any]


class PasskeyOut(BaseModel):
    """A passkey."""

    id: str
    label: str
    created_at: Time
    used_at: Time | None


class PasskeysOut(BaseModel):
    """Somebody's passkeys, oldest first."""

    passkeys: list[PasskeyOut]


class CodeIn(In):
    """A code of an authenticator."""

    code: str = Field(min_length=1, max_length=16)


class TotpOut(BaseModel):
    """Whether there is an authenticator."""

    enrolled: bool


class TotpMade(BaseModel):
    """A new authenticator: its secret in base32, and the address that an app reads it from."""

    secret: str
    uri: str


class TokenIn(In):
    """A token to make. ``user`` is who it acts as; it expires after ``expires_seconds``, or never."""

    user: Readable = Field(min_length=1, max_length=256)
    roles: list[Role] = Field(min_length=1, max_length=4)
    note: Readable = Field(default="", max_length=200)
    expires_seconds: int | None = Field(default=None, ge=60, le=10 * 366 * 86400)


class TokenOut(BaseModel):
    """A token without its secret."""

    id: str
    user: str
    roles: list[Role]
    note: str
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class TokenMade(TokenOut):
    """A new token with its secret, which is shown this once."""

    secret: str


class TokensOut(BaseModel):
    """All tokens, revoked ones included, newest first."""

    tokens: list[TokenOut]
