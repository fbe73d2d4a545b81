"""What goes over the management port, as OpenAPI describes it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

from gateway.config import Role
from gateway.hold_terms import REASON_LENGTH

__all__ = [
    "ApproveIn",
    "AuditPage",
    "ChangeOut",
    "CheckIn",
    "CheckOut",
    "CodeIn",
    "ConfirmationOut",
    "DecisionOut",
    "DeviceIn",
    "DeviceOut",
    "EffectOut",
    "EscalationOut",
    "EstimateOut",
    "HealthOut",
    "HoldOut",
    "HoldPage",
    "ImpactOut",
    "IntentOut",
    "LockOut",
    "LoginIn",
    "MeOut",
    "MessageOut",
    "MessagesOut",
    "OidcOut",
    "OptionsOut",
    "OutcomeOut",
    "PasskeyIn",
    "PasskeyOut",
    "PasskeysOut",
    "PastOut",
    "PeopleOut",
    "PersonOut",
    "ProblemOut",
    "ProofIn",
    "ReachedOut",
    "ReadinessOut",
    "RejectIn",
    "ReviewIn",
    "ReviewOut",
    "SessionOut",
    "SessionsOut",
    "SignedOut",
    "StageOut",
    "TokenIn",
    "TokenMade",
    "TokenOut",
    "TokensOut",
    "TotpMade",
    "TotpOut",
    "TransactionOut",
    "WaysOut",
]


def _readable(text: str) -> str:
    """Text that a terminal and a page can show: no control characters but line ends."""
    if any((char < " " and char not in "\n\t") or "\x7f" <= char <= "\x9f" for char in text):
        raise ValueError("control characters are not accepted")
    return text.strip()


Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Readable = Annotated[str, AfterValidator(_readable)]
Reason = Annotated[str, Field(max_length=REASON_LENGTH)]


class _In(BaseModel):
    """A request body; members that are not known are refused."""

    model_config = ConfigDict(extra="forbid")


class LoginIn(_In):
    """A user of the configuration and the password of its SCRAM verifier."""

    user: str = Field(min_length=1, max_length=256)
    password: str = Field(min_length=1, max_length=1024)


class MeOut(BaseModel):
    """Who is signed in. ``stands_in_for`` are those in whose name they may decide today, with their groups.
    ``csrf_token`` is for browsers: it goes back in ``X-CSRF-Token``."""

    user: str
    roles: list[Role]
    groups: list[str]
    stands_in_for: dict[str, list[str]]
    csrf_token: str | None


class OidcOut(BaseModel):
    """Signing in through an OpenID provider: what it is called, and the page that leads to it."""

    name: str
    url: str


class DeviceOut(BaseModel):
    """A sign-in on a device, RFC 8628: ``user_code`` is shown to a person, ``device_code`` is kept. ``expires_in`` and
    ``interval`` are in seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int
    interval: int


class DeviceIn(_In):
    """The device code of a sign-in that was begun."""

    device_code: str = Field(min_length=1, max_length=4096)


class WaysOut(BaseModel):
    """The ways to sign in."""

    password: bool
    oidc: OidcOut | None


class SignedOut(BaseModel):
    """The session is over here. ``provider`` is where a browser can go to end it at the OpenID provider too."""

    provider: str


class PersonOut(BaseModel):
    """Who somebody of the OpenID provider is here. ``claim`` is what the provider calls them."""

    name: str
    issuer: str
    subject: str
    claim: str
    first_at: Time
    seen_at: Time


class PeopleOut(BaseModel):
    """Everybody the provider vouched for, by name."""

    people: list[PersonOut]


class GrantIn(_In):
    """More statements of the same shape by the same user: ``for`` a time such as 1h or 30m, at most ``uses`` of them
    (left out: as many as the rule lets), which change at most ``rows`` rows together (left out: any number)."""

    lasts: str = Field(alias="for", max_length=20)
    uses: Annotated[int, Strict(), Field(ge=1, le=2**31 - 1)] | None = None
    rows: Annotated[int, Strict(), Field(ge=1, le=2**62)] | None = None


class ApproveIn(_In):
    """An approval; the reason may be left out. ``grant``: what is allowed besides. ``max_rows``: it may delete, update
    or merge no more rows than these; null: any number; left out: ``proposed_rows`` of the hold. ``totp`` is a code of
    the approver's authenticator, where the stage asks for one; ``passkey`` is what the browser signed
    (AuthenticationResponseJSON)."""

    reason: Reason = ""
    max_rows: Annotated[int, Strict(), Field(ge=0, le=2**62)] | None = None
    totp: str | None = Field(default=None, max_length=16)
    passkey: dict[str, Any] | None = None
    grant: GrantIn | None = None


class ProofIn(_In):
    """A proof of who changes their proofs: a code of their authenticator, or what the browser signed with a passkey."""

    totp: str | None = Field(default=None, max_length=16)
    passkey: dict[str, Any] | None = None


class PasskeyIn(ProofIn):
    """A new passkey, as the browser made it (RegistrationResponseJSON), and what its owner calls it."""

    label: Readable = Field(min_length=1, max_length=100)
    credential: dict[str, Any]


class OptionsOut(BaseModel):
    """What a browser needs to make or use a passkey, in the JSON form of Web Authentication Level 3."""

    options: dict[str, Any]


class PasskeyOut(BaseModel):
    """A passkey."""

    id: str
    label: str
    created_at: Time
    used_at: Time | None


class PasskeysOut(BaseModel):
    """Somebody's passkeys, oldest first."""

    passkeys: list[PasskeyOut]


class CodeIn(_In):
    """A code of an authenticator."""

    code: str = Field(min_length=1, max_length=16)


class TotpOut(BaseModel):
    """Whether there is an authenticator."""

    enrolled: bool


class TotpMade(BaseModel):
    """A new authenticator: its secret in base32, and the address that an app reads it from."""

    secret: str
    uri: str


class RejectIn(_In):
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


class GrantTermsOut(BaseModel):
    """What an approver granted."""

    seconds: float
    uses: int | None
    rows: int | None


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


class ReachedOut(BaseModel):
    """Rows that refer, by a foreign key, to rows that change; ``rule`` is what the key does about them."""

    relation: str
    constraint: str
    parent: str
    rule: Literal["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"]
    rows: int | None


class ChangeOut(BaseModel):
    """Rows that a statement would change. Null: they could not be counted, and ``unseen`` says why."""

    action: Literal["delete", "update", "truncate"]
    relation: str
    rows: int | None
    reached: list[ReachedOut]
    triggers: list[str]
    unseen: list[str]


class EstimateOut(BaseModel):
    """What the planner expects of a read."""

    rows: float | None
    cost: float | None
    unseen: str | None


class LockOut(BaseModel):
    """A lock that an open transaction has on a relation."""

    relation: str
    mode: str


class TransactionOut(BaseModel):
    """What an open transaction keeps from others: its locks, and how many sessions wait for it."""

    locks: list[LockOut]
    waiting: int | None
    unseen: str | None


class ImpactOut(BaseModel):
    """What a held statement would do, looked up read-only when it was held; ``unseen`` is what could not be seen."""

    taken_at: Time
    took_ms: float
    formatted: str
    changes: list[ChangeOut]
    reads: list[EstimateOut]
    transaction: TransactionOut | None
    unseen: list[str]


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


class ReviewIn(_In):
    """What a review found; it closes the review."""

    note: Reason


class GrantableOut(BaseModel):
    """What may be granted with an approval: ``statement`` has an ellipsis for each value that may differ."""

    statement: str
    max_seconds: float
    max_uses: int | None


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


class GrantOut(BaseModel):
    """What somebody may run more of. ``statement`` has an ellipsis for each value that may differ; ``used`` of ``uses``
    and ``rows_used`` of ``rows`` are gone, null being any number; ``max_rows`` is for each use. ``state`` is ``void``
    where what it stands on has ended, as ``why`` says."""

    id: str
    hold_id: str
    user: str
    database: str
    role: str
    statement: str
    rules: list[str]
    approved_by: list[str]
    created_at: Time
    expires_at: Time
    uses: int | None
    used: int
    rows: int | None
    rows_used: int
    max_rows: int | None
    revoked_at: Time | None
    revoked_by: str | None
    revoke_reason: str | None
    state: Literal["active", "used up", "expired", "revoked", "void"]
    why: str | None


class GrantsOut(BaseModel):
    """Grants, newest first."""

    grants: list[GrantOut]


class RevokeIn(_In):
    """Why a grant is revoked; may be left out."""

    reason: Reason = ""


class HoldPage(BaseModel):
    """Holds, newest first. ``next`` goes into ``cursor`` for the following page; null at the end."""

    holds: list[HoldOut]
    next: str | None


class SessionOut(BaseModel):
    """A client session."""

    id: str
    user: str
    groups: list[str]
    database: str
    client_addr: str | None
    application_name: str
    state: str
    started_at: Time
    transaction_status: str | None
    current_sql: str | None
    hold_id: str | None
    backend_pid: int | None


class SessionsOut(BaseModel):
    """All client sessions."""

    sessions: list[SessionOut]


class AuditPage(BaseModel):
    """Audit records. ``next`` goes into ``cursor`` for the following page; null at the end.

    A rare match in a large file may take several pages, some of them empty: go on until ``next`` is null.
    """

    records: list[dict[str, Any]]
    next: str | None


class CheckIn(_In):
    """A statement to judge, and as whom and where it would run."""

    sql: str
    user: Readable | None = Field(default=None, max_length=256)
    database: Readable | None = Field(default=None, max_length=256)


class EffectOut(BaseModel):
    """One thing a statement would do."""

    action: str
    relation: str | None
    columns: list[str]
    row_bound: str
    personal: list[str]
    decision: Literal["allow", "hold", "deny"]
    rule: str
    reason: str
    obligations: list[str]


class ExplainedEffectOut(EffectOut):
    """An effect with the steps that lead to it, and what proves its row bound or that nothing does."""

    via: str | None
    row_bound_why: str | None


class SeenOut(BaseModel):
    """What one reader saw: bare names of relations, and the changes of data."""

    kind: str
    relations: list[str]
    changes: list[str]


class ReadingsOut(BaseModel):
    """How a statement was read: by both readers, by PostgreSQL's grammar alone, so that they differ, or not at all."""

    agreement: Literal["both", "one", "differ", "none"]
    why: str | None
    grammar: SeenOut
    sqlglot: SeenOut | None


class NamedRelationOut(BaseModel):
    """A relation that a statement names (``via`` is empty) or leads to by views, cascades, triggers, functions."""

    name: str
    kind: str | None
    via: list[str]
    personal: list[str]
    subject: list[str]


class FunctionOut(BaseModel):
    """A function that a statement calls, and whether what it does is known."""

    name: str
    trusted: bool
    why: str


class StatementOut(BaseModel):
    """One statement of a message, explained."""

    kind: str
    sql: str
    readings: ReadingsOut
    relations: list[NamedRelationOut]
    functions: list[FunctionOut]
    effects: list[ExplainedEffectOut]


class CatalogOut(BaseModel):
    """The catalog that names were looked up in; ``unavailable`` says why nothing is known of it."""

    database: str
    server_version: int
    unavailable: str | None


class CheckOut(BaseModel):
    """The verdict on a statement that was not run. ``unreadable`` says why it could not be read, ``obligations``
    what binds it once it may run; without a ``catalog`` names stood for themselves."""

    decision: Literal["allow", "hold", "deny"]
    rule: str
    reason: str
    approval_groups: list[str] | None
    expires_seconds: float | None
    unreadable: str | None
    obligations: list[str]
    effects: list[EffectOut]
    database: str
    search_path: list[str]
    catalog: CatalogOut | None
    statements: list[StatementOut]


class TokenIn(_In):
    """A token to make. ``user`` is who it acts as; it expires after ``expires_seconds``, or never."""

    user: Readable = Field(min_length=1, max_length=256)
    roles: list[Role] = Field(min_length=1, max_length=4)
    note: Readable = Field(default="", max_length=200)
    expires_seconds: int | None = Field(default=None, ge=60, le=10 * 366 * 86400)


class TokenOut(BaseModel):
    """A token without its secret."""

    id: str
    user: str
    roles: list[Role]
    note: str
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class TokenMade(TokenOut):
    """A new token with its secret, which is shown this once."""

    secret: str


class TokensOut(BaseModel):
    """All tokens, revoked ones included, newest first."""

    tokens: list[TokenOut]


class MessageOut(BaseModel):
    """A message to somebody about a hold. ``error`` is why the last attempt failed, or why it was dropped."""

    id: str
    hold_id: str
    channel: str
    event: str
    stage: int
    state: str
    attempts: int
    created_at: str
    due_at: str
    finished_at: str | None
    error: str | None


class MessagesOut(BaseModel):
    """Messages, newest first. ``next`` is the cursor of the next page, absent on the last one."""

    messages: list[MessageOut]
    next: str | None


class HealthOut(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class ReadinessOut(BaseModel):
    """The gateway serves."""

    status: Literal["ready"] = "ready"


class ProblemOut(BaseModel):
    """An error, RFC 9457. ``type`` is stable for scripts; some problems carry more members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
