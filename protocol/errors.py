"""What can go wrong, and how it is told to a client.

``ProtocolViolation``
├── ``FrontendViolation``   the client broke the protocol; it is told and disconnected
└── ``UpstreamViolation``   the server broke the protocol; both sides are disconnected

Any other exception that leaves this package is a bug in it.
"""

from dataclasses import dataclass, field

from . import sqlstate


class ProtocolViolation(Exception):
    """Bytes that the protocol does not allow here. ``sqlstate`` is what the peer is told."""

    def __init__(
        self, message: str, *, sqlstate: str = sqlstate.PROTOCOL_VIOLATION, detail: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.detail = detail


class FrontendViolation(ProtocolViolation):
    """The client broke the protocol."""


class UpstreamViolation(ProtocolViolation):
    """The server broke the protocol."""


@dataclass(frozen=True, slots=True)
class ServerError:
    """The fields of an ErrorResponse or NoticeResponse that Holdgate writes itself.

    Source: PostgreSQL documentation, "Error and Notice Message Fields". ``extra`` holds further fields by
    their one-letter code.
    """

    sqlstate: str
    message: str
    detail: str = ""
    hint: str = ""
    severity: str = "ERROR"
    extra: dict[str, str] = field(default_factory=dict)

    @classmethod
    def notice(cls, message: str, *, detail: str, hint: str = "") -> "ServerError":
        """Something a client is told while its statement goes on."""
        return cls(sqlstate.WARNING, message, detail, hint, severity="NOTICE")
