"""Decisions in their order, obligations as sets, and what a verdict says of all its effects."""

from hypothesis import given
from hypothesis import strategies as st

from rules import Decision, Obligation, Verdict
from rules.facts import POINT, UNBOUNDED, Action, RowBound
from rules.verdict import Effect, united


def effect(action: Action, relation: str | None, columns: tuple[str, ...], bound: RowBound) -> Effect:
    """An allowed effect."""
    return Effect(action, relation, columns, bound, (), Decision.ALLOW, "r", "why")


def verdict(*effects: Effect) -> Verdict:
    """A verdict over these effects."""
    return Verdict(Decision.ALLOW, "r", "why", None, effects)


def test_the_strictest_decision_is_the_maximum() -> None:
    assert max(Decision.ALLOW, Decision.DENY, Decision.HOLD) is Decision.DENY
    assert [decision.word for decision in sorted(Decision)] == ["allow", "hold", "deny"]


@given(st.lists(st.lists(st.sampled_from(Obligation))))
def test_a_union_has_each_obligation_once_and_in_one_order(sets: list[list[Obligation]]) -> None:
    union = united(sets)
    assert set(union) == {one for each in sets for one in each}
    assert list(union) == [one for one in Obligation if one in union]


def test_what_a_verdict_names_is_named_once() -> None:
    read = effect(Action.READ, "public.a", ("x", "y"), POINT)
    seen = verdict(read, read, effect(Action.UTILITY, None, ("z",), UNBOUNDED))
    assert seen.actions == ("read", "utility")
    assert seen.relations == ("public.a",)
    assert seen.columns == ("public.a.x", "public.a.y", "z")


def test_the_row_bound_is_the_widest_of_what_touches_rows() -> None:
    utility = effect(Action.UTILITY, None, (), UNBOUNDED)
    assert verdict(utility).row_bound == ""
    assert verdict(utility, effect(Action.READ, "a", (), POINT)).row_bound == "POINT"
    both = verdict(effect(Action.READ, "a", (), POINT), effect(Action.DELETE, "a", (), RowBound.at_most(7)))
    assert both.row_bound == "BOUNDED(7)"
