"""A verdict as the management port and the command line show it."""

from rules import Effect, Explanation, Judgement
from rules.explanation import ExplainedEffect, ExplainedStatement, SeenBy

__all__ = ["explanation_to_dict", "judgement_to_dict"]


def explanation_to_dict(explanation: Explanation) -> dict[str, object]:
    """Ready for JSON: the shape of ``POST /api/v1/check`` and of ``holdgate check --json``."""
    catalog = explanation.context.catalog
    return {
        **judgement_to_dict(explanation.judgement),
        "database": explanation.context.database,
        "search_path": list(explanation.context.search_path),
        "catalog": None
        if catalog.is_empty
        else {
            "database": catalog.database,
            "server_version": catalog.server_version,
            "unavailable": catalog.unavailable,
        },
        "statements": [_statement(statement) for statement in explanation.statements],
    }


def _statement(statement: ExplainedStatement) -> dict[str, object]:
    return {
        "kind": statement.kind,
        "sql": statement.sql,
        "readings": {
            "agreement": statement.agreement,
            "why": statement.disagreement or None,
            "grammar": _seen(statement.grammar),
            "sqlglot": None if statement.second is None else _seen(statement.second),
        },
        "relations": [
            {
                "name": relation.name,
                "kind": relation.kind or None,
                "via": list(relation.via),
                "personal": list(relation.personal),
                "subject": list(relation.subject),
            }
            for relation in statement.relations
        ],
        "functions": [
            {"name": function.name, "trusted": function.trusted, "why": function.why}
            for function in statement.functions
        ],
        "effects": [_explained(effect) for effect in statement.effects],
    }


def _explained(explained: ExplainedEffect) -> dict[str, object]:
    return {
        **_effect(explained.effect),
        "via": explained.via or None,
        "row_bound_why": explained.bound_why or None,
    }


def _seen(seen: SeenBy) -> dict[str, object]:
    return {"kind": seen.kind, "relations": list(seen.relations), "changes": list(seen.changes)}


def judgement_to_dict(judgement: Judgement) -> dict[str, object]:
    """The verdict and its effects, ready for JSON."""
    verdict = judgement.verdict
    return {
        "decision": verdict.decision.word,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "approval_groups": None if verdict.approval is None else list(verdict.approval.groups),
        "expires_seconds": None if verdict.approval is None else verdict.approval.expires,
        "unreadable": judgement.facts.unreadable,
        "obligations": list(map(str, verdict.obligations)),
        "effects": [_effect(effect) for effect in verdict.effects],
    }


def _effect(effect: Effect) -> dict[str, object]:
    return {
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
