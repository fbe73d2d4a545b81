"""A verdict as the management port and the command line show it."""

from rules import Judgement

__all__ = ["judgement_to_dict"]


def judgement_to_dict(judgement: Judgement) -> dict[str, object]:
    """Ready for JSON: the shape of ``POST /api/v1/check`` and of ``holdgate check --json``."""
    verdict = judgement.verdict
    return {
        "decision": verdict.decision.word,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "approval_groups": None if verdict.approval is None else list(verdict.approval.groups),
        "expires_seconds": None if verdict.approval is None else verdict.approval.expires,
        "unreadable": judgement.facts.unreadable,
        "obligations": list(map(str, verdict.obligations)),
        "effects": [
            {
                "action": effect.action.value,
                "relation": effect.relation,
                "columns": list(effect.columns),
                "row_bound": str(effect.row_bound),
                "personal": list(effect.personal),
                "decision": effect.decision.word,
                "rule": effect.rule,
                "reason": effect.reason,
                "obligations": list(map(str, effect.obligations)),
            }
            for effect in verdict.effects
        ],
    }
