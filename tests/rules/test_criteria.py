"""What a machine checks before people are asked."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rules import (
    Approval,
    Context,
    Decision,
    Effect,
    GrantLimits,
    Intent,
    Obligation,
    PolicyError,
    RowBound,
    Verdict,
    check,
    compile_policy,
)
from rules.criteria import MAX_MATCHED
from rules.facts import POINT, UNBOUNDED, Action

MONDAY = datetime(2030, 1, 28, 12, tzinfo=UTC)
CONTEXT = Context("alice", MONDAY, frozenset({"support"}), application_name="psql", client_addr="10.0.0.7")


def effect(bound: RowBound, relation: str = "public.customer") -> Effect:
    return Effect(Action.DELETE, relation, (), bound, (), Decision.HOLD, "r", "")


def document(criteria: Any, then: str = "hold") -> dict[str, Any]:
    return {
        "groups": {"support": [], "dpo": []},
        "rules": [{"name": "r", "then": then, "criteria": criteria}],
    }


def problems(criteria: Any, then: str = "hold") -> list[str]:
    with pytest.raises(PolicyError) as error:
        compile_policy(document(criteria, then))
    return [str(problem).removeprefix("rules[0].") for problem in error.value.problems]


@pytest.mark.parametrize(
    ("written", "intent", "met"),
    [
        ({"groups": ["support", "dpo"]}, Intent(), True),
        ({"groups": "dpo"}, Intent(), False),
        ({"users": "ali*"}, Intent(), True),
        ({"users": "Alice"}, Intent(), False),
        ({"client_addr": "10.0.0.0/8"}, Intent(), True),
        ({"client_addr": "192.168.0.0/16"}, Intent(), False),
        ({"application": "psql"}, Intent(), True),
        ({"application": "tool"}, Intent(), False),
        ({"hours": "mon-fri 08:00-18:00"}, Intent(), True),
        ({"hours": ["sat 08:00-18:00", "12:01-13:00"]}, Intent(), False),
        ({"rows": "<= 10"}, Intent(), True),
        ({"rows": "<= 9"}, Intent(), False),
        ({"ticket": "GDPR-[0-9]+"}, Intent(ticket="GDPR-7"), True),
        # The whole of it, and nothing else.
        ({"ticket": "GDPR-[0-9]+"}, Intent(ticket="GDPR-7 and more"), False),
        ({"ticket": "GDPR-[0-9]+"}, Intent(reason="GDPR-7"), False),
        ({"ticket": ".*"}, Intent(), False),
        ({"reason": "(?i)asked.*"}, Intent(reason="Asked for"), True),
        ({"reason": "x*"}, Intent(reason="x" * MAX_MATCHED), True),
        ({"reason": "x*"}, Intent(reason="x" * (MAX_MATCHED + 1)), False),
    ],
)
def test_what_is_met(written: dict[str, Any], intent: Intent, met: bool) -> None:
    (criterion,) = compile_policy(document([written])).rules[0].criteria
    effects = [effect(RowBound.at_most(10)), effect(POINT, "public.invoice")]
    found = check(criterion, CONTEXT, effects, intent)
    assert found.met is met
    assert bool(found.why) is not met
    assert found.to_dict() == {
        "criterion": criterion.text,
        "met": met,
        "outcome": "met" if met else "unmet",
        "why": found.why,
    }


def test_a_bound_that_is_not_known_is_not_met_and_neither_is_that_of_nothing() -> None:
    (criterion,) = compile_policy(document([{"rows": "<= 10"}])).rules[0].criteria
    found = check(criterion, CONTEXT, [effect(POINT), effect(UNBOUNDED)], Intent())
    assert (found.met, found.why) == (False, "delete public.customer")
    assert not check(criterion, CONTEXT, [], Intent()).met


@pytest.mark.parametrize(
    ("criteria", "said"),
    [
        ([], "criteria: an empty list would be met by everybody"),
        ("all", "criteria: a list is needed"),
        (["all"], "criteria[0]: a mapping is needed"),
        (
            [{}],
            "criteria[0]: must be one of groups, users, client_addr, application, "
            "hours, rows, reason, ticket, webhook, sql, and only one",
        ),
        (
            [{"groups": ["dpo"], "rows": "< 1"}],
            "criteria[0]: must be one of groups, users, client_addr, application, "
            "hours, rows, reason, ticket, webhook, sql, and only one",
        ),
        ([{"groups": ["x"]}], "criteria[0].groups: no group x under groups, nor in any user's groups"),
        ([{"groups": None}], "criteria[0].groups: a value is needed"),
        ([{"rows": "few"}], "criteria[0].rows: must be a comparison such as '> 100'"),
        (
            [{"ticket": "("}],
            "criteria[0].ticket: not a regular expression: missing ), unterminated subpattern at position 0",
        ),
        ([{"reason": 5}], "criteria[0].reason: a text is needed"),
    ],
)
def test_what_is_wrong(criteria: Any, said: str) -> None:
    assert problems(criteria) == [said]


def test_other_keys_and_other_rules() -> None:
    assert problems([{"weather": "fine"}])[0].startswith(
        "criteria[0].weather: unknown key; known here: groups, "
    )
    assert problems([{"rows": "< 5"}], "allow") == [
        "criteria: only a rule with then: hold has anything to check"
    ]


def test_what_cannot_be_run_read_only_is_left_to_people() -> None:
    policy = compile_policy(document([{"groups": ["support"]}]))
    approval = Approval(criteria=policy.rules[0].criteria, break_glass=("support",), grants=GrantLimits(60))
    verdict = Verdict(Decision.HOLD, "r", "why", approval, (), (Obligation.READ_ONLY,))
    asked = policy.not_read_only(verdict, "it cannot be").approval
    assert asked == Approval()
