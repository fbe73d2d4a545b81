"""Holds, what is decided about them, and what they wait for."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, Strict

from gateway.api.schemas.base import In, Reason, Time
from gateway.api.schemas.grants import GrantableOut, GrantIn, GrantTermsOut
from gateway.api.schemas.impact import ImpactOut

__all__ = [
    "ApproveIn",
    "ConfirmationOut",
    "ConflictOut",
    "CriterionOut",
    "DecisionOut",
    "EscalationOut",
    "HoldOut",
    "HoldPage",
    "IntentOut",
    "OccupiedOut",
    "OutcomeOut",
    "PastOut",
    "PlaceOut",
    "QueueOut",
    "RejectIn",
    "ReviewIn",
    "ReviewOut",
    "StageOut",
]


class ApproveIn(In):
    """An approval; the reason may be left out. ``grant``: what is allowed besides. ``max_rows``: it may delete, update
    or merge no more rows than these; null: any number; left out: ``proposed_rows`` of the hold. ``totp`` is a code of
    the approver's authenticator, where the stage asks for one; ``passkey`` is what the browser signed
    (AuthenticationResponseJSON)."""

    reason: Reason = ""
    max_rows: Annotated[int, Strict(), Field(ge=0, le=2**62)] | None = None
    totp: str | None = Field(default=None, max_length=16)
    passkey: dict[str, Any] | None = None
    grant: GrantIn | None = None


class RejectIn(In):
    """A rejection; the requester reads the reason."""

    reason: Reason


class EscalationOut(BaseModel):
    """The groups that may decide too from ``at`` on; null while the stage has not begun."""

    to: list[str]
    at: Time | None


class StageOut(BaseModel):
    """How far one stage of a hold has come. ``groups`` may decide (none: anyone with the role
    approver), ``quorum`` how many people have to approve, ``missing`` how many still do. ``since`` is null while
    an earlier stage is not finished. ``step_up``: each has to prove anew who they are, in one of these ways."""

    groups: list[str]
    quorum: int
    repeat: bool
    step_up: list[str]
    escalation: EscalationOut | None
    since: Time | None
    approved_by: list[str]
    missing: int


class DecisionOut(BaseModel):
    """What one person decided, in which stage (from 0) and in whose name, if not their own."""

    who: str
    verdict: Literal["approve", "reject"]
    reason: str
    at: Time
    how: str
    stage: int
    deputy_for: str | None
    max_rows: int | None
    step_up: str | None
    proof: dict[str, str] | None
    granted: GrantTermsOut | None


class OutcomeOut(BaseModel):
    """How a released statement ended."""

    tag: str | None
    rows: int | None
    sqlstate: str | None
    duration_ms: float | None


class PastOut(BaseModel):
    """A statement that the session ran before, with as much of its text as the audit keeps."""

    at: Time
    sql: str
    tag: str | None
    rows: int | None
    sqlstate: str | None
    hold_id: str | None


class IntentOut(BaseModel):
    """What the requester says of the statement, null where nothing."""

    reason: str | None
    ticket: str | None
    break_glass: str | None


class CriterionOut(BaseModel):
    """What came of one criterion of the rule. ``denied``: whoever was asked says no for good; ``unchecked``: it could
    not be told, and does not count as met; ``checking``: it is being asked."""

    criterion: str
    met: bool
    outcome: Literal["met", "unmet", "denied", "unchecked", "checking"]
    why: str


class ConflictOut(BaseModel):
    """Another hold that concerns the same people. ``earlier``: the other came first; ``ended``: it does not wait or run
    any more; ``waits``: this one does not run before that. ``about`` says what of whom."""

    kind: Literal["export_then_delete", "delete_then_export", "delete_twice"]
    action: Literal["block", "order", "warn"]
    hold_id: str
    user: str
    state: Literal["pending", "approved", "rejected", "expired", "withdrawn", "abandoned", "interrupted"]
    earlier: bool
    ended: bool
    waits: bool
    about: list[str]


class ReviewOut(BaseModel):
    """What somebody made afterwards of a statement that ran without an approval."""

    who: str
    note: str
    at: Time


class ReviewIn(In):
    """What a review found; it closes the review."""

    note: Reason


class PlaceOut(BaseModel):
    """Where an approved statement waits for room under a cap. ``per_seconds`` as in the queue; ``room_at`` is when
    there will be room, where that is known."""

    cap: str
    key: str
    most: int
    per_seconds: float | None
    place: int
    of: int
    room_at: Time | None


class ConfirmationOut(BaseModel):
    """That whoever asked has confirmed it. ``how``: totp, passkey, or email for the link that they were sent."""

    who: str
    how: str
    at: Time


class HoldOut(BaseModel):
    """A statement that waits, or waited, for a decision. ``cannot_decide`` is why whoever asks has no say in it, null
    where they have one; ``yours`` is whether it is their own. ``confirm`` is how whoever asked has to confirm it before
    anybody can approve it, ``confirmation`` that they did."""

    id: str
    state: Literal["pending", "approved", "rejected", "expired", "withdrawn", "abandoned", "interrupted"]
    user: str
    groups: list[str]
    database: str
    client_addr: str | None
    application_name: str
    session_id: str
    statement_id: str
    sql: str
    parameters: list[str | None] | None
    actions: list[str]
    relations: list[str]
    columns: list[str]
    row_bound: str
    rule: str
    criteria: list[CriterionOut]
    reason: str
    approval_groups: list[str]
    stages: list[StageOut]
    obligations: list[str]
    intent: IntentOut
    recent: list[PastOut]
    impact: ImpactOut | None
    max_rows: int | None
    proposed_rows: int | None
    uncounted: str | None
    ticket: bool
    use_by: Time | None
    checking_until: Time | None
    conflicts: list[ConflictOut]
    confirm: Literal["second-factor", "email"] | None
    confirmation: ConfirmationOut | None
    transaction_open_since: Time | None
    opened_at: Time
    expires_at: Time
    resolved_at: Time | None
    released_at: Time | None
    queue: PlaceOut | None
    grantable: GrantableOut | None
    grant_id: str | None
    granted_id: str | None
    end_reason: str | None
    break_glass: bool
    review: ReviewOut | None
    decisions: list[DecisionOut]
    digest: str
    outcome: OutcomeOut | None
    cannot_decide: str | None
    yours: bool


class OccupiedOut(BaseModel):
    """Everybody under a cap, for one of what it counts by: the holds that have one of its ``most`` places, and those
    that wait for one, the next first. ``per_seconds``: so many may begin in these; null: so many at the same time."""

    cap: str
    key: str
    most: int
    per_seconds: float | None
    taken: list[str]
    waiting: list[str]


class QueueOut(BaseModel):
    """Who has places under caps, and who waits for one."""

    queue: list[OccupiedOut]


class HoldPage(BaseModel):
    """Holds, newest first. ``next`` goes into ``cursor`` for the following page; null at the end."""

    holds: list[HoldOut]
    next: str | None
