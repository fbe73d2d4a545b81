"""``holdgate notify test``: whether a channel works, before a hold needs it."""

import asyncio
from argparse import Namespace
from typing import TYPE_CHECKING

from gateway.cli.catalog import configuration
from gateway.cli.errors import USAGE, CliError

if TYPE_CHECKING:
    from gateway.config import Channel, Config
    from gateway.notify.sender import Addressees

__all__ = ["test"]


def test(options: Namespace) -> None:
    """Send a sample by one channel, once; what went wrong is one line."""
    config = configuration(options)
    channel = config.notifications.get(options.channel)
    if channel is None:
        known = ", ".join(config.notifications) or "none"
        raise CliError(f"no channel {options.channel} under notifications; there is {known}", USAGE)
    if options.user is not None and options.user not in config.users:
        raise CliError(f"no user {options.user} under users", USAGE)
    asyncio.run(_send(config, channel, options.user))
    print(f"sent by {channel.name}")


async def _send(config: "Config", channel: "Channel", user: str | None) -> None:
    from gateway import clock
    from gateway.ids import Ulids
    from gateway.notify.channels import make_sender
    from gateway.notify.notice import sample
    from gateway.notify.sender import Nobody, NotSent

    notice = sample(Ulids().next(), clock.now(), config.admin.public_url)
    try:
        sender = make_sender(channel)
        try:
            async with asyncio.timeout(channel.timeout):
                await sender.send(notice, _addressees(config, channel, user), ())
        finally:
            await sender.aclose()
    except Nobody as error:
        raise CliError(f"{channel.name}: {error}; say whom by --user") from None
    except NotSent as error:
        raise CliError(f"{channel.name}: {error}") from None
    except TimeoutError:
        raise CliError(f"{channel.name}: no answer within {channel.timeout:g} s") from None


def _addressees(config: "Config", channel: "Channel", user: str | None) -> "Addressees":
    from gateway.config import EmailChannel
    from gateway.notify.addressees import mail_addresses
    from gateway.notify.sender import Addressees

    found = mail_addresses([] if user is None else [user], channel, config)
    if isinstance(channel, EmailChannel) and user is None:
        found = channel.to
    return Addressees(email=found, slack=None if user is None else config.users[user].slack)
