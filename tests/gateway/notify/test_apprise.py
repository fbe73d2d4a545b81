"""Apprise, by its JSON over HTTP, which a small web server takes."""

import logging

import pytest

from gateway.config import AppriseChannel
from gateway.notify.apprise import AppriseSender
from gateway.notify.sender import Addressees, NotSent
from gateway.store import HoldState
from tests.gateway.notify.samples import notice
from tests.gateway.store.samples import approval, hold
from tests.support.receivers import web_server


async def test_every_address_is_notified(caplog: pytest.LogCaptureFixture) -> None:
    approved = hold(state=HoldState.APPROVED, decisions=(approval(),))
    with caplog.at_level(logging.INFO):
        async with web_server() as server:
            urls = tuple(f"json://127.0.0.1:{server.port}/s3cret{number}" for number in (1, 2))
            sender = AppriseSender(AppriseChannel(name="rest", urls=urls))
            assert await sender.send(notice(), Addressees(), ()) is None
            assert await sender.send(notice("resolved", approved), Addressees(), ()) is None
            server.otherwise = (500, {}, b"")
            with pytest.raises(NotSent, match="could not notify all of 2 addresses"):
                await sender.send(notice("resolved"), Addressees(), ())
            await sender.aclose()
    assert sorted({one.path for one in server.seen}) == ["/s3cret1", "/s3cret2"]
    body = server.seen[0].json()
    assert body["title"] == "alice asks for approval: delete on public.customer"
    assert "DELETE FROM customer" in body["message"]
    assert [one.json()["type"] for one in server.seen[::2]] == ["warning", "success", "failure"]
    assert "s3cret" not in caplog.text
