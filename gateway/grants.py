"""Grants: an approver allows more statements of a shape, to the same user, for a time, a number of uses or rows.

A grant is no permission of its own. Each use opens a hold, which is approved in the name of those who granted it, so
that it is counted, recorded and checked again at its release as any other. It is worth what their approval is worth at
that moment: it ends with an approver, with the requester's groups, with what the rule says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.audit import AuditLog, AuditUnavailable, Kind
from gateway.bus import Bus
from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.hold_records import hold_record
from gateway.hold_terms import GrantNotFound, GrantOver, InvalidGrant, checked_reason
from gateway.ids import Ulids
from gateway.people import People, Person
from gateway.store import (
    BY_GRANT,
    Decision,
    GrantRecord,
    GrantStore,
    GrantTerms,
    Hold,
    HoldState,
    HoldStore,
)
from gateway.validity import void

__all__ = ["GrantView", "Grants", "checked_terms"]


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant as people see it: ``state`` is active, used up, expired, revoked or void, and ``why`` says more."""

    grant: GrantRecord
    state: str
    why: str | None

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {**self.grant.to_dict(), "state": self.state, "why": self.why}


class _Store(HoldStore, GrantStore, Protocol):
    """What of a store grants need."""


def checked_terms(hold: Hold, terms: GrantTerms, step_up: Sequence[str]) -> GrantTerms:
    """What an approver grants with an approval of the hold. Raises :class:`InvalidGrant`."""
    limits = hold.grantable
    if limits is None:
        raise InvalidGrant(
            "nothing can be granted here: its rule allows no grants, or it does more than rows"
        )
    if "passkey" in step_up:
        raise InvalidGrant("a passkey signs this statement and no others, so it cannot grant them")
    if not 0 < terms.seconds <= limits.max_for:
        raise InvalidGrant(f"a grant is for at most {limits.max_for:.0f} s here")
    uses = limits.max_uses if terms.uses is None else terms.uses
    if uses is not None and (uses < 1 or (limits.max_uses is not None and uses > limits.max_uses)):
        raise InvalidGrant(f"a grant is for 1 to {limits.max_uses or 'any number of'} uses here")
    if terms.rows is not None and terms.rows < 1:
        raise InvalidGrant("a grant is for at least one row")
    if terms.rows is not None and hold.uncounted is not None:
        raise InvalidGrant(f"rows cannot be counted here: {hold.uncounted}")
    return GrantTerms(terms.seconds, uses, terms.rows)


class Grants:
    """Makes, finds, uses and revokes grants. Methods raise :class:`StoreUnavailable`."""

    def __init__(
        self,
        store: _Store,
        people: People,
        bus: Bus,
        audit: AuditLog,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._people = people
        self._bus = bus
        self._audit = audit
        self._clock = clock
        self._ids = Ulids(clock)

    async def made(self, hold: Hold, last: Decision) -> GrantRecord | None:
        """The grant that ``last`` completes, as the approval of a pending hold; None where somebody grants nothing."""
        approved = (*hold.decisions, last)
        complete = replace(hold, state=HoldState.APPROVED, decisions=approved)
        terms, limits = complete.granted, hold.grantable
        if terms is None or limits is None:
            return None
        person = await self._people.find(hold.user)
        free = limits.bounded or complete.max_rows is not None
        return GrantRecord(
            id=f"G-{self._ids.next()}",
            hold_id=hold.id,
            user=hold.user,
            database=hold.database,
            role=limits.role,
            groups=hold.groups,
            known=person is not None,
            shape=limits.free if free else limits.exact,
            text=limits.text if free else limits.same,
            rules=limits.rules,
            binding=limits.binding,
            approved_by=tuple(dict.fromkeys(one.who for one in approved)),
            created_at=last.at,
            expires_at=last.at + terms.duration,
            uses=terms.uses,
            rows=terms.rows,
            max_rows=complete.max_rows,
        )

    async def fitting(self, hold: Hold) -> list[GrantRecord]:
        """The grants that a pending hold could be approved by now."""
        limits = hold.grantable
        if limits is None:
            return []
        found = await self._store.grants_for(hold.user, (limits.free, limits.exact), self._clock.now())
        fitting: list[GrantRecord] = []
        for grant in found:
            if hold.uncounted is not None and (grant.rows, grant.max_rows) != (None, None):
                continue
            if await self._void(grant) is None:
                fitting.append(grant)
        return fitting

    async def decisions(self, grant: GrantRecord) -> list[Decision]:
        """What those who granted it say of each use."""
        source = await self._store.hold(grant.hold_id)
        said = f"grant {grant.id}, given with {grant.hold_id}"
        return [
            Decision(
                *(one.who, "approve", said, self._clock.now(), BY_GRANT),
                stage=one.stage,
                deputy_for=one.deputy_for,
                max_rows=grant.max_rows,
            )
            for one in (source.decisions if source is not None else ())
            if one.verdict == "approve"
        ]

    async def problem(self, grant_id: str) -> str | None:
        """Why what was approved by a grant may not run now, None where it may: a use that was counted stays good."""
        grant = await self._store.grant(grant_id)
        if grant is None or grant.revoked_at is not None:
            return f"grant {grant_id} was revoked"
        return await self._void(grant)

    async def list(self) -> list[GrantView]:
        """All grants, the newest first."""
        views: list[GrantView] = []
        for grant in await self._store.grants():
            state = grant.over(self._clock.now())
            why = None if state is not None else await self._void(grant)
            views.append(GrantView(grant, state or ("active" if why is None else "void"), why))
        return views

    async def revoke(self, grant_id: str, who: str, reason: str | None) -> GrantView:
        """Let a grant be of no more use. What it approved and does not run yet is void.

        Raises :class:`GrantNotFound`, :class:`GrantOver`, :class:`InvalidReason` and :class:`AuditUnavailable`.
        """
        grant = await self._store.grant(grant_id)
        if grant is None:
            raise GrantNotFound(f"there is no grant {grant_id[:40]!a}")
        text = checked_reason(reason, required=False)
        if not self._audit.healthy:
            raise AuditUnavailable("nothing can be revoked while the audit cannot be written")
        now = self._clock.now()
        if not await self._store.revoke_grant(grant_id, who, text, now):
            raise GrantOver(f"{grant_id} was revoked before")
        hold = await self._store.hold(grant.hold_id)
        if hold is not None:
            record = hold_record(hold, Kind.DECISION, "grant revoked", reason=text)
            record.at, record.approved_by = now, (who,)
            record.details["grant_id"] = grant_id
            await self._audit.intent(record)
        self._bus.publish("grant.revoked", {"id": grant_id, "by": who})
        return GrantView(await self._store.grant(grant_id) or grant, "revoked", text or None)

    async def _void(self, grant: GrantRecord) -> str | None:
        """What has ended since it was granted: an identity, a group, an approver, a rule. None: nothing."""
        config = self._people.config
        if config.policy.binding(grant.rules) != grant.binding:
            return "the rule changed"
        person = await self._people.find(grant.user)
        if grant.known and (person is None or not person.enabled):
            return f"user {grant.user} is no longer known or enabled"
        groups = config.groups_of(grant.user) if person is None else person.groups
        lost = set(grant.groups) - groups
        if lost:
            return f"user {grant.user} is no longer in {', '.join(sorted(lost))}"
        source = await self._store.hold(grant.hold_id)
        if source is None:
            return "the approval that it came with is gone"
        for decision in source.decisions:
            names = filter(None, (decision.who, decision.deputy_for))
            people: dict[str, Person | None] = {name: await self._people.find(name) for name in names}
            why = void(config, source, decision, people)
            if why is not None:
                return why
        return None
