"""Which messages a change of a hold takes, by which channels. Everything follows from the hold: nothing waits here."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from gateway.config import Channel, EmailChannel, SlackChannel, WebhookChannel
from gateway.store import BREAK_GLASS, BY_GRANT, BY_RULE, Announce, Change, Hold, HoldState, Note

__all__ = ["ASKED", "CONFIRM", "ESCALATED", "RESOLVED", "REVIEW", "announcer", "notes", "outdated"]

ASKED, ESCALATED, RESOLVED, REVIEW = "asked", "escalated", "resolved", "review"
CONFIRM = "confirm"
"""Whoever asked is asked to confirm it. This is part of the hold, and goes out whatever ``events`` say."""


def announcer(channels: Callable[[], Mapping[str, Channel]]) -> Announce:
    """For :meth:`gateway.store.OutboxStore.announce_by`: asks for the channels each time, since they may be loaded
    anew."""
    return lambda change, hold: notes(change, hold, channels().values())


def notes(change: Change, hold: Hold, channels: Iterable[Channel]) -> list[Note]:
    """The messages that ``change``, which ``hold`` has just seen, takes."""
    known = tuple(channels)
    if hold.awaits_confirmation:
        # Not written twice: what was not said when it was opened is said when it is ready.
        return _to_confirm(hold, known) if change in (Change.OPENED, Change.READY) else []
    return [
        note
        for channel in known
        if not channel.rules or hold.rule in channel.rules
        for note in (_ended if change is Change.RESOLVED else _asked)(hold, channel)
        if note.event in channel.events
    ]


def outdated(event: str, stage: int, hold: Hold, channel: Channel) -> str | None:
    """Why a message need not be sent any more, None where it is to be. Programs are told of what was, people of what
    they can do something about."""
    if event == CONFIRM:
        return None if hold.awaits_confirmation else "there is nothing to confirm any more"
    if event not in (ASKED, ESCALATED) or (event == ASKED and isinstance(channel, WebhookChannel)):
        return None
    if hold.state is not HoldState.PENDING:
        return f"the hold is {hold.state.value} already"
    standing = hold.standing
    if standing is None or standing.number != stage:
        return "the hold waits for others by now"
    return None


def _to_confirm(hold: Hold, channels: Sequence[Channel]) -> list[Note]:
    """By one mail server: one of those that are for such holds, if there is one."""
    servers = [channel for channel in channels if isinstance(channel, EmailChannel)]
    servers.sort(
        key=lambda channel: (
            bool(channel.rules and hold.rule not in channel.rules)
            or not _serves(channel, hold.approval_groups)
        )
    )
    return [Note(channel.name, CONFIRM) for channel in servers[:1]]


def _asked(hold: Hold, channel: Channel) -> list[Note]:
    """Of a pending hold: whom its stage asks, if it has just begun, and whom it will ask if it takes too long."""
    standing = hold.standing
    if hold.state is not HoldState.PENDING or standing is None or standing.approvals:
        return []
    stage, found = standing.stage, []
    if _serves(channel, stage.groups):
        # Not while its criteria are being checked; should nobody live to say what came of them, afterwards.
        checking = hold.checking_until - hold.opened_at if hold.checking_until is not None else timedelta(0)
        found.append(Note(channel.name, ASKED, standing.number, checking.total_seconds()))
    if stage.escalation is not None and _serves(channel, stage.escalation.groups):
        found.append(Note(channel.name, ESCALATED, standing.number, stage.escalation.after))
    return found


def _ended(hold: Hold, channel: Channel) -> list[Note]:
    if not _serves(channel, hold.approval_groups):
        return []
    ways = {decision.how for decision in hold.decisions}
    found = []
    if BREAK_GLASS in ways and hold.state is HoldState.APPROVED:
        found.append(Note(channel.name, REVIEW))
    # Where nobody was asked, nobody needs to be told that it is over; a message that is changed is worth it.
    if isinstance(channel, WebhookChannel | SlackChannel) or ways.isdisjoint(
        (BREAK_GLASS, BY_GRANT, BY_RULE)
    ):
        found.append(Note(channel.name, RESOLVED))
    return found


def _serves(channel: Channel, groups: Collection[str]) -> bool:
    """Whether a channel is for holds that ask ``groups``; none: everybody with the role approver."""
    return not channel.groups or not groups or not channel.groups.isdisjoint(groups)
