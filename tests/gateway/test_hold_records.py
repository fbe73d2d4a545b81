"""What the audit keeps of a hold."""

import dataclasses
from datetime import timedelta

from gateway.audit import Kind
from gateway.hold_records import decision_record, escalation_record, hold_record
from gateway.store import HoldState
from rules import Escalation, Intent, Stage
from tests.gateway.store.samples import NOON, approval, hold

INTENT = Intent(reason="asked", ticket="T-1")


def test_a_record_says_what_was_held_and_how_long() -> None:
    one = hold(resolved_at=hold().opened_at + timedelta(seconds=2))
    record = hold_record(one, Kind.HOLD, "expired", reason="nobody decided")
    assert (record.hold_id, record.verdict, record.tag, record.held_ms) == (one.id, "hold", "expired", 2000)
    assert (record.at, record.details) == (one.resolved_at, {})


def test_the_requesters_words_are_in_every_record() -> None:
    one = hold(intent=INTENT)
    decision = dataclasses.replace(approval(), stage=1, deputy_for="dave")
    for record in (
        hold_record(one, Kind.HOLD, "opened", reason=""),
        decision_record(one, decision, HoldState.APPROVED),
    ):
        assert record.details["intent"] == INTENT.to_dict()


def test_a_decision_counts_or_ends_the_wait() -> None:
    decision = dataclasses.replace(approval(), stage=1, deputy_for="dave")
    record = decision_record(hold(), decision, HoldState.PENDING)
    assert (record.tag, record.verdict, record.approved_by, record.at) == (
        "counted",
        "approve",
        ("carol",),
        decision.at,
    )
    assert (record.details["stage"], record.details["deputy_for"]) == (1, "dave")
    assert decision_record(hold(), decision, HoldState.REJECTED).tag == "rejected"


def test_an_escalation_says_to_whom() -> None:
    one = hold(stages=(Stage(("dpo",), escalation=Escalation(("legal", "head"), 60)),))
    record = escalation_record(one, one.standings[0], NOON)
    assert (record.tag, record.reason, record.at) == ("escalated", "to legal and head", NOON)
    assert record.details == {"stage": 0, "to": ["legal", "head"]}
