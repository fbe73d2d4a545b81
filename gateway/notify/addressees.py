"""Whom a message about a hold is for, by the addresses that the configuration has of them."""

from collections.abc import Collection, Iterable

from gateway.config import Channel, Config, EmailChannel
from gateway.config.notifications import ADDRESS
from gateway.notify.selection import ASKED, CONFIRM, ESCALATED, REVIEW
from gateway.notify.sender import Addressees
from gateway.people import People, same_person
from gateway.store import Hold, HoldState, Message

__all__ = ["addressees_of", "mail_addresses"]

_TOLD = (HoldState.APPROVED, HoldState.REJECTED, HoldState.EXPIRED, HoldState.INTERRUPTED)
"""Ends that whoever asked may not know of."""


async def addressees_of(
    message: Message, hold: Hold, channel: Channel, config: Config, people: People
) -> Addressees:
    """Approvers, where they are asked; whoever asked, where it was decided, or is to be confirmed."""
    if message.event not in (ASKED, ESCALATED, REVIEW):
        if hold.state not in _TOLD and message.event != CONFIRM:
            return Addressees()
        requester = config.users.get(hold.user)
        return Addressees(
            email=mail_addresses([hold.user], channel, config),
            slack=None if requester is None else requester.slack,
        )
    if not isinstance(channel, EmailChannel):
        return Addressees()
    asked = {name for name in await people.asked(_groups(message, hold)) if not same_person(name, hold.user)}
    addresses = (*channel.to, *mail_addresses(sorted(asked), channel, config))
    return Addressees(email=tuple(dict.fromkeys(addresses)))


def _groups(message: Message, hold: Hold) -> Collection[str]:
    if message.event == REVIEW or message.stage >= len(hold.stages):
        return hold.approval_groups
    stage = hold.stages[message.stage]
    if message.event == ESCALATED and stage.escalation is not None:
        return stage.escalation.groups
    return stage.groups


def mail_addresses(names: Iterable[str], channel: Channel, config: Config) -> tuple[str, ...]:
    """The addresses of those who have one, in their order; none where the channel sends no e-mail."""
    if not isinstance(channel, EmailChannel):
        return ()
    found = []
    for name in names:
        user = config.users.get(name)
        address = user.email if user is not None else None
        if address is None and channel.domain is not None and ADDRESS.fullmatch(f"{name}@{channel.domain}"):
            address = f"{name}@{channel.domain}"
        if address is not None:
            found.append(address)
    return tuple(found)


def how_to_confirm(hold: Hold, config: Config) -> str:
    """What whoever asked has to do before anybody else is asked, in one sentence."""
    if hold.confirm != "email":
        url = config.admin.public_url
        where = f"at {url}/#{hold.id}" if url is not None else "on the page of the management port"
        return f"Confirm it {where}, with your authenticator or a passkey."
    servers = [channel for channel in config.notifications.values() if isinstance(channel, EmailChannel)]
    if not any(mail_addresses([hold.user], channel, config) for channel in servers):
        return f"No e-mail address of {hold.user} is known: ask the operator of the gateway to add one."
    return "Follow the link that is sent to you by e-mail."
