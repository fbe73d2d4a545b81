"""From the words of a cap to the cap, and what is wrong with them."""

from typing import Any

import pytest

from rules import Cap, PolicyError, compile_policy
from rules.facts import Action
from rules.policy import When

DELETIONS = When(actions=frozenset({Action.DELETE}))


def compiled(*caps: object) -> tuple[Cap, ...]:
    return compile_policy({"groups": {"dpo": []}, "caps": list(caps)}).caps


def problems(caps: object) -> list[str]:
    with pytest.raises(PolicyError) as error:
        compile_policy({"groups": {"dpo": []}, "caps": caps})
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"simultaneous": 100}, Cap("c", When(), 100)),
        (
            {"when": {"action": "delete"}, "simultaneous": 1, "by": "relation"},
            Cap("c", DELETIONS, 1, None, "relation"),
        ),
        ({"count": 3, "per": "hour", "by": "user"}, Cap("c", When(), 3, 3600, "user")),
        ({"count": 1, "per": "minute", "by": "all"}, Cap("c", When(), 1, 60)),
        ({"count": 10_000, "per": "day", "by": "group"}, Cap("c", When(), 10_000, 86400, "group")),
    ],
)
def test_what_a_cap_means(written: dict[str, Any], meant: Cap) -> None:
    assert compiled({"name": "c", **written}) == (meant,)


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        ({}, ["caps: a list is needed"]),
        (
            [{"simultaneous": 1, "most": 2}],
            [
                "caps[0].most: unknown key; known here: name, when, simultaneous, count, per, by",
                "caps[0].name: a text is needed",
            ],
        ),
        ([{"name": "c"}], ["caps[0]: must say one of simultaneous and count"]),
        (
            [{"name": "c", "simultaneous": 1, "count": 1, "per": "hour"}],
            ["caps[0]: must say one of simultaneous and count"],
        ),
        (
            [{"name": "c", "simultaneous": 1, "per": "hour"}],
            ["caps[0].per: is for count; what is simultaneous has no span of time"],
        ),
        ([{"name": "c", "count": 1}], ["caps[0]: count needs per: minute, hour, day"]),
        ([{"name": "c", "count": 1, "per": "week"}], ["caps[0].per: count needs per: minute, hour, day"]),
        *(
            (
                [{"name": "c", "simultaneous": number}],
                ["caps[0].simultaneous: must be a whole number from 1 to 10000"],
            )
            for number in (0, -1, True, "3", 1.5, 10_001, None)
        ),
        (
            [{"name": "c", "simultaneous": 1, "by": "role"}],
            ["caps[0].by: must be one of all, user, group, database, relation"],
        ),
        (
            [{"name": "c", "simultaneous": 1, "when": {"groups": ["x"]}}],
            [
                "caps[0].when.groups: no group x under groups, nor in any user's groups",
            ],
        ),
        (
            [{"name": "c", "simultaneous": 1}, {"name": "c", "simultaneous": 1}],
            ["caps[1].name: another cap is already called c"],
        ),
    ],
)
def test_what_is_wrong(caps: object, said: list[str]) -> None:
    assert problems(caps) == said


def test_caps_are_no_part_of_what_an_approval_is_bound_to() -> None:
    """More room must not make void what waits for room."""
    with_caps = compile_policy({"caps": [{"name": "c", "simultaneous": 1}]})
    assert with_caps.version == compile_policy({}).version
