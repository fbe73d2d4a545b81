"""Signed webhooks: JSON for programs."""

import json
from collections.abc import Mapping, Sequence

from gateway import clock
from gateway.config import WebhookChannel
from gateway.notify.http import Poster
from gateway.notify.notice import Notice
from gateway.notify.sender import Addressees
from gateway.signing import signed_headers
from gateway.store import iso

__all__ = ["WebhookSender"]


class WebhookSender:
    """Posts events to an address, signed with each key of the channel."""

    def __init__(self, channel: WebhookChannel) -> None:
        self._channel = channel
        self._poster = Poster(channel.url, channel.ca)

    async def send(
        self, notice: Notice, to: Addressees, receipts: Sequence[Mapping[str, str]]
    ) -> Mapping[str, str] | None:
        """Post ``{"type", "timestamp", "data"}``. Any status of 2xx means that it was taken."""
        body = json.dumps(
            {"type": f"hold.{notice.event}", "timestamp": iso(notice.at), "data": dict(notice.data)},
            separators=(",", ":"),
        ).encode()
        message_id, timestamp = f"msg_{notice.id}", int(clock.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            **signed_headers(self._channel.secrets, message_id, timestamp, body),
        }
        await self._poster.post(self._channel.url, body, headers)
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._poster.aclose()
