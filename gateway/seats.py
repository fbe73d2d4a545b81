"""How many sessions there may be, counted over all processes of a gateway."""

from collections.abc import Callable
from typing import Protocol

__all__ = ["SeatPort", "Seats"]


class SeatPort(Protocol):
    """Places for sessions. Whoever takes one gives it back."""

    async def take(self) -> bool:
        """Take a place before a login; False when all are taken."""

    def give(self) -> None:
        """The session is over, or never began."""


class Seats:
    """The places themselves; ``limit`` is asked anew, since it may be reloaded."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self.taken = 0

    async def take(self) -> bool:
        """Take a place before a login; False when all are taken."""
        if self.taken >= self._limit():
            return False
        self.taken += 1
        return True

    def give(self) -> None:
        """The session is over, or never began."""
        self.taken -= 1
