"""Records as rows of the tables, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping

from gateway.store.grants import Grantable, GrantTerms
from gateway.store.records import Confirmation, Decision, Hold, HoldState, Outcome, Review, TokenRecord
from rules import Escalation, Intent, Margin, Stage

__all__ = ["decision_of", "decision_values", "hold_of", "hold_values", "token_of"]


def hold_values(hold: Hold) -> dict[str, object]:
    """A new hold, column by column."""
    return {
        "id": hold.id,
        "state": hold.state.value,
        "user": hold.user,
        "groups": hold.groups,
        "database": hold.database,
        "client_addr": hold.client_addr,
        "application_name": hold.application_name,
        "session_id": hold.session_id,
        "statement_id": hold.statement_id,
        "sql": hold.sql,
        "parameters": hold.parameters,
        "actions": hold.actions,
        "relations": hold.relations,
        "columns": hold.columns,
        "row_bound": hold.row_bound,
        "rule": hold.rule,
        "criteria": [dict(criterion) for criterion in hold.criteria],
        "reason": hold.reason,
        "stages": [_stage_values(stage) for stage in hold.stages],
        "obligations": hold.obligations,
        "intent": hold.intent.to_dict(),
        "recent": [dict(statement) for statement in hold.recent],
        "margin": {"percent": hold.margin.percent, "rows": hold.margin.rows},
        "uncounted": hold.uncounted,
        "ticket": hold.ticket,
        "checking_until": hold.checking_until,
        "grantable": None if hold.grantable is None else dataclasses.asdict(hold.grantable),
        "confirm": hold.confirm,
        "transaction_open_since": hold.transaction_open_since,
        "digest": hold.digest,
        "instance": hold.instance,
        "opened_at": hold.opened_at,
        "expires_at": hold.expires_at,
    }


def _stage_values(stage: Stage) -> dict[str, object]:
    escalation = stage.escalation
    return {
        "from": stage.groups,
        "quorum": stage.quorum,
        "repeat": stage.repeat,
        "step_up": stage.step_up,
        "escalate": None if escalation is None else {"to": escalation.groups, "after": escalation.after},
    }


def _stage(kept: Mapping[str, Any]) -> Stage:
    escalate = kept.get("escalate")
    escalation = None if escalate is None else Escalation(tuple(escalate["to"]), escalate["after"])
    return Stage(
        tuple(kept["from"]),
        kept["quorum"],
        escalation,
        kept.get("repeat", False),
        tuple(kept.get("step_up", ())),
    )


def hold_of(row: RowMapping, decisions: tuple[Decision, ...]) -> Hold:
    """The hold in a row, with its decisions."""
    outcome = None
    if row["finished"]:
        outcome = Outcome(row["tag"], row["rows"], row["sqlstate"], row["duration_ms"])
    parameters = row["parameters"]
    return Hold(
        id=row["id"],
        state=HoldState(row["state"]),
        user=row["user"],
        groups=tuple(row["groups"]),
        database=row["database"],
        client_addr=row["client_addr"],
        application_name=row["application_name"],
        session_id=row["session_id"],
        statement_id=row["statement_id"],
        sql=row["sql"],
        parameters=None if parameters is None else tuple(parameters),
        actions=tuple(row["actions"]),
        relations=tuple(row["relations"]),
        columns=tuple(row["columns"]),
        row_bound=row["row_bound"],
        rule=row["rule"],
        criteria=tuple(row["criteria"]),
        reason=row["reason"],
        stages=tuple(_stage(one) for one in row["stages"]),
        obligations=tuple(row["obligations"]),
        intent=Intent(**row["intent"]),
        recent=tuple(row["recent"]),
        impact=row["impact"],
        margin=Margin(**row["margin"]),
        uncounted=row["uncounted"],
        ticket=row["ticket"],
        checking_until=row["checking_until"],
        confirm=row["confirm"],
        confirmation=None
        if row["confirmed_at"] is None
        else Confirmation(
            row["confirmed_by"], row["confirmed_how"], row["confirmed_at"], row["confirmed_proof"]
        ),
        transaction_open_since=row["transaction_open_since"],
        digest=row["digest"],
        instance=row["instance"],
        opened_at=row["opened_at"],
        expires_at=row["expires_at"],
        resolved_at=row["resolved_at"],
        released_at=row["released_at"],
        end_reason=row["end_reason"],
        grantable=None if row["grantable"] is None else Grantable.of(row["grantable"]),
        grant_id=row["grant_id"],
        granted_id=row["granted_id"],
        decisions=decisions,
        outcome=outcome,
        review=None
        if row["reviewed_at"] is None
        else Review(row["reviewed_by"], row["review_note"], row["reviewed_at"]),
    )


def token_of(row: RowMapping) -> TokenRecord:
    """The token in a row."""
    return TokenRecord(
        id=row["id"],
        user=row["user"],
        roles=frozenset(row["roles"]),
        note=row["note"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        person=row["person"],
    )


def decision_values(decision: Decision) -> dict[str, object]:
    """A new decision, column by column, but for its hold and number."""
    return {
        "who": decision.who,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "at": decision.at,
        "how": decision.how,
        "stage": decision.stage,
        "deputy_for": decision.deputy_for,
        "max_rows": decision.max_rows,
        "step_up": decision.step_up,
        "proof": None if decision.proof is None else dict(decision.proof),
        "granted": None if decision.granted is None else decision.granted.to_dict(),
    }


def decision_of(row: RowMapping) -> Decision:
    """The decision in a row."""
    return Decision(
        who=row["who"],
        verdict=row["verdict"],
        reason=row["reason"],
        at=row["at"],
        how=row["how"],
        stage=row["stage"],
        deputy_for=row["deputy_for"],
        max_rows=row["max_rows"],
        step_up=row["step_up"],
        proof=row["proof"],
        granted=None if row["granted"] is None else GrantTerms(**row["granted"]),
    )
