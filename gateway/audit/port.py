"""What a session needs of the audit, wherever its file is."""

from typing import Protocol

from gateway.audit.brief import Brief
from gateway.audit.record import AuditRecord

__all__ = ["AuditPort"]


class AuditPort(Protocol):
    """Where records go. All methods belong to the event loop's thread."""

    @property
    def healthy(self) -> bool:
        """Whether a statement may be let through: writing works, and not too much waits for the disk."""

    @property
    def failure(self) -> str | None:
        """Why nothing can be written, None where it can."""

    @property
    def redacts(self) -> bool:
        """Whether literals are left out of statements that nobody had to decide on."""

    def append(self, record: AuditRecord) -> None:
        """Record something that has happened. Never waits and never fails; see :attr:`healthy`."""

    def append_brief(self, brief: Brief) -> None:
        """``append`` for a statement that was allowed, to which nothing happened."""

    async def intent(self, record: AuditRecord) -> None:
        """Record something that is about to happen: it is on disk when this returns.

        Raises :class:`gateway.audit.AuditUnavailable`, and then it must not happen.
        """
