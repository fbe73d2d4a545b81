"""Grants: what an approver lets somebody run more of."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.store.moments import iso

__all__ = ["GrantRecord", "GrantTerms", "Grantable"]


@dataclass(frozen=True, slots=True)
class Grantable:
    """What of a hold may be granted: more of its shape for ``max_for`` seconds, ``max_uses`` of them at most.

    ``free`` is the digest of the shape in which some values may differ, ``text`` how people see that; ``exact`` is the
    digest of the statement with all of its values, and ``same`` its text. ``bounded``: the text itself says how many
    rows it reaches. ``binding`` is what ``rules`` said, and ``role`` the role of the server that it runs as.
    """

    max_for: float
    max_uses: int | None
    free: str
    exact: str
    text: str
    same: str
    bounded: bool
    role: str
    rules: tuple[str, ...]
    binding: str

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Grantable":
        """From what the store keeps."""
        return cls(**{**kept, "rules": tuple(kept["rules"])})


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """For how many seconds, uses and rows somebody grants; None: any number."""

    seconds: float
    uses: int | None = None
    rows: int | None = None

    @property
    def duration(self) -> timedelta:
        """For how long."""
        return timedelta(seconds=self.seconds)

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {"seconds": self.seconds, "uses": self.uses, "rows": self.rows}

    def least(self, other: "GrantTerms") -> "GrantTerms":
        """What both of them grant."""
        return GrantTerms(
            min(self.seconds, other.seconds), _least(self.uses, other.uses), _least(self.rows, other.rows)
        )


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """More of what ``shape`` is the digest of, for ``user`` in ``database`` as ``role``, granted with the approval of
    ``hold_id``.

    ``text`` shows people the shape. ``used`` of ``uses`` and ``rows_used`` of ``rows`` are gone (None: any number), and
    each use may change ``max_rows``. ``groups`` are those that the user was in, and ``known`` says whether the user was
    known at all. ``rules`` held it, and said ``binding``.
    """

    id: str
    hold_id: str
    user: str
    database: str
    role: str
    groups: tuple[str, ...]
    known: bool
    shape: str
    text: str
    rules: tuple[str, ...]
    binding: str
    approved_by: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    uses: int | None = None
    used: int = 0
    rows: int | None = None
    rows_used: int = 0
    max_rows: int | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    revoke_reason: str | None = None

    def over(self, now: datetime) -> str | None:
        """Why it is of no more use by itself, None where it is."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at <= now:
            return "expired"
        if self.uses is not None and self.used >= self.uses:
            return "used up"
        return "used up" if self.rows is not None and self.rows_used >= self.rows else None

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "id": self.id,
            "hold_id": self.hold_id,
            "user": self.user,
            "database": self.database,
            "role": self.role,
            "statement": self.text,
            "rules": list(self.rules),
            "approved_by": list(self.approved_by),
            "created_at": iso(self.created_at),
            "expires_at": iso(self.expires_at),
            "uses": self.uses,
            "used": self.used,
            "rows": self.rows,
            "rows_used": self.rows_used,
            "max_rows": self.max_rows,
            "revoked_at": iso(self.revoked_at),
            "revoked_by": self.revoked_by,
            "revoke_reason": self.revoke_reason,
        }


def _least(one: int | None, other: int | None) -> int | None:
    known = [number for number in (one, other) if number is not None]
    return min(known, default=None)
