"""Slack: a message for approvers, which is changed when the hold has ended, and one for whoever asked.

Source: Slack's Web API, chat.postMessage and chat.update, Block Kit, and "Formatting text for app surfaces".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.config import SlackChannel
from gateway.notify.http import Poster
from gateway.notify.notice import Notice
from gateway.notify.selection import RESOLVED
from gateway.notify.sender import Addressees, Nobody, NotSent
from gateway.text import one_line

__all__ = ["SlackSender"]

SECTION_LENGTH: Final = 2_900
"""Characters in the text of a section; the limit is 3,000."""


class SlackSender:
    """Writes as a bot. The receipt of a message is where it stands: the conversation's id and the message's ``ts``."""

    def __init__(self, channel: SlackChannel) -> None:
        self._channel = channel
        self._poster = Poster(channel.url, channel.ca)

    async def send(
        self, notice: Notice, to: Addressees, receipts: Sequence[Mapping[str, str]]
    ) -> Mapping[str, str] | None:
        """Post a message, or change those that asked for what is decided now."""
        content = {
            "text": _escaped(notice.title),
            "blocks": _blocks(notice),
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if notice.event != RESOLVED:
            return await self._call("chat.postMessage", {"channel": self._channel.channel, **content})
        if not receipts and to.slack is None:
            raise Nobody("no message about this hold was sent")
        for known in receipts:
            await self._call("chat.update", {**known, **content}, forgive="message_not_found")
        # Changing is the same however often it is done; a message of its own comes last.
        if to.slack is not None:
            await self._call("chat.postMessage", {"channel": to.slack, **content})
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._poster.aclose()

    async def _call(
        self, method: str, arguments: Mapping[str, Any], *, forgive: str | None = None
    ) -> Mapping[str, str]:
        """Where the message is. ``forgive`` is an error that means that nothing is left to do."""
        headers = {
            "Authorization": f"Bearer {self._channel.token}",
            "Content-Type": "application/json; charset=utf-8",
        }
        answer = await self._poster.post(
            f"{self._channel.url}/{method}", json.dumps(arguments).encode(), headers
        )
        said = answer.json()
        if forgive is not None and said.get("error") == forgive:
            return {}
        if said.get("ok") is not True:
            raise NotSent(f"Slack's {method}: {one_line(said.get('error') or 'an answer that is none', 100)}")
        where, when = said.get("channel"), said.get("ts")
        if not isinstance(where, str) or not isinstance(when, str):
            raise NotSent(f"Slack's {method}: the answer does not say where the message is")
        return {"channel": where, "ts": when}


def _blocks(notice: Notice) -> list[dict[str, Any]]:
    facts = "\n".join(f"*{_escaped(name)}:* {_escaped(value)}" for name, value in notice.facts)
    texts = [f"*{_escaped(notice.title)}*", _cut(facts)]
    if notice.sql is not None:
        # Three backticks would end the block early, whatever they are meant to be.
        code = _escaped(notice.sql.replace("`", "'"))
        texts.append(f"```{_cut(code)}```")
    if notice.link is not None:
        texts.append(f"<{notice.link}|Open {_escaped(notice.hold_id) or 'Holdgate'}>")
    return [{"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in texts]


def _escaped(text: str) -> str:
    """Slack's three control characters as entities: nothing in ``text`` mentions, links or calls anybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str) -> str:
    if len(text) <= SECTION_LENGTH:
        return text
    # Not in the middle of an entity.
    head = text[: SECTION_LENGTH - 1]
    start = head.rfind("&")
    return (head[:start] if start > len(head) - 5 and ";" not in head[start:] else head) + "…"
