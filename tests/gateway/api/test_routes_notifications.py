"""What an operator sees of the outbox."""

from typing import Any

from gateway.config import Role
from gateway.store import Message, Note
from tests.gateway.audit.samples import records
from tests.gateway.management import Desk

PATH = "/api/v1/notifications"
NOBODY = "0" * 26


async def waiting(desk: Desk, count: int) -> list[Message]:
    """So many messages, oldest first, taken by somebody."""
    desk.store.announce_by(lambda change, hold: [Note("chat", "asked")])
    for _ in range(count):
        await desk.open()
    return await desk.store.claim_messages("chat", limit=count, lease=60)


async def test_messages_are_listed_by_state_and_page(desk: Desk) -> None:
    first, second, third = await waiting(desk, 3)
    await desk.store.message_failed(first, "HTTP 500", retry=None)
    await desk.store.message_sent(second, {"ts": "secret"})
    async with await desk.client("olga", Role.AUDITOR) as client:
        page = (await client.get(PATH, params={"limit": 2})).json()
        rest = (await client.get(PATH, params={"limit": 2, "cursor": page["next"]})).json()
        dead = (await client.get(PATH, params={"state": "dead"})).json()["messages"]
        assert (await client.get(PATH, params={"state": "lost"})).status_code == 422
    assert [one["id"] for one in page["messages"] + rest["messages"]] == [third.id, second.id, first.id]
    assert rest["next"] is None
    shown: dict[str, Any] = {
        name: dead[0][name] for name in ("hold_id", "channel", "event", "state", "error")
    }
    assert shown == {
        "hold_id": first.hold_id,
        "channel": "chat",
        "event": "asked",
        "state": "dead",
        "error": "HTTP 500",
    }
    assert "receipt" not in dead[0]


async def test_a_dead_one_is_sent_anew_by_an_administrator(desk: Desk) -> None:
    (message,) = await waiting(desk, 1)
    async with await desk.client("root", Role.ADMIN) as client:
        assert (await client.post(f"{PATH}/{message.id}/retry")).status_code == 404
        await desk.store.message_failed(message, "HTTP 500", retry=None)
        assert (await client.post(f"{PATH}/{message.id}/retry")).status_code == 204
        assert (await client.post(f"{PATH}/{NOBODY}/retry")).status_code == 404
        assert (await client.post(f"{PATH}/none/retry")).status_code == 422
    again = await desk.store.claim_messages("chat", limit=1, lease=60)
    assert [(one.id, one.attempts) for one in again] == [(message.id, 1)]
    assert ("message retried", "root", f"message {message.id}") in [
        (one["tag"], one["user"], one["reason"]) for one in records(desk.config.audit.file)
    ]


async def test_it_is_not_for_everybody(desk: Desk) -> None:
    async with await desk.client("carol", Role.APPROVER) as client:
        assert (await client.get(PATH)).status_code == 403
    async with await desk.client("olga", Role.AUDITOR) as client:
        assert (await client.post(f"{PATH}/{NOBODY}/retry")).status_code == 403
