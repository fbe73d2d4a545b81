"""Moments as people and programs read them."""

from datetime import UTC, datetime

__all__ = ["iso"]


def iso(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds and ``Z``; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
