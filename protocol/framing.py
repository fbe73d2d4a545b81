"""Finding message boundaries, believing no length before it was checked.

``check_frontend_length`` is the one place that says how long a message of a client may be; the limits are
the server's own (``src/backend/tcop/postgres.c``, SocketBackend) where Holdgate sets none.
"""

import struct
from typing import Final

from .errors import FrontendViolation, UpstreamViolation
from .tags import FrontendTag

HEADER: Final = struct.Struct("!BI")
"""Tag and length; the length counts itself and the payload."""

HEADER_SIZE: Final = 5
SMALL_MESSAGE_LIMIT: Final = 10_000
LARGE_MESSAGE_LIMIT: Final = 0x3FFFFFFF
"""One byte less than 1 GiB: the most the server allocates for a message."""

_PAYLOAD_LIMITS: Final[dict[int, int]] = {
    # These have no payload. The server answers one with an error, after a Flush even one that skips to Sync.
    FrontendTag.FLUSH: 0,
    FrontendTag.SYNC: 0,
    FrontendTag.COPY_DONE: 0,
    FrontendTag.TERMINATE: SMALL_MESSAGE_LIMIT,
    FrontendTag.CLOSE: SMALL_MESSAGE_LIMIT,
    FrontendTag.DESCRIBE: SMALL_MESSAGE_LIMIT,
    FrontendTag.EXECUTE: SMALL_MESSAGE_LIMIT,
    FrontendTag.COPY_FAIL: SMALL_MESSAGE_LIMIT,
    FrontendTag.BIND: LARGE_MESSAGE_LIMIT,
    FrontendTag.COPY_DATA: LARGE_MESSAGE_LIMIT,
    FrontendTag.FUNCTION_CALL: LARGE_MESSAGE_LIMIT,
    FrontendTag.PARSE: LARGE_MESSAGE_LIMIT,
    FrontendTag.QUERY: LARGE_MESSAGE_LIMIT,
}


def check_frontend_length(tag: int, length: int) -> None:
    """Refuse a tag no client may send now, and a length the server would refuse.

    Raises ``FrontendViolation``: after either, message boundaries are lost and the connection must end.
    """
    limit = _PAYLOAD_LIMITS.get(tag)
    if limit is None:
        raise FrontendViolation(f"invalid frontend message type {tag}")
    if not 0 <= length - 4 <= limit:
        raise FrontendViolation("invalid message length")


def check_backend_length(tag: int, length: int) -> None:
    """Refuse a length no server sends. Raises ``UpstreamViolation``."""
    if length < 4 or length > LARGE_MESSAGE_LIMIT + 4:
        raise UpstreamViolation(f"the server sent message type {tag} with length {length}")
