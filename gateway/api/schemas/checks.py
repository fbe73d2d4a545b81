"""What the policy says of a statement that is only asked about."""

from typing import Literal

from pydantic import BaseModel, Field

from gateway.api.schemas.base import In, Readable

__all__ = [
    "CatalogOut",
    "CheckIn",
    "CheckOut",
    "EffectOut",
    "ExplainedEffectOut",
    "FunctionOut",
    "NamedRelationOut",
    "ReadingsOut",
    "SeenOut",
    "StatementOut",
]


class CheckIn(In):
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
