"""Who may release a hold, and whether there are people enough for it."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import Approval, Escalation, GrantLimits, Margin, Stage, joined, unmet

MEMBERS = {"lead": {"lea"}, "dpo": {"carol", "dave"}, "legal": {"carol"}, "none": set[str]()}


def test_every_group_is_named_once() -> None:
    approval = Approval((Stage(("lead",), escalation=Escalation(("dpo",), 1)), Stage(("dpo", "legal"))))
    assert approval.groups == ("lead", "dpo", "legal")
    assert Approval().groups == ()


def test_where_everybody_may_decide_nothing_escalates() -> None:
    assert Stage((), escalation=Escalation(("dpo",), 1)).all_groups == ()


@pytest.mark.parametrize(
    ("stages", "stuck"),
    [
        ([Stage()], None),
        ([Stage(quorum=100)], None),
        ([Stage(("dpo",), 2)], None),
        ([Stage(("dpo",), 3)], 0),
        ([Stage(("dpo", "legal"), 3)], 0),
        ([Stage(("dpo", "lead"), 3)], None),
        ([Stage(("lead",), 2, Escalation(("dpo",), 1))], None),
        ([Stage(("none",))], 0),
        ([Stage(("unknown",))], 0),
        # carol is needed for the second stage, so dave has to do the first.
        ([Stage(("dpo",)), Stage(("legal",))], None),
        ([Stage(("legal",)), Stage(("dpo",))], None),
        ([Stage(("dpo",), 2), Stage(("legal",))], 1),
        ([Stage(("dpo",), 2), Stage(("legal",), repeat=True)], None),
        ([Stage(("legal",), 2, repeat=True)], 0),
        ([Stage(("legal",)), Stage(), Stage(("legal",))], 2),
    ],
)
def test_whether_a_quorum_can_be_met(stages: list[Stage], stuck: int | None) -> None:
    assert unmet(stages, MEMBERS) == stuck


DPO, LEGAL = Stage(("dpo",)), Stage(("legal",))


@pytest.mark.parametrize(
    ("first", "other", "stages"),
    [
        ((DPO,), (DPO,), (DPO,)),
        ((DPO,), (LEGAL,), (DPO, Stage(("legal",), repeat=True))),
        # Whom the first asks is somebody whom the other asks, too.
        ((DPO,), (Stage(),), (DPO,)),
        ((DPO,), (Stage(("dpo", "legal")),), (DPO,)),
        ((Stage(("dpo",), 2),), (DPO,), (Stage(("dpo",), 2),)),
        # The other way round they are not enough.
        ((Stage(),), (DPO,), (Stage(), Stage(("dpo",), repeat=True))),
        ((Stage(("dpo", "legal")),), (DPO,), (Stage(("dpo", "legal")), Stage(("dpo",), repeat=True))),
        ((DPO,), (Stage(("dpo",), 2),), (DPO, Stage(("dpo",), 2, repeat=True))),
        (
            (DPO,),
            (Stage(("dpo",), step_up=("totp",)),),
            (DPO, Stage(("dpo",), repeat=True, step_up=("totp",))),
        ),
        ((Stage(("dpo",), step_up=("totp",)),), (DPO,), (Stage(("dpo",), step_up=("totp",)),)),
        (
            (Stage(("dpo",), escalation=Escalation(("lead",), 1)),),
            (DPO,),
            (Stage(("dpo",), escalation=Escalation(("lead",), 1)), Stage(("dpo",), repeat=True)),
        ),
        # Two people for the other rule stay two.
        ((DPO,), (DPO, DPO), (DPO, Stage(("dpo",), repeat=True), DPO)),
    ],
)
def test_what_several_rules_ask_for(
    first: tuple[Stage, ...], other: tuple[Stage, ...], stages: tuple[Stage, ...]
) -> None:
    assert joined([Approval(first), Approval(other)]).stages == stages


def test_of_several_rules_the_stricter_terms_count() -> None:
    one = Approval((DPO,), 60, Margin(percent=10, rows=5), ("a", "b"))
    other = Approval((DPO,), 90, Margin(percent=20), ("b", "c"))
    assert joined([one, other]) == Approval((DPO,), 60, Margin(percent=10), ("b",))
    assert joined([one, other, Approval((DPO,), 30)]) == Approval((DPO,), 30)
    ways = [Approval((DPO,), 30), Approval((DPO,), 30, confirm="email")]
    assert joined(ways).confirm == "email"
    assert joined([*ways, Approval((DPO,), 30, confirm="second-factor")]).confirm == "second-factor"


def test_of_several_rules_each_has_to_let_it_be_granted() -> None:
    first = Approval((DPO,), grants=GrantLimits(60, 5))
    second = Approval((DPO,), 30, grants=GrantLimits(90))
    assert joined([first, second]).grants == GrantLimits(60, 5)
    assert joined([second, Approval((DPO,), 20, grants=GrantLimits(90))]).grants == GrantLimits(90)
    assert joined([first, second, Approval()]).grants is None


PEOPLE = "abcde"
GROUPS = st.dictionaries(st.sampled_from("xyz"), st.sets(st.sampled_from(PEOPLE)), min_size=1)


@given(GROUPS, st.lists(st.tuples(st.sampled_from("xyz"), st.integers(1, 2)), min_size=1, max_size=3))
def test_it_is_met_where_any_choice_of_people_meets_it(
    members: Mapping[str, set[str]], wanted: list[tuple[str, int]]
) -> None:
    stages = [Stage((group,), quorum) for group, quorum in wanted]
    seats = [group for group, quorum in wanted for _ in range(quorum)]
    possible = any(
        all(person in members.get(group, ()) for person, group in zip(chosen, seats, strict=True))
        for chosen in itertools.permutations(PEOPLE, len(seats))
    )
    assert (unmet(stages, members) is None) is possible


@pytest.mark.parametrize(
    ("margin", "counted", "most"),
    [
        (Margin(), 3, 3),
        (Margin(rows=2), 3, 5),
        (Margin(percent=10), 3, 4),
        (Margin(percent=10), 30, 33),
        (Margin(percent=10), 0, 0),
        (Margin(percent=50, rows=1), 1, 2),
    ],
)
def test_a_margin_is_rounded_up(margin: Margin, counted: int, most: int) -> None:
    assert margin.over(counted) == most
