"""The values that go into the store and come out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

__all__ = ["Decision", "Hold", "HoldState", "Outcome", "TokenRecord", "iso"]


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


def iso(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds and ``Z``; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person said.

    ``verdict`` is ``approve`` or ``reject``; ``how`` is the way: console, api, cli.
    """

    who: str
    verdict: str
    reason: str
    at: datetime
    how: str

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "who": self.who,
            "verdict": self.verdict,
            "reason": self.reason,
            "at": iso(self.at),
            "how": self.how,
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
class Hold:
    """A statement that waits, or waited, for a decision.

    ``reason`` is why it is held; ``end_reason`` why it ended when nobody decided. ``obligations`` bind the
    statement once it is released. ``recent`` are the session's statements before it, and ``impact`` is the preview
    of what it would do, None before there is one. ``released_at`` is set once, when the approval was used.
    ``instance`` is the gateway process whose session waits.
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
    approval_groups: tuple[str, ...]
    transaction_open_since: datetime | None
    digest: str
    instance: str
    opened_at: datetime
    expires_at: datetime
    resolved_at: datetime | None = None
    released_at: datetime | None = None
    end_reason: str | None = None
    obligations: tuple[str, ...] = ()
    recent: tuple[Mapping[str, object], ...] = ()
    impact: Mapping[str, object] | None = None
    decisions: tuple[Decision, ...] = ()
    outcome: Outcome | None = None

    @property
    def open(self) -> bool:
        """Whether the statement may still run because of this hold: pending, or approved and not yet used."""
        return self.state is HoldState.PENDING or (
            self.state is HoldState.APPROVED and self.released_at is None
        )

    @property
    def decided_by(self) -> tuple[str, ...]:
        """Who decided, in order, each once."""
        return tuple(dict.fromkeys(decision.who for decision in self.decisions))

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
            "criteria": [dict(criterion) for criterion in self.criteria],
            "reason": self.reason,
            "approval_groups": list(self.approval_groups),
            "obligations": list(self.obligations),
            "recent": [dict(statement) for statement in self.recent],
            "impact": None if self.impact is None else dict(self.impact),
            "transaction_open_since": iso(self.transaction_open_since),
            "opened_at": iso(self.opened_at),
            "expires_at": iso(self.expires_at),
            "resolved_at": iso(self.resolved_at),
            "released_at": iso(self.released_at),
            "end_reason": self.end_reason,
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
