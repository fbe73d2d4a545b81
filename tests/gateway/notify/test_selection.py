"""Which channel is told of what."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from gateway.config import Channel, EmailChannel, SlackChannel, TeamsChannel, WebhookChannel
from gateway.notify.selection import announcer, notes, outdated
from gateway.store import BREAK_GLASS, BY_RULE, Change, Confirmation, Hold, HoldState, Note
from rules import Escalation, Stage
from tests.gateway.store.samples import NOON, approval, hold, rejection

FEED = WebhookChannel(name="feed", url="https://feed.example", secrets=(b"k" * 32,))
CHAT = SlackChannel(name="chat", token="t", channel="C1")
POST = EmailChannel(name="post", host="localhost", port=25, sender="h@example.org")
TEAM = TeamsChannel(name="team", url="https://team.example")


def of(channel: Channel, **changes: Any) -> Channel:
    return dataclasses.replace(channel, **changes)


def told(change: Change, one: Hold, *channels: Channel) -> list[tuple[str, str]]:
    return [(note.channel, note.event) for note in notes(change, one, channels or (TEAM,))]


def ended(how: str = "api", state: HoldState = HoldState.APPROVED) -> Hold:
    decision = dataclasses.replace(approval(), how=how)
    return hold(state=state, decisions=(decision,), resolved_at=NOON)


def test_approvers_are_asked_and_whoever_waits_is_told() -> None:
    assert told(Change.OPENED, hold(), FEED, TEAM) == [("feed", "asked"), ("team", "asked")]
    assert told(Change.RESOLVED, ended()) == [("team", "resolved")]
    assert told(Change.RESOLVED, hold(state=HoldState.EXPIRED)) == [("team", "resolved")]


def test_the_next_stage_is_asked_when_it_begins_and_nobody_in_between() -> None:
    stages = (Stage(("lead",), quorum=2), Stage(("dpo",)))
    first = hold(stages=stages, decisions=(approval(),))
    second = hold(stages=stages, decisions=(approval(), approval("dave")))
    assert told(Change.DECIDED, first) == []
    assert notes(Change.DECIDED, second, [TEAM]) == [Note("team", "asked", 1)]


def test_an_escalation_is_a_message_for_later() -> None:
    one = hold(stages=(Stage(("lead",), escalation=Escalation(("dpo",), 600.0)),))
    assert notes(Change.OPENED, one, [TEAM]) == [
        Note("team", "asked", 0),
        Note("team", "escalated", 0, 600.0),
    ]
    # Each channel is for the groups that are asked at that time.
    assert told(Change.OPENED, one, of(TEAM, groups=frozenset({"dpo"}))) == [("team", "escalated")]
    assert told(Change.OPENED, one, of(TEAM, groups=frozenset({"lead"}))) == [("team", "asked")]


def test_nobody_is_asked_while_criteria_are_checked() -> None:
    opened = hold()
    one = dataclasses.replace(opened, checking_until=opened.opened_at + timedelta(seconds=7))
    assert notes(Change.OPENED, one, [TEAM]) == [Note("team", "asked", 0, 7.0)]
    assert notes(Change.READY, opened, [TEAM]) == [Note("team", "asked", 0)]


def test_whoever_asked_confirms_before_anybody_is_asked() -> None:
    waits = hold(confirm="email")
    channels = (FEED, TEAM, of(POST, name="other", rules=frozenset({"bulk"})), of(POST, events=("review",)))
    assert notes(Change.OPENED, waits, channels) == [Note("post", "confirm")]
    # A server that is for others is better than none.
    assert notes(Change.OPENED, waits, channels[:3]) == [Note("other", "confirm")]
    assert notes(Change.READY, waits, channels) == [Note("post", "confirm")]
    assert notes(Change.DECIDED, waits, channels) == []
    confirmed = dataclasses.replace(waits, confirmation=Confirmation("alice", "email", NOON))
    assert told(Change.READY, confirmed, FEED, TEAM) == [("feed", "asked"), ("team", "asked")]
    assert outdated("confirm", 0, waits, POST) is None
    assert outdated("confirm", 0, confirmed, POST) == "there is nothing to confirm any more"


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        (of(TEAM, groups=frozenset({"dpo", "lead"})), True),
        (of(TEAM, groups=frozenset({"lead"})), False),
        (of(TEAM, rules=frozenset({"erasure"})), True),
        (of(TEAM, rules=frozenset({"bulk"})), False),
        (of(TEAM, events=("asked", "resolved")), True),
        (of(TEAM, events=("review",)), False),
    ],
)
def test_a_channel_is_for_some_groups_rules_and_events(channel: Channel, expected: bool) -> None:
    assert bool(told(Change.OPENED, hold(), channel)) is expected
    assert bool(told(Change.RESOLVED, ended(), channel)) is expected


def test_whoever_has_the_role_is_everybody() -> None:
    assert told(Change.OPENED, hold(stages=(Stage(),)), of(TEAM, groups=frozenset({"lead"}))) != []


def test_what_ran_without_an_approval_is_to_be_reviewed() -> None:
    glass = ended(BREAK_GLASS)
    assert told(Change.RESOLVED, glass, FEED, TEAM) == [
        ("feed", "review"),
        ("feed", "resolved"),
        ("team", "review"),
    ]
    # It had not run: nothing is to be reviewed.
    assert told(Change.RESOLVED, dataclasses.replace(glass, state=HoldState.ABANDONED)) == []


def test_what_its_rule_approved_concerns_programs_only() -> None:
    assert told(Change.RESOLVED, ended(BY_RULE), FEED, TEAM) == [("feed", "resolved")]


def test_the_channels_are_those_of_now() -> None:
    channels: dict[str, Channel] = {"team": TEAM}
    announce = announcer(lambda: channels)
    assert len(announce(Change.OPENED, hold())) == 1
    channels.clear()
    assert announce(Change.OPENED, hold()) == []


@pytest.mark.parametrize(
    ("event", "stage", "one", "channel", "expected"),
    [
        ("asked", 0, hold(), TEAM, None),
        (
            "asked",
            0,
            hold(state=HoldState.REJECTED, decisions=(rejection(),)),
            TEAM,
            "the hold is rejected already",
        ),
        ("asked", 0, hold(state=HoldState.REJECTED, decisions=(rejection(),)), FEED, None),
        ("asked", 1, hold(), TEAM, "the hold waits for others by now"),
        ("escalated", 0, hold(), FEED, None),
        ("escalated", 0, hold(state=HoldState.EXPIRED), FEED, "the hold is expired already"),
        ("resolved", 0, hold(state=HoldState.EXPIRED), TEAM, None),
    ],
)
def test_what_need_not_be_sent_any_more(
    event: str, stage: int, one: Hold, channel: Channel, expected: str | None
) -> None:
    assert outdated(event, stage, one, channel) == expected
