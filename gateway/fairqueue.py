"""A queue in which nobody waits because of somebody else's appetite."""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class FairQueue(Generic[K, T]):
    """Hands out first what belongs to whoever has used least; of equals, who came first.

    What an item costs is known only afterwards, so it is charged then. Who has not been seen for a while starts
    level with the least of those who wait: having been away is no credit (start-time fair queueing).
    """

    def __init__(self) -> None:
        self._waiting: dict[K, deque[T]] = {}
        self._used: dict[K, float] = {}
        self._level = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, owner: K, item: T) -> None:
        """Add an item."""
        self._waiting.setdefault(owner, deque()).append(item)
        self._length += 1

    def pop(self) -> tuple[K, T] | None:
        """The next item and its owner; None if there is none."""
        if not self._waiting:
            return None
        owner = min(self._waiting, key=self.used)
        self._level = self.used(owner)
        item = self._waiting[owner].popleft()
        # To the end, so that owners who used the same take turns.
        rest = self._waiting.pop(owner)
        if rest:
            self._waiting[owner] = rest
        self._length -= 1
        return owner, item

    def remove(self, owner: K, item: T) -> bool:
        """Take one item out of its turn; False if it is not there."""
        items = self._waiting.get(owner)
        if items is None or item not in items:
            return False
        items.remove(item)
        if not items:
            del self._waiting[owner]
        self._length -= 1
        return True

    def greediest(self) -> tuple[K, T] | None:
        """The item that would be handed out last and its owner, left where it is; None if there is none."""
        if not self._waiting:
            return None
        most = max(map(self.used, self._waiting))
        owner = next(one for one in reversed(self._waiting) if self.used(one) == most)
        return owner, self._waiting[owner][-1]

    def used(self, owner: K) -> float:
        """What the owner counts as having used, compared with the others."""
        return max(self._used.get(owner, 0.0), self._level)

    def charge(self, owner: K, cost: float) -> None:
        """Note what an item of the owner has cost."""
        self._used[owner] = self.used(owner) + cost
        if len(self._used) > 2 * len(self._waiting) + 64:
            self._used = {one: used for one, used in self._used.items() if used > self._level}
