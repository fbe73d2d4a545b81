"""The values of the store, as the management port shows them."""

import dataclasses
from datetime import datetime, timedelta, timezone

import pytest

from gateway.store import Hold, HoldState, Outcome, TokenRecord, iso
from tests.gateway.store.samples import NOON, approval, hold, rejection, token


def test_a_time_is_utc_with_milliseconds() -> None:
    assert iso(NOON) == "2030-01-31T12:00:00.000Z"
    moment = datetime(2030, 1, 31, 12, 0, 0, 123_999, timezone(timedelta(hours=-5)))
    assert iso(moment) == "2030-01-31T17:00:00.123Z"
    assert iso(None) is None


def test_a_hold_has_the_members_that_are_promised() -> None:
    shown = hold().to_dict()
    promised = (
        "id state user groups database client_addr application_name session_id sql parameters actions "
        "relations columns row_bound rule criteria reason opened_at expires_at resolved_at decisions digest "
        "outcome"
    )
    assert set(promised.split()) <= set(shown)
    # Everything but which process it belongs to.
    assert set(shown) == {field.name for field in dataclasses.fields(Hold)} - {"instance"}


def test_a_hold_is_shown_with_what_became_of_it() -> None:
    one = hold(
        state=HoldState.APPROVED,
        decisions=(approval(reason="as asked"),),
        resolved_at=NOON,
        outcome=Outcome("DELETE 1", 1, None, 1.5),
    )
    shown = one.to_dict()
    assert shown["state"] == "approved"
    assert shown["parameters"] == ["5", None]
    assert shown["decisions"] == [
        {
            "who": "carol",
            "verdict": "approve",
            "reason": "as asked",
            "at": "2030-01-31T12:01:00.000Z",
            "how": "api",
        }
    ]
    assert shown["outcome"] == {"tag": "DELETE 1", "rows": 1, "sqlstate": None, "duration_ms": 1.5}
    assert (shown["resolved_at"], shown["released_at"]) == ("2030-01-31T12:00:00.000Z", None)


def test_a_hold_without_parameters_and_without_outcome() -> None:
    shown = hold(parameters=None).to_dict()
    assert (shown["parameters"], shown["outcome"]) == (None, None)


@pytest.mark.parametrize("state", list(HoldState))
def test_open_is_what_may_still_run(state: HoldState) -> None:
    one = hold(state=state)
    assert one.open is (state in (HoldState.PENDING, HoldState.APPROVED))
    assert not dataclasses.replace(one, state=HoldState.APPROVED, released_at=NOON).open


def test_who_decided_is_named_once() -> None:
    assert hold(decisions=(approval(), rejection(), approval())).decided_by == ("carol", "dave")


def test_a_token_is_shown_without_what_opens_anything() -> None:
    shown = token(expires_at=NOON, revoked_at=NOON, person=True).to_dict()
    assert set(shown) == {field.name for field in dataclasses.fields(TokenRecord)} - {"person"}
    assert shown["roles"] == ["approver", "viewer"]
    assert shown["expires_at"] == shown["revoked_at"] == iso(NOON)
