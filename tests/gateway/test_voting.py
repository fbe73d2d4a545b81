"""Whose word counts, for which stage, and what it does."""

import dataclasses
from collections.abc import Collection, Mapping
from datetime import timedelta

import pytest

from gateway.config import Role
from gateway.hold_terms import AlreadyDecided, NotAllowed
from gateway.store import Decision, Hold, HoldState
from gateway.voting import Voter, after, next_escalation, seat
from rules import Escalation, Stage
from tests.gateway.store.samples import NOON, hold

SOON = NOON + timedelta(minutes=1)


def voter(
    name: str = "carol",
    *groups: str,
    roles: Collection[str] = (Role.APPROVER,),
    absent: Mapping[str, Collection[str]] | None = None,
) -> Voter:
    return Voter(name, groups or ("dpo",), roles, absent or {})


def said(who: str, stage: int = 0, verdict: str = "approve", deputy_for: str | None = None) -> Decision:
    return Decision(who, verdict, "", SOON, "api", stage, deputy_for)


def staged(*stages: Stage, decisions: tuple[Decision, ...] = ()) -> Hold:
    return hold(stages=stages, decisions=decisions)


TWO = staged(Stage(("lead",)), Stage(("dpo",), 2))


class TestSeat:
    @pytest.mark.parametrize("approve", [True, False])
    @pytest.mark.parametrize(
        ("who", "why"),
        [
            (voter(roles=(Role.ADMIN, Role.VIEWER, Role.AUDITOR)), "deciding takes the role approver"),
            (voter("alice"), "nobody decides about their own statement"),
            (voter("alice", roles=tuple(Role)), "nobody decides about their own statement"),
            (voter("alice", absent={"carol": {"dpo"}}), "nobody decides about their own statement"),
            (voter("erin", "other"), "takes a member of dpo"),
            (voter("erin", "other", absent={"bob": {"other"}}), "takes a member of dpo"),
            # alice asked: nobody decides in her name either.
            (voter("erin", "other", absent={"alice": {"dpo"}}), "takes a member of dpo"),
        ],
    )
    def test_who_has_no_say(self, who: Voter, why: str, approve: bool) -> None:
        with pytest.raises(NotAllowed, match=why):
            seat(hold(), who, SOON, approve=approve)

    @pytest.mark.parametrize("approve", [True, False])
    def test_whoever_is_asked_has_a_say(self, approve: bool) -> None:
        assert seat(hold(), voter(), SOON, approve=approve) == (0, None)
        assert seat(staged(Stage()), voter("erin", "other"), SOON, approve=approve) == (0, None)

    def test_stages_are_in_order(self) -> None:
        assert seat(TWO, voter("lea", "lead"), SOON, approve=True) == (0, None)
        with pytest.raises(NotAllowed, match="takes a member of lead"):
            seat(TWO, voter(), SOON, approve=True)
        begun = dataclasses.replace(TWO, decisions=(said("lea"),))
        assert seat(begun, voter(), SOON, approve=True) == (1, None)
        with pytest.raises(NotAllowed, match="takes a member of dpo"):
            seat(begun, voter("lou", "lead"), SOON, approve=True)

    def test_whoever_is_asked_in_any_stage_may_reject_at_any_time(self) -> None:
        assert seat(TWO, voter(), SOON, approve=False) == (0, None)
        begun = dataclasses.replace(TWO, decisions=(said("lea"),))
        assert seat(begun, voter("lea", "lead"), SOON, approve=False) == (1, None)
        with pytest.raises(NotAllowed, match="takes a member of lead or dpo"):
            seat(TWO, voter("erin", "other"), SOON, approve=False)

    @pytest.mark.parametrize(
        ("groups", "absent"),
        [(("dpo",), {}), (("legal",), {}), (("dpo", "legal"), {}), (("other",), {"dave": {"dpo"}})],
    )
    def test_one_person_counts_once_whichever_way(
        self, groups: tuple[str, ...], absent: Mapping[str, Collection[str]]
    ) -> None:
        one = staged(Stage(("dpo", "legal"), 2), decisions=(said("carol"),))
        with pytest.raises(AlreadyDecided, match="carol has approved"):
            seat(one, voter("carol", *groups, absent=absent), SOON, approve=True)

    def test_one_person_counts_in_one_stage_unless_it_says_otherwise(self) -> None:
        done = (said("carol"),)
        one = staged(Stage(("dpo",)), Stage(("dpo",)), decisions=done)
        with pytest.raises(AlreadyDecided):
            seat(one, voter(), SOON, approve=True)
        one = staged(Stage(("dpo",)), Stage(("dpo",), 2, repeat=True), decisions=done)
        assert seat(one, voter(), SOON, approve=True) == (1, None)
        again = dataclasses.replace(one, decisions=(*done, said("carol", 1)))
        with pytest.raises(AlreadyDecided):
            seat(again, voter(), SOON, approve=True)

    def test_whoever_approved_may_think_better_of_it(self) -> None:
        one = staged(Stage(("dpo",), 2), decisions=(said("carol"),))
        assert seat(one, voter(), SOON, approve=False) == (0, None)

    def test_a_deputy_speaks_in_another_name(self) -> None:
        erin = voter("erin", "other", absent={"bob": {"x"}, "carol": {"dpo"}, "dave": {"dpo"}})
        assert seat(hold(), erin, SOON, approve=True) == (0, "carol")
        assert seat(hold(), erin, SOON, approve=False) == (0, "carol")
        # A member speaks for themself.
        assert seat(hold(), voter("erin", "dpo", absent={"carol": {"dpo"}}), SOON, approve=True) == (0, None)

    def test_the_absent_and_their_deputy_are_one_person(self) -> None:
        erin = voter("erin", "other", absent={"carol": {"dpo"}})
        one = staged(Stage(("dpo",), 2), decisions=(said("carol"),))
        with pytest.raises(AlreadyDecided, match="carol has approved"):
            seat(one, erin, SOON, approve=True)
        one = staged(Stage(("dpo",), 2), decisions=(said("erin", deputy_for="carol"),))
        with pytest.raises(AlreadyDecided, match="carol has approved"):
            seat(one, voter(), SOON, approve=True)
        with pytest.raises(AlreadyDecided, match="carol has approved"):
            seat(one, voter("frank", "other", absent={"carol": {"dpo"}}), SOON, approve=True)
        # Who stands in for two is still one person.
        both = voter("erin", "other", absent={"carol": {"dpo"}, "dave": {"dpo"}})
        with pytest.raises(AlreadyDecided, match="erin has approved"):
            seat(one, both, SOON, approve=True)
        # The other absent one is free for another deputy.
        frank = voter("frank", "other", absent={"carol": {"dpo"}, "dave": {"dpo"}})
        assert seat(one, frank, SOON, approve=True) == (0, "dave")

    def test_an_escalation_adds_people_when_it_is_time(self) -> None:
        one = staged(Stage(("lead",), escalation=Escalation(("dpo",), 300)))
        with pytest.raises(NotAllowed, match="takes a member of lead"):
            seat(one, voter(), one.opened_at + timedelta(seconds=299), approve=True)
        assert seat(one, voter(), one.opened_at + timedelta(seconds=300), approve=True) == (0, None)
        assert seat(one, voter("lea", "lead"), one.opened_at + timedelta(seconds=300), approve=True) == (
            0,
            None,
        )

    def test_where_everybody_has_spoken_there_is_no_seat_to_find(self) -> None:
        assert seat(staged(Stage(), decisions=(said("carol"),)), voter("dave"), SOON, approve=True) == (
            0,
            None,
        )


class TestAfter:
    @pytest.mark.parametrize(
        ("before", "word", "state"),
        [
            (hold(), said("carol"), HoldState.APPROVED),
            (hold(), said("carol", verdict="reject"), HoldState.REJECTED),
            (TWO, said("lea"), HoldState.PENDING),
            (TWO, said("carol", verdict="reject"), HoldState.REJECTED),
            (dataclasses.replace(TWO, decisions=(said("lea"),)), said("carol", 1), HoldState.PENDING),
            (
                dataclasses.replace(TWO, decisions=(said("lea"), said("carol", 1))),
                said("dave", 1),
                HoldState.APPROVED,
            ),
            (
                dataclasses.replace(TWO, decisions=(said("lea"), said("carol", 1))),
                said("dave", 1, "reject"),
                HoldState.REJECTED,
            ),
        ],
    )
    def test_what_a_word_does(self, before: Hold, word: Decision, state: HoldState) -> None:
        assert after(before, word) is state


class TestNextEscalation:
    def test_each_stage_escalates_once(self) -> None:
        escalation = Escalation(("legal",), 60)
        one = staged(Stage(("lead",), escalation=escalation), Stage(("dpo",), escalation=escalation))
        standing = next_escalation(one, ())
        assert standing == one.standings[0]
        assert next_escalation(one, {0}) is None
        begun = dataclasses.replace(one, decisions=(said("lea"),))
        assert next_escalation(begun, {0}) == begun.standings[1]
        done = dataclasses.replace(begun, decisions=(said("lea"), said("carol", 1)))
        assert next_escalation(done, ()) is None
        assert next_escalation(hold(), ()) is None
