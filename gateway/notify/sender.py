"""What every channel does: send one message, and say what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.notify.notice import Notice

__all__ = ["Addressees", "Nobody", "NotSent", "Sender"]


class NotSent(Exception):
    """A message was not taken. The text is one line that says why, without secrets. ``retry_after``: seconds for which
    the other side asked to be left alone; ``final``: it will never take it."""

    def __init__(self, why: str, *, retry_after: float | None = None, final: bool = False) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.final = final


class Nobody(Exception):
    """There is nobody to send this to, and that is nobody's fault."""


@dataclass(frozen=True, slots=True)
class Addressees:
    """Whom a message is for: addresses of e-mail, and what Slack calls whoever asked."""

    email: tuple[str, ...] = ()
    slack: str | None = None


class Sender(Protocol):
    """One channel. A sender is used by one task at a time for each message, and has no state that a message needs."""

    async def send(
        self, notice: Notice, to: Addressees, receipts: Sequence[Mapping[str, str]]
    ) -> Mapping[str, str] | None:
        """Send a message; ``receipts`` are those of earlier ones about the same hold. Returns what is needed to change
        it later. Raises :class:`NotSent` and :class:`Nobody`; how long it may take is the caller's to say."""

    async def aclose(self) -> None:
        """Close what is open."""
