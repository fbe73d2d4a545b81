"""Where a stage asks for a proof: what decides, and what a proof is worth."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.step_up import Proof, StepUpRequired, nothing_proven, proven, satisfied
from gateway.store import Decision, Hold
from rules import Stage
from tests.gateway.store.samples import NOON, hold

APPROVAL = Decision("carol", "approve", "", NOON, "api")


async def by(way: str, held: Hold, ways: Sequence[str]) -> Proof:
    return Proof(way)


async def test_where_none_is_asked_for_nobody_is_asked() -> None:
    assert await proven(hold(), (), nothing_proven) is None


async def test_a_proof_in_one_of_the_ways() -> None:
    assert await proven(hold(), ("totp",), lambda held, ways: by("totp", held, ways)) == Proof("totp")


async def test_a_proof_of_another_kind_is_none() -> None:
    with pytest.raises(StepUpRequired):
        await proven(hold(), ("totp",), lambda held, ways: by("password", held, ways))


async def test_none_at_all() -> None:
    with pytest.raises(StepUpRequired, match="takes a proof of who you are: totp") as caught:
        await proven(hold(), ("totp",), nothing_proven)
    assert caught.value.ways == ("totp",)


def test_what_satisfies_a_stage() -> None:
    asks = Stage(step_up=("totp",))
    assert satisfied(Stage(), APPROVAL)
    assert not satisfied(asks, APPROVAL)
    assert not satisfied(asks, replace(APPROVAL, step_up="password"))
    assert satisfied(asks, replace(APPROVAL, step_up="totp"))
    # A rejection runs nothing.
    assert satisfied(asks, replace(APPROVAL, verdict="reject"))
