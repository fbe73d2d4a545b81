"""Grants as values: what is over, and what several of them come to."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.store import GrantRecord, GrantTerms
from tests.gateway.store.samples import NOON


def grant(number: int = 1, **changes: Any) -> GrantRecord:
    """A grant of an hour."""
    values: dict[str, Any] = {
        "id": f"G-{number:026d}",
        "hold_id": f"H-{number:026d}",
        "user": "alice",
        "database": "shop",
        "role": "",
        "groups": ("support",),
        "known": True,
        "shape": "f" * 64,
        "text": "DELETE FROM customer WHERE customer_id = \N{HORIZONTAL ELLIPSIS}",
        "rules": ("erasure",),
        "binding": "[]",
        "approved_by": ("carol",),
        "created_at": NOON,
        "expires_at": NOON + timedelta(hours=1),
    }
    return GrantRecord(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "minutes", "over"),
    [
        ({}, 59, None),
        ({}, 60, "expired"),
        ({"uses": 2, "used": 1}, 0, None),
        ({"uses": 2, "used": 2}, 0, "used up"),
        ({"rows": 5, "rows_used": 4}, 0, None),
        ({"rows": 5, "rows_used": 5}, 0, "used up"),
        ({"revoked_at": NOON, "revoked_by": "root"}, 90, "revoked"),
    ],
)
def test_what_is_over(changes: dict[str, Any], minutes: int, over: str | None) -> None:
    assert grant(**changes).over(NOON + timedelta(minutes=minutes)) == over


def test_the_least_of_several() -> None:
    assert GrantTerms(60, 5).least(GrantTerms(90, 3, 10)) == GrantTerms(60, 3, 10)
    assert GrantTerms(60).least(GrantTerms(30)) == GrantTerms(30)
    assert GrantTerms(60, 5).to_dict() == {"seconds": 60, "uses": 5, "rows": None}


def test_how_it_is_shown() -> None:
    shown = grant().to_dict()
    assert shown["statement"] == "DELETE FROM customer WHERE customer_id = …"
    assert (shown["expires_at"], shown["revoked_at"]) == ("2030-01-31T13:00:00.000Z", None)
    assert "shape" not in shown
