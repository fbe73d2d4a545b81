"""A bounded map that forgets what was used longest ago."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """At most ``size`` entries of at most ``weight`` together; an entry heavier than a 64th of that is not kept."""

    __slots__ = ("_entries", "_held", "_size", "_weight")

    def __init__(self, size: int, weight: int = 64 * 1024 * 1024) -> None:
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._size = size
        self._weight = weight
        self._held = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value kept under the key, which now counts as just used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep a value; what was used longest ago makes room for it."""
        if self._size <= 0 or weight > self._weight // 64:
            return
        earlier = self._entries.pop(key, None)
        if earlier is not None:
            self._held -= earlier[1]
        self._entries[key] = (value, weight)
        self._held += weight
        while len(self._entries) > self._size or self._held > self._weight:
            _, (_, freed) = self._entries.popitem(last=False)
            self._held -= freed
