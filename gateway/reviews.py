"""What ran without an approval has to be looked at afterwards, by somebody else."""

from gateway.audit import AuditLog, AuditUnavailable, Kind
from gateway.bus import Bus
from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.hold_records import hold_record
from gateway.hold_terms import HoldNotFound, InvalidReason, ReviewClosed, checked_reason
from gateway.store import Hold, HoldStore, Review
from gateway.voting import Voter, has_say

__all__ = ["Reviews"]


class Reviews:
    """Closes the reviews of holds whose requester broke the glass. Raises :class:`StoreUnavailable`."""

    def __init__(self, store: HoldStore, bus: Bus, audit: AuditLog, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._store = store
        self._bus = bus
        self._audit = audit
        self._clock = clock

    async def unreviewed(self) -> list[Hold]:
        """The holds whose review is open, the oldest first."""
        return await self._store.unreviewed()

    async def close(self, hold_id: str, voter: Voter, note: str | None) -> Hold:
        """Close a review with what was found; only somebody who could have decided may.

        Raises :class:`HoldNotFound`, :class:`NotAllowed`, :class:`InvalidReason`, :class:`ReviewClosed` and
        :class:`AuditUnavailable`.
        """
        hold = await self._store.hold(hold_id)
        if hold is None:
            raise HoldNotFound(f"there is no hold {hold_id[:40]!a}")
        has_say(hold, voter)
        text = checked_reason(note, required=False)
        if not text:
            raise InvalidReason("a review says what was found")
        if not self._audit.healthy:
            raise AuditUnavailable("nothing can be reviewed while the audit cannot be written")
        review = Review(voter.name, text, self._clock.now())
        if not await self._store.review_hold(hold_id, review):
            raise ReviewClosed(hold)
        hold = await self._store.hold(hold_id) or hold
        record = hold_record(hold, Kind.DECISION, "reviewed", reason=text)
        record.at, record.approved_by = review.at, (review.who,)
        await self._audit.intent(record)
        self._bus.publish("hold.reviewed", hold.to_dict())
        return hold
