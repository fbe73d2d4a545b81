"""From the configuration of a channel to what sends by it."""

from gateway.config import (
    AppriseChannel,
    Channel,
    EmailChannel,
    SlackChannel,
    TeamsChannel,
    WebhookChannel,
)
from gateway.notify.mail import EmailSender
from gateway.notify.sender import Sender
from gateway.notify.slack import SlackSender
from gateway.notify.teams import TeamsSender
from gateway.notify.webhook import WebhookSender

__all__ = ["make_sender"]


def make_sender(channel: Channel) -> Sender:
    """Raises :class:`gateway.notify.sender.NotSent` where the channel can never send, such as for a certificate."""
    match channel:
        case WebhookChannel():
            return WebhookSender(channel)
        case SlackChannel():
            return SlackSender(channel)
        case TeamsChannel():
            return TeamsSender(channel)
        case EmailChannel():
            return EmailSender(channel)
        case AppriseChannel():
            # An extra of the package, and slow to import.
            from gateway.notify.apprise import AppriseSender

            return AppriseSender(channel)
    raise TypeError(f"there is no sender for {type(channel).__name__}")
