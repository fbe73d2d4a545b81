"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both sides, without randomness, clock or I/O.

:class:`ScramServer` checks a client against a :class:`Verifier`; :class:`ScramClient` logs in to a server.
Nonces are given by the caller. The one slow step, PBKDF2 in :func:`derive_keys`, is apart, so that the caller
can run it away from its event loop. The words of refusals are the server's.

Source: RFC 5802, RFC 7677, RFC 5929 (tls-server-end-point); PostgreSQL documentation, "SASL Authentication".
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

from .errors import FrontendViolation, UpstreamViolation
from .saslprep import saslprep

__all__ = [
    "SCRAM",
    "SCRAM_PLUS",
    "ScramClient",
    "ScramKeys",
    "ScramServer",
    "Verifier",
    "build_verifier",
    "derive_keys",
    "mock_verifier",
    "parse_verifier",
]

SCRAM: Final = "SCRAM-SHA-256"
SCRAM_PLUS: Final = "SCRAM-SHA-256-PLUS"
DEFAULT_ITERATIONS: Final = 4096
DEFAULT_SALT_BYTES: Final = 16
MAX_ITERATIONS: Final = 1_000_000
"""What a server may ask of us: about half a second of one core. PostgreSQL's default is 4096."""
MAX_MESSAGE_BYTES: Final = 1024
"""As the server's PG_MAX_SASL_MESSAGE_LENGTH, for messages of either side."""

_KEY_BYTES: Final = 32
_BINDING: Final = b"p=tls-server-end-point,,"
_PRINTABLE: Final = re.compile(rb"[\x21-\x2b\x2d-\x7e]*")


def _b64(data: bytes) -> bytes:
    return base64.b64encode(data)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a password comes to for one salt and iteration count: 32 bytes each."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @property
    def stored_key(self) -> bytes:
        """The hash of the client key, which is all a server needs to check a proof."""
        return hashlib.sha256(self.client_key).digest()


def derive_keys(password: str, salt: bytes, iterations: int) -> ScramKeys:
    """PBKDF2 over the prepared password. Slow by design: call it in a thread."""
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password), salt, iterations)
    return ScramKeys(_hmac(salted, b"Client Key"), _hmac(salted, b"Server Key"))


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a server keeps in place of a password. ``str()`` is PostgreSQL's form, as in pg_authid."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __str__(self) -> str:
        salt, stored, server = (_b64(v).decode() for v in (self.salt, self.stored_key, self.server_key))
        return f"{SCRAM}${self.iterations}:{salt}${stored}:{server}"


def parse_verifier(text: str) -> Verifier:
    """Read ``SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey``.

    Raises :class:`ValueError` without repeating the text.
    """
    parts = re.fullmatch(r"SCRAM-SHA-256\$([0-9]{1,9}):([^$:]+)\$([^$:]+):([^$:]+)", text)
    if parts is None:
        raise ValueError("not a SCRAM-SHA-256 verifier (SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey)")
    try:
        salt, stored, server = (base64.b64decode(part, validate=True) for part in parts.groups()[1:])
    except ValueError:
        raise ValueError("a part of the SCRAM-SHA-256 verifier is not base64") from None
    iterations = int(parts[1])
    if iterations < 1 or len(stored) != _KEY_BYTES or len(server) != _KEY_BYTES:
        raise ValueError("the iteration count or a key of the SCRAM-SHA-256 verifier is out of range")
    return Verifier(iterations, salt, stored, server)


def build_verifier(password: str, salt: bytes, iterations: int = DEFAULT_ITERATIONS) -> Verifier:
    """The verifier of a password. As slow as :func:`derive_keys`."""
    keys = derive_keys(password, salt, iterations)
    return Verifier(iterations, salt, keys.stored_key, keys.server_key)


def mock_verifier(secret: bytes, user: str, iterations: int = DEFAULT_ITERATIONS) -> Verifier:
    """A verifier no password fits, for a user who does not exist or has none.

    The same user always gets the same salt, so that asking twice tells nothing. ``secret`` is the gateway's.
    """
    name = user.encode("utf-8", "surrogateescape")
    salt = _hmac(secret, b"salt\0" + name)[:DEFAULT_SALT_BYTES]
    return Verifier(iterations, salt, _hmac(secret, b"stored\0" + name), _hmac(secret, b"server\0" + name))


# The server's side ------------------------------------------------------------------------------------


def _malformed(detail: str) -> FrontendViolation:
    return FrontendViolation("malformed SCRAM message", detail=detail)


def _shown(char: bytes) -> str:
    return f"'{char.decode()}'" if len(char) == 1 and 0x21 <= char[0] <= 0x7E else f"0x{char.hex() or '00'}"


class _Reader:
    """The ``a=value,b=value`` text of a SCRAM message, read from the left."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> bytes:
        return self.text[self.at : self.at + 1]

    def value(self, name: bytes) -> bytes:
        """The value of the attribute that must come next."""
        if self.peek() != name:
            raise _malformed(f'Expected attribute "{name.decode()}" but found "{_shown(self.peek())}".')
        return self.any()[1]

    def any(self) -> tuple[bytes, bytes]:
        """The next attribute, whatever it is."""
        name = self.peek()
        if not name:
            raise _malformed("Attribute expected, but found end of string.")
        if not name.isalpha():
            raise _malformed(f'Attribute expected, but found invalid character "{_shown(name)}".')
        if self.text[self.at + 1 : self.at + 2] != b"=":
            raise _malformed(f'Expected character "=" for attribute "{name.decode()}".')
        start = self.at + 2
        end = self.text.find(b",", start)
        if end < 0:
            end = self.at = len(self.text)
        else:
            self.at = end + 1
        return name, self.text[start:end]


class ScramServer:
    """One exchange with a client: :meth:`begin` takes client-first, :meth:`finish` takes client-final.

    ``nonce``     the server's part, printable ASCII without comma, new for every exchange.
    ``mechanism`` the one the client chose.
    ``binding``   hash of our certificate when SCRAM-SHA-256-PLUS was offered, else None.
    ``doomed``    the user does not exist or may not log in: all the work is done and the answer is no.

    Every method raises :class:`FrontendViolation` for a message the server would not accept.
    """

    def __init__(
        self, verifier: Verifier, *, mechanism: str, nonce: bytes, binding: bytes | None, doomed: bool = False
    ) -> None:
        if mechanism not in (SCRAM, SCRAM_PLUS) or (mechanism == SCRAM_PLUS and binding is None):
            raise FrontendViolation("client selected an invalid SASL authentication mechanism")
        self._verifier = verifier
        self._plus = mechanism == SCRAM_PLUS
        self._binding = binding
        self._doomed = doomed
        self._nonce = nonce
        self._gs2 = b""
        self._client_first_bare = b""
        self._server_first = b""

    def begin(self, client_first: bytes) -> bytes:
        """Read client-first, return server-first."""
        _check_message(client_first)
        reader = _Reader(client_first)
        self._read_binding_flag(reader)
        if reader.peek() == b"a":
            raise FrontendViolation(
                "client uses authorization identity, but it is not supported", sqlstate="0A000"
            )
        if reader.peek() != b",":
            raise _malformed(f'Unexpected attribute "{_shown(reader.peek())}" in client-first-message.')
        reader.at += 1
        self._gs2 = client_first[: reader.at]
        self._client_first_bare = client_first[reader.at :]
        if reader.peek() == b"m":
            raise FrontendViolation("client requires an unsupported SCRAM extension", sqlstate="0A000")
        reader.value(b"n")  # the user is the one of the start-up packet
        client_nonce = reader.value(b"r")
        if not _PRINTABLE.fullmatch(client_nonce):
            raise FrontendViolation("non-printable characters in SCRAM nonce")
        while reader.peek():
            reader.any()
        self._nonce = client_nonce + self._nonce
        salt, count = _b64(self._verifier.salt), self._verifier.iterations
        self._server_first = b"r=" + self._nonce + b",s=" + salt + b",i=%d" % count
        return self._server_first

    def _read_binding_flag(self, reader: _Reader) -> None:
        flag = reader.peek()
        if flag in (b"n", b"y"):
            if self._plus:
                raise _malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel "
                    "binding data."
                )
            if flag == b"y" and self._binding is not None:
                # Somebody between us took the mechanism out of the list.
                raise FrontendViolation(
                    "SCRAM channel binding negotiation error",
                    sqlstate="28000",
                    detail="The client supports SCRAM channel binding but thinks the server does not.  "
                    "However, this server does support channel binding.",
                )
            reader.at += 1
            if reader.peek() != b",":
                raise _malformed(f'Comma expected, but found character "{_shown(reader.peek())}".')
            reader.at += 1
        elif flag == b"p":
            if not self._plus:
                raise _malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message "
                    "includes channel binding data."
                )
            kind = reader.value(b"p")
            if kind != b"tls-server-end-point":
                shown = "".join(chr(b) if 0x21 <= b <= 0x7E else "?" for b in kind[:30])
                raise FrontendViolation(f'unsupported SCRAM channel-binding type "{shown}"')
        else:
            raise _malformed(f'Unexpected channel-binding flag "{_shown(flag)}".')

    def finish(self, client_final: bytes) -> bytes | None:
        """Read client-final; return server-final, or None when the password is wrong."""
        _check_message(client_final)
        reader = _Reader(client_final)
        bound = reader.value(b"c")
        expected = _b64(self._gs2 + (self._binding or b"" if self._plus else b""))
        if not hmac.compare_digest(bound, expected):
            if self._plus:
                raise FrontendViolation("SCRAM channel binding check failed", sqlstate="28000")
            raise FrontendViolation("unexpected SCRAM channel-binding attribute in client-final-message")
        nonce = reader.value(b"r")
        while True:
            end = reader.at - 1
            name, value = reader.any()
            if name == b"p":
                break
        proof = _decoded(value)
        if proof is None or len(proof) != _KEY_BYTES:
            raise _malformed("Malformed proof in client-final-message.")
        if reader.peek():
            raise _malformed("Garbage found at the end of client-final-message.")
        if not hmac.compare_digest(nonce, self._nonce):
            raise FrontendViolation("invalid SCRAM response", detail="Nonce does not match.")
        auth = b",".join((self._client_first_bare, self._server_first, client_final[:end]))
        client_key = _xor(proof, _hmac(self._verifier.stored_key, auth))
        right = hmac.compare_digest(hashlib.sha256(client_key).digest(), self._verifier.stored_key)
        final = b"v=" + _b64(_hmac(self._verifier.server_key, auth))
        return final if right and not self._doomed else None


def _check_message(message: bytes) -> None:
    if not message:
        raise _malformed("The message is empty.")
    if b"\0" in message:
        raise _malformed("Message length does not match input length.")
    if len(message) > MAX_MESSAGE_BYTES:
        raise FrontendViolation("SCRAM message is too long")


def _decoded(value: bytes) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return None


# The client's side ------------------------------------------------------------------------------------


class ScramClient:
    """One login at a server: :meth:`first`, :meth:`challenge`, :meth:`final` with the keys, :meth:`verify`.

    ``nonce``     ours, printable ASCII without comma, new for every exchange.
    ``plus``      the server offered SCRAM-SHA-256-PLUS.
    ``binding``   hash of the server's certificate over TLS, else None.

    PLUS is used whenever both are there. Over TLS without the offer the server is told that we would have, so
    that it notices when somebody took the offer out. Every method raises :class:`UpstreamViolation` for an
    answer that is not one.
    """

    def __init__(self, *, nonce: bytes, plus: bool, binding: bytes | None) -> None:
        self._nonce = nonce
        use_plus = plus and binding is not None
        self.mechanism = SCRAM_PLUS if use_plus else SCRAM
        self._gs2 = _BINDING if use_plus else b"n,," if binding is None else b"y,,"
        self._binding = binding if use_plus and binding is not None else b""
        self._server_first = b""
        self._server_nonce = b""
        self._signature = b""
        self.salt = b""
        self.iterations = 0

    @property
    def _client_first_bare(self) -> bytes:
        return b"n=,r=" + self._nonce

    def first(self) -> bytes:
        """client-first. The user name is empty: the server takes it from the start-up packet."""
        return self._gs2 + self._client_first_bare

    def challenge(self, server_first: bytes) -> None:
        """Read server-first into ``salt`` and ``iterations``."""
        if len(server_first) > MAX_MESSAGE_BYTES:
            raise UpstreamViolation("the server's SCRAM message is too long")
        parts = re.fullmatch(
            rb"r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=([0-9]{1,10})(?:,[^\0]*)?", server_first
        )
        salt = _decoded(parts[2]) if parts else None
        if parts is None or not salt:
            raise UpstreamViolation("malformed SCRAM message from the server")
        nonce = parts[1]
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise UpstreamViolation("the server's SCRAM nonce does not continue ours")
        iterations = int(parts[3])
        if not 1 <= iterations <= MAX_ITERATIONS:
            raise UpstreamViolation(f"the server asks for {iterations} SCRAM iterations")
        self._server_first, self._server_nonce = server_first, nonce
        self.salt, self.iterations = salt, iterations

    def final(self, keys: ScramKeys) -> bytes:
        """client-final, with the proof that we know the password."""
        without_proof = b"c=" + _b64(self._gs2 + self._binding) + b",r=" + self._server_nonce
        auth = b",".join((self._client_first_bare, self._server_first, without_proof))
        self._signature = _hmac(keys.server_key, auth)
        proof = _xor(keys.client_key, _hmac(keys.stored_key, auth))
        return without_proof + b",p=" + _b64(proof)

    def verify(self, server_final: bytes) -> None:
        """Check server-final: that the server, too, knows the password."""
        attribute = server_final.partition(b",")[0]
        signature = _decoded(attribute[2:]) if attribute.startswith(b"v=") else None
        if not self._signature or signature is None or not hmac.compare_digest(signature, self._signature):
            raise UpstreamViolation("the server could not prove that it knows the password")
