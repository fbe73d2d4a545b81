"""The values that go into the store and come out of it."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from gateway.store.grants import Grantable, GrantTerms
from gateway.store.moments import iso
from gateway.store.places import Place
from rules import NO_MARGIN, UNSAID, Approval, Confirm, ConflictAction, ConflictKind, Intent, Margin, Stage
from rules.conflicts import waits_for_earlier

__all__ = [
    "BREAK_GLASS",
    "BY_GRANT",
    "BY_RULE",
    "Confirmation",
    "Conflict",
    "Decision",
    "Hold",
    "HoldState",
    "Outcome",
    "PasskeyRecord",
    "PersonRecord",
    "Review",
    "Standing",
    "TokenRecord",
    "TotpRecord",
    "iso",
]


class HoldState(StrEnum):
    """Where a hold stands.

    All but ``pending`` are final, but an approval that was not yet used can still end.
    """

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    ABANDONED = "abandoned"
    INTERRUPTED = "interrupted"


BREAK_GLASS: Final = "break-glass"
"""How somebody approved their own statement without waiting for anybody."""


BY_RULE: Final = "rule"
"""How a rule approved, since all of its criteria were met."""

BY_GRANT: Final = "grant"
"""How whoever granted more of its shape before approved it too."""


@dataclass(frozen=True, slots=True)
class Review:
    """What somebody else made afterwards of a statement that ran without an approval."""

    who: str
    note: str
    at: datetime

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {"who": self.who, "note": self.note, "at": iso(self.at)}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another hold that concerns the same people. ``about`` says what of whom; ``earlier``: the other came first;
    ``waits``: this one does not run before the other has ended, if it is still to run."""

    kind: ConflictKind
    action: ConflictAction
    other: str
    user: str
    state: HoldState
    earlier: bool
    ended: bool
    about: tuple[str, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether this one may not run yet."""
        ordered = self.action is ConflictAction.ORDER and waits_for_earlier(self.kind) is self.earlier
        return ordered and not self.ended

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "kind": self.kind.value,
            "action": self.action.value,
            "hold_id": self.other,
            "user": self.user,
            "state": self.state.value,
            "earlier": self.earlier,
            "ended": self.ended,
            "waits": self.waits,
            "about": list(self.about),
        }


@dataclass(frozen=True, slots=True)
class Confirmation:
    """That whoever asked means it. ``how``: totp, passkey, or email where it was by the link that they were sent;
    ``proof`` is what of that can be checked afterwards."""

    who: str
    how: str
    at: datetime
    proof: Mapping[str, str] | None = None

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON, without the proof."""
        return {"who": self.who, "how": self.how, "at": iso(self.at)}


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person said.

    ``verdict`` is ``approve`` or ``reject``; ``how`` is the way: console, api, cli. ``stage`` counts from 0;
    ``deputy_for`` is whom the person stood in for. ``max_rows``: an approval is for no more rows than these.
    ``granted`` is how much more of its shape they allow.
    ``step_up`` is how they proved anew who they are: totp or passkey, ``proof`` what of that can be checked
    afterwards.
    """

    who: str
    verdict: str
    reason: str
    at: datetime
    how: str
    stage: int = 0
    deputy_for: str | None = None
    max_rows: int | None = None
    step_up: str | None = None
    proof: Mapping[str, str] | None = None
    granted: GrantTerms | None = None

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "who": self.who,
            "verdict": self.verdict,
            "reason": self.reason,
            "at": iso(self.at),
            "how": self.how,
            "stage": self.stage,
            "deputy_for": self.deputy_for,
            "max_rows": self.max_rows,
            "step_up": self.step_up,
            "proof": None if self.proof is None else dict(self.proof),
            "granted": None if self.granted is None else self.granted.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the released statement ended: its command tag and rows, or its SQLSTATE; milliseconds upstream."""

    tag: str | None
    rows: int | None
    sqlstate: str | None
    duration_ms: float | None

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "tag": self.tag,
            "rows": self.rows,
            "sqlstate": self.sqlstate,
            "duration_ms": self.duration_ms,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a stage has come. ``since``: when it began, None where it has not; ``approvals`` count in it."""

    number: int
    stage: Stage
    since: datetime | None
    approvals: tuple[Decision, ...]

    @property
    def missing(self) -> int:
        """How many people are still needed."""
        return max(0, self.stage.quorum - len(self.approvals))

    @property
    def escalates_at(self) -> datetime | None:
        """When its escalation's groups may decide too, None where nothing is to escalate."""
        if self.since is None or self.stage.escalation is None:
            return None
        return self.since + timedelta(seconds=self.stage.escalation.after)

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON, as the management port shows it."""
        escalation = self.stage.escalation
        return {
            "groups": list(self.stage.groups),
            "quorum": self.stage.quorum,
            "repeat": self.stage.repeat,
            "step_up": list(self.stage.step_up),
            "escalation": None
            if escalation is None
            else {"to": list(escalation.groups), "at": iso(self.escalates_at)},
            "since": iso(self.since),
            "approved_by": [one.who for one in self.approvals],
            "missing": self.missing,
        }

    def groups(self, now: datetime) -> tuple[str, ...]:
        """The groups that may decide at ``now``; none: everybody with the role approver."""
        at = self.escalates_at
        return self.stage.all_groups if at is not None and at <= now else self.stage.groups


@dataclass(frozen=True, slots=True)
class Hold:
    """A statement that waits, or waited, for a decision.

    ``reason`` is why it is held; ``end_reason`` why it ended when nobody decided. ``obligations`` bind the
    statement once it is released. ``recent`` are the session's statements before it, and ``impact`` is the preview
    of what it would do, None before there is one. It may change ``margin`` more rows than those; ``uncounted`` is why
    no number of rows can be enforced. For a ``ticket`` no session waits: it is used when the statement is run again.
    ``conflicts`` are other holds that concern the same people.
    Until ``checking_until``, if that is not None, its criteria are being checked.
    ``grantable`` is what of it may be granted, ``grant_id`` the grant that it ran by, and ``granted_id``
    the one that came with its approval.
    ``confirm`` is how whoever asked has to confirm it before people are asked, ``confirmation`` that they did.
    ``queue`` is where it waits for room once it is approved.
    ``released_at`` is set once, when the approval was used. ``instance`` is the gateway process whose session waits.
    """

    id: str
    state: HoldState
    user: str
    groups: tuple[str, ...]
    database: str
    client_addr: str | None
    application_name: str
    session_id: str
    statement_id: str
    sql: str
    parameters: tuple[str | None, ...] | None
    actions: tuple[str, ...]
    relations: tuple[str, ...]
    columns: tuple[str, ...]
    row_bound: str
    rule: str
    criteria: tuple[Mapping[str, object], ...]
    reason: str
    stages: tuple[Stage, ...]
    transaction_open_since: datetime | None
    digest: str
    instance: str
    opened_at: datetime
    expires_at: datetime
    resolved_at: datetime | None = None
    released_at: datetime | None = None
    end_reason: str | None = None
    obligations: tuple[str, ...] = ()
    intent: Intent = UNSAID
    recent: tuple[Mapping[str, object], ...] = ()
    impact: Mapping[str, Any] | None = None
    margin: Margin = NO_MARGIN
    uncounted: str | None = None
    ticket: bool = False
    checking_until: datetime | None = None
    conflicts: tuple[Conflict, ...] = ()
    confirm: Confirm | None = None
    confirmation: Confirmation | None = None
    decisions: tuple[Decision, ...] = ()
    review: Review | None = None
    outcome: Outcome | None = None
    queue: Place | None = None
    grantable: Grantable | None = None
    grant_id: str | None = None
    granted_id: str | None = None

    @property
    def open(self) -> bool:
        """Whether the statement may still run because of this hold: pending, or approved and not yet used."""
        return self.state is HoldState.PENDING or (
            self.state is HoldState.APPROVED and self.released_at is None
        )

    def checking(self, now: datetime) -> bool:
        """Whether its criteria are being checked at ``now``, so that nobody is asked yet."""
        return (
            self.state is HoldState.PENDING and self.checking_until is not None and now < self.checking_until
        )

    @property
    def awaits_confirmation(self) -> bool:
        """Whether whoever asked has yet to confirm it, so that nobody else is asked yet."""
        return self.state is HoldState.PENDING and self.confirm is not None and self.confirmation is None

    @property
    def decided(self) -> bool:
        """Whether a person's word ended the wait."""
        return self.state in (HoldState.APPROVED, HoldState.REJECTED)

    @property
    def breaks_glass(self) -> bool:
        """Whether whoever asked let it run without anybody's approval."""
        return any(one.how == BREAK_GLASS for one in self.decisions)

    @property
    def good_until(self) -> datetime | None:
        """Until when an approval that waits for something else is good: as long as the hold could wait for it."""
        if self.state is not HoldState.APPROVED or self.resolved_at is None:
            return None
        return self.resolved_at + (self.expires_at - self.opened_at)

    @property
    def use_by(self) -> datetime | None:
        """Until when an approved ticket can be used."""
        return self.good_until if self.ticket else None

    @property
    def decided_by(self) -> tuple[str, ...]:
        """Who decided, in order, each once."""
        by_grant = () if self.grant_id is None else (f"grant {self.grant_id}",)
        return tuple(dict.fromkeys((*by_grant, *(decision.who for decision in self.decisions))))

    @property
    def granted(self) -> GrantTerms | None:
        """How much more of its shape everybody who approved it allows; None if somebody allows none."""
        terms = [one.granted for one in self.decisions if one.verdict == "approve"]
        if self.state is not HoldState.APPROVED or not terms or None in terms:
            return None
        return functools.reduce(GrantTerms.least, [one for one in terms if one is not None])

    @property
    def max_rows(self) -> int | None:
        """How many rows the approvals let it delete, update or merge; None: any number."""
        asked = [
            one.max_rows for one in self.decisions if one.verdict == "approve" and one.max_rows is not None
        ]
        return min(asked, default=None)

    @property
    def free_values(self) -> bool:
        """Whether values may differ in what is granted: where the text itself, or a ceiling, bounds the rows."""
        return self.grantable is not None and (
            self.grantable.bounded or self.max_rows is not None or self.proposed_rows is not None
        )

    @property
    def proposed_rows(self) -> int | None:
        """How many rows an approval is for that says nothing of them; None: any number."""
        if self.uncounted is not None or self.impact is None:
            return None
        counted = [change["rows"] for change in self.impact["changes"]]
        return None if not counted or None in counted else self.margin.over(sum(counted))

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How far each stage has come, in order."""
        found: list[Standing] = []
        since: datetime | None = self.opened_at
        if self.confirm is not None:
            since = None if self.confirmation is None else self.confirmation.at
        for number, stage in enumerate(self.stages):
            approvals = tuple(
                one for one in self.decisions if one.stage == number and one.verdict == "approve"
            )
            found.append(Standing(number, stage, since, approvals))
            finished = since is not None and len(approvals) >= stage.quorum
            since = approvals[-1].at if finished else None
        return tuple(found)

    @property
    def standing(self) -> Standing | None:
        """The stage that waits, or waited, for people; None where each was finished, or nobody was waited for."""
        if any(one.how in (BREAK_GLASS, BY_RULE, BY_GRANT) for one in self.decisions):
            return None
        return next((one for one in self.standings if one.missing), None)

    @property
    def approval_groups(self) -> tuple[str, ...]:
        """Every group that may have a say, once; none: anyone with the role approver."""
        return Approval(self.stages).groups

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON, as the management port shows it."""
        return {
            "id": self.id,
            "state": self.state.value,
            "user": self.user,
            "groups": list(self.groups),
            "database": self.database,
            "client_addr": self.client_addr,
            "application_name": self.application_name,
            "session_id": self.session_id,
            "statement_id": self.statement_id,
            "sql": self.sql,
            "parameters": None if self.parameters is None else list(self.parameters),
            "actions": list(self.actions),
            "relations": list(self.relations),
            "columns": list(self.columns),
            "row_bound": self.row_bound,
            "rule": self.rule,
            # What was kept before there were others says only this much.
            "criteria": [{"outcome": "met" if one.get("met") else "unmet", **one} for one in self.criteria],
            "reason": self.reason,
            "approval_groups": list(self.approval_groups),
            "stages": [standing.to_dict() for standing in self.standings],
            "obligations": list(self.obligations),
            "intent": self.intent.to_dict(),
            "recent": [dict(statement) for statement in self.recent],
            "impact": None if self.impact is None else dict(self.impact),
            "max_rows": self.max_rows,
            "proposed_rows": self.proposed_rows,
            "uncounted": self.uncounted,
            "ticket": self.ticket,
            "use_by": iso(self.use_by),
            "checking_until": iso(self.checking_until),
            "conflicts": [conflict.to_dict() for conflict in self.conflicts],
            "confirm": self.confirm,
            "confirmation": None if self.confirmation is None else self.confirmation.to_dict(),
            "transaction_open_since": iso(self.transaction_open_since),
            "opened_at": iso(self.opened_at),
            "expires_at": iso(self.expires_at),
            "resolved_at": iso(self.resolved_at),
            "released_at": iso(self.released_at),
            "grantable": None
            if self.grantable is None
            else {
                "statement": self.grantable.text if self.free_values else self.grantable.same,
                "max_seconds": self.grantable.max_for,
                "max_uses": self.grantable.max_uses,
            },
            "grant_id": self.grant_id,
            "granted_id": self.granted_id,
            "queue": None if self.queue is None else self.queue.to_dict(),
            "end_reason": self.end_reason,
            "break_glass": self.breaks_glass,
            "review": None if self.review is None else self.review.to_dict(),
            "decisions": [decision.to_dict() for decision in self.decisions],
            "digest": self.digest,
            "outcome": None if self.outcome is None else self.outcome.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A bearer token without its secret. ``id`` is for people and for revoking.

    ``person`` says that the configuration knew ``user`` when the token was made.
    """

    id: str
    user: str
    roles: frozenset[str]
    note: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None
    person: bool = False

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "id": self.id,
            "user": self.user,
            "roles": sorted(self.roles),
            "note": self.note,
            "created_at": iso(self.created_at),
            "expires_at": iso(self.expires_at),
            "revoked_at": iso(self.revoked_at),
        }


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """Somebody an OpenID provider vouched for.

    ``issuer`` and ``subject`` are who the provider says it is, for ever; ``name`` is who that is here, and
    ``claim`` what the provider called them. ``groups`` are the provider's, as it said them at ``seen_at``.
    """

    name: str
    issuer: str
    subject: str
    claim: str
    groups: tuple[str, ...]
    first_at: datetime
    seen_at: datetime

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "name": self.name,
            "issuer": self.issuer,
            "subject": self.subject,
            "claim": self.claim,
            "first_at": iso(self.first_at),
            "seen_at": iso(self.seen_at),
        }


@dataclass(frozen=True, slots=True)
class TotpRecord:
    """Somebody's authenticator. ``secret`` is sealed; ``confirmed_at`` is None until a first code has come, and
    ``last_step`` is the time step of the last code that was used."""

    user: str
    secret: str
    created_at: datetime
    confirmed_at: datetime | None = None
    last_step: int = 0


@dataclass(frozen=True, slots=True)
class PasskeyRecord:
    """Somebody's passkey: the credential's id and its public key (COSE), both in base64url. ``sign_count`` is how often
    the authenticator says it was used, 0 where it does not count."""

    id: str
    user: str
    public_key: str
    sign_count: int
    label: str
    created_at: datetime
    used_at: datetime | None = None

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "id": self.id,
            "label": self.label,
            "created_at": iso(self.created_at),
            "used_at": iso(self.used_at),
        }
