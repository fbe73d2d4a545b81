"""Whether the word of an approver still counts."""

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, Role, load_config
from gateway.people import Person
from gateway.store import BREAK_GLASS, BY_GRANT, BY_RULE, Decision
from gateway.validity import named, void
from rules import Stage
from tests.gateway.store.samples import NOON, hold

CAROL = Person("carol", frozenset({"dpo"}), frozenset({Role.APPROVER}))
APPROVED = Decision("carol", "approve", "", NOON + timedelta(minutes=1), "api")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "holdgate.yaml"
    file.write_text(
        """
databases: {shop: {host: db}}
users: {carol: {groups: [dpo]}, erin: {roles: [approver]}}
deputies: [{deputy: erin, for: carol, from: 2030-01-31, until: 2030-01-31}]
"""
    )
    return load_config(file)


@pytest.mark.parametrize(
    ("changes", "people", "why"),
    [
        ({}, {"carol": CAROL}, None),
        ({}, {"carol": None}, "approver carol is no longer known or enabled"),
        (
            {},
            {"carol": dataclasses.replace(CAROL, enabled=False)},
            "approver carol is no longer known or enabled",
        ),
        (
            {},
            {"carol": dataclasses.replace(CAROL, groups=frozenset({"lead"}))},
            "approver carol is no longer in group dpo",
        ),
        ({"who": "Alice"}, {"Alice": CAROL}, "nobody may approve their own statement"),
        ({"who": "erin", "deputy_for": "carol"}, {"erin": CAROL, "carol": CAROL}, None),
        (
            {"who": "erin", "deputy_for": "carol", "at": NOON + timedelta(days=1)},
            {"erin": CAROL, "carol": CAROL},
            "approver erin is no longer a deputy of carol",
        ),
        ({"stage": 1}, {"carol": CAROL}, "approver carol did not prove who they are"),
        ({"stage": 1, "step_up": "totp"}, {"carol": CAROL}, None),
        # Others vouch for these.
        *(({"how": how}, {"carol": None}, None) for how in (BREAK_GLASS, BY_GRANT, BY_RULE)),
    ],
)
def test_a_word(
    config: Config, changes: dict[str, Any], people: dict[str, Person | None], why: str | None
) -> None:
    asked = hold(stages=(Stage(("dpo",)), Stage(("dpo",), step_up=("totp",))))
    assert void(config, asked, dataclasses.replace(APPROVED, **changes), people) == why


def test_groups_are_named() -> None:
    assert (named(["dpo"]), named(["dpo", "legal"])) == ("group dpo", "groups dpo, legal")
