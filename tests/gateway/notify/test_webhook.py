"""Signed webhooks, checked by the specification's own words and by its published example."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping

from gateway.config import WebhookChannel
from gateway.notify.sender import Addressees
from gateway.notify.webhook import WebhookSender
from tests.gateway.notify.samples import notice
from tests.support.receivers import web_server

KEYS = (b"n" * 32, b"o" * 24)


def verified(key: bytes, headers: Mapping[str, str], body: bytes) -> bool:
    """As a receiver does: HMAC-SHA256 over ``id.timestamp.body``, base64, one of the header's members, in time."""
    content = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"." + body
    expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    given = [one.removeprefix("v1,") for one in headers["webhook-signature"].split(" ") if one[:3] == "v1,"]
    return expected in given and abs(time.time() - int(headers["webhook-timestamp"])) < 300


async def test_what_arrives_is_signed_with_each_key() -> None:
    async with web_server() as server:
        sender = WebhookSender(WebhookChannel(name="feed", url=f"{server.url}/in?t=1", secrets=KEYS))
        for _ in range(2):
            assert await sender.send(notice("resolved"), Addressees(), ()) is None
        await sender.aclose()
    first, again = server.seen
    assert first.path == "/in?t=1"
    assert first.headers["content-type"] == "application/json"
    assert all(verified(key, first.headers, first.body) for key in KEYS)
    assert not verified(b"x" * 32, first.headers, first.body)
    assert not verified(KEYS[0], first.headers, first.body + b" ")
    # Another attempt is the same message.
    assert (first.headers["webhook-id"], first.body) == (again.headers["webhook-id"], again.body)
    body = first.json()
    assert body["type"] == "hold.resolved"
    assert body["timestamp"] == "2030-01-31T12:00:00.000Z"
    assert body["data"]["state"] == "pending"
    assert body["data"]["link"].startswith("https://hold.example/#H-")
