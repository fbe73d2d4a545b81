"""Lengths: what the server would take is taken, what it would refuse is refused before it is believed."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FrontendViolation, UpstreamViolation
from protocol.framing import (
    HEADER,
    HEADER_SIZE,
    LARGE_MESSAGE_LIMIT,
    SMALL_MESSAGE_LIMIT,
    check_backend_length,
    check_frontend_length,
)
from protocol.tags import BackendTag, FrontendTag

EMPTY = (FrontendTag.FLUSH, FrontendTag.SYNC, FrontendTag.COPY_DONE)
SMALL = (
    FrontendTag.TERMINATE,
    FrontendTag.CLOSE,
    FrontendTag.DESCRIBE,
    FrontendTag.EXECUTE,
    FrontendTag.COPY_FAIL,
)
LARGE = (
    FrontendTag.BIND,
    FrontendTag.COPY_DATA,
    FrontendTag.FUNCTION_CALL,
    FrontendTag.PARSE,
    FrontendTag.QUERY,
)
LIMITS = {
    **dict.fromkeys(EMPTY, 0),
    **dict.fromkeys(SMALL, SMALL_MESSAGE_LIMIT),
    **dict.fromkeys(LARGE, LARGE_MESSAGE_LIMIT),
}


def test_limits_are_the_servers() -> None:
    # PQ_SMALL_MESSAGE_LIMIT and PQ_LARGE_MESSAGE_LIMIT of src/include/libpq/libpq.h (MaxAllocSize - 1).
    assert (SMALL_MESSAGE_LIMIT, LARGE_MESSAGE_LIMIT) == (10_000, 0x3FFFFFFF)


def test_a_header_is_a_tag_and_a_length() -> None:
    assert HEADER.unpack(b"Q\0\0\0\x04") == (ord("Q"), 4)
    assert HEADER.size == HEADER_SIZE


@pytest.mark.parametrize(("tag", "limit"), LIMITS.items())
def test_a_length_up_to_the_limit_is_taken(tag: FrontendTag, limit: int) -> None:
    check_frontend_length(tag, 4)
    check_frontend_length(tag, limit + 4)


@pytest.mark.parametrize(("tag", "limit"), LIMITS.items())
@pytest.mark.parametrize("length", [0, 3, "over", 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_length_beyond_is_refused(tag: FrontendTag, limit: int, length: int | str) -> None:
    with pytest.raises(FrontendViolation, match="invalid message length"):
        check_frontend_length(tag, limit + 5 if isinstance(length, str) else length)


@given(st.integers(0, 255).filter(lambda tag: tag not in LIMITS), st.integers(0, 0xFFFFFFFF))
def test_any_other_byte_is_no_message_of_a_client(tag: int, length: int) -> None:
    # A password among them: when messages are framed the login is over.
    with pytest.raises(FrontendViolation, match=f"invalid frontend message type {tag}$"):
        check_frontend_length(tag, length)


@given(st.sampled_from(BackendTag), st.integers(4, LARGE_MESSAGE_LIMIT + 4))
def test_a_length_of_the_server(tag: BackendTag, length: int) -> None:
    check_backend_length(tag, length)


@pytest.mark.parametrize("length", [0, 3, LARGE_MESSAGE_LIMIT + 5, 0xFFFFFFFF])
def test_a_length_no_server_sends(length: int) -> None:
    with pytest.raises(UpstreamViolation, match=f"message type 84 with length {length}"):
        check_backend_length(BackendTag.ROW_DESCRIPTION, length)


def test_lengths_are_unsigned() -> None:
    # CVE-2024-27304: a length that wraps makes several messages of one. Here none can be negative or wrap.
    assert HEADER.unpack(b"Q" + struct.pack("!i", -1))[1] == 0xFFFFFFFF
