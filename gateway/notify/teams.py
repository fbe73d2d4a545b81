"""Microsoft Teams: an adaptive card, posted to a workflow or an incoming webhook.

Source: Microsoft's "Create incoming webhooks with Workflows for Microsoft Teams" and the schema of Adaptive Cards 1.4.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.config import TeamsChannel
from gateway.notify.http import Poster
from gateway.notify.notice import Notice
from gateway.notify.sender import Addressees, NotSent

__all__ = ["TeamsSender"]

_FAILED: Final = b"failed with error"
"""Incoming webhooks answer 200 with this text when Teams itself did not take the message."""


class TeamsSender:
    """Posts cards. A card cannot be changed afterwards: what became of a hold is another one."""

    def __init__(self, channel: TeamsChannel) -> None:
        self._channel = channel
        self._poster = Poster(channel.url, channel.ca)

    async def send(
        self, notice: Notice, to: Addressees, receipts: Sequence[Mapping[str, str]]
    ) -> Mapping[str, str] | None:
        """Post a card."""
        body = json.dumps(_message(notice)).encode()
        answer = await self._poster.post(self._channel.url, body, {"Content-Type": "application/json"})
        if _FAILED in answer.body:
            raise NotSent("Teams did not take the message that its webhook took")
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._poster.aclose()


def _message(notice: Notice) -> dict[str, Any]:
    body = [_line(notice.title, weight="Bolder", size="Medium")]
    body += [_line(f"{name}: {value}") for name, value in notice.facts]
    if notice.sql is not None:
        body.append(_line(notice.sql, fontType="Monospace"))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if notice.link is not None:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open the hold", "url": notice.link}]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _line(text: str, **style: str) -> dict[str, Any]:
    """A text as it is: a RichTextBlock, unlike a TextBlock, takes no Markdown, so that nothing in it is a link."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}
