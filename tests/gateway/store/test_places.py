"""How places under caps are shown."""

from gateway.store import Occupied, Place
from tests.gateway.store.samples import NOON


def test_where_somebody_waits() -> None:
    assert Place("two", "", 2, 3600.0, 1, 3, NOON).to_dict() == {
        "cap": "two",
        "key": "",
        "most": 2,
        "per_seconds": 3600.0,
        "place": 1,
        "of": 3,
        "room_at": "2030-01-31T12:00:00.000Z",
    }


def test_who_has_places() -> None:
    assert Occupied("two", "alice", 2, None, ("H-1",), ("H-2", "H-3")).to_dict() == {
        "cap": "two",
        "key": "alice",
        "most": 2,
        "per_seconds": None,
        "taken": ["H-1"],
        "waiting": ["H-2", "H-3"],
    }
