"""The values of the store, as the management port shows them."""

import dataclasses
from datetime import timedelta

import pytest

from gateway.store import Decision, Hold, HoldState, Outcome, TokenRecord, iso
from rules import Escalation, Margin, Stage
from tests.gateway.store.samples import NOON, approval, hold, rejection, token


def test_a_hold_has_the_members_that_are_promised() -> None:
    shown = hold().to_dict()
    promised = (
        "id state user groups database client_addr application_name session_id sql parameters actions "
        "relations columns row_bound rule criteria reason opened_at expires_at resolved_at decisions digest "
        "outcome"
    )
    assert set(promised.split()) <= set(shown)
    # Everything but which process it belongs to, all of its groups once more, and what comes of its margin.
    fields = {field.name for field in dataclasses.fields(Hold)}
    followed = {"approval_groups", "break_glass", "max_rows", "proposed_rows", "use_by"}
    assert set(shown) == fields - {"instance", "margin"} | followed


@pytest.mark.parametrize(
    ("rows", "uncounted", "proposed"),
    [([3], None, 5), ([2, 1], None, 5), ([3, None], None, None), ([], None, None), ([3], "a riddle", None)],
)
def test_what_an_approval_is_for_follows_from_the_preview(
    rows: list[int | None], uncounted: str | None, proposed: int | None
) -> None:
    impact = {"changes": [{"rows": one} for one in rows]}
    one = hold(impact=impact, margin=Margin(rows=2), uncounted=uncounted)
    assert one.proposed_rows == proposed
    assert hold(margin=Margin(rows=2)).proposed_rows is None


def test_of_several_approvals_the_lowest_number_of_rows_counts() -> None:
    def said(number: int | None, verdict: str = "approve") -> Decision:
        return Decision("carol", verdict, "", NOON, "api", max_rows=number)

    assert hold(decisions=(said(None), said(7), said(5))).max_rows == 5
    assert hold(decisions=(said(None),)).max_rows is None
    assert hold(decisions=(said(0), said(1, "reject"))).max_rows == 0


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
            "stage": 0,
            "deputy_for": None,
            "max_rows": None,
            "step_up": None,
            "proof": None,
            "granted": None,
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


class TestStages:
    STAGES = (
        Stage(("lead",), escalation=Escalation(("dpo",), 60)),
        Stage(("dpo",), 2, Escalation(("legal",), 600)),
        Stage(),
    )

    def test_where_a_hold_stands_follows_from_its_decisions(self) -> None:
        one = hold(stages=self.STAGES)
        assert [(each.since, each.missing) for each in one.standings] == [
            (one.opened_at, 1),
            (None, 2),
            (None, 1),
        ]
        assert one.standing == one.standings[0]
        one = dataclasses.replace(one, decisions=(approval("lea"), voted("carol", 1), voted("eve", 2)))
        assert [(each.since, each.missing) for each in one.standings] == [
            (one.opened_at, 0),
            (NOON + timedelta(minutes=1), 1),
            (None, 0),
        ]
        assert one.standing == one.standings[1]
        one = dataclasses.replace(one, decisions=(*one.decisions, voted("dave", 1)))
        assert one.standing is None

    def test_what_was_rejected_did_not_advance(self) -> None:
        one = hold(stages=self.STAGES, decisions=(rejection(),))
        assert [each.missing for each in one.standings] == [1, 2, 1]

    def test_escalation_adds_groups_when_its_time_has_come(self) -> None:
        one = hold(stages=self.STAGES)
        standing = one.standings[0]
        assert standing.escalates_at == one.opened_at + timedelta(seconds=60)
        assert standing.groups(one.opened_at + timedelta(seconds=59)) == ("lead",)
        assert standing.groups(one.opened_at + timedelta(seconds=60)) == ("lead", "dpo")
        # A stage that has not begun does not count the time.
        assert one.standings[1].escalates_at is None
        assert one.standings[1].groups(one.opened_at + timedelta(days=1)) == ("dpo",)
        begun = dataclasses.replace(one, decisions=(approval("lea"),))
        assert begun.standings[1].escalates_at == NOON + timedelta(minutes=11)

    def test_stages_are_shown(self) -> None:
        one = hold(stages=self.STAGES, decisions=(approval("lea"),))
        shown = one.to_dict()
        assert shown["approval_groups"] == ["lead", "dpo", "legal"]
        assert shown["stages"] == [
            {
                "groups": ["lead"],
                "quorum": 1,
                "repeat": False,
                "step_up": [],
                "escalation": {"to": ["dpo"], "at": "2030-01-31T12:01:01.000Z"},
                "since": "2030-01-31T12:00:01.000Z",
                "approved_by": ["lea"],
                "missing": 0,
            },
            {
                "groups": ["dpo"],
                "quorum": 2,
                "repeat": False,
                "step_up": [],
                "escalation": {"to": ["legal"], "at": "2030-01-31T12:11:00.000Z"},
                "since": "2030-01-31T12:01:00.000Z",
                "approved_by": [],
                "missing": 2,
            },
            {
                "groups": [],
                "quorum": 1,
                "repeat": False,
                "step_up": [],
                "escalation": None,
                "since": None,
                "approved_by": [],
                "missing": 1,
            },
        ]


def voted(who: str, stage: int) -> Decision:
    return dataclasses.replace(approval(who), stage=stage)


def test_a_token_is_shown_without_what_opens_anything() -> None:
    shown = token(expires_at=NOON, revoked_at=NOON, person=True).to_dict()
    assert set(shown) == {field.name for field in dataclasses.fields(TokenRecord)} - {"person"}
    assert shown["roles"] == ["approver", "viewer"]
    assert shown["expires_at"] == shown["revoked_at"] == iso(NOON)
