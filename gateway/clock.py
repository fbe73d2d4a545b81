"""The only module of the gateway that tells the time."""

import time
from datetime import UTC, datetime

__all__ = ["SYSTEM_CLOCK", "Clock", "microseconds", "monotonic", "now"]


def now() -> datetime:
    """The wall clock as an aware datetime in UTC."""
    return datetime.now(UTC)


def microseconds() -> int:
    """The wall clock as microseconds since 1970: what a record is given before anybody has to read it."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Seconds from an arbitrary start that never run backwards: for durations and deadlines."""
    return time.monotonic()


class Clock:
    """The clock as a value, for the few parts whose tests must move time (expiry, chains over midnight)."""

    def now(self) -> datetime:
        """The wall clock as an aware datetime in UTC."""
        return now()

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return monotonic()


SYSTEM_CLOCK = Clock()
