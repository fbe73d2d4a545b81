"""Slack: asked, changed, told; and errors that come with HTTP 200."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.config import SlackChannel
from gateway.notify.sender import Addressees, Nobody, NotSent
from gateway.notify.slack import SlackSender
from gateway.store import Hold, HoldState
from rules import Intent
from tests.gateway.notify.samples import notice
from tests.gateway.store.samples import approval, hold
from tests.support.receivers import Behaviour, WebServer, web_server

WHERE = {"channel": "C9", "ts": "1.2"}
APPROVED = hold(state=HoldState.APPROVED, decisions=(approval(),))


def said(**answer: Any) -> Behaviour:
    return (200, {}, json.dumps(answer).encode())


TAKEN = said(ok=True, **WHERE)


@asynccontextmanager
async def slack(*behaviours: Behaviour) -> AsyncIterator[tuple[WebServer, SlackSender]]:
    async with web_server(*behaviours, otherwise=TAKEN) as server:
        sender = SlackSender(
            SlackChannel(name="chat", token="xoxb-s3cret", channel="C1", url=f"{server.url}/api")
        )
        try:
            yield server, sender
        finally:
            await sender.aclose()


def texts(body: dict[str, Any]) -> list[str]:
    return [block["text"]["text"] for block in body["blocks"]]


async def test_asking_posts_a_message_and_remembers_where() -> None:
    async with slack() as (server, sender):
        assert await sender.send(notice(), Addressees(slack="U1"), ()) == WHERE
    (posted,) = server.seen
    assert posted.path == "/api/chat.postMessage"
    assert posted.headers["authorization"] == "Bearer xoxb-s3cret"
    body = posted.json()
    assert body["channel"] == "C1"
    assert body["text"] == "alice asks for approval: delete on public.customer"
    *_, sql, link = texts(body)
    assert sql == "```DELETE FROM customer WHERE customer_id = $1```"
    assert link == f"<https://hold.example/#{hold().id}|Open {hold().id}>"


async def test_what_was_decided_changes_the_messages_and_tells_whoever_asked() -> None:
    async with slack() as (server, sender):
        receipts = [WHERE, {"channel": "C9", "ts": "3.4"}]
        assert await sender.send(notice("resolved", APPROVED), Addressees(slack="U1"), receipts) is None
    calls = [(one.path, one.json()["channel"], one.json().get("ts")) for one in server.seen]
    assert calls == [
        ("/api/chat.update", "C9", "1.2"),
        ("/api/chat.update", "C9", "3.4"),
        ("/api/chat.postMessage", "U1", None),
    ]
    assert server.seen[0].json()["text"].startswith("Approved by carol: ")


async def test_there_may_be_nothing_to_change() -> None:
    async with slack(said(ok=False, error="message_not_found")) as (server, sender):
        with pytest.raises(Nobody):
            await sender.send(notice("resolved", APPROVED), Addressees(), ())
        assert server.seen == []
        assert await sender.send(notice("resolved", APPROVED), Addressees(), [WHERE]) is None


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (said(ok=False, error="channel_not_found"), "Slack's chat.postMessage: channel_not_found"),
        (said(ok=False), "Slack's chat.postMessage: an answer that is none"),
        ((200, {}, b"<html>"), "Slack's chat.postMessage: an answer that is none"),
        ((200, {}, b"[" * 50_000), "Slack's chat.postMessage: an answer that is none"),
        (said(ok=True), "Slack's chat.postMessage: the answer does not say where the message is"),
        ((429, {"Retry-After": "30"}, b""), "HTTP 429"),
    ],
)
async def test_errors(behaviour: Behaviour, why: str) -> None:
    async with slack(behaviour) as (_, sender):
        with pytest.raises(NotSent) as raised:
            await sender.send(notice(), Addressees(), ())
    assert str(raised.value) == why
    assert raised.value.retry_after == (30.0 if why == "HTTP 429" else None)


@pytest.mark.parametrize(
    "one",
    [
        hold(user="<!channel>", intent=Intent(reason="<https://evil.example|Approve>")),
        hold(sql="SELECT '```<!channel>' & <@U1> "),
        hold(sql="&" * 3000, intent=Intent(reason="&" * 2000, ticket="&" * 2000)),
    ],
)
async def test_nothing_mentions_links_or_leaves_its_block(one: Hold) -> None:
    async with slack() as (server, sender):
        await sender.send(notice("asked", one), Addressees(), ())
    body = server.seen[0].json()
    for text in (body["text"], *texts(body)[:-1]):
        assert "<" not in text
        assert text.count("```") in (0, 2)
        assert len(text) <= 3000
        assert all(part.startswith(("amp;", "lt;", "gt;")) for part in text.split("&")[1:])
