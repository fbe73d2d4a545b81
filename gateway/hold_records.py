"""What the audit keeps of a hold."""

from datetime import datetime, timedelta

from gateway.audit import AuditRecord, Kind
from gateway.store import Decision, Hold, HoldState, Place, Standing

__all__ = [
    "checked_record",
    "confirmed_record",
    "conflict_record",
    "decision_record",
    "escalation_record",
    "hold_record",
    "opened_record",
    "queued_record",
]


def hold_record(hold: Hold, kind: Kind, tag: str, *, reason: str | None) -> AuditRecord:
    """A record about a hold; ``tag`` says what happened to it, ``reason`` why."""
    held_ms = None
    if hold.resolved_at is not None:
        held_ms = (hold.resolved_at - hold.opened_at) / timedelta(milliseconds=1)
    return AuditRecord(
        kind,
        at=hold.resolved_at or hold.opened_at,
        session_id=hold.session_id,
        statement_id=hold.statement_id,
        user=hold.user,
        groups=hold.groups,
        database=hold.database,
        client_addr=hold.client_addr,
        application_name=hold.application_name,
        sql=hold.sql,
        parameters=hold.parameters,
        actions=hold.actions,
        relations=hold.relations,
        columns=hold.columns,
        row_bound=hold.row_bound,
        verdict="hold",
        rule=hold.rule,
        obligations=hold.obligations,
        hold_id=hold.id,
        tag=tag,
        held_ms=held_ms,
        reason=reason,
        details={"intent": hold.intent.to_dict()} if hold.intent else {},
    )


def opened_record(hold: Hold) -> AuditRecord:
    """A record of a new hold, with the digest that approvals of it are bound to."""
    record = hold_record(hold, Kind.HOLD, "opened", reason=hold.reason)
    record.details["digest"] = hold.digest
    if hold.criteria:
        record.details["criteria"] = [dict(one) for one in hold.criteria]
    if hold.conflicts:
        record.details["conflicts"] = [one.to_dict() for one in hold.conflicts]
    return record


def conflict_record(hold: Hold, later: Hold) -> AuditRecord:
    """A record that ``later`` concerns the same people as a hold."""
    record = hold_record(hold, Kind.HOLD, "conflict", reason=f"with {later.id} of {later.user}")
    record.at = later.opened_at
    record.details["conflicts"] = [one.to_dict() for one in hold.conflicts if one.other == later.id]
    return record


def checked_record(hold: Hold, at: datetime) -> AuditRecord:
    """A record of what came of the criteria."""
    record = hold_record(hold, Kind.HOLD, "checked", reason=hold.reason)
    record.at = at
    record.details["criteria"] = [dict(one) for one in hold.criteria]
    return record


def confirmed_record(hold: Hold) -> AuditRecord:
    """A record that whoever asked has confirmed it, how, and with the proof if there is one."""
    confirmation = hold.confirmation
    assert confirmation is not None, "only what was confirmed is recorded so"
    record = hold_record(hold, Kind.HOLD, "confirmed", reason=None)
    record.at = confirmation.at
    record.details.update(digest=hold.digest, confirmed_by=confirmation.who, confirmed_how=confirmation.how)
    if confirmation.proof is not None:
        record.details["proof"] = dict(confirmation.proof)
    return record


def escalation_record(hold: Hold, standing: Standing, at: datetime) -> AuditRecord:
    """A record that more groups may decide from ``at`` on."""
    escalation = standing.stage.escalation
    assert escalation is not None, "only what says so escalates"
    record = hold_record(hold, Kind.HOLD, "escalated", reason=f"to {' and '.join(escalation.groups)}")
    record.at = at
    record.details.update(stage=standing.number, to=list(escalation.groups))
    return record


def queued_record(hold: Hold, place: Place, at: datetime) -> AuditRecord:
    """A record that an approved statement waits for room since ``at``."""
    record = hold_record(hold, Kind.HOLD, "queued", reason=f"cap {place.cap}")
    record.at = at
    record.details["queue"] = place.to_dict()
    return record


def decision_record(hold: Hold, decision: Decision, state: HoldState) -> AuditRecord:
    """A record of one person's word, which brought the hold to ``state``."""
    tag = "counted" if state is HoldState.PENDING else state.value
    record = hold_record(hold, Kind.DECISION, tag, reason=decision.reason)
    record.at = decision.at
    record.verdict, record.approved_by = decision.verdict, (decision.who,)
    record.details["stage"] = decision.stage
    if decision.granted is not None:
        record.details["granted"] = decision.granted.to_dict()
    if hold.grant_id is not None:
        record.approved_by = (f"grant {hold.grant_id}", decision.who)
    grant_id = hold.grant_id or hold.granted_id
    if grant_id is not None:
        record.details["grant_id"] = grant_id
    if decision.max_rows is not None:
        record.details["max_rows"] = decision.max_rows
    if decision.deputy_for is not None:
        record.details["deputy_for"] = decision.deputy_for
    if decision.step_up is not None:
        record.details["step_up"] = decision.step_up
    if decision.proof is not None:
        record.details.update(digest=hold.digest, proof=dict(decision.proof))
    return record
