"""How holds end: by their sessions, by their time, and when the store does not answer."""

import asyncio
import dataclasses
import logging
from typing import Final, Protocol

from gateway.audit import AuditLog
from gateway.bus import Bus
from gateway.clock import Clock
from gateway.hold_book import HoldBook
from gateway.hold_terms import HoldNotFound
from gateway.owed import Owed
from gateway.store import GrantStore, Hold, HoldState, HoldStore, PlaceStore, StoreUnavailable

__all__ = ["RETRY_SECONDS", "HoldEnds", "Store"]

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0


class Store(HoldStore, GrantStore, PlaceStore, Protocol):
    """What of a store holds need."""


class HoldEnds(HoldBook):
    """The holds of this process and the store that settles who wins: whatever ends one comes here."""

    def __init__(
        self, store: Store, bus: Bus, audit: AuditLog, *, clock: Clock, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        super().__init__(bus, audit)
        self._store = store
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._owed = Owed(retry_seconds)

    async def get(self, hold_id: str) -> Hold:
        """The hold. Raises :class:`HoldNotFound`."""
        hold = await self._store.hold(hold_id)
        if hold is None:
            raise HoldNotFound(f"there is no hold {hold_id[:40]!a}")
        return hold

    async def _end(self, hold_id: str, state: HoldState, reason: str) -> Hold:
        async def store_end() -> Hold:
            won = await self._store.end_hold(hold_id, state, self._clock.now(), reason)
            hold = await self.get(hold_id)
            if won:
                self.settle(hold)
            return hold

        hold = await self._owed.now_or_later(store_end, f"end of {hold_id}")
        if hold is not None:
            return hold
        entry = self._waiting.get(hold_id)
        if entry is None:
            raise StoreUnavailable(f"the end of {hold_id} will be stored when the store answers again")
        ended = dataclasses.replace(entry.hold, state=state, end_reason=reason)
        self._release(ended)
        return ended

    async def _expire(self, hold: Hold) -> None:
        while True:
            try:
                await self._expired(hold.id)
                return
            except StoreUnavailable as error:
                # The client need not wait for the store. Nothing can run: that takes the store's consent.
                logger.error("%s expired but that could not be stored: %s", hold.id, error)
                self._release(dataclasses.replace(hold, state=HoldState.EXPIRED))
                await asyncio.sleep(self._retry_seconds)

    async def _expired(self, hold_id: str) -> None:
        won = await self._store.expire_hold(hold_id, self._clock.now())
        hold = await self._store.hold(hold_id)
        if won and hold is not None:
            self.settle(hold)

    async def _expired_by_now(self, hold_id: str) -> None:
        hold = await self.get(hold_id)
        if hold.state is HoldState.PENDING and hold.expires_at <= self._clock.now():
            await self._expired(hold_id)
