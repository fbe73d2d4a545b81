"""The few messages Holdgate opens: encoding and decoding, each whole.

Everything else is forwarded by its header. Decoders take a payload (the bytes behind the length word; where
a message may be large, the message with the offset ``at`` of its payload, which spares a copy) and raise
``FrontendViolation`` or ``UpstreamViolation`` for anything malformed: counts and lengths are checked against
what is there before they are believed.

Source: PostgreSQL documentation, "Message Formats".
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .errors import FrontendViolation, ServerError, UpstreamViolation
from .tags import BackendTag, FrontendTag

_INT16: Final = struct.Struct("!h")
_UINT16: Final = struct.Struct("!H")
_INT32: Final = struct.Struct("!i")
_UINT32: Final = struct.Struct("!I")


def message(tag: int, payload: bytes = b"") -> bytes:
    """One message: tag, length of itself and the payload, payload."""
    return bytes((tag,)) + _UINT32.pack(len(payload) + 4) + payload


# What the gateway writes to clients -------------------------------------------------------------------


def printable(text: str) -> str:
    """``text`` with control characters made visible, so that nobody's terminal obeys them.

    Line feeds and tabs stay: PostgreSQL's own messages contain them. C1 controls and the bidirectional
    overrides are escaped as well, since both change what a reader believes to see.
    """
    return "".join(_escaped(c) for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if char in "\n\t":
        return char
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"\\x{code:02x}"
    if 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 or code in (0x200E, 0x200F, 0x2028, 0x2029):
        return f"\\u{code:04x}"
    if 0xD800 <= code <= 0xDFFF:
        return f"\\u{code:04x}"
    return char


def _report(tag: BackendTag, report: ServerError) -> bytes:
    fields = [("S", report.severity), ("V", report.severity), ("C", report.sqlstate)]
    fields.append(("M", report.message))
    if report.detail:
        fields.append(("D", report.detail))
    if report.hint:
        fields.append(("H", report.hint))
    fields.extend(report.extra.items())
    body = b"".join(code.encode() + printable(text).encode() + b"\0" for code, text in fields)
    return message(tag, body + b"\0")


def error_response(error: ServerError) -> bytes:
    """An ErrorResponse; control characters in the texts are escaped."""
    return _report(BackendTag.ERROR_RESPONSE, error)


def notice_response(notice: ServerError) -> bytes:
    """A NoticeResponse; ``severity`` is usually NOTICE or WARNING."""
    return _report(BackendTag.NOTICE_RESPONSE, notice)


def ready_for_query(status: int) -> bytes:
    """ReadyForQuery with a transaction status byte."""
    return message(BackendTag.READY_FOR_QUERY, bytes((status,)))


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus."""
    return message(BackendTag.PARAMETER_STATUS, name.encode() + b"\0" + value.encode() + b"\0")


def backend_key_data(pid: int, secret: bytes) -> bytes:
    """BackendKeyData; ``secret`` is 4 bytes in protocol 3.0, up to 256 in 3.2."""
    return message(BackendTag.BACKEND_KEY_DATA, _UINT32.pack(pid & 0xFFFFFFFF) + secret)


def authentication(code: int, body: bytes = b"") -> bytes:
    """An Authentication… message by its code (0 is AuthenticationOk)."""
    return message(BackendTag.AUTHENTICATION, _UINT32.pack(code) + body)


def negotiate_protocol_version(minor: int, options: list[str]) -> bytes:
    """NegotiateProtocolVersion: newest minor version known here, and the options not recognised.

    The version is sent as the server sends it: the full 3.``minor`` code.
    """
    names = b"".join(name.encode() + b"\0" for name in options)
    return message(
        BackendTag.NEGOTIATE_PROTOCOL_VERSION,
        _UINT32.pack((3 << 16) | minor) + _UINT32.pack(len(options)) + names,
    )


# What the gateway writes upstream ---------------------------------------------------------------------


def query(sql: bytes) -> bytes:
    """A simple Query."""
    return message(FrontendTag.QUERY, sql + b"\0")


OWN_NAME: Final = b"holdgate:own"
"""The name of everything the gateway prepares, binds or closes of its own."""


def parse(name: bytes, sql: bytes, parameter_types: Sequence[int] = ()) -> bytes:
    """A Parse; ``parameter_types`` are OIDs, 0 where the server may choose."""
    types = _UINT16.pack(len(parameter_types)) + b"".join(map(_UINT32.pack, parameter_types))
    return message(FrontendTag.PARSE, name + b"\0" + sql + b"\0" + types)


def bind(portal: bytes, statement: bytes, values: Sequence[tuple[int, bytes | None]] = ()) -> bytes:
    """A Bind with parameters, each its format code and its bytes, None for NULL; results come as text."""
    formats = struct.pack(f"!H{len(values)}H", len(values), *(code for code, _ in values))
    parts = [
        struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
        for _, value in values
    ]
    count = struct.pack("!H", len(values))
    return message(
        FrontendTag.BIND,
        b"".join((portal, b"\0", statement, b"\0", formats, count, *parts, b"\0\0")),
    )


def execute(portal: bytes, rows: int = 0) -> bytes:
    """An Execute; ``rows`` is the most that it returns, 0 for all."""
    return message(FrontendTag.EXECUTE, portal + b"\0" + struct.pack("!i", rows))


def describe_portal(name: bytes) -> bytes:
    """Describe a portal."""
    return message(FrontendTag.DESCRIBE, b"P" + name + b"\0")


def close_statement(name: bytes) -> bytes:
    """Close of a prepared statement."""
    return message(FrontendTag.CLOSE, b"S" + name + b"\0")


def close_portal(name: bytes) -> bytes:
    """Close of a portal."""
    return message(FrontendTag.CLOSE, b"P" + name + b"\0")


SYNC: Final = message(FrontendTag.SYNC)
FLUSH: Final = message(FrontendTag.FLUSH)
TERMINATE: Final = message(FrontendTag.TERMINATE)


# What the gateway reads -------------------------------------------------------------------------------


def _text(payload: bytes, start: int) -> tuple[bytes, int]:
    """The zero-terminated string at ``start`` and the offset behind it."""
    end = payload.find(0, start)
    if end < 0:
        raise FrontendViolation("invalid string in message")
    return payload[start:end], end + 1


def decode_query(payload: bytes, at: int = 0) -> bytes:
    """SQL of a Query. A message whose string ends early or late is refused, as the server does."""
    sql, end = _text(payload, at)
    if end != len(payload):
        raise FrontendViolation("invalid message format")
    return sql


@dataclass(frozen=True, slots=True)
class Parse:
    """Parse: statement name, SQL, and the types the client fixed (OIDs, 0 for open)."""

    name: bytes
    sql: bytes
    parameter_types: tuple[int, ...]


def decode_parse(payload: bytes, at: int = 0) -> Parse:
    """Decode a Parse."""
    name, at = _text(payload, at)
    sql, at = _text(payload, at)
    if at + 2 > len(payload):
        raise FrontendViolation("insufficient data left in message")
    count = _UINT16.unpack_from(payload, at)[0]
    at += 2
    if at + 4 * count != len(payload):
        raise FrontendViolation("invalid message format")
    return Parse(name, sql, struct.unpack_from(f"!{count}I", payload, at))


@dataclass(frozen=True, slots=True)
class Bind:
    """Bind: portal, statement, and one (format, value) per parameter; a NULL value is None."""

    portal: bytes
    statement: bytes
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]


def decode_bind(payload: bytes, at: int = 0) -> Bind:
    """Decode a Bind; every value is a slice that was checked to lie inside the message."""
    size = len(payload)
    portal, at = _text(payload, at)
    statement, at = _text(payload, at)
    codes, at = _counted_int16(payload, at)
    if at + 2 > size:
        raise FrontendViolation("insufficient data left in message")
    count = _UINT16.unpack_from(payload, at)[0]
    at += 2
    values: list[bytes | None] = []
    for _ in range(count):
        if at + 4 > size:
            raise FrontendViolation("insufficient data left in message")
        length = _INT32.unpack_from(payload, at)[0]
        at += 4
        if length == -1:
            values.append(None)
            continue
        if length < 0 or at + length > size:
            raise FrontendViolation("insufficient data left in message")
        values.append(payload[at : at + length])
        at += length
    _, at = _counted_int16(payload, at)
    if at != size:
        raise FrontendViolation("invalid message format")
    if len(codes) > 1 and len(codes) != count:
        raise FrontendViolation(f"bind message has {len(codes)} parameter formats but {count} parameters")
    formats = codes if len(codes) == count else (codes[0] if codes else 0,) * count
    return Bind(portal, statement, formats, tuple(values))


def _counted_int16(payload: bytes, at: int) -> tuple[tuple[int, ...], int]:
    if at + 2 > len(payload):
        raise FrontendViolation("insufficient data left in message")
    count = _UINT16.unpack_from(payload, at)[0]
    at += 2
    end = at + 2 * count
    if end > len(payload):
        raise FrontendViolation("insufficient data left in message")
    return struct.unpack_from(f"!{count}h", payload, at), end


@dataclass(frozen=True, slots=True)
class Target:
    """What a Describe or Close names: ``kind`` is ``S`` (statement) or ``P`` (portal) as a byte value."""

    kind: int
    name: bytes


def decode_target(payload: bytes, verb: str) -> Target:
    """Decode a Describe or Close."""
    if not payload or payload[0] not in b"SP":
        subtype = payload[0] if payload else 0
        raise FrontendViolation(f"invalid {verb} message subtype {subtype}")
    name, end = _text(payload, 1)
    if end != len(payload):
        raise FrontendViolation("invalid message format")
    return Target(payload[0], name)


def decode_execute(payload: bytes) -> tuple[bytes, int]:
    """Portal name and row limit (0 for none) of an Execute."""
    portal, at = _text(payload, 0)
    if at + 4 != len(payload):
        raise FrontendViolation("invalid message format")
    return portal, _INT32.unpack_from(payload, at)[0]


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """FunctionCall: the function's OID and its arguments as (format, value) pairs."""

    oid: int
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]


def decode_function_call(payload: bytes, at: int = 0) -> FunctionCall:
    """Decode a FunctionCall (the sub-protocol libpq's large-object functions use)."""
    if at + 4 > len(payload):
        raise FrontendViolation("insufficient data left in message")
    oid = _UINT32.unpack_from(payload, at)[0]
    codes, at = _counted_int16(payload, at + 4)
    if at + 2 > len(payload):
        raise FrontendViolation("insufficient data left in message")
    count = _UINT16.unpack_from(payload, at)[0]
    at += 2
    values: list[bytes | None] = []
    for _ in range(count):
        if at + 4 > len(payload):
            raise FrontendViolation("insufficient data left in message")
        length = _INT32.unpack_from(payload, at)[0]
        at += 4
        if length == -1:
            values.append(None)
            continue
        if length < 0 or at + length > len(payload):
            raise FrontendViolation("insufficient data left in message")
        values.append(payload[at : at + length])
        at += length
    if at + 2 != len(payload):
        raise FrontendViolation("invalid message format")
    if len(codes) > 1 and len(codes) != count:
        raise FrontendViolation(
            f"function call message contains {len(codes)} argument formats but {count} arguments"
        )
    formats = codes if len(codes) == count else (codes[0] if codes else 0,) * count
    return FunctionCall(oid, formats, tuple(values))


def decode_report(payload: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by their one-letter code.

    A payload that was cut short gives what is there. Text that is not UTF-8 (a server speaking another
    encoding) is kept with replacement characters: these values are shown and recorded, never sent on.
    """
    fields: dict[str, str] = {}
    at = 0
    while at < len(payload) and payload[at] != 0:
        end = payload.find(0, at + 1)
        if end < 0:
            end = len(payload)
        fields[chr(payload[at])] = payload[at + 1 : end].decode("utf-8", "replace")
        at = end + 1
    return fields


def decode_parameter_status(payload: bytes) -> tuple[str, str]:
    """Name and value of a ParameterStatus."""
    parts = payload.split(b"\0")
    if len(parts) != 3 or parts[2]:
        raise UpstreamViolation("malformed ParameterStatus")
    return parts[0].decode("utf-8", "replace"), parts[1].decode("utf-8", "replace")


def decode_backend_key_data(payload: bytes) -> tuple[int, bytes]:
    """Process ID and secret of BackendKeyData; the secret is 4 to 256 bytes."""
    if not 8 <= len(payload) <= 260:
        raise UpstreamViolation("malformed BackendKeyData")
    return _UINT32.unpack_from(payload, 0)[0], payload[4:]


def decode_parameter_description(payload: bytes) -> tuple[int, ...]:
    """The type OIDs of a ParameterDescription.

    A statement may be prepared with more parameters than a Bind can hold; the count has wrapped around then.
    """
    count, rest = divmod(len(payload) - 2, 4)
    if count < 0 or rest or count & 0xFFFF != _UINT16.unpack_from(payload, 0)[0]:
        raise UpstreamViolation("malformed ParameterDescription")
    return struct.unpack_from(f"!{count}I", payload, 2)


def decode_data_row(payload: bytes) -> tuple[bytes | None, ...]:
    """The values of a DataRow as they came, None for NULL."""
    if len(payload) < 2:
        raise UpstreamViolation("malformed DataRow")
    values: list[bytes | None] = []
    at = 2
    for _ in range(_UINT16.unpack_from(payload, 0)[0]):
        length = int.from_bytes(payload[at : at + 4], "big", signed=True)
        at += 4
        if length < -1 or at + max(length, 0) > len(payload):
            raise UpstreamViolation("malformed DataRow")
        values.append(None if length == -1 else payload[at : at + length])
        at += max(length, 0)
    if at != len(payload):
        raise UpstreamViolation("malformed DataRow")
    return tuple(values)


def decode_command_tag(payload: bytes) -> tuple[str, int | None]:
    """The tag of a CommandComplete and the row count it ends with, if it has one."""
    tag = payload[:-1].decode("utf-8", "replace")
    last = tag.rpartition(" ")[2]
    return tag, int(last) if last.isascii() and last.isdigit() else None
