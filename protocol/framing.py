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

_SMALL: Final = frozenset(
    int(tag)
    for tag in (
        FrontendTag.CLOSE,
        FrontendTag.DESCRIBE,
        FrontendTag.EXECUTE,
        FrontendTag.FLUSH,
        FrontendTag.SYNC,
        FrontendTag.TERMINATE,
        FrontendTag.COPY_DONE,
    )
)
_KNOWN: Final = _SMALL | frozenset(
    int(tag)
    for tag in (
        FrontendTag.BIND,
        FrontendTag.COPY_DATA,
        FrontendTag.COPY_FAIL,
        FrontendTag.FUNCTION_CALL,
        FrontendTag.PARSE,
        FrontendTag.QUERY,
    )
)


def check_frontend_length(tag: int, length: int) -> None:
    """Refuse a tag no client may send now, and a length the server would refuse.

    Raises ``FrontendViolation``: after either, message boundaries are lost and the connection must end.
    """
    if tag not in _KNOWN:
        raise FrontendViolation(f"invalid frontend message type {tag}")
    if length < 4 or length - 4 > (SMALL_MESSAGE_LIMIT if tag in _SMALL else LARGE_MESSAGE_LIMIT):
        raise FrontendViolation("invalid message length")


def check_backend_length(tag: int, length: int) -> None:
    """Refuse a length no server sends. Raises ``UpstreamViolation``."""
    if length < 4 or length > LARGE_MESSAGE_LIMIT + 4:
        raise UpstreamViolation(f"the server sent message type {tag} with length {length}")
