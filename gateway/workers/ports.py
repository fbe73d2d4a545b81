"""What a supervisor and its workers ask of each other, beside holds and seats."""

from dataclasses import dataclass
from typing import Final, Protocol

from gateway.audit import AuditUnavailable
from gateway.catalog import Copy, Place
from gateway.metrics import Family
from gateway.session import SessionInfo
from gateway.sockets import ListenerError
from gateway.tls import TlsError

__all__ = ["RECORD_ERRORS", "WORKER_ERRORS", "OthersPort", "RecordPort", "Settings", "WorkerPort"]

RECORD_ERRORS: Final[tuple[type[Exception], ...]] = (AuditUnavailable,)

WORKER_ERRORS: Final[tuple[type[Exception], ...]] = (ListenerError, TlsError)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker begins with: the configuration's file and the text that is in force, whatever the file holds by
    now, ``secret`` of :class:`gateway.front.Front`, and the copies of personal data that others have heard of."""

    path: str
    text: str
    secret: bytes
    copies: tuple[tuple[Place, tuple[Copy, ...]], ...] = ()


class RecordPort(Protocol):
    """The audit's file, for a worker. See the methods of :class:`gateway.audit.AuditLog`."""

    async def take(self, records: list[str]) -> None: ...
    async def take_intent(self, record: str) -> None: ...
    async def recovered(self) -> None:
        """Until it can be written again."""


class OthersPort(Protocol):
    """The other workers, for one of them."""

    async def cancel(self, pid: int, secret: bytes) -> bool:
        """Cancel a session of another worker; False when nobody has this key."""

    def definitions_changed(self, place: Place) -> None:
        """A definition of a database may have changed."""

    def copies_made(self, place: Place, copies: tuple[Copy, ...]) -> None:
        """Copies of personal data are about to be made."""


class WorkerPort(Protocol):
    """One worker, for the supervisor."""

    async def start(self, settings: Settings) -> None:
        """Accept clients when this returns. Raises one of :data:`WORKER_ERRORS`."""

    async def reload(self, text: str) -> None:
        """Take another configuration. Raises as ``start`` does, and then the old one is still in force."""

    async def stop(self, grace: float) -> None:
        """Take no new sessions, end those there are within ``grace`` seconds, hand over the last records."""

    async def sessions(self) -> list[SessionInfo]:
        """Its sessions as they stand."""

    async def kill(self, session_id: str, by: str) -> bool:
        """End one of them for ``by``; False when there is none of this id."""

    async def cancel(self, pid: int, secret: bytes) -> bool:
        """Cancel one of them; False when it has no such key."""

    async def families(self) -> list[Family]:
        """Its metrics as they are now."""

    def definitions_changed(self, place: Place) -> None:
        """Another worker saw a definition change."""

    def copies_made(self, place: Place, copies: tuple[Copy, ...]) -> None:
        """Another worker lets copies of personal data be made."""
