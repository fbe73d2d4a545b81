"""What is sent in tests, and a certificate authority's contexts."""

from typing import Any

from gateway.config.channels import SqlText
from gateway.notify.notice import Notice, notice_of
from gateway.store import Hold, Message, MessageState
from tests.gateway.store.samples import NOON, hold

__all__ = ["message", "notice"]


def message(event: str = "asked", **changes: Any) -> Message:
    values: dict[str, Any] = {
        "id": "01J00000000000000000000000",
        "hold_id": hold().id,
        "channel": "one",
        "event": event,
        "stage": 0,
        "state": MessageState.WAITING,
        "attempts": 1,
        "created_at": NOON,
        "due_at": NOON,
    }
    return Message(**{**values, **changes})


def notice(
    event: str = "asked",
    one: Hold | None = None,
    *,
    sql: SqlText = "full",
    url: str | None = "https://hold.example",
) -> Notice:
    return notice_of(message(event), one or hold(), sql, url)
