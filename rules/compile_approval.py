"""``approval`` of a rule or of the policy: from its mapping to an Approval that people can meet."""

import re
from collections.abc import Mapping, Set
from typing import Final

from rules.approval import (
    CONFIRMS,
    DEFAULT_EXPIRY,
    NO_MARGIN,
    STEP_UPS,
    Approval,
    Confirm,
    Escalation,
    GrantLimits,
    Margin,
    Stage,
    unmet,
)
from rules.mapping import Path, Reading

__all__ = ["ApprovalReading", "known_members"]

_STAGE_KEYS: Final = ("from", "quorum", "escalate", "repeat", "step_up")
_SHORT_KEYS: Final = ("from", "quorum", "escalate", "step_up")
"""What may stand beside ``expires``, where one stage is all."""
_WHOLE_KEYS: Final = ("expires", "margin", "break_glass", "grants", "confirm")
_GRANT_KEYS: Final = ("max_for", "max_uses")
_ESCALATION_KEYS: Final = ("to", "after")
_PERCENT: Final = re.compile(r"([0-9]{1,5}) ?%")
MAX_MARGIN: Final = 10**12
MAX_QUORUM: Final = 100
MAX_STAGES: Final = 20
MAX_GRANT: Final = 30 * 86400.0
MAX_USES: Final = 1_000_000


def known_members(groups: object, users: object) -> dict[str, frozenset[str]]:
    """The people of each group that ``groups``, or any of ``users`` by its ``groups``, names."""
    members: dict[str, set[str]] = {}
    if isinstance(groups, Mapping):
        for name, people in groups.items():
            listed = people if isinstance(people, list | tuple) else ()
            members.setdefault(str(name), set()).update(map(str, listed))
    if isinstance(users, Mapping):
        for name, user in users.items():
            own = user.get("groups") if isinstance(user, Mapping) else None
            for group in own if isinstance(own, list | tuple) else ():
                members.setdefault(str(group), set()).add(str(name))
    return {group: frozenset(people) for group, people in members.items()}


class ApprovalReading(Reading):
    """Reads approvals; ``_members`` are the people of each group there is, ``_open`` those with others too."""

    def __init__(self) -> None:
        super().__init__()
        self._members: Mapping[str, frozenset[str]] = {}
        self._open: Set[str] = frozenset()

    def _approval(self, value: object, path: Path, askers: Set[str] | None = None) -> Approval | None:
        """``askers`` are all who can be held by the rule, None where that is anybody."""
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self._problem(path, "a mapping is needed")
            return None
        before = len(self._problems)
        several = value.get("stages") is not None
        self._known_keys(
            value, ("stages", *_WHOLE_KEYS) if several else (*_SHORT_KEYS, "stages", *_WHOLE_KEYS), path
        )
        stages = self._stages(value["stages"], (*path, "stages")) if several else (self._stage(value, path),)
        expires = DEFAULT_EXPIRY
        if value.get("expires") is not None:
            expires = self._duration(value["expires"], (*path, "expires"), DEFAULT_EXPIRY)
        margin = self._margin(value.get("margin"), (*path, "margin"))
        glass = self._existing(value.get("break_glass", ()), (*path, "break_glass"))
        grants = self._grants(value.get("grants"), (*path, "grants"))
        confirm = self._confirm(value.get("confirm"), (*path, "confirm"))
        approval = Approval(stages, expires, margin, glass, grants=grants, confirm=confirm)
        if len(self._problems) == before:
            self._check_quorum(approval, path, several=several, askers=askers)
        return approval

    def _confirm(self, value: object, path: Path) -> Confirm | None:
        for way in CONFIRMS:
            if value == way:
                return way
        if value is not None:
            self._problem(path, f"must be {' or '.join(CONFIRMS)}")
        return None

    def _margin(self, value: object, path: Path) -> Margin:
        if value is None:
            return NO_MARGIN
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_MARGIN:
            return Margin(rows=value)
        match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            self._problem(path, "must be a number of rows, or a part of those counted such as 10%")
            return NO_MARGIN
        return Margin(percent=int(match[1]))

    def _grants(self, value: object, path: Path) -> GrantLimits | None:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self._problem(path, "a mapping with max_for is needed")
            return None
        self._known_keys(value, _GRANT_KEYS, path)
        max_for = self._duration(value.get("max_for"), (*path, "max_for"), DEFAULT_EXPIRY)
        if max_for > MAX_GRANT:
            self._problem((*path, "max_for"), "must be at most 30d")
        uses = value.get("max_uses")
        if uses is not None and (
            isinstance(uses, bool) or not isinstance(uses, int) or not 1 <= uses <= MAX_USES
        ):
            self._problem((*path, "max_uses"), f"must be a whole number from 1 to {MAX_USES}")
            return None
        return GrantLimits(max_for, uses)

    def _stages(self, value: object, path: Path) -> tuple[Stage, ...]:
        entries = self._entries(value, path, _STAGE_KEYS)
        if isinstance(value, list | tuple) and not 1 <= len(value) <= MAX_STAGES:
            self._problem(path, f"1 to {MAX_STAGES} stages are needed")
        return tuple(self._stage(entry, place) for place, entry in entries)

    def _stage(self, entry: Mapping[str, object], path: Path) -> Stage:
        groups = self._existing(entry.get("from", ()), (*path, "from"))
        quorum = entry.get("quorum", 1)
        if isinstance(quorum, bool) or not isinstance(quorum, int) or not 1 <= quorum <= MAX_QUORUM:
            self._problem((*path, "quorum"), f"must be a whole number from 1 to {MAX_QUORUM}")
            quorum = 1
        repeat = entry.get("repeat", False)
        if not isinstance(repeat, bool):
            self._problem((*path, "repeat"), "must be true or false")
        step_up = self._step_up(entry.get("step_up"), (*path, "step_up"))
        escalation = self._escalation(entry.get("escalate"), path, groups)
        return Stage(groups, quorum, escalation, repeat is True, step_up)

    def _step_up(self, value: object, path: Path) -> tuple[str, ...]:
        if value is None:
            return ()
        ways = self._texts(value, path)
        for way in ways:
            if way not in STEP_UPS:
                self._problem(path, f"unknown: {way}; known: {', '.join(STEP_UPS)}")
        if value == []:
            self._problem(path, f"name at least one of {', '.join(STEP_UPS)}, or leave it out")
        return tuple(way for way in STEP_UPS if way in ways)

    def _escalation(self, value: object, stage: Path, groups: tuple[str, ...]) -> Escalation | None:
        path = (*stage, "escalate")
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self._problem(path, "a mapping with to and after is needed")
            return None
        self._known_keys(value, _ESCALATION_KEYS, path)
        if not groups:
            self._problem(path, "every approver may decide already; say from whom it escalates")
        before = len(self._problems)
        to = self._existing(value.get("to"), (*path, "to"))
        if not to and len(self._problems) == before:
            self._problem((*path, "to"), "name at least one group")
        after = self._duration(value.get("after"), (*path, "after"), DEFAULT_EXPIRY)
        return Escalation(to, after)

    def _existing(self, value: object, path: Path) -> tuple[str, ...]:
        groups = self._texts(value, path)
        for group in groups:
            self._group_exists(group, path)
        return tuple(dict.fromkeys(groups))

    def _group_exists(self, group: str, path: Path) -> None:
        if group not in self._members:
            self._problem(path, f"no group {group} under groups, nor in any user's groups")

    def _check_quorum(
        self, approval: Approval, path: Path, *, several: bool, askers: Set[str] | None
    ) -> None:
        """Nothing may wait for an approval that nobody could ever give."""
        stages = approval.stages
        open_ended = any(group in self._open for stage in stages for group in stage.all_groups)
        for number, stage in enumerate(stages):
            place = (*path, "stages", number) if several else path
            if stage.escalation is not None and stage.escalation.after >= approval.expires:
                self._problem((*place, "escalate", "after"), "the hold expires before it escalates")
            # A group without anybody is a mistake elsewhere, or its people are only named later.
            people = {one for group in stage.all_groups for one in self._members[group]}
            if not open_ended and stage.groups and stage.quorum > 1 and len(people) < stage.quorum:
                self._problem(
                    (*place, "quorum"), f"is more than the {_people(len(people))} of {_groups(stage)}"
                )
                return
        if open_ended or (len(stages) == 1 and stages[0].quorum == 1):
            return
        stuck = unmet(stages, self._members)
        if stuck is not None:
            self._problem(
                (*path, "stages", stuck) if several else path,
                f"nobody of {_groups(stages[stuck])} is left who did not approve an earlier stage; "
                "one person counts in one stage, unless it says repeat: true",
            )
        elif askers and all(self._left_without(asker, stages) for asker in askers):
            self._problem(
                (*path, "stages") if several else (*path, "quorum"),
                "cannot be met: this rule holds only statements of people who are themselves needed, "
                "and nobody approves their own",
            )

    def _left_without(self, asker: str, stages: tuple[Stage, ...]) -> bool:
        others = {group: people - {asker} for group, people in self._members.items()}
        return unmet(stages, others) is not None


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _groups(stage: Stage) -> str:
    return " and ".join(stage.all_groups)
