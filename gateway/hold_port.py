"""What a session needs of the holds, wherever their store is. Plain values both ways."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from gateway.audit import AuditUnavailable
from gateway.hold_terms import (
    ClaimRefused,
    ConflictingHold,
    HoldNotFound,
    HoldRequest,
    HoldsFull,
    MustWaitFor,
    RuleVerdict,
)
from gateway.people import Person
from gateway.store import Hold, HoldState, Place, StoreUnavailable
from rules import Demand

__all__ = ["HOLD_ERRORS", "HoldPort"]

HOLD_ERRORS: Final[tuple[type[Exception], ...]] = (
    HoldsFull,
    HoldNotFound,
    ClaimRefused,
    ConflictingHold,
    MustWaitFor,
    StoreUnavailable,
    AuditUnavailable,
)
"""What these methods raise."""


class HoldPort(Protocol):
    """The session's side of :class:`gateway.holds.Holds`, which says what each method does."""

    async def open(self, request: HoldRequest) -> Hold: ...
    async def ticket(self, request: HoldRequest) -> Hold: ...
    async def wait(self, hold_id: str) -> Hold: ...
    async def moved(self, hold_id: str) -> Hold: ...
    async def pending_of(self, user: str) -> Sequence[Hold]: ...
    async def end(self, hold_id: str, state: HoldState, reason: str) -> Hold: ...
    async def checked(
        self, hold_id: str, criteria: Sequence[Mapping[str, object]], verdict: RuleVerdict, reason: str
    ) -> Hold: ...
    async def claim(self, hold_id: str, digest: str) -> Hold: ...
    async def line_up(
        self, entry: str, hold_id: str, demands: Sequence[Demand], since: datetime, at_once: bool
    ) -> Place | None: ...
    async def advanced(self, entry: str, at: int) -> Place | None: ...
    async def leave(self, entry: str, began: bool) -> None: ...
    async def in_turn(self, hold_id: str) -> str | None: ...
    async def stirred(self) -> None: ...
    async def grant_problem(self, grant_id: str) -> str | None: ...
    async def approver(self, name: str) -> Person | None: ...
    async def record_outcome(
        self, hold_id: str, tag: str | None, rows: int | None, sqlstate: str | None, duration_ms: float | None
    ) -> None: ...
    async def keep_impact(self, hold_id: str, impact: Mapping[str, object]) -> None: ...
