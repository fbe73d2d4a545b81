"""What runs are worth."""

from typing import Any

import pytest

from tests.redteam.attempt import Attempt
from tests.redteam.corpus import Entry
from tests.redteam.scoring import Outcome, Trial, score, unsuited


def entry(expect: str = "hold_delete", category: str = "lexer", **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "id": "a",
        "category": category,
        "expect": expect,
        "messages": (b"SELECT 1",),
        "role": "app",
        "startup": {},
        "setup": (),
        "versions": (15,),
        "evidence": {},
        **changes,
    }
    return Entry(**values)


def trial(
    *,
    lost: int = 0,
    emails: int = 0,
    answers: str = "ok",
    verdicts: tuple[str, ...] = (),
    gone: bool = False,
    **made: Any,
) -> Trial:
    tokens = {"e-mail": {str(i).encode() for i in range(emails)}} if emails else {}
    return Trial(
        Attempt(answers=[[("D", answers)]], tokens=tokens, **made),
        {"customers": 10},
        {"customers": None if gone else 10 - lost},
        verdicts,
    )


@pytest.mark.parametrize(
    ("expect", "direct", "through", "outcome"),
    [
        ("hold_delete", trial(lost=3), trial(verdicts=("hold",)), Outcome.STOPPED),
        ("hold_delete", trial(lost=3), trial(), Outcome.STOPPED),
        ("hold_delete", trial(lost=3), trial(lost=3), Outcome.MISSED),
        ("hold_delete", trial(lost=3), trial(lost=1, verdicts=("hold",)), Outcome.MISSED),
        ("hold_delete", trial(gone=True), trial(gone=True), Outcome.MISSED),
        ("hold_bulk_pii", trial(emails=21), trial(emails=21), Outcome.MISSED),
        ("hold_bulk_pii", trial(emails=21), trial(emails=20), Outcome.STOPPED),
        ("hold_bulk_pii", trial(), trial(), Outcome.MISSED),
        ("deny", trial(), trial(verdicts=("allow", "deny")), Outcome.STOPPED),
        ("deny", trial(), trial(), Outcome.MISSED),
        ("deny", trial(), trial(broken="login refused: no"), Outcome.STOPPED),
        ("deny", trial(broken="login refused: no"), trial(broken="login refused: no"), Outcome.MISSED),
        ("unsupported_fail_closed", trial(), trial(), Outcome.STOPPED),
        ("unsupported_fail_closed", trial(), trial(broken="no answer for 20 s"), Outcome.MISSED),
        ("unsupported_fail_closed", trial(lost=1), trial(lost=1), Outcome.MISSED),
    ],
)
def test_must_stop(expect: str, direct: Trial, through: Trial, outcome: Outcome) -> None:
    assert score(entry(expect), direct, through).outcome is outcome


def test_a_side_channel_may_not_tell_a_single_value() -> None:
    channel = entry("deny", "side-channel")
    assert score(channel, trial(emails=1), trial(emails=1)).outcome is Outcome.MISSED
    assert score(channel, trial(emails=1), trial()).outcome is Outcome.STOPPED


@pytest.mark.parametrize(
    ("through", "outcome"),
    [
        (trial(), Outcome.PASSED),
        (trial(holds=["H-1"]), Outcome.HELD),
        (trial(verdicts=("allow", "deny")), Outcome.HELD),
        (trial(broken="the connection was closed"), Outcome.HELD),
        (trial(answers="else"), Outcome.HELD),
        (trial(lost=1), Outcome.HELD),
    ],
)
def test_innocent(through: Trial, outcome: Outcome) -> None:
    assert score(entry("allow"), trial(), through).outcome is outcome


def test_values_that_change_from_run_to_run_are_compared_by_their_shape() -> None:
    again = trial(answers="third")
    assert score(entry("allow"), trial(), trial(answers="second"), again).outcome is Outcome.PASSED
    assert score(entry("allow"), trial(), trial(answers="second"), trial()).outcome is Outcome.HELD
    other = trial()
    other.attempt.answers = [[("E", "42501")]]
    assert score(entry("allow"), trial(), other, again).outcome is Outcome.HELD


def test_what_a_server_of_another_version_does_not_know_is_not_run() -> None:
    assert "42883" in unsuited(entry(), trial(errors=["42883"]), 18)
    assert not unsuited(entry(), trial(errors=["42883"]), 15)
    assert not unsuited(entry(), trial(errors=["42501"]), 18)
    assert not unsuited(entry(evidence={"errors": ["42883 ..."]}), trial(errors=["42883"]), 18)


def test_a_result_names_what_happened() -> None:
    line = str(score(entry(), trial(lost=3), trial(lost=3, verdicts=("hold",))))
    assert line.startswith(
        "missed   a (lexer, hold_delete): 3 rows of customers gone, though something was held"
    )
    assert line.endswith("| SELECT 1")
