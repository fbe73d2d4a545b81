"""Which places a statement needs before it may run."""

from typing import Any

import pytest

from rules import Context, Demand, EffectFacts, compile_policy, demands
from rules.facts import POINT, Action, Nature
from tests.rules.policies import NOON, context

ALICE = context(user="alice", groups=frozenset({"support", "dpo"}))
CUSTOMER = EffectFacts(Action.DELETE, "public.customer", touches_personal=True)
INVOICE = EffectFacts(Action.DELETE, "public.invoice", row_bound=POINT)
READ = EffectFacts(Action.READ, "public.customer", ("email",), personal=("email",), touches_personal=True)
UNKNOWN = EffectFacts(Action.DELETE, nature=Nature.OPAQUE)
UNREAD = EffectFacts(nature=Nature.UNREADABLE, action=Action.UTILITY)
ERASED = EffectFacts(
    Action.UPDATE, "public.customer", personal=("email",), touches_personal=True, erases=True
)
DELETIONS = {"action": "delete"}


def needed(
    cap: dict[str, Any], *effects: EffectFacts, who: Context = ALICE, erasing: bool = False
) -> list[tuple[str, str]]:
    groups: dict[str, Any] = {"support": [], "dpo": [], "lead": []}
    policy = compile_policy({"groups": groups, "caps": [{"name": "c", "simultaneous": 2, **cap}]})
    return [(one.cap, one.key) for one in demands(policy.caps, effects, who, erasing=erasing)]


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("all", [""]),
        ("user", ["alice"]),
        ("group", ["dpo", "support"]),
        ("database", ["shop"]),
        ("relation", ["shop.public.customer", "shop.public.invoice"]),
    ],
)
def test_what_it_counts_for(by: str, keys: list[str]) -> None:
    found = needed({"when": DELETIONS, "by": by}, INVOICE, CUSTOMER, READ)
    assert found == [("c", key) for key in keys]


def test_only_what_it_speaks_of_counts() -> None:
    assert needed({"when": DELETIONS}, READ) == []
    assert needed({"when": {"data": "personal"}}, INVOICE) == []
    assert needed({"when": {"rows": "> 1"}}, INVOICE) == []
    assert needed(
        {"when": {**DELETIONS, "relation": "public.invoice"}, "by": "relation"}, INVOICE, CUSTOMER
    ) == [("c", "shop.public.invoice")]
    assert needed({"when": {**DELETIONS, "groups": ["lead"]}}, CUSTOMER) == []


def test_what_may_be_anything_counts_as_one_of_its_own() -> None:
    assert needed({"when": DELETIONS, "by": "relation"}, UNKNOWN) == [("c", "shop.*")]
    assert needed({"when": {**DELETIONS, "relation": "public.invoice"}}, UNKNOWN) == [("c", "")]


def test_what_was_not_read_counts_where_no_effect_is_named() -> None:
    assert needed({"when": DELETIONS}, UNREAD) == []
    assert needed({"by": "relation"}, UNREAD) == [("c", "shop.*")]
    assert needed({"when": {"users": ["alice"]}}) == [("c", "")]
    assert needed({"by": "relation"}) == [("c", "shop.*")]


def test_whoever_is_in_no_group_counts_too() -> None:
    nobody = Context("eve", NOON, database="shop")
    assert needed({"by": "group"}, CUSTOMER, who=nobody) == [("c", "")]


def test_an_update_that_blanks_counts_as_a_deletion_where_the_policy_says_so() -> None:
    assert needed({"when": DELETIONS}, ERASED) == []
    assert needed({"when": DELETIONS}, ERASED, erasing=True) == [("c", "")]


def test_each_cap_is_a_demand_of_its_own() -> None:
    policy = compile_policy(
        {
            "caps": [
                {"name": "all", "simultaneous": 100},
                {"name": "mine", "count": 3, "per": "hour", "by": "user"},
            ]
        }
    )
    assert demands(policy.caps, [CUSTOMER], ALICE, erasing=False) == (
        Demand("all", "", 100, None),
        Demand("mine", "alice", 3, 3600.0),
    )
