"""What crosses between supervisor and worker crosses whole: every type that a port names."""

import typing
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.catalog import Copy
from gateway.config import Role
from gateway.hold_port import HoldPort
from gateway.hold_terms import HoldRequest
from gateway.metrics import Family, Metrics
from gateway.people import Person
from gateway.seats import SeatPort
from gateway.session import SessionInfo
from gateway.store import Decision, HoldState, Outcome
from gateway.workers.ports import OthersPort, RecordPort, Settings, WorkerPort
from gateway.workers.values import decode, encode
from tests.gateway.management import hold_request
from tests.gateway.store.samples import hold

MOMENT = datetime(2026, 11, 24, 12, 0, 0, 5, UTC)


@pytest.mark.parametrize(
    "value",
    [
        hold(),
        hold(
            state=HoldState.APPROVED,
            parameters=("1", None, "\ud800"),
            recent=({"sql": "SELECT 1", "at": None},),
            impact={"changes": [{"relation": "public.customer", "rows": 3}]},
            decisions=(Decision("carol", "approve", "", MOMENT, "api"),),
            outcome=Outcome("DELETE 1", 1, None, 2.5),
            resolved_at=MOMENT,
        ),
        Person("carol", frozenset({"dpo"}), frozenset({Role.APPROVER, Role.VIEWER})),
        SessionInfo(
            id="S-1",
            user="\udcff",
            groups=("a", "b"),
            database="shop",
            client_addr=None,
            application_name="psql",
            state="held",
            started_at=MOMENT,
            transaction_status="T",
            current_sql="SELECT 1",
            hold_id="H-1",
            backend_pid=7,
        ),
        Settings("/x", "databases: {}", b"\0\xff", ((("db", 5432, "shop"), (Copy("public", "c", ("e",)),)),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_arrive_as_they_were(value: object) -> None:
    assert decode(encode(value), type(value)) == value


def test_a_request_arrives_as_it_was() -> None:
    request = hold_request()
    arrived: HoldRequest = decode(encode(request), HoldRequest)
    # What is any sequence to whoever asks is a list to whoever is asked.
    for name in HoldRequest.__slots__:
        ours, theirs = getattr(request, name), getattr(arrived, name)
        assert theirs == (list(ours) if isinstance(theirs, list) else ours)


def test_metrics_arrive_as_they_were() -> None:
    families = Metrics("1.0").families()
    assert decode(encode(families), list[Family]) == families
    assert len(families) > 20


@pytest.mark.parametrize("port", [HoldPort, SeatPort, RecordPort, OthersPort, WorkerPort])
def test_every_method_says_what_crosses(port: type) -> None:
    methods = {name: one for name, one in vars(port).items() if not name.startswith("_")}
    assert methods
    for method in methods.values():
        hints: dict[str, Any] = typing.get_type_hints(method)
        assert "return" in hints
