"""The messages of authentication, read and written, for the client's side and the server's.

Payloads are what stands behind the length word. Readers of what a client sent raise
:class:`FrontendViolation`, readers of what a server sent raise :class:`UpstreamViolation`.

Source: PostgreSQL documentation, "Start-up", "SASL Authentication" and "Message Formats" (Authentication…,
PasswordMessage, SASLInitialResponse, SASLResponse).
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from .errors import FrontendViolation, UpstreamViolation
from .messages import authentication, message
from .scram import SCRAM_PLUS
from .tags import FrontendTag

__all__ = [
    "MAX_PASSWORD_BYTES",
    "MAX_SASL_BYTES",
    "AuthCode",
    "Authentication",
    "Passthrough",
    "authentication_sasl",
    "decode_authentication",
    "decode_password",
    "decode_sasl_initial",
    "md5_password",
    "password_message",
    "sasl_initial_response",
    "sasl_mechanisms",
    "sasl_response",
]

MAX_PASSWORD_BYTES: Final = 65_535
"""As the server's PG_MAX_AUTH_TOKEN_LENGTH."""
MAX_SASL_BYTES: Final = 1_024 + 64
"""A SCRAM message and the mechanism's name before it."""

_UINT32: Final = struct.Struct("!I")
_INT32: Final = struct.Struct("!i")


class AuthCode(IntEnum):
    """What an Authentication message asks for or says."""

    OK = 0
    KERBEROS_V5 = 2
    CLEARTEXT_PASSWORD = 3
    MD5_PASSWORD = 5
    GSS = 7
    GSS_CONTINUE = 8
    SSPI = 9
    SASL = 10
    SASL_CONTINUE = 11
    SASL_FINAL = 12


@dataclass(frozen=True, slots=True)
class Authentication:
    """An Authentication message: its code and what follows it."""

    code: AuthCode
    data: bytes


def decode_authentication(payload: bytes) -> Authentication:
    """Read an Authentication message of a server."""
    if len(payload) < 4:
        raise UpstreamViolation("malformed authentication request")
    number: int = _UINT32.unpack_from(payload)[0]
    try:
        code = AuthCode(number)
    except ValueError:
        raise UpstreamViolation(f"authentication method {number} is not known") from None
    data = payload[4:]
    if (code == AuthCode.MD5_PASSWORD and len(data) != 4) or (
        data and code in (AuthCode.OK, AuthCode.CLEARTEXT_PASSWORD)
    ):
        raise UpstreamViolation("malformed authentication request")
    return Authentication(code, data)


def sasl_mechanisms(data: bytes) -> tuple[str, ...]:
    """The names an AuthenticationSASL offers, in the server's order of preference."""
    names = data.split(b"\0")
    if len(names) < 3 or names[-1] or names[-2] or b"" in names[:-2]:
        raise UpstreamViolation("malformed list of SASL mechanisms")
    try:
        return tuple(name.decode("ascii") for name in names[:-2])
    except UnicodeDecodeError:
        raise UpstreamViolation("malformed list of SASL mechanisms") from None


def authentication_sasl(mechanisms: tuple[str, ...]) -> bytes:
    """An AuthenticationSASL that offers ``mechanisms``."""
    return authentication(AuthCode.SASL, b"".join(name.encode() + b"\0" for name in mechanisms) + b"\0")


def decode_sasl_initial(payload: bytes) -> tuple[str, bytes | None]:
    """Mechanism and first data (None when there is none) of a client's SASLInitialResponse."""
    name, zero, rest = payload.partition(b"\0")
    if not zero:
        raise FrontendViolation("invalid string in message")
    if len(rest) < 4:
        raise FrontendViolation("insufficient data left in message")
    length: int = _INT32.unpack_from(rest)[0]
    data = rest[4:]
    if length == -1 and not data:
        return name.decode("ascii", "replace"), None
    if length < 0 or length > len(data):
        raise FrontendViolation("insufficient data left in message")
    if length < len(data):
        raise FrontendViolation("invalid message format")
    return name.decode("ascii", "replace"), data


def decode_password(payload: bytes) -> bytes:
    """The password of a PasswordMessage, which may be empty."""
    password, zero, rest = payload.partition(b"\0")
    if not zero or rest:
        raise FrontendViolation("invalid password packet size")
    return password


def password_message(password: bytes) -> bytes:
    """A PasswordMessage, in clear text or as :func:`md5_password` makes it."""
    return message(FrontendTag.PASSWORD, password + b"\0")


def sasl_initial_response(mechanism: str, data: bytes) -> bytes:
    """A SASLInitialResponse."""
    return message(FrontendTag.PASSWORD, mechanism.encode() + b"\0" + _INT32.pack(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    """A SASLResponse."""
    return message(FrontendTag.PASSWORD, data)


def md5_password(user: str, password: str, salt: bytes) -> bytes:
    """``md5`` and the salted hash an AuthenticationMD5Password asks for."""
    secret = (password + user).encode("utf-8", "surrogateescape")
    inner = hashlib.md5(secret, usedforsecurity=False).hexdigest().encode()
    return b"md5" + hashlib.md5(inner + salt, usedforsecurity=False).hexdigest().encode()


class Passthrough:
    """Watches an authentication that a client and a server hold with each other through the gateway.

    Feed the server's Authentication payloads to :meth:`from_server` and write the result to the client. While
    :attr:`awaiting_client` is set, read one message of the client, at most ``MAX_PASSWORD_BYTES`` of payload,
    and feed it to :meth:`from_client`. Nothing of what passes is kept.
    """

    def __init__(self) -> None:
        self.done = False
        self.awaiting_client = False
        self.cleartext = False
        """The server asked for the password itself."""
        self.began = False
        """The client was asked for something: trying again over another connection would ask it twice."""
        self._initial = False
        self._took_out_plus = False

    def from_server(self, payload: bytes) -> bytes:
        """The message for the client. Channel binding leaves the offer: it would bind to the wrong end."""
        request = decode_authentication(payload)
        if request.code == AuthCode.OK:
            self.done = True
            return authentication(AuthCode.OK)
        if request.code not in _RELAYED:
            raise UpstreamViolation(
                f"the server asks for {request.code.name} authentication, which cannot be passed through",
                sqlstate="0A000",
            )
        self.began = True
        self.awaiting_client = request.code != AuthCode.SASL_FINAL
        self.cleartext = request.code == AuthCode.CLEARTEXT_PASSWORD
        self._initial = request.code == AuthCode.SASL
        if request.code != AuthCode.SASL:
            return authentication(request.code, request.data)
        offered = sasl_mechanisms(request.data)
        kept = tuple(name for name in offered if not name.endswith("-PLUS"))
        self._took_out_plus = SCRAM_PLUS in offered
        if not kept:
            raise UpstreamViolation(
                "the server insists on channel binding, which cannot be passed through", sqlstate="0A000"
            )
        return authentication_sasl(kept)

    def from_client(self, tag: int, payload: bytes) -> bytes:
        """The message for the server. Raises :class:`ChannelBindingLost` for what the server would refuse."""
        if tag != FrontendTag.PASSWORD:
            raise FrontendViolation(f"expected password response, got message type {tag}")
        self.awaiting_client = False
        if self._initial:
            self._initial = False
            _, data = decode_sasl_initial(payload)
            if self._took_out_plus and data is not None and data.startswith(b"y"):
                raise ChannelBindingLost
        return message(FrontendTag.PASSWORD, payload)


_RELAYED: Final = frozenset(
    {
        AuthCode.CLEARTEXT_PASSWORD,
        AuthCode.MD5_PASSWORD,
        AuthCode.SASL,
        AuthCode.SASL_CONTINUE,
        AuthCode.SASL_FINAL,
    }
)


class ChannelBindingLost(FrontendViolation):
    """The client would have used channel binding: a server that offered it takes that for an attack."""

    hint: Final = (
        "Connect with channel_binding=disable, or set auth: gateway for this database in the gateway."
    )

    def __init__(self) -> None:
        super().__init__(
            "SCRAM channel binding negotiation error",
            sqlstate="28000",
            detail="The client and the server both support channel binding, but the gateway between them "
            "cannot pass it through.",
        )
