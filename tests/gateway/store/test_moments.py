"""Moments in their one written form."""

from datetime import UTC, datetime, timedelta, timezone

from gateway.store.moments import iso


def test_in_utc_with_milliseconds() -> None:
    noon = datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=5)))
    assert iso(noon) == "2030-01-31T07:00:00.000Z"
    assert iso(datetime(2030, 1, 31, 12, 0, 0, 999_999, tzinfo=UTC)) == "2030-01-31T12:00:00.999Z"
    assert iso(None) is None
