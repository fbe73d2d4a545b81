"""Microsoft Teams: cards without Markdown, and a failure that comes with HTTP 200."""

import pytest

from gateway.config import TeamsChannel
from gateway.notify.sender import Addressees, NotSent
from gateway.notify.teams import TeamsSender
from rules import Intent
from tests.gateway.notify.samples import notice
from tests.gateway.store.samples import hold
from tests.support.receivers import web_server


async def test_a_card() -> None:
    one = hold(intent=Intent(reason="[click](https://evil.example)"))
    async with web_server(otherwise=(202, {}, b"")) as server:
        sender = TeamsSender(TeamsChannel(name="team", url=f"{server.url}/hook"))
        assert await sender.send(notice("asked", one), Addressees(), ()) is None
        assert await sender.send(notice("asked", one, sql="none", url=None), Addressees(), ()) is None
        await sender.aclose()
    (attachment,) = server.seen[0].json()["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    lines = [run["text"] for block in card["body"] for run in block["inlines"]]
    assert lines[0] == "alice asks for approval: delete on public.customer"
    assert "Reason: [click](https://evil.example)" in lines
    assert lines[-1] == "DELETE FROM customer WHERE customer_id = $1"
    assert card["actions"] == [
        {"type": "Action.OpenUrl", "title": "Open the hold", "url": f"https://hold.example/#{one.id}"}
    ]
    without = server.seen[1].json()["attachments"][0]["content"]
    assert "actions" not in without
    assert len(without["body"]) == len(card["body"]) - 1


async def test_a_failure_that_looks_like_success() -> None:
    text = b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429"
    async with web_server((200, {}, text)) as server:
        sender = TeamsSender(TeamsChannel(name="team", url=server.url))
        with pytest.raises(NotSent, match="Teams did not take"):
            await sender.send(notice(), Addressees(), ())
        await sender.aclose()
