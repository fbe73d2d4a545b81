"""The first packet of a connection: what a client asks for before it has a tag to ask with.

A packet is a length word (itself included), a code, and a body. Codes with a major version of 1234 are
requests of their own; everything else is a StartupMessage. The rules are those of the server's
``ProcessStartupPacket``, so that a client is refused here in the words it would read there.

Source: PostgreSQL documentation, "Start-up" and "Message Formats" (StartupMessage, SSLRequest,
GSSENCRequest, CancelRequest), "Protocol versions".
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .errors import FrontendViolation, ServerError
from .messages import error_response, negotiate_protocol_version
from .options import Setting, split_options

__all__ = [
    "MAX_STARTUP_BYTES",
    "NEWEST_MINOR",
    "CancelRequest",
    "FirstPacket",
    "GssEncRequest",
    "Replication",
    "Setting",
    "SslRequest",
    "StartupMessage",
    "StartupRefused",
    "cancel_request",
    "packet_length",
    "parse_first_packet",
    "ssl_request",
]

MAX_STARTUP_BYTES: Final = 10_000
"""Bytes behind the length word, as the server's MAX_STARTUP_PACKET_LENGTH."""
NEWEST_MINOR: Final = 2
"""The newest minor version of protocol 3 spoken here."""
MAX_CANCEL_KEY_BYTES: Final = 256
MAX_NAME_BYTES: Final = 63
"""The server cuts user and database names to this many bytes (NAMEDATALEN - 1)."""

_CANCEL_CODE: Final = (1234 << 16) | 5678
_SSL_CODE: Final = (1234 << 16) | 5679
_GSSENC_CODE: Final = (1234 << 16) | 5680
_MAJOR: Final = 3
_PROTOCOL_OPTION: Final = "_pq_."
_UINT32: Final = struct.Struct("!I")


class StartupRefused(FrontendViolation):
    """A packet that is well framed and cannot be served; the client reads ``report`` and is disconnected."""

    def __init__(self, report: ServerError, *, old_style: bool = False) -> None:
        super().__init__(report.message, sqlstate=report.sqlstate, detail=report.detail)
        self.report = report
        self._old_style = old_style

    def encoded(self) -> bytes:
        """The answer in the form the client can read: before protocol 3 an error was one line of text."""
        if self._old_style:
            return f"E{self.report.severity}:  {self.report.message}\n".encode() + b"\0"
        return error_response(self.report)


@dataclass(frozen=True, slots=True)
class SslRequest:
    """The client asks for TLS; the answer is one byte, ``S`` or ``N``."""


@dataclass(frozen=True, slots=True)
class GssEncRequest:
    """The client asks for GSSAPI encryption; the answer is one byte, ``N`` here."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """A request to cancel what the session with this key runs. ``secret`` is 1 to 256 bytes."""

    pid: int
    secret: bytes


class Replication(StrEnum):
    """What the ``replication`` parameter asks for."""

    NONE = ""
    PHYSICAL = "physical"
    LOGICAL = "logical"


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """A request for a session.

    ``user`` and ``database`` are what the server would make of them: the database defaults to the user, both
    are cut to 63 bytes. ``pairs`` are all name/value pairs in the order sent, duplicates included; bytes that
    are not UTF-8 are kept as surrogate escapes. ``options`` are the settings that the ``options`` parameter
    makes. ``requested_minor`` is what the client asked for and ``minor`` what it gets.
    """

    requested_minor: int
    user: str
    database: str
    pairs: tuple[tuple[str, str], ...]
    options: tuple[Setting, ...]
    replication: Replication

    @property
    def minor(self) -> int:
        """The minor protocol version spoken with this client."""
        return min(self.requested_minor, NEWEST_MINOR)

    @property
    def parameters(self) -> dict[str, str]:
        """Every parameter by name; of a name sent twice the last value counts, as in the server."""
        return dict(self.pairs)

    @property
    def unrecognized(self) -> tuple[str, ...]:
        """Names of the protocol options (``_pq_.…``) asked for; none is known here."""
        return tuple(name for name, _ in self.pairs if name.startswith(_PROTOCOL_OPTION))

    def negotiation(self, newest: int = NEWEST_MINOR) -> bytes | None:
        """The one NegotiateProtocolVersion this client must be sent before authentication, if any.

        ``newest`` is lower than the version spoken here when the server behind speaks only that.
        """
        newest = min(newest, NEWEST_MINOR)
        if self.requested_minor <= newest and not self.unrecognized:
            return None
        return negotiate_protocol_version(min(self.requested_minor, newest), list(self.unrecognized))

    @property
    def settings(self) -> dict[str, str]:
        """The run-time settings the session starts with, by lower-case name.

        ``options`` come first and the packet's own parameters after them, so that the latter win, as in the
        server's ``process_startup_options``.
        """
        result = {setting.name: setting.value for setting in self.options}
        for name, value in self.pairs:
            if name not in _NOT_SETTINGS and not name.startswith(_PROTOCOL_OPTION):
                result[_lower(name)] = value
        return result

    @property
    def application_name(self) -> str:
        """The name the client gives itself; bytes outside printable ASCII are shown as ``\\xNN``."""
        raw = self.settings.get("application_name", "").encode("utf-8", "surrogateescape")
        return "".join(chr(b) if 32 <= b <= 126 else f"\\x{b:02x}" for b in raw)

    def encode(
        self,
        *,
        user: str | None = None,
        database: str | None = None,
        role: str | None = None,
        replication: bool = False,
    ) -> bytes:
        """The packet for the server behind.

        Every parameter goes on as it came. ``user`` and ``database`` replace the client's; ``role`` is added
        last, so that it beats a role the client asked for. Protocol options stay here, and ``replication`` is
        passed only when told to.
        """
        given = self.parameters
        body = [("user", user if user is not None else given["user"])]
        if database is not None:
            body.append(("database", database))
        elif given.get("database"):
            body.append(("database", given["database"]))
        for name, value in self.pairs:
            if name in ("user", "database") or name.startswith(_PROTOCOL_OPTION):
                continue
            if name != "replication" or replication:
                body.append((name, value))
        if role is not None:
            body.append(("role", role))
        text = "".join(f"{name}\0{value}\0" for name, value in body) + "\0"
        return _packet((_MAJOR << 16) | self.minor, text.encode("utf-8", "surrogateescape"))


_NOT_SETTINGS: Final = frozenset({"user", "database", "options", "replication"})

FirstPacket = SslRequest | GssEncRequest | CancelRequest | StartupMessage


def ssl_request() -> bytes:
    """An SSLRequest."""
    return _packet(_SSL_CODE, b"")


def cancel_request(pid: int, secret: bytes) -> bytes:
    """A CancelRequest with the key the server gave in BackendKeyData."""
    return _packet(_CANCEL_CODE, _UINT32.pack(pid) + secret)


def _packet(code: int, body: bytes) -> bytes:
    return _UINT32.pack(len(body) + 8) + _UINT32.pack(code) + body


def packet_length(header: bytes) -> int:
    """Bytes of the whole packet, its 4-byte length word ``header`` included.

    Raises :class:`FrontendViolation` when the claimed length cannot be one. The server answers nothing to
    that: close the connection.
    """
    length: int = _UINT32.unpack(header)[0]
    if not 8 <= length <= MAX_STARTUP_BYTES + 4:
        raise FrontendViolation("invalid length of startup packet")
    return length


def parse_first_packet(packet: bytes, *, ssl_done: bool = False, gss_done: bool = False) -> FirstPacket:
    """Read a whole first packet, length word included.

    ``ssl_done`` and ``gss_done`` say that this request was answered already on the connection, or that it is
    encrypted: the request is then no longer one, and its code an unknown protocol version.
    Raises :class:`StartupRefused` for what the client is told, and any other :class:`FrontendViolation` for
    what is closed without an answer.
    """
    if len(packet) < 8 or packet_length(packet[:4]) != len(packet):
        raise FrontendViolation("invalid length of startup packet")
    code: int = _UINT32.unpack_from(packet, 4)[0]
    body = packet[8:]
    if code == _CANCEL_CODE:
        return _cancel(body)
    if code == _SSL_CODE and not ssl_done:
        return SslRequest()
    if code == _GSSENC_CODE and not gss_done:
        return GssEncRequest()
    major, minor = code >> 16, code & 0xFFFF
    if major != _MAJOR:
        raise StartupRefused(
            ServerError(
                sqlstate="0A000",
                message=f"unsupported frontend protocol {major}.{minor}: server supports "
                f"{_MAJOR}.0 to {_MAJOR}.{NEWEST_MINOR}",
                severity="FATAL",
            ),
            # To a version of nothing at all the server answers in the form of its newest.
            old_style=0 < code < _MAJOR << 16,
        )
    return _startup(minor, body)


def _cancel(body: bytes) -> CancelRequest:
    if not 4 < len(body) <= 4 + MAX_CANCEL_KEY_BYTES:
        raise FrontendViolation("invalid length of cancel key in cancel request packet")
    return CancelRequest(_UINT32.unpack_from(body)[0], body[4:])


def _fatal(sqlstate: str, message: str, hint: str = "") -> StartupRefused:
    return StartupRefused(ServerError(sqlstate=sqlstate, message=message, hint=hint, severity="FATAL"))


def _pairs(body: bytes) -> tuple[tuple[str, str], ...]:
    """The name/value pairs of a StartupMessage, whose terminator must be its very last byte."""
    fields = body.split(b"\0")
    # "a\0b\0\0" splits into a, b, "", "": an empty name ends the list, one byte before the end of the packet.
    if len(fields) < 2 or len(fields) % 2 or fields[-1] or fields[-2] or b"" in fields[:-2:2]:
        raise _fatal("08P01", "invalid startup packet layout: expected terminator as last byte")
    texts = [field.decode("utf-8", "surrogateescape") for field in fields[:-2]]
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def _startup(minor: int, body: bytes) -> StartupMessage:
    pairs = _pairs(body)
    given = dict(pairs)
    replication = _replication(given)
    user = given.get("user", "")
    if not user:
        raise _fatal("28000", "no PostgreSQL user name specified in startup packet")
    return StartupMessage(
        requested_minor=minor,
        user=_name(user),
        database=_name(given.get("database") or user),
        pairs=pairs,
        options=split_options(given.get("options", "")),
        replication=replication,
    )


def _name(text: str) -> str:
    """A user or database name as the server looks it up.

    A name that is not UTF-8 cannot be matched with a configured one, shown, or recorded without doubt.
    """
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raise _fatal("22021", 'user and database name must be valid in encoding "UTF8"') from None
    return raw[:MAX_NAME_BYTES].decode("utf-8", "ignore")


def _replication(given: Mapping[str, str]) -> Replication:
    value = given.get("replication")
    if value is None:
        return Replication.NONE
    if value == "database":
        return Replication.LOGICAL
    flag = _parse_bool(value)
    if flag is None:
        raise _fatal(
            "22023",
            f'invalid value for parameter "replication": "{value}"',
            'Valid values are: "false", 0, "true", 1, "database".',
        )
    return Replication.PHYSICAL if flag else Replication.NONE


def _parse_bool(text: str) -> bool | None:
    """The server's ``parse_bool``: unique beginnings of true, yes, on and their opposites, 1 and 0."""
    word = _lower(text)
    if not word:
        return None
    if "true".startswith(word) or "yes".startswith(word) or word in ("on", "1"):
        return True
    if "false".startswith(word) or "no".startswith(word) or word in ("of", "off", "0"):
        return False
    return None


def _lower(name: str) -> str:
    """ASCII case folding only, as the server compares setting names."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)
