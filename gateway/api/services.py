"""What the management port needs of the gateway: ports that take and give plain values."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.audit import AuditLog
from gateway.bus import Bus
from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.config import Config
from gateway.grants import Grants
from gateway.holds import Holds
from gateway.passkeys import Passkeys
from gateway.people import People
from gateway.reviews import Reviews
from gateway.store import OutboxStore
from gateway.tokens import Tokens
from gateway.totp import Totp
from rules import Explanation

__all__ = ["Authenticate", "Check", "Readiness", "Services", "SessionView", "Sessions"]


class SessionView(Protocol):
    """One client session as people see it."""

    @property
    def id(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def groups(self) -> Sequence[str]: ...
    @property
    def database(self) -> str: ...
    @property
    def client_addr(self) -> str | None: ...
    @property
    def application_name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def started_at(self) -> datetime: ...
    @property
    def transaction_status(self) -> str | None: ...
    @property
    def current_sql(self) -> str | None: ...
    @property
    def hold_id(self) -> str | None: ...
    @property
    def backend_pid(self) -> int | None: ...


class Sessions(Protocol):
    """The client sessions of this gateway."""

    async def list(self) -> Sequence[SessionView]:
        """All of them, now."""

    async def kill(self, session_id: str, by: str, /) -> bool:
        """End one for ``by``; false when there is none with this id."""


Authenticate = Callable[[str, str], Awaitable[bool]]
"""Whether this user has this password. Does the slow hashing off the loop, and takes as long and looks the
same for a user who does not exist."""

Check = Callable[[str, str | None, str | None], Awaitable[Explanation]]
"""Judge SQL as this user (None: a stranger) on this database (None: unnamed), without running anything."""

Readiness = Callable[[], Awaitable[Sequence[str]]]
"""Why the gateway cannot serve now, one line for each reason; empty when it can."""


RenderMetrics = Callable[[], Awaitable[tuple[bytes, str]]]
"""The exposition text of all metrics as they are now, and its content type."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a gateway behind its management port. ``config`` is asked each time: it may reload."""

    config: Callable[[], Config]
    holds: Holds
    reviews: Reviews
    grants: Grants
    audit: AuditLog
    bus: Bus
    metrics: RenderMetrics
    sessions: Sessions
    tokens: Tokens
    people: People
    totp: Totp
    passkeys: Passkeys
    outbox: OutboxStore
    authenticate: Authenticate
    check: Check
    readiness: Readiness
    clock: Clock = SYSTEM_CLOCK
