"""Who has a say in a hold, and what their word does to it: stages, quorums, deputies, escalation.

Nothing here is kept: where a hold stands follows from its stages, its decisions and the time alone, so every
gateway sees the same, and sees it again after a restart.
"""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.config.model import Role
from gateway.hold_terms import AlreadyDecided, NotAllowed
from gateway.people import same_person
from gateway.store import Decision, Hold, HoldState, Standing

__all__ = ["Voter", "after", "has_say", "next_escalation", "open_groups", "seat"]


@dataclass(frozen=True, slots=True)
class Voter:
    """Somebody at the management port. ``absent`` are those they stand in for today, with their groups."""

    name: str
    groups: Collection[str]
    roles: Collection[str]
    absent: Mapping[str, Collection[str]]


def open_groups(hold: Hold, now: datetime) -> tuple[str, ...]:
    """The groups that may approve at ``now``; none: everybody with the role approver."""
    standing = hold.standing
    return () if standing is None else standing.groups(now)


def next_escalation(hold: Hold, announced: Container[int]) -> Standing | None:
    """The stage that waits, if it will escalate or has, and is not among ``announced``."""
    standing = hold.standing
    if standing is None or standing.escalates_at is None or standing.number in announced:
        return None
    return standing


def seat(hold: Hold, voter: Voter, now: datetime, *, approve: bool) -> tuple[int, str | None]:
    """The stage in which a word of ``voter`` counts now, and whom they stand in for, None where for nobody.

    Whoever has a say in any stage may reject at any time. Raises :class:`NotAllowed`, and
    :class:`AlreadyDecided` where a person would count twice.
    """
    if Role.APPROVER not in voter.roles:
        raise NotAllowed("deciding takes the role approver")
    if same_person(voter.name, hold.user):
        raise NotAllowed("nobody decides about their own statement")
    standing = hold.standing
    if standing is None:
        return len(hold.stages) - 1, None
    groups = standing.groups(now)
    if approve:
        return standing.number, _free_seat(hold, standing, groups, voter)
    everywhere = (groups, *(one.stage.all_groups for one in hold.standings))
    for some in everywhere:
        as_whom = _as_whom(hold, some, voter)
        if as_whom:
            return standing.number, as_whom[0]
    raise NotAllowed(_who_may(hold, dict.fromkeys(group for some in everywhere for group in some)))


def has_say(hold: Hold, voter: Voter) -> None:
    """Raises :class:`NotAllowed` for whoever is asked in no stage of a hold, and for whoever asked."""
    if Role.APPROVER not in voter.roles:
        raise NotAllowed("deciding takes the role approver")
    if same_person(voter.name, hold.user):
        raise NotAllowed("nobody decides about their own statement")
    if not any(_as_whom(hold, stage.all_groups, voter) for stage in hold.stages):
        raise NotAllowed(_who_may(hold, hold.approval_groups))


def after(hold: Hold, decision: Decision) -> HoldState:
    """The state of a pending hold once ``decision`` is the next of its decisions."""
    if decision.verdict != "approve":
        return HoldState.REJECTED
    standing = hold.standing
    if standing is None or standing.number < len(hold.stages) - 1 or standing.missing > 1:
        return HoldState.PENDING
    return HoldState.APPROVED


def _free_seat(hold: Hold, standing: Standing, groups: Collection[str], voter: Voter) -> str | None:
    as_whom = _as_whom(hold, groups, voter)
    if not as_whom:
        raise NotAllowed(_who_may(hold, groups))
    counted = [
        one
        for one in hold.decisions
        if one.verdict == "approve" and (not standing.stage.repeat or one.stage == standing.number)
    ]
    taken = {one.who for one in counted} | {one.deputy_for for one in counted}
    if voter.name in taken:
        raise AlreadyDecided(f"{voter.name} has approved {hold.id} before; one person counts once", hold)
    for one in as_whom:
        if one is None or one not in taken:
            return one
    raise AlreadyDecided(f"{as_whom[0]} has approved {hold.id} before; one person counts once", hold)


def _as_whom(hold: Hold, groups: Collection[str], voter: Voter) -> list[str | None]:
    """In whose name ``voter`` may speak for one of ``groups``: None is their own, and comes first."""
    if not groups or not set(groups).isdisjoint(voter.groups):
        return [None]
    return [
        name
        for name, theirs in sorted(voter.absent.items())
        if not same_person(name, hold.user) and not set(groups).isdisjoint(theirs)
    ]


def _who_may(hold: Hold, groups: Collection[str]) -> str:
    return f"deciding {hold.id} takes a member of {' or '.join(groups)}"
