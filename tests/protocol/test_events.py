"""Events are values, and the two markers tell themselves apart."""

import dataclasses

import pytest

from protocol.events import (
    NEED_DATA,
    PAUSED,
    CommitFailed,
    ParameterChanged,
    Ready,
    RequestReady,
    StatementFinished,
    Terminated,
    UpstreamFatal,
    Withheld,
)
from protocol.request import Execution, Kind, Request, Step

EXECUTION = Execution(Step.QUERY, 0, 0, sql=(b"SELECT 1",))
EVENTS = [
    RequestReady(Request(Kind.QUERY, [], [EXECUTION])),
    StatementFinished(EXECUTION, 0, "SELECT 1", 1, 20, {}),
    CommitFailed({"C": "23503"}),
    Ready(ord("I"), EXECUTION),
    ParameterChanged("TimeZone", "UTC"),
    UpstreamFatal({"C": "57P01"}),
    Withheld({"C": "23505", "M": "duplicate key"}),
    Terminated(),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_cannot_be_changed_and_equals_its_copy(event: object) -> None:
    assert dataclasses.replace(event) == event  # type: ignore[type-var]
    name = next((field.name for field in dataclasses.fields(event)), "anything")  # type: ignore[arg-type]
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(event, name, None)


def test_a_statement_has_run_to_its_end_unless_told() -> None:
    event = StatementFinished(EXECUTION, 0, "SELECT 1", 1, 20, {})
    assert not event.suspended
    assert not event.skipped


def test_markers() -> None:
    assert NEED_DATA is not PAUSED
    assert [repr(NEED_DATA), repr(PAUSED)] == ["NEED_DATA", "PAUSED"]
