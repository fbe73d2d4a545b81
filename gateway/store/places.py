"""Places under caps: who has one, who waits for one, and where in the queue."""

from dataclasses import dataclass
from datetime import datetime

from gateway.store.moments import iso

__all__ = ["Occupied", "Place", "Stand"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody waits: number ``at`` of ``of`` that wait for one of the ``most`` places for ``key`` under a cap.

    ``per``: seconds in which so many may begin; None: so many at the same time. ``room_at`` is when there will be room
    as far as that is known, since places of the span of time become free.
    """

    cap: str
    key: str
    most: int
    per: float | None
    at: int
    of: int
    room_at: datetime | None = None

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "cap": self.cap,
            "key": self.key,
            "most": self.most,
            "per_seconds": self.per,
            "place": self.at,
            "of": self.of,
            "room_at": iso(self.room_at),
        }


@dataclass(frozen=True, slots=True)
class Stand:
    """How a statement stands that needs places: it has them, or waits at ``place``. ``kept`` is how many it needs for
    as long as it runs. ``in_circle``: it waits for somebody who waits for what its own transaction has."""

    entry: str
    hold_id: str
    place: Place | None
    kept: int
    in_circle: bool = False


@dataclass(frozen=True, slots=True)
class Occupied:
    """Everybody under one cap for one key: the holds that have a place, and those that wait for one in their order."""

    cap: str
    key: str
    most: int
    per: float | None
    taken: tuple[str, ...]
    waiting: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "cap": self.cap,
            "key": self.key,
            "most": self.most,
            "per_seconds": self.per,
            "taken": list(self.taken),
            "waiting": list(self.waiting),
        }
