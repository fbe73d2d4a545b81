"""Who may release a hold: stages in order, each with its groups, a quorum and an escalation."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from rules.criteria import Criterion

__all__ = [
    "CONFIRMS",
    "DEFAULT_EXPIRY",
    "NO_MARGIN",
    "STEP_UPS",
    "Approval",
    "Confirm",
    "Escalation",
    "GrantLimits",
    "Margin",
    "Stage",
    "joined",
    "unmet",
]

DEFAULT_EXPIRY: Final = 15 * 60.0
"""Seconds that a hold waits where nothing else was said."""

STEP_UPS: Final = ("totp", "passkey")
"""How an approver can prove, at that moment, that they are not just a browser that was left open."""


Confirm = Literal["second-factor", "email"]
CONFIRMS: Final[tuple[Confirm, ...]] = ("second-factor", "email")
"""How whoever asks says that it is they, and that they mean it, before anybody else is asked; the surer way first."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """Groups that may decide too, ``after`` so many seconds in which the stage was not finished."""

    groups: tuple[str, ...]
    after: float


@dataclass(frozen=True, slots=True)
class Stage:
    """``quorum`` distinct people of any of ``groups`` (none: of everybody with the role approver) have to approve.

    ``repeat``: somebody who approved an earlier stage may approve this one too. ``step_up``: each has to prove anew
    who they are, in one of these ways; none where being signed in is enough.
    """

    groups: tuple[str, ...] = ()
    quorum: int = 1
    escalation: Escalation | None = None
    repeat: bool = False
    step_up: tuple[str, ...] = ()

    @property
    def all_groups(self) -> tuple[str, ...]:
        """The groups that may decide in the end; none: everybody with the role approver."""
        if not self.groups or self.escalation is None:
            return self.groups
        return tuple(dict.fromkeys((*self.groups, *self.escalation.groups)))


@dataclass(frozen=True, slots=True)
class Margin:
    """How many rows more than a preview counted an approval is for: ``percent`` of them, rounded up, or ``rows``,
    whichever is more."""

    percent: int = 0
    rows: int = 0

    def over(self, counted: int) -> int:
        """The rows that an approval is for, of so many that were counted."""
        return counted + max(self.rows, -(-counted * self.percent // 100))


NO_MARGIN: Final = Margin()


@dataclass(frozen=True, slots=True)
class GrantLimits:
    """What an approver may grant beyond one statement: more of the same shape for ``max_for`` seconds, and no more than
    ``max_uses`` of them; None: as many as there are."""

    max_for: float
    max_uses: int | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What a hold takes: each of ``stages``, one after the other, within ``expires`` seconds; and ``margin``, by which
    what it changes may be more than was previewed. ``hold``: whether the session waits, or the statement fails at once
    and runs when it is sent again; None: as the identity says."""

    stages: tuple[Stage, ...] = (Stage(),)
    expires: float = DEFAULT_EXPIRY
    margin: Margin = NO_MARGIN
    break_glass: tuple[str, ...] = ()
    """Groups whose members may let it run at once, and be reviewed afterwards."""
    criteria: tuple["Criterion", ...] = ()
    """If there are any and all are met, nobody is asked."""
    hold: Literal["wait", "ticket"] | None = None
    grants: GrantLimits | None = None
    """Whether an approver may grant more of the same shape."""
    confirm: Confirm | None = None
    """How whoever asks confirms it before people are asked, None where they need not."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group that may have a say, once; none: anyone with the role approver."""
        return tuple(dict.fromkeys(group for stage in self.stages for group in stage.all_groups))


_HOLDS: Final[tuple[Literal["wait", "ticket"], ...]] = ("wait", "ticket")


def joined(approvals: Sequence[Approval]) -> Approval:
    """What a hold takes that several rules ask for: the stages of each, but for those that others make needless.

    Whoever approved for one rule may approve for the next. The shortest wait and margin count, the glass may be
    broken only by those who may for each, the session waits if one of them says so, and of several ways to confirm it
    takes the surest.
    """
    first, *others = approvals
    stages = list(first.stages)
    for other in others:
        if other.stages == first.stages:
            continue
        begin, *more = other.stages
        if more or not any(_implies(one, begin) for one in stages):
            stages += [replace(begin, repeat=True), *more]
    return Approval(
        tuple(stages),
        min(one.expires for one in approvals),
        Margin(min(one.margin.percent for one in approvals), min(one.margin.rows for one in approvals)),
        tuple(group for group in first.break_glass if all(group in one.break_glass for one in others)),
        hold=next((word for word in _HOLDS if any(one.hold == word for one in approvals)), None),
        grants=_least([one.grants for one in approvals]),
        confirm=next((way for way in CONFIRMS if any(one.confirm == way for one in approvals)), None),
    )


def _least(limits: Sequence[GrantLimits | None]) -> GrantLimits | None:
    """What each of them lets be granted."""
    known = [one for one in limits if one is not None]
    if len(known) < len(limits):
        return None
    uses = [one.max_uses for one in known if one.max_uses is not None]
    return GrantLimits(min(one.max_for for one in known), min(uses, default=None))


def _implies(done: Stage, wanted: Stage) -> bool:
    """Whether nobody is left to be asked for ``wanted`` once ``done`` is finished."""
    if done.quorum < wanted.quorum:
        return False
    if wanted.step_up and (not done.step_up or not set(done.step_up) <= set(wanted.step_up)):
        return False
    return not wanted.groups or (bool(done.groups) and set(done.all_groups) <= set(wanted.groups))


def unmet(stages: Sequence[Stage], members: Mapping[str, Collection[str]]) -> int | None:
    """The first stage that cannot be finished whoever of ``members`` approves what, None where all can.

    ``members`` are the people of each group. A stage without groups is taken to find its people. One person counts
    once in a stage, and in one stage only unless it says ``repeat``.
    """
    seats: list[tuple[int, frozenset[str]]] = []
    seated: dict[str, int] = {}
    for number, stage in enumerate(stages):
        if not stage.groups:
            continue
        people = frozenset(one for group in stage.all_groups for one in members.get(group, ()))
        if stage.repeat:
            if len(people) < stage.quorum:
                return number
            continue
        for _ in range(stage.quorum):
            seats.append((number, people))
            if not _seat(len(seats) - 1, seats, seated, set()):
                return number
    return None


def _seat(
    seat: int, seats: Sequence[tuple[int, frozenset[str]]], seated: dict[str, int], tried: set[str]
) -> bool:
    """Find somebody for a seat, moving others to another one where that helps (an augmenting path)."""
    for person in sorted(seats[seat][1] - tried):
        tried.add(person)
        if person not in seated or _seat(seated[person], seats, seated, tried):
            seated[person] = seat
            return True
    return False
