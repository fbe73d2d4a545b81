"""Whose sessions wait in this process, and who is told when that changes."""

import asyncio
import contextlib
from typing import Final

from gateway.audit import AuditLog, Kind
from gateway.bus import RESET, Bus, Event
from gateway.hold_records import hold_record
from gateway.store import Hold, HoldState

__all__ = ["HoldBook", "Waiter"]


STIR_SECONDS: Final = 1.0
"""How late the end of another hold may be noticed of which nothing was heard."""

_ENDINGS: Final = ("hold.resolved", "hold.outcome", RESET)


class Waiter:
    """A hold whose session is in this process."""

    __slots__ = ("at_once", "escalated", "hold", "left", "moved", "opened", "resolved", "timer")

    def __init__(self, hold: Hold, at_once: str | None = None) -> None:
        self.hold = hold
        # How it is approved without anybody being asked, None where people are.
        self.at_once = at_once
        self.opened = False
        self.left = False
        self.resolved = asyncio.Event()
        self.moved = asyncio.Event()
        self.escalated: set[int] = set()
        self.timer: asyncio.Task[None] | None = None


class HoldBook:
    """The holds whose sessions are in this process. Nothing here decides: it carries the news."""

    def __init__(self, bus: Bus, audit: AuditLog) -> None:
        self._bus = bus
        self._audit = audit
        self._waiting: dict[str, Waiter] = {}
        self._stir = asyncio.Event()
        bus.listen(self._heard)

    async def stirred(self) -> None:
        """Until a hold, of this gateway or another, may have ended: at once when one is heard of, and otherwise every
        ``STIR_SECONDS``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STIR_SECONDS):
                await self._stir.wait()

    def _heard(self, event: Event) -> None:
        if event.kind in _ENDINGS:
            self._stir.set()
            self._stir = asyncio.Event()

    @property
    def pending(self) -> int:
        """How many statements wait for a decision in this process."""
        return sum(entry.hold.state is HoldState.PENDING for entry in self._waiting.values())

    def waiting(self) -> list[str]:
        """The ids of the holds whose sessions wait here for a decision."""
        return [hold_id for hold_id, entry in self._waiting.items() if not entry.resolved.is_set()]

    def settle(self, hold: Hold, *, elsewhere: bool = False) -> None:
        """The store says so: tell the session that waits, and everybody else."""
        self._release(hold)
        if hold.state not in (HoldState.APPROVED, HoldState.REJECTED):
            self._audit.append(hold_record(hold, Kind.HOLD, hold.state.value, reason=hold.end_reason))
        self._publish("hold.resolved", hold, elsewhere=elsewhere)

    def _release(self, hold: Hold) -> None:
        entry = self._waiting.get(hold.id)
        if entry is None:
            return
        entry.hold = hold
        entry.resolved.set()
        if entry.timer is not None and entry.timer is not asyncio.current_task():
            entry.timer.cancel()
        if not hold.open:
            del self._waiting[hold.id]

    def _move(self, hold: Hold, event: str, *, elsewhere: bool = False) -> None:
        """The hold waits for other people than before."""
        entry = self._waiting.get(hold.id)
        if entry is not None and not entry.resolved.is_set():
            entry.hold = hold
            entry.moved.set()
            entry.moved = asyncio.Event()
        self._publish(event, hold, elsewhere=elsewhere)

    def _publish(self, event: str, hold: Hold, *, elsewhere: bool) -> None:
        self._bus.publish(event, {**hold.to_dict(), **({"elsewhere": True} if elsewhere else {})})
