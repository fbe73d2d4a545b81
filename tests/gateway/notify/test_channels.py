"""Every kind of channel has a sender."""

import pytest

from gateway.config import (
    AppriseChannel,
    Channel,
    EmailChannel,
    SlackChannel,
    TeamsChannel,
    WebhookChannel,
)
from gateway.notify.channels import make_sender

CHANNELS: tuple[Channel, ...] = (
    WebhookChannel(name="a", url="http://127.0.0.1:1", secrets=(b"k" * 24,)),
    SlackChannel(name="b", token="t", channel="C1", url="http://127.0.0.1:1"),
    TeamsChannel(name="c", url="http://127.0.0.1:1"),
    EmailChannel(name="d", host="localhost", port=25, sender="a@b.example", tls="none"),
    AppriseChannel(name="e", urls=("json://127.0.0.1:1/",)),
)


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: type(channel).__name__)
async def test_each_has_its_own(channel: Channel) -> None:
    sender = make_sender(channel)
    assert type(sender).__name__ == type(channel).__name__.replace("Channel", "Sender")
    await sender.aclose()


def test_no_other_has_one() -> None:
    with pytest.raises(TypeError, match="no sender for Channel"):
        make_sender(Channel(name="x"))
