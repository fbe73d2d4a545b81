"""Holds that concern the same people, in words and for the store."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config import Conflicts, load_config
from gateway.conflicting import concern_of, in_the_way, must_end, only_warned, place_of
from gateway.store import Conflict, HoldState
from rules import Act, Affected, ConflictAction, ConflictKind
from tests.gateway.management import hold_request
from tests.gateway.store.samples import NOON, hold


def conflict(**changes: Any) -> Conflict:
    values: dict[str, Any] = {
        "kind": ConflictKind.EXPORT_THEN_DELETE,
        "action": ConflictAction.ORDER,
        "other": "H-1",
        "user": "bob",
        "state": HoldState.PENDING,
        "earlier": True,
        "ended": False,
        "about": ("public.customer: customer_id 7",),
    }
    return Conflict(**{**values, **changes})


def test_whom_the_store_looks_for() -> None:
    affected = [Affected(Act.DELETE, "public.customer")]
    request = hold_request(affected=affected, place="db:5432/shop", breaks_glass=True)
    concern = concern_of(request, Conflicts(delete_twice=ConflictAction.BLOCK, window=60.0))
    assert concern is not None
    assert (concern.place, concern.affected, concern.window) == ("db:5432/shop", affected, 60.0)
    assert concern.actions[ConflictKind.DELETE_TWICE] is ConflictAction.BLOCK
    assert concern.action(ConflictKind.DELETE_TWICE) is ConflictAction.WARN, "who cannot wait is only told"
    assert concern_of(hold_request(), Conflicts()) is None


def test_a_database_is_one_by_whatever_name(tmp_path: Path) -> None:
    file = tmp_path / "holdgate.yaml"
    file.write_text("databases: {shop: {host: db}, store: {host: db, dbname: shop}}")
    config = load_config(file)
    assert place_of(config, "shop") == place_of(config, "store") == "db:5432/shop"
    assert place_of(config, "unheard of") == "unheard of"


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, False),
        ({"action": ConflictAction.WARN}, True),
        ({"action": ConflictAction.WARN, "ended": True}, False),
    ],
)
def test_what_only_people_stand_between(changes: dict[str, Any], warned: bool) -> None:
    assert only_warned(hold(conflicts=(conflict(**changes),))) is warned


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({}, True),
        ({"ended": True}, False),
        ({"earlier": False}, False),
        ({"action": ConflictAction.WARN}, False),
        ({"kind": ConflictKind.DELETE_THEN_EXPORT}, False),
        ({"kind": ConflictKind.DELETE_THEN_EXPORT, "earlier": False}, True),
        ({"kind": ConflictKind.DELETE_TWICE}, True),
    ],
)
def test_who_waits(changes: dict[str, Any], waits: bool) -> None:
    assert conflict(**changes).waits is waits


def test_words() -> None:
    assert in_the_way([conflict()]) == (
        "hold H-1 of bob (pending) exports the same data: public.customer: customer_id 7"
    )
    two = [conflict(kind=ConflictKind.DELETE_TWICE, ended=True, about=("a", "b")), conflict()]
    assert (
        in_the_way(two) == "hold H-1 of bob (which has ended) deletes the same data: a; b, and so does 1 more"
    )
    assert in_the_way([*two, conflict()]).endswith(", and so do 2 more")
    waiting, running = hold(1), hold(2, released_at=NOON)
    assert must_end([waiting], [waiting.id]) == f"hold {waiting.id} of alice (pending)"
    assert must_end([running], [running.id, "H-3"]) == f"hold {running.id} of alice (it runs) and 1 more"
    assert must_end([], ["H-3"]) == "H-3"
