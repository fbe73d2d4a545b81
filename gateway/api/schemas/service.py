"""Sessions, the audit, notifications, and how the gateway itself is."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gateway.api.schemas.base import Time

__all__ = [
    "AuditPage",
    "HealthOut",
    "MessageOut",
    "MessagesOut",
    "ProblemOut",
    "ReadinessOut",
    "SessionOut",
    "SessionsOut",
]


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
