"""What a message says, and what it does not."""

import dataclasses
import json

import pytest

from gateway.notify.notice import notice_of, sample
from gateway.store import BREAK_GLASS, HoldState
from rules import Escalation, Intent, Stage
from tests.gateway.notify.samples import message, notice
from tests.gateway.store.samples import NOON, approval, hold, rejection

SECRET = "mallory@example.org"
TELLING = hold(
    sql=f"DELETE FROM customer WHERE email = '{SECRET}' -- {SECRET}",
    parameters=(SECRET,),
    recent=({"sql": f"SELECT '{SECRET}'"},),
    impact={"changes": [], "unseen": [SECRET]},
    criteria=({"name": "ticket", "said": SECRET},),
)


def test_who_asks_for_what_and_where_to_look() -> None:
    one = hold(intent=Intent(reason="left", ticket="GDPR-7"))
    made = notice("asked", one)
    assert made.title == "alice asks for approval: delete on public.customer"
    assert dict(made.facts) == {
        "Hold": one.id,
        "Asked of": "dpo",
        "Requester": "alice (psql)",
        "Database": "shop",
        "Rule": "erasure: deletes personal data",
        "Rows": "POINT",
        "Reason": "left",
        "Ticket": "GDPR-7",
        "Expires": "2030-01-31T12:15:01.000Z",
    }
    assert made.link == f"https://hold.example/#{one.id}"
    assert made.text.endswith(f"\n\nDELETE FROM customer WHERE customer_id = $1\n\n{made.link}")
    assert notice("asked", one, sql="none", url=None).text.endswith("Expires: 2030-01-31T12:15:01.000Z")


def test_each_event_has_its_words() -> None:
    escalating = hold(stages=(Stage(("lead",), escalation=Escalation(("dpo",), 60.0)),))
    late = notice("escalated", escalating)
    assert (late.title, dict(late.facts)["Asked of"]) == (
        "Still waits for approval: delete on public.customer, asked by alice",
        "dpo",
    )
    done = notice("resolved", hold(state=HoldState.REJECTED, decisions=(rejection(),)))
    assert done.title == "Rejected by dave: delete on public.customer, asked by alice"
    assert dict(done.facts)["Decision"] == "no ticket"
    gone = notice("resolved", hold(state=HoldState.ABANDONED, end_reason="the client went away"))
    assert gone.title == "Abandoned: delete on public.customer, asked by alice"
    assert dict(gone.facts)["Ended"] == "the client went away"
    glass = hold(
        state=HoldState.APPROVED,
        decisions=(dataclasses.replace(approval("alice"), how=BREAK_GLASS),),
        intent=Intent(break_glass="on fire"),
    )
    review = notice("review", glass)
    assert review.title == "Ran without an approval, to be reviewed: delete on public.customer, by alice"
    assert dict(review.facts)["Broke the glass"] == "on fire"


def test_whoever_asked_gets_a_link_of_their_own() -> None:
    one = hold(confirm="email")
    made = notice_of(
        message("confirm"), one, "none", "https://hold.example", "https://hold.example/confirm/x?t=y"
    )
    assert made.title == "Confirm that you ask for this: delete on public.customer"
    assert made.link == "https://hold.example/confirm/x?t=y"
    assert "If it was not you: do nothing" in made.text
    other = notice_of(message("confirm"), one, "none", "https://hold.example")
    assert other.link == f"https://hold.example/#{one.id}"
    assert (
        "/confirm/"
        not in notice_of(message(), one, "full", "https://hold.example", "https://h/confirm/x").text
    )


@pytest.mark.parametrize("sql", ["redacted", "none"])
def test_nothing_of_the_values_is_said_unless_it_may_be(sql: str) -> None:
    made = notice_of(message(), TELLING, sql, None)  # type: ignore[arg-type]
    assert SECRET not in made.title + made.text + json.dumps(dict(made.data))
    assert made.sql == (None if sql == "none" else "DELETE FROM customer WHERE email = ?")
    assert made.data["sql"] == made.sql
    assert made.data["parameters"] is None


def test_programs_may_be_told_the_statement_and_no_more_of_the_session() -> None:
    data = notice("asked", TELLING).data
    assert (data["sql"], data["parameters"]) == (TELLING.sql, [SECRET])
    assert not {"recent", "impact", "criteria"} & set(data)


def test_proofs_stay_in_the_record() -> None:
    proven = dataclasses.replace(approval(), step_up="passkey", proof={"signature": "x"})
    (shown,) = notice("resolved", hold(state=HoldState.APPROVED, decisions=(proven,))).data["decisions"]
    assert shown["step_up"] == "passkey"
    assert "proof" not in shown


def test_what_others_wrote_hides_and_reorders_nothing() -> None:
    one = hold(
        user="ali\u202ece",
        application_name="a\x1b[2J\nHold: H-2",
        sql="SELECT 1 \u202e\x00",
        intent=Intent(reason="see\r\nExpires: never"),
    )
    made = notice("asked", one)
    facts = dict(made.facts)
    assert "\\u202e" in made.title
    assert facts["Requester"] == "ali\\u202ece (a\\x1b[2J Hold: H-2)"
    assert facts["Reason"] == "see\\x0d Expires: never"
    assert made.sql == "SELECT 1 \\u202e\\x00"


def test_long_things_are_cut() -> None:
    one = hold(sql="x" * 200_000, relations=("y" * 5000,), intent=Intent(reason="z" * 2000))
    made = notice("asked", one)
    assert len(made.title) == 200
    assert made.sql is not None
    assert len(made.sql) == 2000
    assert len(made.data["sql"]) == 100_000
    assert max(len(value) for _, value in made.facts) == 500


def test_a_sample_says_that_it_is_one() -> None:
    made = sample("01J", NOON, None)
    assert (made.data, made.event) == ({"test": True}, "test")
    assert made.title == "A test of Holdgate: messages arrive here"
