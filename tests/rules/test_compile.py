"""From a mapping to a policy, or to every problem in it."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import Decision, Nature, Obligation, PolicyError, compile_policy


def problems(document: Any) -> list[str]:
    """What is wrong with a document, in the order found."""
    with pytest.raises(PolicyError) as raised:
        compile_policy(document)
    return [str(problem) for problem in raised.value.problems]


def test_an_empty_policy_has_all_defaults() -> None:
    policy = compile_policy({})
    assert policy.defaults.keys() == set(Nature)
    assert (policy.redact_errors, policy.erasing_update) == ("personal", "update")


def test_every_problem_is_reported_with_its_place() -> None:
    document = {
        "colour": "red",
        "groups": {"dpo": ["carol"]},
        "redact_errors": "sometimes",
        "erasing_update": ["delete"],
        "personal_data": [
            {"relation": "customer", "column": "a"},
            {"relation": "a.b", "columns": []},
            "people",
            {},
        ],
        "rules": [
            {"name": "one", "then": "allow", "obligations": ["read_only", "mask"]},
            {"name": "one", "then": "deny", "obligations": "read_only"},
            {"name": "default:x", "then": "perhaps", "obligations": [5]},
            {"then": "allow", "approval": {"from": ["dpo"]}, "when": {"groups": "none", "action": "erase"}},
            {"name": "w", "then": "hold", "approval": {"from": "dpo", "expires": "soon"}, "when": ["a"]},
            {
                "name": "x",
                "then": "hold",
                "approval": 5,
                "when": {"rows": 5, "data": "health", "client_addr": "here", "hours": ["25:00-26:00", "now"]},
            },
            {
                "name": "y",
                "then": "allow",
                "when": {"hours": ["08:00-08:00", "fre 08:00-09:00"], "users": []},
            },
        ],
        "defaults": {
            "unreadable": "read_only",
            "server_files": "read_only",
            "guarded_settings": "read_only",
            "replication": "read_only",
            "otherwise": "yes",
            "opaque": "hold",
        },
    }
    assert sorted(problems(document)) == sorted(
        [
            "colour: unknown key; known here: personal_data, rules, defaults, approval, redact_errors, "
            "erasing_update, checks, caps, groups, open_groups, users, databases, limits",
            "redact_errors: must be one of personal, all, none",
            "erasing_update: must be one of delete, update",
            "personal_data[0].column: unknown key; known here: relation, columns, subject, class",
            "personal_data[0].relation: must be written schema.name",
            'personal_data[1].columns: at least one column is needed (leave it out or write "*" for all)',
            "personal_data[2]: a mapping is needed",
            "personal_data[3].relation: a text is needed",
            "rules[0].obligations[1]: unknown obligation mask; known: read_only, redact_errors",
            "rules[1].name: another rule is already called one",
            "rules[1].obligations: what a rule denies does not run, so it owes nothing",
            "rules[2].name: names that begin with default: are kept for the defaults",
            "rules[2].then: must be one of allow, hold, deny",
            "rules[2].obligations[0]: a text is needed",
            "rules[3].name: a text is needed",
            "rules[3].approval: only a rule with then: hold waits for an approval",
            "rules[3].when.groups: no group none under groups, nor in any user's groups",
            "rules[3].when.action: unknown action erase; known: read, insert, update, delete, ddl, grant, call, "
            "session, utility, replication",
            "rules[3].when.action: an empty list would match nothing",
            "rules[4].approval.expires: must be a duration such as 30s, 15m, 1h or 2d",
            "rules[4].when: a mapping is needed",
            "rules[5].approval: a mapping is needed",
            "rules[5].when.rows: must be a comparison such as '> 100'",
            "rules[5].when.data: no class health in personal_data; known: personal, statistics",
            "rules[5].when.client_addr: here is neither an address nor a network such as 10.0.0.0/8",
            "rules[5].when.client_addr: an empty list would match nothing",
            "rules[5].when.hours: 25:00-26:00 is not a span of the day",
            "rules[5].when.hours: now is not a span such as 08:00-18:00 or mon-fri 08:00-18:00 (UTC)",
            "rules[5].when.hours: an empty list would match nothing",
            "rules[6].when.hours: 08:00-08:00 is not a span of the day",
            "rules[6].when.hours: fre 08:00-09:00: days are mon, tue, wed, thu, fri, sat, sun",
            "rules[6].when.hours: an empty list would match nothing",
            "rules[6].when.users: an empty list would match nothing",
            "defaults.unreadable: cannot be read_only: a text that was not read may end the read-only transaction; "
            "write allow, hold or deny",
            "defaults.server_files: cannot be read_only: a read-only transaction does not stop it; "
            "write allow, hold or deny",
            "defaults.guarded_settings: cannot be read_only: a read-only transaction does not stop it; "
            "write allow, hold or deny",
            "defaults.replication: cannot be read_only: it runs in no transaction; write allow, hold or deny",
            "defaults.otherwise: must be one of allow, hold, deny, read_only",
            "defaults.opaque: unknown key; known here: otherwise, unreadable, readings_differ, not_cross_checked, "
            "unknown_relation, opaque_function, server_files, guarded_settings, replication",
        ]
    )


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "policy: a mapping is needed"),
        ({"rules": "all"}, "rules: a list is needed"),
        ({"defaults": []}, "defaults: a mapping is needed"),
        ({"rules": [{"name": "a", "then": "hold", "approval": {"from": {}}}]}, None),
        ({"rules": [{"name": "a", "then": "allow", "obligations": {}}]}, None),
    ],
)
def test_shapes_that_are_wrong(document: Any, problem: str | None) -> None:
    found = problems(document)
    assert found == [problem] if problem else "a text or a list of texts is needed" in found[0]


@pytest.mark.parametrize(
    "obligations", ["read_only", ["read_only"], ["read_only", "read_only"], ("read_only",)]
)
def test_obligations_are_one_word_or_a_list(obligations: object) -> None:
    policy = compile_policy({"rules": [{"name": "a", "then": "hold", "obligations": obligations}]})
    assert policy.rules[0].obligations == (Obligation.READ_ONLY,)


def test_defaults_and_switches_as_written() -> None:
    policy = compile_policy(
        {
            "defaults": {"opaque_function": "read_only", "readings_differ": "deny", "otherwise": "hold"},
            "redact_errors": "none",
            "erasing_update": "delete",
        }
    )
    words = {nature.value: default.word for nature, default in policy.defaults.items()}
    assert (words["opaque_function"], words["readings_differ"], words["otherwise"]) == (
        "read_only",
        "deny",
        "hold",
    )
    assert policy.defaults[Nature.OPAQUE].decision is Decision.ALLOW
    assert (policy.redact_errors, policy.erasing_update) == ("none", "delete")


@pytest.mark.parametrize(
    "change",
    [
        {"redact_errors": "all"},
        {"erasing_update": "delete"},
        {"rules": [{"name": "a", "then": "allow", "obligations": ["read_only"]}]},
        {"defaults": {"opaque_function": "read_only"}},
    ],
)
def test_a_change_of_any_of_it_is_another_policy(change: Mapping[str, Any]) -> None:
    base = {"rules": [{"name": "a", "then": "allow"}]}
    assert compile_policy({**base, **change}).version != compile_policy(base).version


_VALUES = st.recursive(
    st.sampled_from(
        [None, True, 5, "", " ", "x", "a.b", "> 5", "1h", "mon-fri 08:00-18:00", "read_only", "allow"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "then", "when", "obligations", "from", "rows", "hours"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
_KEYS = [
    "personal_data",
    "rules",
    "defaults",
    "approval",
    "redact_errors",
    "erasing_update",
    "groups",
    "users",
]


@given(st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=4))
def test_whatever_is_written_it_is_a_policy_or_a_list_of_problems(document: dict[str, object]) -> None:
    try:
        policy = compile_policy(document)
    except PolicyError as problem:
        found = problem.problems
    else:
        assert policy.defaults.keys() == set(Nature)
        return
    assert found
    assert all(one.message for one in found)


def test_how_a_statement_is_held() -> None:
    rules = [
        {"name": "t", "when": {}, "then": "hold", "hold": "ticket"},
        {"name": "w", "when": {}, "then": "hold", "hold": "wait", "approval": {"expires": "5m"}},
        {"name": "n", "when": {}, "then": "hold"},
    ]
    assert [rule.hold for rule in compile_policy({"rules": rules}).rules] == ["ticket", "wait", None]
    with pytest.raises(PolicyError) as error:
        compile_policy(
            {
                "rules": [
                    {"name": "a", "when": {}, "then": "allow", "hold": "wait"},
                    {"name": "b", "when": {}, "then": "hold", "hold": ["ticket"]},
                ]
            }
        )
    assert [str(problem) for problem in error.value.problems] == [
        "rules[0].hold: only a rule with then: hold holds",
        "rules[1].hold: must be wait or ticket",
    ]
