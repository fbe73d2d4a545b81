"""Grants: more statements of the same shape, approved beforehand."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, Strict

from gateway.api.schemas.base import In, Reason, Time

__all__ = [
    "GrantIn",
    "GrantOut",
    "GrantTermsOut",
    "GrantableOut",
    "GrantsOut",
    "RevokeIn",
]


class GrantIn(In):
    """More statements of the same shape by the same user: ``for`` a time such as 1h or 30m, at most ``uses`` of them
    (left out: as many as the rule lets), which change at most ``rows`` rows together (left out: any number)."""

    lasts: str = Field(alias="for", max_length=20)
    uses: Annotated[int, Strict(), Field(ge=1, le=2**31 - 1)] | None = None
    rows: Annotated[int, Strict(), Field(ge=1, le=2**62)] | None = None


class GrantTermsOut(BaseModel):
    """What an approver granted."""

    seconds: float
    uses: int | None
    rows: int | None


class GrantableOut(BaseModel):
    """What may be granted with an approval: ``statement`` has an ellipsis for each value that may differ."""

    statement: str
    max_seconds: float
    max_uses: int | None


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


class RevokeIn(In):
    """Why a grant is revoked; may be left out."""

    reason: Reason = ""
