"""What an approver is shown of what a held statement would do."""

from typing import Literal

from pydantic import BaseModel

from gateway.api.schemas.base import Time

__all__ = [
    "ChangeOut",
    "EstimateOut",
    "ImpactOut",
    "LockOut",
    "ReachedOut",
    "TransactionOut",
]


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
