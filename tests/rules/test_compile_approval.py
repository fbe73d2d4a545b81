"""From the words of a rule to who has to approve, and what is wrong with them."""

from typing import Any

import pytest

from rules import Approval, Escalation, GrantLimits, Margin, PolicyError, Stage, compile_policy
from rules.compile_approval import known_members

GROUPS = {"lead": ["lea"], "dpo": ["carol", "dave"], "legal": ["carol"], "empty": []}


def document(approval: object, **rule: object) -> dict[str, Any]:
    one = {"name": "r", "then": "hold", "approval": approval, **rule}
    return {"groups": GROUPS, "users": {"eve": {"groups": ["lead"]}}, "rules": [one]}


def compiled(approval: object) -> Approval:
    made = compile_policy(document(approval)).rules[0].approval
    assert made is not None
    return made


def problems(approval: object, **rule: object) -> list[str]:
    with pytest.raises(PolicyError) as error:
        compile_policy(document(approval, **rule))
    return [str(problem).removeprefix("rules[0].approval") for problem in error.value.problems]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"from": ["dpo"], "expires": "5m"}, Approval((Stage(("dpo",)),), 300)),
        ({"from": "dpo"}, Approval((Stage(("dpo",)),))),
        ({"from": "dpo", "margin": 5}, Approval((Stage(("dpo",)),), margin=Margin(rows=5))),
        ({"margin": "10%"}, Approval(margin=Margin(percent=10))),
        ({}, Approval((Stage(),), 900)),
        ({"from": ["dpo", "dpo"], "quorum": 2}, Approval((Stage(("dpo",), 2),))),
        ({"from": ["dpo"], "step_up": "totp"}, Approval((Stage(("dpo",), step_up=("totp",)),))),
        (
            {"stages": [{"from": ["lead"]}, {"step_up": ["passkey", "totp", "totp"]}]},
            Approval((Stage(("lead",)), Stage(step_up=("totp", "passkey")))),
        ),
        ({"grants": {"max_for": "8h"}}, Approval(grants=GrantLimits(28800))),
        ({"grants": {"max_for": "30d", "max_uses": 20}}, Approval(grants=GrantLimits(30 * 86400, 20))),
        # Whoever is to be asked later counts.
        (
            {"from": ["legal"], "quorum": 3, "escalate": {"to": ["dpo", "lead"], "after": "1m"}},
            Approval((Stage(("legal",), 3, Escalation(("dpo", "lead"), 60)),)),
        ),
        (
            {"stages": [{"from": ["lead"]}, {"from": ["dpo"], "quorum": 2}], "expires": "1h"},
            Approval((Stage(("lead",)), Stage(("dpo",), 2)), 3600),
        ),
        (
            {"stages": [{"from": ["legal"]}, {"from": ["legal"], "repeat": True}, {}]},
            Approval((Stage(("legal",)), Stage(("legal",), repeat=True), Stage())),
        ),
        (
            {"from": ["dpo"], "break_glass": ["lead"]},
            Approval((Stage(("dpo",)),), break_glass=("lead",)),
        ),
        ({"from": ["dpo"], "confirm": "email"}, Approval((Stage(("dpo",)),), confirm="email")),
        # Nobody is in it yet; that is as good as nobody being there.
        ({"from": ["empty"]}, Approval((Stage(("empty",)),))),
    ],
)
def test_what_is_written_and_what_it_means(written: object, meant: Approval) -> None:
    assert compiled(written) == meant


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"from": ["nobody"]}, [".from: no group nobody under groups, nor in any user's groups"]),
        ({"from": ["dpo"], "quorum": 3}, [".quorum: is more than the 2 people of dpo"]),
        ({"from": ["dpo", "legal"], "quorum": 3}, [".quorum: is more than the 2 people of dpo and legal"]),
        ({"from": ["legal"], "quorum": 2}, [".quorum: is more than the 1 person of legal"]),
        ({"from": ["dpo"], "quorum": 0}, [".quorum: must be a whole number from 1 to 100"]),
        ({"from": ["dpo"], "quorum": True}, [".quorum: must be a whole number from 1 to 100"]),
        ({"from": ["dpo"], "quorum": "2"}, [".quorum: must be a whole number from 1 to 100"]),
        (
            {"from": ["dpo"], "repeat": True},
            [
                ".repeat: unknown key; known here: from, quorum, escalate, step_up, stages, expires, margin, "
                "break_glass, grants, confirm"
            ],
        ),
        (
            {"stages": [], "from": ["dpo"]},
            [
                ".from: unknown key; known here: stages, expires, margin, break_glass, grants, confirm",
                ".stages: 1 to 20 stages are needed",
            ],
        ),
        (
            {"from": ["dpo"], "break_glass": ["x"]},
            [".break_glass: no group x under groups, nor in any user's groups"],
        ),
        ({"stages": "dpo"}, [".stages: a list is needed"]),
        ({"grants": True}, [".grants: a mapping with max_for is needed"]),
        ({"grants": {}}, [".grants.max_for: must be a duration such as 30s, 15m, 1h or 2d"]),
        ({"grants": {"max_for": "31d"}}, [".grants.max_for: must be at most 30d"]),
        *(
            (
                {"grants": {"max_for": "1h", "max_uses": uses}},
                [".grants.max_uses: must be a whole number from 1 to 1000000"],
            )
            for uses in (0, True, "5", 1_000_001)
        ),
        (
            {"grants": {"max_for": "1h", "rows": 5}},
            [".grants.rows: unknown key; known here: max_for, max_uses"],
        ),
        ({"confirm": "sms"}, [".confirm: must be second-factor or email"]),
        ({"confirm": True}, [".confirm: must be second-factor or email"]),
        ({"margin": -1}, [".margin: must be a number of rows, or a part of those counted such as 10%"]),
        ({"margin": True}, [".margin: must be a number of rows, or a part of those counted such as 10%"]),
        ({"margin": "5"}, [".margin: must be a number of rows, or a part of those counted such as 10%"]),
        ({"stages": [{}] * 21}, [".stages: 1 to 20 stages are needed"]),
        ({"stages": ["dpo"]}, [".stages[0]: a mapping is needed"]),
        (
            {"stages": [{"from": ["dpo"], "repeat": "yes", "expires": "1h"}]},
            [
                ".stages[0].expires: unknown key; known here: from, quorum, escalate, repeat, step_up",
                ".stages[0].repeat: must be true or false",
            ],
        ),
        (
            {"stages": [{"from": ["lead"]}, {"from": ["dpo"], "quorum": 3}]},
            [".stages[1].quorum: is more than the 2 people of dpo"],
        ),
        (
            {"stages": [{"from": ["dpo"], "quorum": 2}, {"from": ["legal"]}]},
            [
                ".stages[1]: nobody of legal is left who did not approve an earlier stage; "
                "one person counts in one stage, unless it says repeat: true"
            ],
        ),
        ({"from": ["dpo"], "escalate": 5}, [".escalate: a mapping with to and after is needed"]),
        (
            {"from": ["dpo"], "escalate": {"to": ["legal"]}},
            [".escalate.after: must be a duration such as 30s, 15m, 1h or 2d"],
        ),
        (
            {"from": ["dpo"], "escalate": {"to": ["x"], "after": "1m", "by": 1}},
            [
                ".escalate.by: unknown key; known here: to, after",
                ".escalate.to: no group x under groups, nor in any user's groups",
            ],
        ),
        (
            {"from": ["dpo"], "escalate": {"after": "1m"}},
            [".escalate.to: a text or a list of texts is needed"],
        ),
        ({"from": ["dpo"], "escalate": {"to": [], "after": "1m"}}, [".escalate.to: name at least one group"]),
        (
            {"escalate": {"to": ["dpo"], "after": "1m"}},
            [".escalate: every approver may decide already; say from whom it escalates"],
        ),
        (
            {"from": ["dpo"], "expires": "1m", "escalate": {"to": ["legal"], "after": "1m"}},
            [".escalate.after: the hold expires before it escalates"],
        ),
    ],
)
def test_what_is_wrong(written: object, said: list[str]) -> None:
    assert problems(written) == said


@pytest.mark.parametrize("stages", [False, True])
def test_whoever_asks_does_not_count(stages: bool) -> None:
    """A rule about the statements of carol and dave that needs both can never be met; one about others can."""
    stage = {"from": ["dpo"], "quorum": 2}
    approval = {"stages": [stage]} if stages else stage
    (said,) = problems(approval, when={"groups": ["dpo"]})
    assert said == (
        f".{'stages' if stages else 'quorum'}: cannot be met: this rule holds only statements of people who are "
        "themselves needed, and nobody approves their own"
    )
    compile_policy(document(approval, when={"groups": ["dpo", "lead"]}))
    compile_policy(document(approval, when={"groups": ["lead"]}))
    compile_policy(document(approval))


def test_the_policys_own_approval_is_checked_too() -> None:
    with pytest.raises(PolicyError, match=r"approval.quorum: is more than the 2 people of dpo"):
        compile_policy({"groups": GROUPS, "approval": {"from": ["dpo"], "quorum": 3}})


def test_members_are_named_by_groups_and_by_users() -> None:
    users = {"eve": {"groups": ["a", "c"]}, "mallory": None, "odd": {"groups": "a"}}
    assert known_members({"a": ["bob"], "b": None}, users) == {
        "a": frozenset({"bob", "eve"}),
        "b": frozenset(),
        "c": frozenset({"eve"}),
    }
    assert known_members(None, []) == {}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("password", ".step_up: unknown: password; known: totp, passkey"),
        (["totp", "sms"], ".step_up: unknown: sms; known: totp, passkey"),
        ([], ".step_up: name at least one of totp, passkey, or leave it out"),
        (True, ".step_up: a text or a list of texts is needed"),
    ],
)
def test_a_proof_that_there_is_not(written: object, said: str) -> None:
    assert problems({"from": ["dpo"], "step_up": written}) == [said]


def test_a_group_with_others_in_it_can_meet_any_quorum() -> None:
    several = {"stages": [{"from": ["legal"], "quorum": 3}, {"from": ["lead"]}, {"from": ["legal"]}]}
    assert problems(several)
    made = compile_policy({**document(several), "open_groups": ["legal"]}).rules[0].approval
    assert made is not None
    assert [stage.quorum for stage in made.stages] == [3, 1, 1]
