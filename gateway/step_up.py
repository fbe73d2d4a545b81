"""Proving anew who one is, at the moment of an approval, where a stage of the hold asks for it.

Being signed in proves that somebody was here some time ago, or that a token was copied. Which proofs there are is
said by the stage; whoever asks for a decision brings one.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.hold_terms import HoldError
from gateway.store import Decision, Hold
from rules import Stage

__all__ = ["Proof", "Prove", "StepUpFailed", "StepUpRequired", "nothing_proven", "proven", "satisfied"]

Prove = Callable[[Hold, Sequence[str]], Awaitable["Proof"]]
"""Proves, for this hold, in one of these ways, who decides. Raises :class:`StepUpRequired` where there
is no proof, :class:`StepUpFailed` where it is none."""


@dataclass(frozen=True, slots=True)
class Proof:
    """In which way it was proven, and what of it can be checked afterwards; None where nothing can."""

    way: str
    evidence: Mapping[str, str] | None = None


class StepUpRequired(HoldError):
    """Approving takes a proof, in one of ``ways``, and there is none."""

    def __init__(self, hold: Hold, ways: Sequence[str]) -> None:
        super().__init__(f"approving {hold.id} takes a proof of who you are: {' or '.join(ways)}")
        self.ways = tuple(ways)


class StepUpFailed(HoldError):
    """What was given proves nothing. ``wait``: seconds until the next attempt is looked at."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


async def nothing_proven(hold: Hold, ways: Sequence[str]) -> Proof:
    """The proof of whoever brings none."""
    raise StepUpRequired(hold, ways)


async def proven(hold: Hold, ways: Sequence[str], prove: Prove) -> Proof | None:
    """The proof, None where none is asked for."""
    if not ways:
        return None
    proof = await prove(hold, ways)
    if proof.way not in ways:
        raise StepUpRequired(hold, ways)
    return proof


def satisfied(stage: Stage, decision: Decision) -> bool:
    """Whether a decision has what its stage asks for."""
    return decision.verdict != "approve" or not stage.step_up or decision.step_up in stage.step_up
