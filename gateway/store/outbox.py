"""Messages that wait to be sent: the values, and the part of the storage port about them.

A message is written in the transaction that makes what it tells true, so that none is lost and none tells what was
not. It holds no text: that is made when it is sent, of the hold as it is by then.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gateway.store.records import Hold, iso

__all__ = ["Announce", "Change", "Message", "MessageState", "Note", "OutboxStore"]


class Change(StrEnum):
    """What just became true of a hold."""

    OPENED = "opened"
    READY = "ready"
    """Nothing is left to be done before people are asked: its criteria are checked, or whoever asked
    has confirmed it."""
    DECIDED = "decided"
    RESOLVED = "resolved"


class MessageState(StrEnum):
    """Where a message stands. All but ``waiting`` are final; a dead one can be sent anew by an administrator."""

    WAITING = "waiting"
    SENT = "sent"
    DROPPED = "dropped"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Note:
    """A message to be written: for which channel, of what, in which stage of the hold, and how many seconds later."""

    channel: str
    event: str
    stage: int = 0
    after: float = 0.0


Announce = Callable[[Change, Hold], Sequence[Note]]
"""The messages that a change of a hold takes. It is called inside the transaction, and must neither wait nor fail."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message in the outbox. ``attempts`` includes the one that is under way; ``error`` is why the last one failed;
    ``receipt`` is what the channel said of it, by which it can be changed later. Moments are by the store's clock."""

    id: str
    hold_id: str
    channel: str
    event: str
    stage: int
    state: MessageState
    attempts: int
    created_at: datetime
    due_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    receipt: Mapping[str, str] | None = None

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "id": self.id,
            "hold_id": self.hold_id,
            "channel": self.channel,
            "event": self.event,
            "stage": self.stage,
            "state": self.state.value,
            "attempts": self.attempts,
            "created_at": iso(self.created_at),
            "due_at": iso(self.due_at),
            "finished_at": iso(self.finished_at),
            "error": self.error,
        }


class OutboxStore(Protocol):
    """Messages, taken by one gateway at a time. Each method is one transaction."""

    def announce_by(self, announce: Announce | None) -> None:
        """Ask ``announce`` for the messages of every change that is made through this store from now on."""

    async def claim_messages(self, channel: str, *, limit: int, lease: float) -> list[Message]:
        """Take messages of a channel that are due, the oldest first, for ``lease`` seconds; nobody else gets them
        meanwhile. A message waits for an older one of its hold and channel that is due or under way."""

    async def message_sent(self, message: Message, receipt: Mapping[str, str] | None) -> bool:
        """Note that it was sent. False: its lease was over, and somebody else has it."""

    async def message_failed(
        self, message: Message, error: str, *, retry: float | None, state: MessageState = MessageState.DEAD
    ) -> bool:
        """Note why it was not sent: it is due again in ``retry`` seconds, or, with None, ends in ``state``. False: its
        lease was over."""

    async def release_messages(self) -> None:
        """End every lease: whoever had them is gone. Only where the store is not shared."""

    async def receipts(self, hold_id: str, channel: str) -> list[Mapping[str, str]]:
        """What a channel said of the messages about a hold that it was sent, the oldest first."""

    async def messages(
        self, *, state: MessageState | None, limit: int, before: str | None = None
    ) -> list[Message]:
        """The newest first."""

    async def count_messages(self) -> dict[MessageState, int]:
        """How many are waiting, and how many are dead."""

    async def revive_message(self, message_id: str) -> bool:
        """Send a dead message anew, with all of its attempts. False: there is no dead one with this id."""

    async def tidy_messages(self, channels: Collection[str], *, orphaned: float, kept: float) -> None:
        """Give up what waits for ``orphaned`` seconds for none of ``channels``, and forget what ended ``kept`` seconds
        ago."""
