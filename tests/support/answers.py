"""What a server sends, made by hand (PostgreSQL documentation, chapter 54): the other half of
:mod:`tests.support.wire`, and like it without any code of the product.

Each function makes the bytes of one message and is named after it. CopyData and CopyDone are the same in both
directions: ``d`` and ``c`` of that module.
"""

import struct
from collections.abc import Sequence

from tests.support.wire import message

__all__ = [
    "backend_key_data",
    "bind_complete",
    "close_complete",
    "command_complete",
    "copy_both_response",
    "copy_in_response",
    "copy_out_response",
    "data_row",
    "empty_query_response",
    "error",
    "fatal",
    "function_call_response",
    "no_data",
    "notice",
    "notification",
    "parameter_description",
    "parameter_status",
    "parse_complete",
    "portal_suspended",
    "ready",
    "row_description",
]


def parse_complete() -> bytes:
    """ParseComplete."""
    return message("1")


def bind_complete() -> bytes:
    """BindComplete."""
    return message("2")


def close_complete() -> bytes:
    """CloseComplete."""
    return message("3")


def parameter_description(*types: int) -> bytes:
    """ParameterDescription with the types' OIDs."""
    return message("t", struct.pack(f"!H{len(types)}I", len(types), *types))


def row_description(*names: str) -> bytes:
    """RowDescription of text columns in text format."""
    fields = b"".join(name.encode() + b"\0" + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0) for name in names)
    return message("T", struct.pack("!h", len(names)) + fields)


def no_data() -> bytes:
    """NoData."""
    return message("n")


def data_row(*values: str | bytes | None) -> bytes:
    """DataRow."""
    body = struct.pack("!h", len(values))
    for value in values:
        raw = value.encode() if isinstance(value, str) else value
        body += struct.pack("!i", -1) if raw is None else struct.pack("!i", len(raw)) + raw
    return message("D", body)


def command_complete(tag: str) -> bytes:
    """CommandComplete."""
    return message("C", tag.encode() + b"\0")


def empty_query_response() -> bytes:
    """EmptyQueryResponse."""
    return message("I")


def portal_suspended() -> bytes:
    """PortalSuspended."""
    return message("s")


def ready(status: str = "I") -> bytes:
    """ReadyForQuery."""
    return message("Z", status.encode())


def error(
    text: str = "it failed", code: str = "22012", *, severity: str = "ERROR", extra: bytes = b""
) -> bytes:
    """ErrorResponse; ``extra`` are further fields, each with its letter and its zero byte."""
    return message("E", _report(severity, code, text) + extra + b"\0")


def fatal(text: str = "terminating connection due to administrator command", code: str = "57P01") -> bytes:
    """ErrorResponse that ends the session."""
    return error(text, code, severity="FATAL")


def notice(text: str = "by the way", severity: str = "NOTICE", code: str = "00000") -> bytes:
    """NoticeResponse."""
    return message("N", _report(severity, code, text) + b"\0")


def _report(severity: str, code: str, text: str) -> bytes:
    fields = (("S", severity), ("V", severity), ("C", code), ("M", text))
    return b"".join(letter.encode() + value.encode() + b"\0" for letter, value in fields)


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus."""
    return message("S", name.encode() + b"\0" + value.encode() + b"\0")


def notification(channel: str, payload: str = "", pid: int = 1) -> bytes:
    """NotificationResponse."""
    return message("A", struct.pack("!i", pid) + channel.encode() + b"\0" + payload.encode() + b"\0")


def backend_key_data(pid: int, secret: bytes) -> bytes:
    """BackendKeyData."""
    return message("K", struct.pack("!i", pid) + secret)


def function_call_response(value: bytes | None = None) -> bytes:
    """FunctionCallResponse."""
    return message("V", struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value)


def copy_in_response(columns: int = 1) -> bytes:
    """CopyInResponse in text format."""
    return message("G", _copy_formats(columns))


def copy_out_response(columns: int = 1) -> bytes:
    """CopyOutResponse in text format."""
    return message("H", _copy_formats(columns))


def copy_both_response() -> bytes:
    """CopyBothResponse, as START_REPLICATION answers."""
    return message("W", _copy_formats(0))


def _copy_formats(columns: int) -> bytes:
    formats: Sequence[int] = [0] * columns
    return struct.pack(f"!bh{columns}h", 0, columns, *formats)
